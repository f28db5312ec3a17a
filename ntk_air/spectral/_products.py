"""Kernel times a block of vectors, whatever the kernel is: an array, a sharded array, an operator.

The product runs outside every jitted step: an operator may read tiles from a disk or call NumPy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from .._typing import Array, Float

Product = Callable[[Array], Array]
"""(n, b) to (n, b), in the dtype of `dtype_of`."""


def dtype_of(kernel: Any) -> jnp.dtype:
    """The floating dtype the products are kept in; JAX's default float if there is none."""
    dtype = getattr(kernel, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        return jnp.dtype(jnp.result_type(float))
    return jnp.dtype(jax.dtypes.canonicalize_dtype(dtype))


def product_with(kernel: Any) -> Product:
    """The product with ``kernel``, an array (n, n) or anything that has ``.shape`` and ``@``."""
    if isinstance(kernel, jax.Array):
        return _array_product(kernel)
    return _OperatorProduct(kernel)


def _array_product(kernel: Array) -> Product:
    sharding = kernel.sharding
    if isinstance(sharding, jax.sharding.NamedSharding) and sharding.num_devices > 1:
        # The block is gathered: it is (n, b), and every device then holds the same small problem.
        whole = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        gathered = jax.jit(_matmul, out_shardings=whole)
        return lambda block: gathered(kernel, block)
    return lambda block: _jitted_matmul(kernel, block)


def _matmul(kernel: Float[Array, "n n"], block: Float[Array, "n b"]) -> Float[Array, "n b"]:
    return jnp.matmul(kernel, block, precision="highest")


_jitted_matmul = jax.jit(_matmul)


class _OperatorProduct:
    """Blocks as long as the operator takes them, else one column at a time."""

    def __init__(self, operator: Any) -> None:
        self._operator = operator
        self._dtype = dtype_of(operator)
        self._takes_blocks: bool | None = None

    def __call__(self, block: Array) -> Array:
        if self._takes_blocks is None:
            return self._first(block)
        return self._blocked(block) if self._takes_blocks else self._columns(block)

    def _first(self, block: Array) -> Array:
        try:
            result = self._blocked(block)
        except Exception as refusal:
            # An operator for vectors refuses in its own way, so any error is one; one that
            # fails for another reason fails on a single column as well.
            try:
                result = self._columns(block)
            except Exception as failure:
                raise failure from refusal
            self._takes_blocks = False
            return result
        self._takes_blocks = True
        return result

    def _blocked(self, block: Array) -> Array:
        return self._checked(self._operator @ block, block.shape)

    def _columns(self, block: Array) -> Array:
        columns = [self._checked(self._operator @ v, v.shape) for v in block.T]
        return jnp.stack(columns, axis=1)

    def _checked(self, result: Any, shape: tuple[int, ...]) -> Array:
        result = jnp.asarray(result, self._dtype)
        if result.shape != shape:
            raise ValueError(
                f"the operator returned shape {result.shape} for an operand of shape {shape}; "
                "expected the same shape."
            )
        return result
