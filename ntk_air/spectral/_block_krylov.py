"""The space block Lanczos grows in: a fixed-size basis, its projection, and the jitted steps.

Not matfree: its Lanczos has no block form and no restart, so it reads the whole kernel for every
single vector and keeps every vector it ever made.

The basis is zero-padded to its final size, so each step has one shape and compiles once; a product
with the padding is zero and needs no mask.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from threadpoolctl import ThreadpoolController

from .._typing import Array, Float, PRNGKeyArray
from ._products import Product

_WIDE_RANK = 128
_WIDEST = 32
_THREADS_PAY = 1000


class BasisShape(NamedTuple):
    """How many columns the basis has (see `basis_shape`)."""

    block: int
    keep: int
    capacity: int


def basis_shape(rank: int) -> BasisShape:
    """Block width b, columns kept at a restart, and columns in all, for ``rank`` eigenpairs.

    b = 16 (32 from rank 128 on): a kernel of 8000 points is read from memory once per block, and
    up to there a wider block costs less than it saves in steps; beyond, it needs more columns in
    all, which is what an operator pays for. A restart keeps rank + 3b columns; the basis holds at
    most 2 rank + 7b, plus the one block that the next product is taken of.
    """
    block = 16 if rank < _WIDE_RANK else _WIDEST
    keep = rank + 3 * block
    return BasisShape(block, keep, keep + -(-rank // block) * block + 3 * block)


class Ritz(NamedTuple):
    """Rayleigh-Ritz on the basis, on the host in float64.

    Attributes:
        values: (size,), descending.
        rotation: (size, size), the Ritz vectors in the basis.
        estimates: (size,), their residual norms, exact but for rounding and what was dropped.
    """

    values: np.ndarray
    rotation: np.ndarray
    estimates: np.ndarray


class BlockKrylov:
    """Basis V of ``size`` columns with K V = V T + (a remainder of the last block only).

    T = VᵀKV is kept from explicit products with the whole basis, not assumed block tridiagonal:
    so any orthonormal block may follow any other, whether a Krylov block, random directions in
    place of an exhausted space, or the next block after a restart.
    """

    def __init__(self, product: Product, n: int, dtype: jnp.dtype, rank: int, key: PRNGKeyArray):
        self.shape = basis_shape(rank)
        self.size = 0
        self._product, self._key, self._draws = product, key, 0
        self._vectors = jnp.zeros((n, self.shape.capacity + self.shape.block), dtype)
        self._scale = jnp.zeros((), dtype)
        self._tail = jnp.zeros((self.shape.block, self.shape.block), dtype)
        self.restart(np.zeros((0, 0)), np.zeros((0, 0)), None)

    @property
    def is_full(self) -> bool:
        """Whether another block would not fit."""
        return self.size + self.shape.block > self.shape.capacity

    def step(self) -> None:
        """Takes the product of the pending block, adds it to the basis, makes the next block."""
        self._vectors, self._projected, self.pending, self._tail, self._scale = _expand(
            self._vectors,
            self._projected,
            self._product(self.pending),
            self.size,
            self._scale,
            self._noise(),
        )
        self.size += self.shape.block

    def ritz(self) -> Ritz:
        """Ritz pairs of the basis.

        Raises:
            ValueError: if the products were not finite.
        """
        upper = np.asarray(self._projected, np.float64)[: self.size, : self.size]
        if not np.isfinite(upper).all():
            raise ValueError(
                "the products with the kernel hold NaN or infinity; check what computes them, or "
                "scale the kernel down."
            )
        values, rotation = _small_eigh(np.triu(upper) + np.triu(upper, 1).T)
        values, rotation = values[::-1], rotation[:, ::-1]
        remainder = np.asarray(self._tail, np.float64) @ rotation[-self.shape.block :]
        return Ritz(values, rotation, np.linalg.norm(remainder, axis=0))

    def restart(self, rotation: np.ndarray, projected: np.ndarray, block: Array | None) -> None:
        """The basis becomes V @ rotation, followed by ``block``.

        Args:
            rotation: (size, count), orthonormal columns, count at most ``shape.keep``.
            projected: (count, count), VᵀKV of the new basis.
            block: (n, b), what comes next, made orthonormal here; a random one if None.
        """
        size, count = rotation.shape
        padded = np.zeros((self._vectors.shape[1], self.shape.keep), self._vectors.dtype)
        padded[:size, :count] = rotation
        if block is None:
            block = self._noise()
        self._vectors, self.pending = _restart(
            self._vectors, jnp.asarray(padded), block, count, self._scale, self._noise()
        )
        self.size = count
        self.set_projected(projected)

    def set_projected(self, projected: np.ndarray) -> None:
        """Makes ``projected`` (size, size) the VᵀKV of the columns so far."""
        padded = np.zeros((self.shape.capacity, self.shape.capacity), self._vectors.dtype)
        padded[: self.size, : self.size] = projected
        self._projected = jnp.asarray(padded)

    def measure(self, count: int) -> tuple[Array, Array]:
        """The first ``count`` basis vectors U (n, count), and K U, whatever was estimated."""
        products, start = [], 0
        while start < count:
            # A kernel is read from memory once for each; an operator never sees more columns.
            width = self.shape.block if count - start <= self.shape.block else _WIDEST
            products.append(self._product(_columns(self._vectors, start, width)))
            start += width
        return self._vectors[:, :count], jnp.concatenate(products, axis=1)[:, :count]

    def _noise(self) -> Float[Array, "n b"]:
        self._draws += 1
        shape = (self._vectors.shape[0], self.shape.block)
        return _normal(self._key, self._draws, shape, self._vectors.dtype)


def _small_eigh(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(matrix) >= _THREADS_PAY:
        return np.linalg.eigh(matrix)
    # OpenBLAS threads gain nothing on so little, and while they wait they take XLA's cores.
    with _thread_pools().limit(limits=1, user_api="blas"):
        return np.linalg.eigh(matrix)


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


def _mm(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")


@functools.partial(jax.jit, static_argnums=(2, 3))
def _normal(key: PRNGKeyArray, draw: int, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    return jax.random.normal(jax.random.fold_in(key, draw), shape, dtype)


@functools.partial(jax.jit, static_argnums=2)
def _columns(vectors: Array, start: int, width: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(vectors, start, width, axis=1)


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _expand(
    vectors: Float[Array, "n m+b"],
    projected: Float[Array, "m m"],
    product: Float[Array, "n b"],
    size: int,
    scale: Float[Array, ""],
    noise: Float[Array, "n b"],
) -> tuple[Array, Array, Array, Array, Array]:
    """One block step, ``product`` being K times the block at columns size..size+b."""
    block = product.shape[1]
    scale = jnp.maximum(scale, jnp.sqrt(jnp.max(jnp.sum(product**2, axis=0))))
    coupling = _mm(vectors.T, product)
    projected = jax.lax.dynamic_update_slice(projected, coupling[: projected.shape[0]], (0, size))
    remainder = product - _mm(vectors, coupling)
    pending, tail = _orthonormal(vectors, remainder, scale, noise)
    vectors = jax.lax.dynamic_update_slice(vectors, pending, (0, size + block))
    return vectors, projected, pending, tail, scale


@functools.partial(jax.jit, donate_argnums=0)
def _restart(
    vectors: Float[Array, "n m+b"],
    rotation: Float[Array, "m+b k"],
    block: Float[Array, "n b"],
    count: int,
    scale: Float[Array, ""],
    noise: Float[Array, "n b"],
) -> tuple[Array, Array]:
    kept = _mm(vectors, rotation)
    # One Newton-Schulz step to the nearest orthonormal basis: rounding would add up over restarts.
    kept = 1.5 * kept - 0.5 * _mm(kept, _mm(kept.T, kept))
    vectors = jnp.zeros_like(vectors).at[:, : rotation.shape[1]].set(kept)
    pending, _ = _orthonormal(vectors, _outside(vectors, block), scale, noise)
    return jax.lax.dynamic_update_slice(vectors, pending, (0, count)), pending


def _orthonormal(
    vectors: Array, remainder: Array, scale: Array, noise: Array
) -> tuple[Array, Array]:
    """Orthonormal block (n, b) outside ``vectors`` that spans ``remainder``; its coordinates there.

    ``remainder`` was projected once already. Noise at the rounding of the products (relative to
    ``scale``, their largest column) stands in for directions that an exhausted or low-rank space
    lacks: they come out random instead of arbitrary, at no branch.

    Shifted CholeskyQR rather than Householder: products of tall blocks only, while LAPACK's QR
    starts threads of its own that compete with XLA's (10 times the time of the step on 2 cores).

    Source: Fukaya, Kannan, Nakatsukasa, Yamamoto, Yanagisawa, Shifted Cholesky QR for computing
        the QR factorization of ill-conditioned matrices, SIAM J. Sci. Comput. 42 (2020).
    """
    n, width = remainder.shape
    eps = float(jnp.finfo(remainder.dtype).eps)
    level = jnp.where(scale > 0, eps * scale, 1.0) / n**0.5
    block = _outside(vectors, remainder) + level * noise
    for shift in (10 * width * eps, width * eps):
        block = _cholesky_pass(block, shift)
    # A third time: what the passes scaled up from round-off may lie in the basis.
    block = _cholesky_pass(_outside(vectors, block), 0.0)
    return block, _mm(block.T, remainder)


def _outside(vectors: Array, block: Array) -> Array:
    return block - _mm(vectors, _mm(vectors.T, block))


def _cholesky_pass(block: Array, shift: float) -> Array:
    block = block / jnp.linalg.norm(block, axis=0)
    identity = jnp.eye(block.shape[1], dtype=block.dtype)
    factor = jnp.linalg.cholesky(_mm(block.T, block) + shift * identity, symmetrize_input=False)
    inverse = jax.scipy.linalg.solve_triangular(factor, identity, lower=True)
    return _mm(block, inverse.T)
