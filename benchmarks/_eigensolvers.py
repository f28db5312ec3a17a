"""Leading eigenpairs by other solvers, each as somebody who knows it would call it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.sparse.linalg

Pairs = tuple[Any, Any]
Solver = Callable[[jax.Array, int], Pairs]
"""(kernel, rank) -> (eigenvalues, eigenvectors), largest first."""


def eigsh(kernel: jax.Array, rank: int, tolerance: float = 0.0) -> Pairs:
    """ARPACK as it is called from its documentation."""
    # Its type is inferred from the default, 0.
    options: Any = {"k": rank, "which": "LA", "tol": tolerance}
    values, vectors = scipy.sparse.linalg.eigsh(np.asarray(kernel), **options)
    return values[::-1], vectors[:, ::-1]


def eigsh_tuned(
    kernel: jax.Array, rank: int, vectors_per_pair: float, tolerance: float = 1e-4
) -> Pairs:
    """ARPACK with products that read half of the kernel, a chosen basis and a loose tolerance.

    The tolerance is of Ritz values: residuals are below 1e-5 of the largest eigenvalue already.
    """
    matrix, n = np.asarray(kernel).T, len(kernel)
    # Types of scipy are inferred from defaults and examples.
    symv: Any = scipy.linalg.get_blas_funcs("symv", (matrix,))
    wrap: Any = scipy.sparse.linalg.LinearOperator

    def product(vector: np.ndarray) -> np.ndarray:
        return symv(1.0, matrix, vector.ravel(), lower=0)

    count = min(round(vectors_per_pair * rank), n - 1)
    options: Any = {"ncv": count, "tol": tolerance, "v0": _block(matrix, 1)[:, 0]}
    operator = wrap((n, n), product, dtype=matrix.dtype)
    values, vectors = scipy.sparse.linalg.eigsh(operator, rank, **options)
    return values[::-1], vectors[:, ::-1]


def lapack_subset(kernel: jax.Array, rank: int) -> Pairs:
    """Tridiagonal reduction of all, eigenvectors of some."""
    matrix, n = np.array(kernel), len(kernel)
    values, vectors = scipy.linalg.eigh(
        matrix.T, subset_by_index=(n - rank, n - 1), overwrite_a=True, check_finite=False
    )
    return values[::-1], vectors[:, ::-1]


def numpy_eigh(kernel: jax.Array, rank: int) -> Pairs:
    """LAPACK's divide and conquer of everything."""
    values, vectors = np.linalg.eigh(np.asarray(kernel))
    return values[: -rank - 1 : -1], vectors[:, : -rank - 1 : -1]


def scipy_lobpcg(kernel: jax.Array, rank: int, iterations: int) -> Pairs:
    """LOBPCG, a fifth more columns than pairs; its own algebra in float64, where it does not stall.

    Products are in the precision of the kernel.
    """
    matrix = np.asarray(kernel)

    def product(block: np.ndarray) -> np.ndarray:
        return (matrix @ block.astype(matrix.dtype)).astype(np.float64)

    start = _block(matrix, _wider(rank)).astype(np.float64)
    with warnings.catch_warnings():
        # It says that it has not converged to its own default; the residual is in the table.
        warnings.simplefilter("ignore", UserWarning)
        found: Any = scipy.sparse.linalg.lobpcg(product, start, largest=True, maxiter=iterations)
    return _leading(found[0], found[1], rank)


def jax_lobpcg(kernel: jax.Array, rank: int, iterations: int) -> Pairs:
    """The same of JAX, compiled as a whole."""
    from jax.experimental.sparse.linalg import lobpcg_standard

    width = min(_wider(rank), (len(kernel) - 1) // 5)
    # At its own tolerance, float32's rounding times 10 n, it stops before the others.
    values, vectors, _ = lobpcg_standard(
        kernel, jnp.asarray(_block(kernel, width)), m=iterations, tol=0.0
    )
    return values[:rank], vectors[:, :rank]


def randomized_svd(kernel: jax.Array, rank: int, iterations: int, oversampling: int) -> Pairs:
    """scikit-learn's, power iterations normalised by QR: LU loses digits in float32."""
    import sklearn.utils.extmath

    options: Any = {"n_oversamples": oversampling, "n_iter": iterations, "random_state": 0}
    vectors, values, _ = sklearn.utils.extmath.randomized_svd(
        np.asarray(kernel), rank, power_iteration_normalizer="QR", **options
    )
    return values, vectors


def subspace_iteration(kernel: jax.Array, rank: int, iterations: int, oversampling: int) -> Pairs:
    """Randomised subspace iteration of a symmetric kernel: half the products of an SVD."""
    matrix = np.asarray(kernel)
    basis: Any = _block(matrix, min(rank + oversampling, len(matrix)))
    for _ in range(iterations):
        options: Any = {"mode": "economic", "overwrite_a": True, "check_finite": False}
        basis = scipy.linalg.qr(matrix @ basis, **options)[0]
    return _rayleigh_ritz(matrix, basis, rank)


def block_krylov(kernel: jax.Array, rank: int, steps: int, width: int) -> Pairs:
    """Rayleigh-Ritz on (K X, K² X, ...), one QR at the end (Musco and Musco, 2015)."""
    matrix = np.asarray(kernel)
    block, blocks = _block(matrix, min(width, -(-len(matrix) // steps))), []
    for _ in range(steps):
        block, _ = np.linalg.qr(matrix @ block)
        blocks.append(block)
    basis, _ = np.linalg.qr(np.concatenate(blocks, axis=1))
    return _rayleigh_ritz(matrix, basis, rank)


def _rayleigh_ritz(matrix: np.ndarray, basis: np.ndarray, rank: int) -> Pairs:
    values, rotation = np.linalg.eigh(basis.T @ (matrix @ basis))
    return _leading(values, basis @ rotation, rank)


def _leading(values: np.ndarray, vectors: np.ndarray, rank: int) -> Pairs:
    order = np.argsort(-values)[:rank]
    return values[order], vectors[:, order]


def _wider(rank: int) -> int:
    return rank + max(rank // 5, 2)


def _block(matrix: Any, width: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((len(matrix), width)).astype(matrix.dtype)
