"""Several networks trained together: what has a first axis over them, and checks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._typing import Array, PyTree
from ._method import Method


def first(tree: PyTree) -> PyTree:
    """Shapes and dtypes of the first network of a stacked tree."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


def stack_methods(methods: Sequence[Method]) -> Method:
    """One method whose numbers have a first axis over the networks.

    Raises:
        ValueError: if they differ in more than their numbers.
    """
    kinds = {str(jax.tree.structure(method)) for method in methods}
    if len(kinds) > 1:
        raise ValueError(
            "networks that are trained together need methods of one kind that differ in their "
            f"numbers only, got {len(kinds)} kinds; train the kinds one after the other."
        )
    return jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(x) for x in leaves]), *methods)


def replica_keys(key: Any, replicas: int) -> Array | None:
    """Keys (R,): those given, those of R seeds, or one key or seed split."""
    if key is None:
        return None
    typed = hasattr(key, "dtype") and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    if not typed:
        seeds = np.asarray(key)
        key = jax.vmap(jax.random.key)(seeds) if seeds.ndim else jax.random.key(int(seeds))
    if key.ndim == 0:
        return jax.random.split(key, replicas)
    if len(key) != replicas:
        raise ValueError(f"key holds {len(key)} keys, expected one or {replicas} (replicas).")
    return key


def check_replicas(replicas: int, params: PyTree, observed: Any, methods: Any) -> None:
    """Raises ValueError unless everything stacked has ``replicas`` entries."""
    if int(replicas) != replicas or replicas < 1:
        raise ValueError(f"replicas is {replicas}, expected an integer >= 1, or None.")
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(params)}
    if lengths != {replicas}:
        raise ValueError(
            f"params has leaves of first axis {sorted(map(str, lengths))}, expected {replicas} "
            "(replicas) on every leaf: stack the parameters, e.g. by jax.vmap(init) over keys."
        )
    counted = {"observed": len(observed) if np.ndim(observed) == 3 else replicas}
    if not isinstance(methods, Method):
        counted["alpha"] = len(methods)
    for name, count in counted.items():
        if count != replicas:
            raise ValueError(
                f"{name} is given for {count} networks, expected {replicas} (replicas)."
            )
