"""HOW a kernel is computed: in equal tiles, half of them by symmetry, whatever the kernel is."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from typing import ClassVar, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._typing import Array, PyTree


class KernelProgram(Protocol):
    """WHAT is tiled: features of each point, and the kernel between two blocks of points.

    Hashable, and equal programs compute the same: it is a static argument of the jitted loops.
    What changes from call to call (parameters) is an operand.
    """

    cheap_features: ClassVar[bool]
    """Whether computing features again costs about as much as keeping them."""

    def features(self, operands: PyTree, points: PyTree) -> PyTree:
        """What a point contributes to all its kernel entries: leaves have points on axis 0."""
        ...

    def tile(self, operands: PyTree, rows: PyTree, columns: PyTree) -> Array:
        """The kernel (*leading, rows·block, columns·block) between two blocks of features."""
        ...


@dataclasses.dataclass(frozen=True)
class Layout:
    """Shape of a kernel and how it is cut.

    Attributes:
        points: number of points (n1, n2).
        tile_size: rows and columns of a tile, in points; an upper bound.
        symmetric: compute the tiles on and above the diagonal only and mirror them.
        dtype: of the result.
        block: entries per pair of points along each of the last two axes (C for a full kernel).
        leading: axes in front, e.g. ``(C,)`` for one kernel per output.
        cached_tiles: how many tiles' features are kept at a time, at least 2.
    """

    points: tuple[int, int]
    tile_size: int
    symmetric: bool
    dtype: jnp.dtype
    block: int = 1
    leading: tuple[int, ...] = ()
    cached_tiles: int = 2

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole kernel."""
        return (*self.leading, self.points[0] * self.block, self.points[1] * self.block)


def starts(n: int, tile_size: int) -> tuple[int, list[int]]:
    """Splits ``range(n)`` into equal tiles, the last ones overlapping by at most a few rows.

    Equal shapes mean one compilation; overlap instead of padding means no made-up inputs, whose
    kernel might not be finite.

    Returns:
        The tile size, at most ``tile_size``, and where each tile starts.
    """
    count = math.ceil(n / max(1, min(tile_size, n)))
    size = math.ceil(n / count)
    return size, [min(i * size, n - size) for i in range(count)]


class Blocks:
    """Features of each tile's points, computed when first asked for; the last few are kept."""

    def __init__(
        self, program: KernelProgram, operands: PyTree, points: PyTree, size: int, capacity: int
    ) -> None:
        self._program, self._operands, self._points = program, operands, points
        n = jax.tree.leaves(points)[0].shape[0]
        self._size, self.starts = starts(n, size)
        self._capacity = max(2, capacity)
        self._kept: collections.OrderedDict[int, PyTree] = collections.OrderedDict()

    def __getitem__(self, index: int) -> PyTree:
        if index in self._kept:
            self._kept.move_to_end(index)
            return self._kept[index]
        while len(self._kept) >= self._capacity:
            self._kept.popitem(last=False)
        block = _block(self._points, np.int32(self.starts[index]), self._size)
        self._kept[index] = features_of(self._program, self._operands, block)
        return self._kept[index]


def tile_order(rows: int, columns: int, layout: Layout) -> list[tuple[int, int]]:
    """Tile indices in square groups, so that the features of few blocks serve many tiles."""
    side = max(1, layout.cached_tiles // 2)
    return sorted(
        ((i, j) for i in range(rows) for j in range(columns) if j >= i or not layout.symmetric),
        key=lambda pair: (pair[0] // side, pair[1] // side, pair),
    )


@functools.partial(jax.jit, static_argnums=2)
def _block(points: PyTree, start: Array | np.int32, size: int) -> PyTree:
    return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, start, size), points)


@functools.partial(jax.jit, static_argnums=0)
def features_of(program: KernelProgram, operands: PyTree, points: PyTree) -> PyTree:
    """``program.features``, compiled once per program and shape."""
    return program.features(operands, points)


@functools.partial(jax.jit, static_argnums=0)
def tile_of(program: KernelProgram, operands: PyTree, rows: PyTree, columns: PyTree) -> Array:
    """``program.tile``, compiled once per program and shape."""
    return program.tile(operands, rows, columns)


def checked_tile(program: KernelProgram, operands: PyTree, rows: PyTree, columns: PyTree) -> Array:
    """`tile_of`, made good by programs that have ``repaired`` where rounding spoils it."""
    tile = tile_of(program, operands, rows, columns)
    repaired = getattr(program, "repaired", None)
    return tile if repaired is None else repaired(tile, rows, columns)


@jax.jit
def symmetrised(tile: Array) -> Array:
    """Round-off of a matrix product is not symmetric; the kernel is."""
    return (tile + jnp.swapaxes(tile, -1, -2)) / 2
