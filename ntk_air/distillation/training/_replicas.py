"""Several networks trained together: what has a first axis over them, and checks of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._seeds import as_keys
from ..._typing import Array, PyTree
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
    keys = as_keys(key)
    if keys.ndim == 0:
        return jax.random.split(keys, replicas)
    if keys.shape != (replicas,):
        count = " x ".join(map(str, keys.shape))
        raise ValueError(f"key holds {count} keys, expected one or {replicas} (replicas).")
    return keys


def for_each(name: str, value: Any, replicas: int | None) -> list[Any] | None:
    """What a list has for each network, None where it is one for all.

    Raises:
        ValueError: if it is for another number of networks.
    """
    if replicas is None or not isinstance(value, list | tuple):
        return None
    if len(value) != replicas:
        raise ValueError(
            f"{name} is given for {len(value)} networks, expected {replicas} (replicas)."
        )
    return list(value)


def check_replicas(replicas: int | None, params: PyTree, state: PyTree, observed: Any) -> None:
    """Raises ValueError unless everything stacked has ``replicas`` entries; None is one network."""
    if replicas is None:
        return
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(params)}
    if lengths != {replicas}:
        raise ValueError(
            f"params has leaves of first axis {sorted(map(str, lengths))}, expected {replicas} "
            "(replicas) on every leaf: stack the parameters, e.g. by jax.vmap(init) over keys."
        )
    lengths = {leaf.shape[0] if leaf.ndim else None for leaf in jax.tree.leaves(state)}
    if lengths - {replicas}:
        raise ValueError(
            "what the network keeps beside its parameters (statistics of BatchNorm, random "
            f"streams) has leaves of first axis {sorted(map(str, lengths))}, expected {replicas} "
            "(replicas) on every leaf: stack the whole of nnx.state(module), or all that "
            "module.init returned."
        )
    if np.ndim(observed) == 3 and len(observed) != replicas:
        raise ValueError(
            f"observed is given for {len(observed)} networks, expected {replicas} (replicas)."
        )
