"""Points in batches: the order of an epoch, and functions of all points one batch after another."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from ..._typing import Array


def epoch_order(key: Array, epoch: Array, count: int, length: int) -> Array:
    """All points in a new order, (length,) int32; the padding repeats the first of them."""
    order = jax.random.permutation(jax.random.fold_in(key, epoch), count).astype(jnp.int32)
    return jnp.concatenate([order, jnp.full(length - count, order[0])])


def in_batches(function: Callable[[Array], Array], inputs: Array, batch_size: int | None) -> Array:
    """``function`` of all inputs (n, ...), one batch after the other."""
    size, count = batch_size, len(inputs)
    if size is None or size >= count:
        return function(inputs)
    whole = count // size * size
    first = jax.lax.map(function, inputs[:whole].reshape(-1, size, *inputs.shape[1:]))
    first = first.reshape(whole, *first.shape[2:])
    return first if whole == count else jnp.concatenate([first, function(inputs[whole:])])
