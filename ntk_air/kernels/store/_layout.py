"""How a kernel is cut into tiles on disk."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from ..._checks import check_choice, check_size

# Tiles read ahead, or being written, at once: enough to keep a disk busy, and bounded in bytes.
_IN_FLIGHT_BYTES = 32 * 2**20
_IN_FLIGHT_TILES = 8
# A file each, or two; file systems and listings suffer long before.
_MOST_TILES = 2**21
_MOST_LEADING = 16
# Of crc32c, and of an entry in the index of a shard: what zarr v3 lays down.
_CHECKSUM_BYTES, _INDEX_BYTES = 4, 16
Tile = tuple[int, int]


@dataclass(frozen=True)
class DiskLayout:
    """How a kernel is cut into tiles on disk.

    Attributes:
        shape: entries (n1, n2) of the last two axes.
        leading: axes in front, e.g. ``(C,)``; a tile holds all of them.
        dtype: of the entries, a floating-point type.
        chunk: entries (rows, columns) of a tile, at most ``shape``; tiles at the edge are smaller.
        symmetric: only the tiles on and above the diagonal are stored.
    """

    shape: tuple[int, int]
    leading: tuple[int, ...]
    dtype: Any
    chunk: tuple[int, int]
    symmetric: bool

    def __post_init__(self) -> None:
        shape = tuple(check_size("shape", size, 1) for size in self.shape)
        chunk = tuple(check_size("chunk", size, 1) for size in self.chunk)
        chunk = tuple(map(min, chunk, shape))
        dtype = jnp.dtype(self.dtype)
        if not jnp.issubdtype(dtype, jnp.floating):
            raise ValueError(f"dtype is {dtype}, expected a floating-point type for a kernel.")
        if self.symmetric and (shape[0] != shape[1] or chunk[0] != chunk[1]):
            raise ValueError(
                f"a symmetric kernel has shape {shape} and chunk {chunk}, expected both square."
            )
        leading = tuple(check_size("leading", size, 1) for size in self.leading)
        if len(shape) != 2 or len(chunk) != 2 or len(leading) > _MOST_LEADING:
            raise ValueError(
                f"shape is {shape}, chunk {chunk} and leading {leading}, expected two axes each "
                f"and at most {_MOST_LEADING} in front."
            )
        check_choice("symmetric", self.symmetric, (True, False))
        for name, value in (
            ("shape", shape),
            ("chunk", chunk),
            ("dtype", dtype),
            ("leading", leading),
        ):
            object.__setattr__(self, name, value)
        if self.num_tiles > _MOST_TILES:
            raise ValueError(
                f"a kernel of shape {shape} in tiles of {chunk} takes {self.num_tiles} files, "
                f"expected at most {_MOST_TILES}; take larger tiles."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along the two axes."""
        (n1, n2), (c1, c2) = self.shape, self.chunk
        return -(-n1 // c1), -(-n2 // c2)

    @property
    def num_tiles(self) -> int:
        """Tiles that are stored, without a list of them."""
        rows, columns = self.grid
        return rows * (rows + 1) // 2 if self.symmetric else rows * columns

    def has(self, i: int, j: int) -> bool:
        """Whether tile (i, j) is one of those that are stored."""
        rows, columns = self.grid
        return 0 <= i < rows and 0 <= j < columns and (j >= i or not self.symmetric)

    @property
    def file_bytes(self) -> int:
        """Bytes of the file of a tile: the entries, and checksums (with leading axes an index)."""
        count = math.prod(self.leading)
        if not self.leading:
            return self.tile_bytes + _CHECKSUM_BYTES
        each = self.tile_bytes // count + _CHECKSUM_BYTES
        return count * (each + _INDEX_BYTES) + _CHECKSUM_BYTES

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile on disk, but for its checksum; tiles at the edge take as many."""
        return math.prod((*self.leading, *self.chunk)) * self.dtype.itemsize

    @property
    def in_flight(self) -> int:
        """How many tiles to write, or to read ahead, at once."""
        return max(1, min(_IN_FLIGHT_TILES, _IN_FLIGHT_BYTES // self.tile_bytes))

    def tiles(self) -> list[tuple[int, int]]:
        """Grid indices of the tiles that are stored, row by row."""
        pairs = itertools.product(*map(range, self.grid))
        return [(i, j) for i, j in pairs if j >= i or not self.symmetric]

    def part(self, i: int, j: int) -> tuple[slice, slice]:
        """The rows and columns of the kernel that tile (i, j) holds."""
        (n1, n2), (c1, c2) = self.shape, self.chunk
        return slice(i * c1, min((i + 1) * c1, n1)), slice(j * c2, min((j + 1) * c2, n2))
