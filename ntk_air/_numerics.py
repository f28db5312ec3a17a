"""Small numerical helpers that several rooms need, each in one place."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._typing import Array


def as_float(value: Any) -> Array:
    """Converts to a JAX float array; integers and bools become JAX's default float."""
    array = jnp.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    return array.astype(jnp.result_type(float))


@contextlib.contextmanager
def double_precision() -> Iterator[None]:
    """Float64 for JAX within the block, on any supported JAX, without touching global state."""
    with jax.enable_x64(True):
        yield


def eigh_of_batch(matrices: Any) -> tuple[Array, Array]:
    """Eigenvalues (..., n) and eigenvectors (..., n, n) of symmetric matrices (..., n, n).

    On CPUs XLA gives each of its threads a matrix, and each starts the threads of its BLAS: on
    many cores more than OpenBLAS has room for, which corrupts the heap (jax issue 39292). Here the
    BLAS runs on one thread until the result is there.
    """
    # Here, since `import ntk_air` stays light. JAX calls SciPy's BLAS, limited once it is loaded.
    import scipy.linalg  # noqa: F401
    import threadpoolctl

    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        values, vectors = jax.block_until_ready(jnp.linalg.eigh(jnp.asarray(matrices)))
    return values, vectors


def relative_error(value: Any, reference: Any) -> float:
    """Largest absolute deviation divided by the largest absolute reference value."""
    value, reference = np.asarray(value, np.float64), np.asarray(reference, np.float64)
    scale = np.abs(reference).max(initial=0.0)
    return float(np.abs(value - reference).max(initial=0.0) / (scale if scale > 0 else 1.0))
