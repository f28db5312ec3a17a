"""Eigensystem of a kernel: what it holds, and how the solver is chosen."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_finite, check_in_range, check_square
from .._numerics import as_float
from .._results import result, static
from .._typing import Array, Float, PRNGKeyArray
from ._dense import dense_eigh
from ._lanczos import lanczos_eigh

# Above this size the partial solver wins when few directions are asked for.
_DENSE_SMALL = 1024
_PARTIAL_FRACTION = 8
_SYMMETRY_TOLERANCE = 100


@result
class Eigensystem:
    """The leading eigenpairs of a symmetric positive semidefinite kernel, largest first.

    Attributes:
        eigenvalues: (r,), descending.
        eigenvectors: (n, r), orthonormal columns.
        trace: (), trace of the whole kernel; what is not in ``eigenvalues`` is
            ``trace - eigenvalues.sum()``.
        residuals: (r,), ‖Θu_k − λ_k u_k‖₂, measured after the fact whatever the solver.
        trusted_rank: how many eigenvalues stand above the round-off of the largest,
            λ_k > n · eps · λ_1; the rest is noise of the arithmetic.
        method: the solver that ran, ``"dense"`` or ``"lanczos"``.
    """

    eigenvalues: Float[Array, " r"]
    eigenvectors: Float[Array, "n r"]
    trace: Float[Array, ""]
    residuals: Float[Array, " r"]
    trusted_rank: int = static()
    method: str = static(default="dense")

    @property
    def num_points(self) -> int:
        """Number of training points n."""
        return self.eigenvectors.shape[0]

    @property
    def rank(self) -> int:
        """Number of eigenpairs held, r."""
        return self.eigenvectors.shape[1]


def eigendecompose(
    kernel_or_operator: Any,
    *,
    rank: int | None = None,
    method: str = "auto",
    tolerance: float | None = None,
    key: PRNGKeyArray | None = None,
) -> Eigensystem:
    """Leading eigenpairs of a kernel, each with its measured residual.

    Args:
        kernel_or_operator: symmetric kernel (n, n), or an object with ``.shape`` and ``op @ v``
            (and ``.diagonal()``, for the trace).
        rank: how many eigenpairs; default all n (an operator needs it).
        method: ``"dense"`` (LAPACK or cuSOLVER), ``"lanczos"`` (matfree, full
            reorthogonalisation), or ``"auto"``: Lanczos for an operator, and for a kernel of more
            than 1024 points when at most n/8 eigenpairs are asked for.
        tolerance: Lanczos stops when every residual is below ``tolerance · λ_1``; default
            100 · eps.
        key: start vector of Lanczos; default ``jax.random.key(0)``.

    Returns:
        An `Eigensystem` with ``rank`` eigenpairs.

    Raises:
        ValueError: kernel not square, not symmetric, not finite, or zero; rank out of range.
        RuntimeError: a solver whose residuals show that it failed.
    """
    check_choice("method", method, ("auto", "dense", "lanczos"))
    is_array = isinstance(kernel_or_operator, jax.Array | np.ndarray)
    kernel = _check_kernel(kernel_or_operator) if is_array else kernel_or_operator
    n = kernel.shape[0]
    if rank is None and not is_array:
        raise ValueError("an operator needs rank=, the number of eigenpairs to compute.")
    rank = int(n if rank is None else rank)
    check_in_range("rank", rank, 1, n)
    if method == "auto":
        partial = not is_array or (n > _DENSE_SMALL and rank * _PARTIAL_FRACTION <= n)
        method = "lanczos" if partial else "dense"
    if method == "dense":
        if not is_array:
            raise ValueError("method='dense' needs the kernel as an array, got an operator.")
        values, vectors = dense_eigh(kernel, rank)
    else:
        key = jax.random.key(0) if key is None else key
        values, vectors = lanczos_eigh(kernel, rank, tolerance=tolerance, key=key)
    diagonal = jnp.diagonal(kernel) if is_array else kernel.diagonal()
    return _finish(kernel, values, vectors, jnp.sum(diagonal), method)


def _check_kernel(kernel: Any) -> Array:
    check_square("kernel", kernel)
    kernel = as_float(kernel)
    check_finite("kernel", kernel)
    scale = float(jnp.abs(kernel).max(initial=0.0))
    if scale == 0.0:
        raise ValueError(
            f"kernel of shape {kernel.shape} is zero everywhere, so it has no leading direction; "
            "check what computed it."
        )
    asymmetry = float(_asymmetry(kernel))
    if asymmetry > _SYMMETRY_TOLERANCE * float(jnp.finfo(kernel.dtype).eps) * scale:
        raise ValueError(
            f"kernel is not symmetric: entries differ from their mirror image by up to "
            f"{asymmetry:.3g} at a scale of {scale:.3g}; pass (kernel + kernel.T) / 2 if that is "
            "round-off."
        )
    return kernel


@jax.jit
def _asymmetry(kernel: Array) -> Array:
    return jnp.max(jnp.abs(kernel - kernel.T))


def _finish(kernel: Any, values: Array, vectors: Array, trace: Array, method: str) -> Eigensystem:
    n = vectors.shape[0]
    residuals = residual_norms(kernel, values, vectors)
    eps = float(jnp.finfo(values.dtype).eps)
    # Backward-stable solvers stay far below this; CUDA's has returned zeros without an error.
    limit = max(1e3 * eps * n**0.5, 1e-3)
    largest = float(jnp.max(jnp.abs(values)))
    worst = float(jnp.max(residuals))
    lengths = jnp.linalg.norm(vectors, axis=0)
    unit = bool(jnp.all(jnp.abs(lengths - 1.0) <= limit))
    if not (worst <= limit * largest and unit and largest > 0.0):
        raise RuntimeError(
            f"the {method} eigensolver failed on a {n} x {n} kernel: residual {worst:.3g} at a "
            f"largest eigenvalue of {largest:.3g}; use the other method, or float64."
        )
    trusted = int(jnp.sum(values > n * eps * largest))
    return Eigensystem(values, vectors, trace, residuals, trusted, method)


def residual_norms(kernel: Any, values: Array, vectors: Array) -> Float[Array, " r"]:
    """‖Θu_k − λ_k u_k‖₂ of each eigenpair (r,)."""
    if isinstance(kernel, jax.Array):
        return _residual_norms(kernel, values, vectors)
    return jnp.linalg.norm(kernel @ vectors - values * vectors, axis=0)


@jax.jit
def _residual_norms(kernel: Array, values: Array, vectors: Array) -> Array:
    product = jnp.matmul(kernel, vectors, precision="highest")
    return jnp.linalg.norm(product - values * vectors, axis=0)
