"""Seeds and random keys, as callers give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._checks import check_seed
from ._typing import Array


def seed_list(seeds: int | Sequence[int], at_most: int | None = None) -> tuple[int, ...]:
    """The seeds that a number of seeds or a sequence names, cut to the first ``at_most``.

    Raises:
        ValueError: if there is none, or one is not a whole number in 0..2³² - 1.
    """
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen:
        raise ValueError(f"seeds is {seeds!r}, expected at least one initialisation.")
    return tuple(check_seed("seeds", seed) for seed in chosen[:at_most])


def one_key(key: Any) -> Array | None:
    """The key of a single network.

    Raises:
        ValueError: if it is several, or none.
    """
    if key is None:
        return None
    keys = as_keys(key)
    if keys.ndim:
        count = " x ".join(map(str, keys.shape))
        raise ValueError(f"key holds {count} keys, expected one: several are for replicas.")
    return keys


def as_keys(key: Any) -> Array:
    """Typed keys of a seed, a key of `jax.random.key` or `jax.random.PRNGKey`, or many of them.

    Raises:
        ValueError: if it is none of these, or a seed is not in 0..2³² - 1.
    """
    if isinstance(key, list | tuple) and key and all(map(_is_key, key)):
        return jnp.stack(list(key))
    if not isinstance(key, list | tuple) and _is_key(key):
        return key
    if isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.shape[-1:] in ((2,), (4,)):
        return jax.random.wrap_key_data(key)
    seeds = np.asarray(key)
    if not np.issubdtype(seeds.dtype, np.integer) or seeds.ndim > 1:
        raise ValueError(
            f"key is {key!r}, expected a seed (an integer), a key such as jax.random.key(0), or "
            "with replicas one of these for each network."
        )
    for seed in seeds.ravel().tolist():
        check_seed("key", seed)
    if not seeds.ndim:
        return jax.random.key(int(seeds))
    return jax.vmap(jax.random.key)(seeds.astype(np.uint32))


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
