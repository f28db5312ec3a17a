"""All eigenpairs of a kernel that is held as an array."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array

# cuSOLVER counts bytes of the matrix in 32 bits in some releases (jax issue 33062).
_CUDA_LIMIT_BYTES = 2**31
# Negative eigenvalues up to this many times n · eps · |λ|_max come from rounding of the entries.
_ROUND_OFF = 10


def platform_of(kernel: Array) -> str:
    """``"cpu"``, ``"gpu"`` or ``"tpu"``: where the kernel lies."""
    return next(iter(kernel.devices())).platform


def past_cuda_limit(kernel: Array) -> bool:
    """Whether CUDA's dense eigensolver is known to fail at this size (n ≥ 23 171 in float32)."""
    return platform_of(kernel) == "gpu" and kernel.nbytes >= _CUDA_LIMIT_BYTES


def dense_eigh(kernel: Array, rank: int) -> tuple[Array, Array]:
    """The ``rank`` largest eigenvalues (rank,), descending, and eigenvectors (n, rank)."""
    if past_cuda_limit(kernel):
        warnings.warn(
            f"a kernel of {kernel.nbytes} bytes is past the size at which CUDA's dense "
            "eigensolver is known to fail; using the host's. method='lanczos' with a rank stays "
            "on the device.",
            stacklevel=3,
        )
        host = np.linalg.eigh(np.asarray(kernel))
        values, vectors = jnp.asarray(host.eigenvalues), jnp.asarray(host.eigenvectors)
    else:
        values, vectors = _eigh(kernel)
    least, scale = float(values[0]), float(jnp.max(jnp.abs(values)))
    if least < -_ROUND_OFF * len(values) * float(jnp.finfo(values.dtype).eps) * scale:
        warnings.warn(
            f"the kernel is not positive semidefinite: its least eigenvalue is {least:.3g} beside "
            f"{scale:.3g}, more than round-off; an NTK is, so check what computed it.",
            stacklevel=3,
        )
    return values[::-1][:rank], vectors[:, ::-1][:, :rank]


@jax.jit
def _eigh(kernel: Array) -> tuple[Array, Array]:
    values, vectors = jnp.linalg.eigh(kernel, symmetrize_input=False)
    return values, vectors
