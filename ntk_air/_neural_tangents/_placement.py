"""Where arrays live: on which devices for ``jax.pmap``, how alike inside ``jax.shard_map``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jax.tree_util import tree_leaves, tree_map


def pmap(function: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.pmap` of one argument, that takes arrays wherever they live.

    It refuses an array that was put anywhere but where it wants it (since JAX 0.8), such as
    parameters replicated over all devices. Before, it moved the array.

    Args:
        function: of arrays; mapped over their leading axes.
    """
    mapped = jax.pmap(function)

    @functools.wraps(function)
    def placed(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = tree_map(_placed, (args, kwargs))
        return mapped(*args, **kwargs)

    return placed


def _placed(x: Any) -> Any:
    """Split an array with a place of its own over as many devices as its leading axis has."""
    if not isinstance(x, jax.Array) or isinstance(x, Tracer) or not x.committed:
        return x
    devices = np.array(jax.local_devices()[: x.shape[0]])
    return jax.device_put(x, NamedSharding(Mesh(devices, ("batch",)), PartitionSpec("batch")))


def varying_axes(tree: Any) -> frozenset[str]:
    """Axes of a mesh along which arrays (or their shapes) differ, inside ``jax.shard_map``."""
    axes: frozenset[str] = frozenset()
    for leaf in tree_leaves(tree):
        aval = jax.typeof(leaf) if isinstance(leaf, jax.Array) else leaf
        axes |= frozenset(getattr(getattr(aval, "manual_axis_type", None), "varying", ()))
    return axes


def vary(tree: Any, axes: frozenset[str]) -> Any:
    """Let arrays count as different along `axes`, inside ``jax.shard_map``.

    A derivative with respect to parameters that all devices share would be summed over
    the devices: a kernel is made of derivatives on each device by itself.
    """
    if not axes:
        return tree

    def cast(x: Any) -> Any:
        if not hasattr(x, "dtype"):
            return x
        missing = tuple(sorted(axes - varying_axes(x)))
        return jax.lax.pcast(x, missing, to="varying") if missing else x

    return tree_map(cast, tree)
