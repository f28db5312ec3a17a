"""All eigenpairs of a kernel that is held as an array, by a solver that can take its size."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from .._typing import Array
from ._residuals import failure, residual_norms

# From here on the 1 + 6n + 2n² numbers of workspace that LAPACK's divide and conquer needs are
# more than a 32-bit LAPACK can be told, which is what JAX calls on CPUs (jax issues 10420, 20904).
_TOO_LARGE_FOR_32_BITS = 32_767
# Negative eigenvalues up to this many times n · eps · |λ|_max come from rounding of the entries.
_ROUND_OFF = 10
_ASK_FOR_FEWER = "method='lanczos' with a rank takes less time and memory"
_Pairs = tuple[Array, Array]


def platform_of(kernel: Array) -> str:
    """``"cpu"``, ``"gpu"`` or ``"tpu"``: where the kernel lies."""
    return next(iter(kernel.devices())).platform


def numpy_counts_in_64_bits() -> bool:
    """Whether the LAPACK that NumPy calls takes 64-bit sizes, as that of its own wheels does."""
    return bool(getattr(np.linalg._umath_linalg, "_ilp64", False))


def dense_solvers(size: int, platform: str, *, wide_numpy: bool) -> tuple[str, ...]:
    """The solvers for a kernel of ``size`` points, the first one to be tried first.

    Args:
        size: number of points n.
        platform: where the kernel lies.
        wide_numpy: see `numpy_counts_in_64_bits`.

    Returns:
        Names, of ``"jax"``, ``"numpy"`` and ``"scipy"``. The host's come second on accelerators:
        there a solver that fails or returns garbage is known by its residuals. SciPy's, where
        neither JAX nor NumPy can be told the size, takes relatively robust representations, whose
        workspace grows with n and not with n².
    """
    small = size < _TOO_LARGE_FOR_32_BITS
    host = "numpy" if small or wide_numpy else "scipy"
    if platform != "cpu":
        return "jax", host
    return ("jax",) if small else (host,)


def dense_eigh(kernel: Array, rank: int) -> tuple[Array, Array, Array]:
    """The largest eigenvalues (rank,), descending, eigenvectors (n, rank) and residuals (rank,)."""
    platform = platform_of(kernel)
    names = dense_solvers(len(kernel), platform, wide_numpy=numpy_counts_in_64_bits())
    if names[0] != "jax":
        _say(kernel, f"more than the 32-bit LAPACK that JAX calls on {platform} can take", names[0])
    values, vectors, residuals, why = _attempt(names[0], kernel, rank)
    if why is not None and len(names) > 1:
        _say(kernel, f"and JAX's eigensolver failed on the {platform} ({why})", names[1])
        values, vectors, residuals, why = _attempt(names[1], kernel, rank)
    if why is not None or values is None:
        raise RuntimeError(
            f"the dense eigensolver failed on a {kernel.shape[0]} x {kernel.shape[0]} kernel: "
            f"{why}; use the other method, or float64."
        )
    least, scale = float(values[0]), float(jnp.max(jnp.abs(values)))
    if least < -_ROUND_OFF * len(values) * float(jnp.finfo(values.dtype).eps) * scale:
        warnings.warn(
            f"the kernel is not positive semidefinite: its least eigenvalue is {least:.3g} beside "
            f"{scale:.3g}, more than round-off; an NTK is, so check what computed it.",
            stacklevel=3,
        )
    return values[::-1][:rank], vectors, residuals


def _attempt(name: str, kernel: Array, rank: int) -> tuple:
    """All eigenvalues, ascending; the last ``rank`` vectors, residuals; why they are wrong."""
    try:
        values, vectors = _SOLVERS[name](kernel)
        values = jax.block_until_ready(values)
    except (jax.errors.JaxRuntimeError, np.linalg.LinAlgError) as error:
        return None, None, None, " ".join(str(error).split())[:200]
    largest = vectors[:, ::-1][:, :rank]
    residuals = residual_norms(kernel, values[::-1][:rank], largest)
    return values, largest, residuals, failure(values[::-1][:rank], largest, residuals)


def _say(kernel: Array, why: str, instead: str) -> None:
    solver = "NumPy's, on the host" if instead == "numpy" else "SciPy's evr driver, on the host"
    warnings.warn(
        f"a kernel has {kernel.shape[0]} points, {why}; using {solver}. {_ASK_FOR_FEWER}.",
        stacklevel=4,
    )


def _jax(kernel: Array) -> _Pairs:
    values, vectors = jnp.linalg.eigh(kernel, symmetrize_input=False)
    return values, vectors


def _numpy(kernel: Array) -> _Pairs:
    values, vectors = np.linalg.eigh(np.asarray(kernel))
    return jnp.asarray(values), jnp.asarray(vectors)


def _scipy(kernel: Array) -> _Pairs:
    values, vectors = scipy.linalg.eigh(np.asarray(kernel), driver="evr", check_finite=False)
    return jnp.asarray(values), jnp.asarray(vectors)


_SOLVERS: dict[str, Callable[[Array], _Pairs]] = {"jax": _jax, "numpy": _numpy, "scipy": _scipy}
