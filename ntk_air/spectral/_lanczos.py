"""Leading eigenpairs by thick-restart block Lanczos, checked for lost copies."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from .._checks import check_finite
from .._typing import Array, Float, PRNGKeyArray
from ._block_krylov import BlockKrylov, Ritz, basis_shape
from ._products import Product, dtype_of, product_with

_DEFAULT_TOLERANCE_EPS = 100
# Estimates below this many eps are rounding: only a measured residual tells more.
_ESTIMATE_FLOOR_EPS = 8
_MAX_RESTARTS = 300
_PROBE_BLOCKS = 6


class Eigenpairs(NamedTuple):
    """What the solver returns: values (r,) descending, vectors (n, r), measured residuals (r,)."""

    values: Float[Array, " r"]
    vectors: Float[Array, "n r"]
    residuals: Float[Array, " r"]


def default_tolerance(kernel: Any) -> float:
    """100 · eps of the kernel's dtype."""
    return _DEFAULT_TOLERANCE_EPS * float(jnp.finfo(dtype_of(kernel)).eps)


def lanczos_eigh(kernel: Any, rank: int, *, tolerance: float, key: PRNGKeyArray) -> Eigenpairs:
    """The ``rank`` largest eigenvalues, their eigenvectors, and measured residuals.

    Block Lanczos with every block orthogonalised twice against the whole basis, Rayleigh-Ritz, and
    restarts that keep the leading Ritz vectors and the residual block. When every residual is
    estimated to be small enough it is measured with fresh products. A Krylov space of block width b
    holds at most b copies of an equal eigenvalue, so the complement of what was found is then
    searched from a random block; if anything there beats the last eigenvalue kept, it goes on.

    Args:
        kernel: symmetric array (n, n), or an operator with ``.shape`` and ``@``.
        rank: how many eigenpairs.
        tolerance: bound on every residual, relative to the largest eigenvalue.
        key: random blocks.

    Returns:
        Eigenpairs; held meanwhile are the columns of `basis_shape`, whatever the number of steps.
        If the space has no more directions than that, it is taken whole and solved directly.

    Raises:
        RuntimeError: if the residuals do not reach the tolerance.
        ValueError: if products are not finite, or not of the operand's shape.

    Source: Wu and Simon, Thick-restart Lanczos method for large symmetric eigenvalue problems,
        SIAM J. Matrix Anal. Appl. 22 (2000); Stewart, A Krylov-Schur algorithm for large
        eigenproblems, ibid. 23 (2001).
    """
    n, dtype, product = kernel.shape[0], dtype_of(kernel), product_with(kernel)
    shape = basis_shape(rank)
    if n <= shape.capacity + shape.block:
        return _whole_space(kernel, product, rank)
    space = BlockKrylov(product, n, dtype, rank, key)
    eps = float(jnp.finfo(dtype).eps)
    best = np.inf
    restarts = 0
    while True:
        ritz, converged = _grow(space, rank, max(tolerance, _ESTIMATE_FLOOR_EPS * eps))
        if converged:
            found, projected, remainders = _measured(space, ritz, rank)
            worst = _relative(found)
            if worst > tolerance:
                _check_progress(worst, best, tolerance, eps, n)
                best = min(best, worst)
                space.restart(np.eye(rank), projected, _worst(remainders, space.pending))
                continue
            ritz = _probe(space, rank)
            # Below the tolerance a rise is the last eigenpair getting better, not another one.
            if ritz.values[rank - 1] <= np.asarray(found.values).min() + tolerance * abs(
                ritz.values[0]
            ):
                return _descending(found)
        if restarts == _MAX_RESTARTS:
            raise _not_converged(ritz, rank, tolerance)
        restarts, keep = restarts + 1, space.shape.keep
        space.restart(ritz.rotation[:, :keep], np.diag(ritz.values[:keep]), space.pending)


def _grow(space: BlockKrylov, rank: int, tolerance: float) -> tuple[Ritz, bool]:
    """Block steps until ``rank`` pairs are estimated to have converged, or the basis is full."""
    look = rank + rank // 2
    while True:
        space.step()
        if space.size < look and not space.is_full:
            continue
        ritz = space.ritz()
        estimates, scale = ritz.estimates[:rank], np.abs(ritz.values).max()
        converged = space.size >= rank and bool((estimates <= tolerance * scale).all())
        if converged or space.is_full:
            return ritz, converged
        # The small problem is cubic in the size: look again after a quarter more.
        look = space.size + space.size // 4


def _measured(
    space: BlockKrylov, ritz: Ritz, rank: int
) -> tuple[Eigenpairs, np.ndarray, Float[Array, "n r"]]:
    """The Ritz pairs by fresh products, UᵀKU, and the remainders KU - Uλ.

    Leaves the space at the Ritz vectors U followed by a random block.
    """
    space.restart(ritz.rotation[:, :rank], np.zeros((rank, rank)), None)
    vectors, products = space.measure(rank)
    values, norms, projected, remainders = _residuals(vectors, products)
    small = np.asarray(projected)
    space.set_projected(small)
    return Eigenpairs(values, vectors, norms), small, remainders


@jax.jit
def _residuals(
    vectors: Float[Array, "n r"], products: Float[Array, "n r"]
) -> tuple[Array, Array, Array, Array]:
    projected = jnp.matmul(vectors.T, products, precision="highest")
    values = jnp.diagonal(projected)
    remainders = products - values * vectors
    return values, jnp.linalg.norm(remainders, axis=0), projected, remainders


def _relative(found: Eigenpairs) -> float:
    largest = np.abs(np.asarray(found.values)).max()
    worst = np.asarray(found.residuals).max()
    # An operator that is zero has residuals of zero: the caller names it.
    return float(worst / largest) if largest > 0 else float(worst)


def _worst(remainders: Float[Array, "n r"], filler: Float[Array, "n b"]) -> Float[Array, "n b"]:
    """The longest remainders as a block, filled up where there are fewer than b."""
    order = jnp.argsort(-jnp.linalg.norm(remainders, axis=0))
    return jnp.concatenate([remainders[:, order], filler], axis=1)[:, : filler.shape[1]]


def _descending(found: Eigenpairs) -> Eigenpairs:
    """Copies of one eigenvalue come in any order, to rounding; seldom, so it compiles seldom."""
    values = np.asarray(found.values)
    if not (np.diff(values) > 0).any():
        return found
    order = np.argsort(-values, kind="stable")
    return Eigenpairs(found.values[order], found.vectors[:, order], found.residuals[order])


def _probe(space: BlockKrylov, rank: int) -> Ritz:
    """Ritz pairs of what was found together with a Krylov space of its complement."""
    for _ in range(_PROBE_BLOCKS):
        space.step()
    return space.ritz()


def _whole_space(kernel: Any, product: Product, rank: int) -> Eigenpairs:
    """For a space hardly larger than the basis: the kernel itself, column block by column block."""
    n, dtype = kernel.shape[0], dtype_of(kernel)
    if not isinstance(kernel, jax.Array):
        block, identity = basis_shape(rank).block, np.eye(n, dtype=dtype)
        columns = [product(jnp.asarray(identity[:, i : i + block])) for i in range(0, n, block)]
        kernel = jnp.concatenate(columns, axis=1)
    host = np.asarray(_everywhere(kernel))
    check_finite("the operator's matrix", host)
    vectors = jnp.asarray(np.linalg.eigh(host).eigenvectors[:, ::-1][:, :rank])
    products = jnp.matmul(kernel, vectors, precision="highest")
    values, norms, _, _ = _residuals(vectors, products)
    return _descending(Eigenpairs(values, vectors, norms))


def _everywhere(kernel: Array) -> Array:
    """The kernel on every process, where several hold parts of it."""
    if kernel.is_fully_addressable:
        return kernel
    mesh = kernel.sharding.mesh  # pyright: ignore[reportAttributeAccessIssue]
    copied = jax.jit(lambda k: k, out_shardings=NamedSharding(mesh, PartitionSpec()))
    return copied(kernel)


def _check_progress(worst: float, best: float, tolerance: float, eps: float, n: int) -> None:
    if worst <= best / 2:
        return
    raise RuntimeError(
        f"Lanczos residuals stopped at {worst:.3g} of the largest eigenvalue, above the tolerance "
        f"of {tolerance:.3g}: products of {n} points round at up to eps·sqrt(n) = "
        f"{eps * n**0.5:.3g}; ask for a tolerance above that, or use float64."
    )


def _not_converged(ritz: Ritz, rank: int, tolerance: float) -> RuntimeError:
    relative = ritz.estimates[:rank] / np.abs(ritz.values).max()
    done = int((relative <= tolerance).sum())
    return RuntimeError(
        f"Lanczos did not converge in {_MAX_RESTARTS} restarts: {done} of {rank} residuals are "
        f"below the tolerance of {tolerance:.3g}, the worst is {relative.max():.3g} of the largest "
        "eigenvalue; the spectrum is nearly flat there: ask for another rank, a looser tolerance, "
        "or method='dense'."
    )
