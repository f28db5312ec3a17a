"""Leading eigenpairs by Lanczos: enlarged until the residuals say so, checked for lost copies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from matfree import decomp

from .._typing import Array, PRNGKeyArray

_DEFAULT_TOLERANCE_EPS = 100
_EXTRA = 20
_GROWTH = 1.6
_PROBE_STEPS = 30
_MAX_ROUNDS = 12


def lanczos_eigh(
    kernel: Any, rank: int, *, tolerance: float | None, key: PRNGKeyArray
) -> tuple[Array, Array]:
    """The ``rank`` largest eigenvalues (rank,), descending, and eigenvectors (n, rank).

    One Krylov sequence holds one vector of each eigenspace, so equal eigenvalues would come back
    once only. After convergence the complement of what was found is searched from a fresh vector;
    anything larger than the smallest eigenvalue kept is added, until nothing is.

    Args:
        kernel: symmetric array (n, n), or an operator with ``.shape`` and ``@``.
        rank: how many eigenpairs.
        tolerance: bound on every residual, relative to λ_1; default 100 · eps.
        key: start vectors.

    Raises:
        RuntimeError: if the residuals do not reach the tolerance within n steps.
    """
    n = kernel.shape[0]
    product, operand, dtype = _as_product(kernel)
    eps = float(jnp.finfo(dtype).eps)
    tolerance = _DEFAULT_TOLERANCE_EPS * eps if tolerance is None else tolerance
    basis = jnp.zeros((n, 0), dtype)
    wanted = rank
    for _ in range(_MAX_ROUNDS):
        key, start = jax.random.split(key)
        found = _leading(product, operand, basis, wanted, tolerance, start)
        basis = _orthonormal(jnp.concatenate([basis, found], axis=1))
        values, basis = _rayleigh_ritz(product, operand, basis)
        values, basis = values[:rank], basis[:, :rank]
        if basis.shape[1] < rank:
            wanted = rank - basis.shape[1]
            continue
        if basis.shape[1] == n:
            return values, basis
        key, start = jax.random.split(key)
        steps = min(_PROBE_STEPS, n - rank)
        lost = _krylov(product, operand, basis, steps, start)[0][0]
        # A direction of the complement that beats the last one kept was a lost copy.
        if not lost > values[-1] + 10 * tolerance * values[0]:
            return values, basis
        wanted = max(1, rank // 4)
    raise RuntimeError(
        f"Lanczos still finds new leading directions after {_MAX_ROUNDS} rounds at rank {rank}; "
        "the spectrum is nearly flat there: ask for another rank or use method='dense'."
    )


Product = Callable[[Any, Array], Array]


def _as_product(kernel: Any) -> tuple[Product, Any, jnp.dtype]:
    """``product(operand, v)``: an array is a traced operand, so one compilation serves them all."""
    if isinstance(kernel, jax.Array):
        return _dense_product, kernel, kernel.dtype
    dtype = getattr(kernel, "dtype", None) or jnp.result_type(float)
    return lambda _, v: kernel @ v, None, jnp.dtype(dtype)


def _dense_product(kernel: Array, v: Array) -> Array:
    return jnp.matmul(kernel, v, precision="highest")


def _deflated(product: Product, v: Array, basis: Array, operand: Any) -> Array:
    return _complement(basis, product(operand, _complement(basis, v)))


def _complement(basis: Array, v: Array) -> Array:
    return v - jnp.matmul(basis, jnp.matmul(basis.T, v, precision="highest"), precision="highest")


@functools.partial(jax.jit, static_argnums=(0, 1))
def _tridiagonalise(
    product: Product, steps: int, basis: Array, operand: Any, key: PRNGKeyArray
) -> tuple[Array, Array, Array]:
    run = decomp.tridiag_sym(steps, reortho="full", custom_vjp=False)
    start = _complement(basis, jax.random.normal(key, (basis.shape[0],), basis.dtype))
    out = run(functools.partial(_deflated, product), start, basis, operand)
    # matfree stacks the Krylov vectors as rows (k, n).
    tall, small = jnp.asarray(out.Q_tall), jnp.asarray(out.J_small)
    return tall.T, small, out.residual


def _leading(
    product: Product,
    operand: Any,
    basis: Array,
    wanted: int,
    tolerance: float,
    key: PRNGKeyArray,
) -> Array:
    """Converged leading Ritz vectors (n, at most wanted) of the complement of ``basis``."""
    n = basis.shape[0]
    room = n - basis.shape[1]
    steps = min(room, 2 * wanted + _EXTRA)
    scale = 0.0
    while True:
        values, vectors, residuals = _krylov(product, operand, basis, steps, key)
        scale = max(scale, float(values[0]))
        count = min(wanted, vectors.shape[1])
        converged = bool(jnp.all(residuals[:count] <= tolerance * scale))
        exhausted = steps >= room or vectors.shape[1] < steps
        if converged or exhausted:
            good = residuals[:count] <= max(tolerance, 1e-3) * scale
            return vectors[:, :count][:, jnp.asarray(good)]
        steps = min(room, int(steps * _GROWTH) + 1)


def _krylov(
    product: Product, operand: Any, basis: Array, steps: int, key: PRNGKeyArray
) -> tuple[Array, Array, Array]:
    """Ritz values (descending), vectors and residuals from ``steps`` Lanczos steps."""
    tall, small, residual = _tridiagonalise(product, steps, basis, operand, key)
    # Once the Krylov space is exhausted the rest of the basis is undefined: cut it off.
    off = jnp.abs(jnp.diagonal(small, offset=1))
    eps = jnp.finfo(basis.dtype).eps
    broken = ~(off > 10 * eps * jnp.max(jnp.abs(jnp.diagonal(small)))) | ~jnp.isfinite(off)
    size = int(jnp.argmax(broken)) + 1 if bool(broken.any()) else steps
    values, rotation = jnp.linalg.eigh(small[:size, :size])
    values, rotation = values[::-1], rotation[:, ::-1]
    vectors = jnp.matmul(tall[:, :size], rotation, precision="highest")
    beta = jnp.linalg.norm(residual) if size == steps else jnp.asarray(0.0, basis.dtype)
    return values, vectors, jnp.abs(beta * rotation[-1])


def _orthonormal(vectors: Array) -> Array:
    return jnp.linalg.qr(vectors)[0]


def _rayleigh_ritz(product: Product, operand: Any, basis: Array) -> tuple[Array, Array]:
    small = jnp.matmul(basis.T, product(operand, basis), precision="highest")
    values, rotation = jnp.linalg.eigh((small + small.T) / 2)
    return values[::-1], jnp.matmul(basis, rotation[:, ::-1], precision="highest")
