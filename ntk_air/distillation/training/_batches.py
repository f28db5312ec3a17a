"""Points in batches: the order of an epoch, and outputs at all points one batch after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def outputs_at(
    apply: Callable[[Array], Array], inputs: Array, batch_size: int | None, initial: Any = None
) -> Array:
    """Outputs at all inputs (n, C), in batches if training is: no more memory than a step takes.

    ``initial`` are those of the untrained network to be subtracted, (n, C); of two networks
    (n, 2, C), of which the first counts.
    """

    def outputs(batch: Array) -> Array:
        found = apply(batch)
        return found.astype(wide(found.dtype))

    found = in_batches(outputs, inputs, batch_size)
    if initial is None:
        return found
    return found - initial.reshape(len(found), -1, found.shape[-1])[:, 0]


def wide(dtype: Any) -> Any:
    """The dtype of losses and of all that is measured: at least single precision."""
    return jnp.promote_types(dtype, jnp.float32)
