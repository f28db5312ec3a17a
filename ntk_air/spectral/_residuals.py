"""How far eigenpairs are from solving their equation, whatever computed them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, Float
from ._products import product_with


def residual_norms(kernel: Any, values: Array, vectors: Array) -> Float[Array, " r"]:
    """‖Θu_k − λ_k u_k‖₂ of each eigenpair (r,).

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> kernel = jnp.diag(jnp.array([3.0, 1.0]))
        >>> na.spectral.residual_norms(kernel, jnp.array([3.0, 2.0]), jnp.eye(2)).tolist()
        [0.0, 1.0]
    """
    if isinstance(kernel, jax.Array):
        return _residual_norms(kernel, values, vectors)
    return jnp.linalg.norm(product_with(kernel)(vectors) - values * vectors, axis=0)


def failure(values: Array, vectors: Array, residuals: Array, tolerance: float = 0.0) -> str | None:
    """What shows that a solver failed, or None: residuals, lengths of vectors, a zero spectrum.

    Args:
        values: (r,).
        vectors: (n, r).
        residuals: (r,), as measured.
        tolerance: of an iteration that was to stop there, relative to the largest eigenvalue.
    """
    n = vectors.shape[0]
    eps = float(jnp.finfo(values.dtype).eps)
    # Backward-stable solvers stay far below this; CUDA's has returned zeros without an error.
    limit = max(1e3 * eps * n**0.5, 1e-3)
    largest = float(np.abs(np.asarray(values)).max())
    worst = float(np.asarray(residuals).max())
    unit = bool((np.abs(np.asarray(_lengths(vectors)) - 1.0) <= limit).all())
    if worst <= max(limit, tolerance) * largest and unit and largest > 0.0:
        return None
    return f"residual {worst:.3g} at a largest eigenvalue of {largest:.3g}"


@jax.jit
def _lengths(vectors: Array) -> Array:
    return jnp.linalg.norm(vectors, axis=0)


@jax.jit
def _residual_norms(kernel: Array, values: Array, vectors: Array) -> Array:
    product = jnp.matmul(kernel, vectors, precision="highest")
    return jnp.linalg.norm(product - values * vectors, axis=0)
