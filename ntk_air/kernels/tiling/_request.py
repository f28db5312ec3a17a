"""Which kernel to compute, and how the caller wants it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from ..._typing import PyTree
from ._ring import Ring, as_ring


def struct_of(leaf: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype that a leaf has in JAX, asked at every call of a kernel."""
    # Of JAX's own arrays it is at hand: `result_type` takes tens of microseconds.
    dtype = leaf.dtype if isinstance(leaf, jax.Array) else jnp.result_type(leaf)
    return jax.ShapeDtypeStruct(jnp.shape(leaf), dtype)


@dataclasses.dataclass(frozen=True)
class RequestOptions:
    """How a kernel is computed and where it goes; the same for every kind of kernel.

    Attributes:
        memory_budget: bytes for what is held in memory and the work on a tile.
        tile_size: points of a tile, an upper bound.
        ring: devices to spread it over.
        store: folder to write it to.
        progress: show a bar on a terminal.
    """

    memory_budget: float | None
    tile_size: int | None
    ring: Ring | None
    store: str | os.PathLike[str] | None
    progress: bool

    @classmethod
    def checked(
        cls,
        memory_budget: float | None,
        tile_size: int | None,
        mesh: Any,
        mesh_axes: str | Sequence[str] | None,
        store: str | os.PathLike[str] | None,
        progress: bool,
    ) -> RequestOptions:
        """Raises ValueError for a mesh or store that is none, or axes that a mesh does not have."""
        ring = as_ring(mesh, mesh_axes)
        if store is not None and (not isinstance(store, str | os.PathLike) or not os.fspath(store)):
            raise ValueError(f"store is {store!r}, expected a folder for the kernel's tiles.")
        return cls(memory_budget, tile_size, ring, store, progress)


@dataclasses.dataclass(frozen=True)
class Task:
    """A kernel to compute, apart from how.

    Attributes:
        operands: parameters of the program.
        points1: pytree of arrays (n1, ...).
        points2: pytree of arrays (n2, ...), or None for the symmetric kernel of ``points1``.
        dtype: of the result.
        leading: axes in front of the kernel.
        block: entries per pair of points along each axis.
        description: what a store's manifest says of it, in words.
        copies: how often the result is in memory at once, at the end, where it is taken apart.
    """

    operands: PyTree
    points1: PyTree
    points2: PyTree | None
    dtype: jnp.dtype
    leading: tuple[int, ...]
    block: int
    description: dict[str, str]
    copies: int = 1

    @property
    def num_points(self) -> tuple[int, int]:
        """(n1, n2)."""
        sides = (self.points1, self.points1 if self.points2 is None else self.points2)
        n1, n2 = (len(jax.tree.leaves(side)[0]) for side in sides)
        return n1, n2
