"""A kernel on disk that reads like an array, without loading it whole."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._memory import human
from ._format import (
    SEALED_SINCE,
    DiskLayout,
    Tile,
    ahead,
    check_tile_files,
    open_array,
    present_tiles,
    read_manifest,
)
from ._indexing import by_tile, copy_entries, index_positions
from ._seals import Seals, sealed_tiles


def open_kernel(path: str | os.PathLike[str]) -> StoredKernel:
    """Opens a finished kernel store for reading; nothing is loaded yet.

    Opening takes time and memory in proportion to the files in the folder, whatever its manifest
    claims. Each tile is held against its seal when it is read first: one that was damaged, moved,
    or copied from another store is an OSError then.

    Args:
        path: the folder that ``store=`` of `infinite_ntk` or `empirical_ntk` made.

    Returns:
        The kernel, which reads like an array.

    Raises:
        ValueError: if the folder is not a store, its kernel is not complete, or files in it do not
            fit its manifest.

    Warns:
        UserWarning: if the store is of format version 1, whose tiles have checksums but no seals.

    Example:
        >>> import tempfile, numpy as np, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     network = na.kernels.fully_connected()
        ...     made = na.kernels.infinite_ntk(network, np.eye(3), store=folder)
        ...     again = na.kernels.open_kernel(folder)
        ...     again.shape, bool((again[:2, 1] == made[:2, 1]).all())
        ((3, 3), True)
    """
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path is {path!r}, expected the folder of a kernel store.")
    path = Path(path)
    manifest, layout = read_manifest(path)
    total, sealed = layout.num_tiles, manifest["version"] >= SEALED_SINCE
    present = sealed_tiles(path, layout) if sealed else present_tiles(path, layout)
    absent = total - len(present)
    if absent:
        raise ValueError(
            f"{path} holds an unfinished kernel: {absent} of {total} tiles are missing; repeat "
            "the call that made it with the same store, and it computes these only."
        )
    check_tile_files(path, layout, present)
    if not sealed:
        warnings.warn(
            f"{path} is a kernel store of format version {manifest['version']}, in which tiles are "
            "not bound to their places: their checksums are compared and no more. The call that "
            "made it computes it again with seals.",
            stacklevel=2,
        )
    seals = Seals(path, layout, manifest["hash"]) if sealed else None
    return StoredKernel(path, layout, open_array(path, layout, writable=False), seals)


class StoredKernel:
    """A kernel on disk that reads like an array and loads only the tiles it needs.

    ``kernel[rows, columns]`` follows NumPy for integers, slices and arrays of integers and returns
    NumPy arrays; ``kernel @ v`` reads each tile once, a few at a time. Kernels with axes in front
    take a leading index first: ``kernel.select(c)`` is (n1, n2).

    Attributes:
        path: the folder.
        shape: (*leading, n1, n2).
        dtype: of the entries.

    Example:
        >>> import tempfile, numpy as np, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     network = na.kernels.fully_connected()
        ...     kernel = na.kernels.infinite_ntk(network, np.eye(3), store=folder)
        ...     type(kernel).__name__, (kernel @ np.ones(3)).shape, kernel[:2, 1].shape
        ('StoredKernel', (3,), (2,))
    """

    def __init__(
        self,
        path: Path,
        layout: DiskLayout,
        array: Any,
        seals: Seals | None,
        leading: int | None = None,
    ):
        """``seals`` is None for a store without; ``leading`` counts along all axes in front."""
        self.path = path
        self.dtype = np.dtype(layout.dtype)
        self.shape: tuple[int, ...] = tuple(array.shape)
        self._layout = layout
        self._array = array
        self._seals, self._leading = seals, leading

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes that the whole kernel would take in memory."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return (
            f"StoredKernel({str(self.path)!r}, shape={self.shape}, dtype={self.dtype.name}, "
            f"symmetric={self._layout.symmetric}, {human(self.nbytes)})"
        )

    def select(self, *leading_index: int) -> StoredKernel:
        """The kernel (n1, n2) at a full index of the axes in front.

        Raises:
            ValueError: if there is no such block.
        """
        leading = self.shape[:-2]
        if len(leading_index) != len(leading):
            raise ValueError(
                f"select got {len(leading_index)} indices, expected {len(leading)}: one for each "
                f"axis in front of the last two of {self.shape}."
            )
        index = tuple(range(n)[i] for n, i in zip(leading, leading_index, strict=True))
        if not leading:
            return self
        place = int(np.ravel_multi_index(index, leading))
        return StoredKernel(self.path, self._layout, self._array[index], self._seals, place)

    def __getitem__(self, key: Any) -> np.ndarray:
        self._check_matrix()
        keys = [
            slice(None) if k is Ellipsis else k for k in (key if type(key) is tuple else (key,))
        ]
        if len(keys) > 2:
            raise IndexError(f"{len(keys)} indices for a kernel of shape {self.shape}, expected 2.")
        keys += [slice(None)] * (2 - len(keys))
        rows, columns = (index_positions(k, n) for k, n in zip(keys, self.shape, strict=True))
        if any(isinstance(k, slice) for k in keys):
            if max(rows.ndim, columns.ndim) > 1:
                raise IndexError("an index array beside a slice has two axes, expected one.")
            keep = tuple(0 if p.ndim == 0 else slice(None) for p in (rows, columns))
            return self._block(rows.ravel(), columns.ravel())[keep]
        if rows.ndim == columns.ndim == 2 and rows.shape[1] == columns.shape[0] == 1:  # numpy.ix_
            return self._block(rows[:, 0], columns[0])
        return self._pairs(*np.broadcast_arrays(rows, columns))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("a kernel on disk cannot become an array without a copy.")
        if self.ndim == 2:
            whole = self[:, :]
        else:
            whole = np.empty(self.shape, self.dtype)
            for index in np.ndindex(self.shape[:-2]):
                whole[index] = self.select(*index)[:, :]
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __matmul__(self, other: Any) -> Any:
        """The product with (n2,) or (n2, r), accumulated in float32 or better.

        Returns:
            (n1,) or (n1, r) in the promoted dtype; a JAX array if ``other`` is one, else NumPy.
        """
        self._check_matrix()
        value = np.asarray(other)
        if value.ndim not in (1, 2) or len(value) != self.shape[1]:
            raise ValueError(
                f"the right factor has shape {value.shape}, expected ({self.shape[1]},) or "
                f"({self.shape[1]}, r) beside a kernel of shape {self.shape}."
            )
        dtype = jnp.promote_types(self.dtype, value.dtype)
        precise = jnp.promote_types(dtype, jnp.float32)
        right = value.reshape(len(value), -1).astype(precise, copy=False)
        out = np.zeros((self.shape[0], right.shape[1]), precise)
        for (i, j), tile in self._tiles(self._layout.tiles()):
            rows, columns = self._layout.part(i, j)
            tile = tile.astype(precise, copy=False)
            out[rows] += tile @ right[columns]
            if self._mirrored(i, j):
                out[columns] += tile.T @ right[rows]
        out = out.reshape(self.shape[0], *value.shape[1:]).astype(dtype, copy=False)
        return jnp.asarray(out) if isinstance(other, jax.Array) else out

    def diagonal(self) -> np.ndarray:
        """The entries (i, i), from the tiles on the diagonal alone.

        Raises:
            ValueError: if the kernel is not a square matrix, or a tile is damaged or not of its
                place.
            OSError: if a tile cannot be read.
        """
        self._check_matrix()
        index = np.arange(min(self.shape))
        return self._pairs(index, index)

    def _check_matrix(self) -> None:
        if self.ndim != 2:
            raise ValueError(
                f"this kernel has shape {self.shape}, expected two axes here; choose one of the "
                f"kernels in it first, such as kernel.select({', '.join('0' * (self.ndim - 2))})."
            )

    def _mirrored(self, i: int, j: int) -> bool:
        """Whether tile (i, j) also stands for the one across the diagonal."""
        return self._layout.symmetric and i != j

    def _tiles(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, np.ndarray]]:
        """Reads stored tiles in turn, the next ones while the caller works on this one."""
        for tile, reading in ahead(self._read, tiles, self._layout.in_flight):
            try:
                value = reading.result()
                fits = self._seals is None or self._seals.fit(tile, value, self._leading)
            except (ValueError, OSError) as error:
                raise OSError(
                    f"tile {tile} of the kernel at {self.path} is damaged, missing or unreadable: "
                    f"{error}; repeat the call that made the store, and it repairs that tile."
                ) from error
            if not fits:
                raise OSError(
                    f"tile {tile} of the kernel at {self.path} is not what was computed for that "
                    "place: it is of another place or another store, or its seal is; repeat the "
                    "call that made the store, and it repairs that tile."
                )
            yield tile, value

    def _read(self, tile: Tile) -> Any:
        return self._array[(..., *self._layout.part(*tile))].read()

    def _block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Every entry of ``rows`` with every entry of ``columns``."""
        out = np.empty((len(rows), len(columns)), self.dtype)
        across, down = (
            by_tile(p, c) for p, c in zip((rows, columns), self._layout.chunk, strict=True)
        )
        wanted = [(i, j) for i in across for j in down]
        stored = {(j, i) if self._mirrored(i, j) and j < i else (i, j) for i, j in wanted}
        for (i, j), tile in self._tiles(sorted(stored)):
            if i in across and j in down:
                copy_entries(out, tile, across[i], down[j])
            if self._mirrored(i, j) and j in across and i in down:
                copy_entries(out, tile.T, across[j], down[i])
        return out

    def _pairs(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Entry (rows[k], columns[k]) for every k."""
        out = np.empty(rows.shape, self.dtype)
        c1, c2 = self._layout.chunk
        if self._layout.symmetric:
            rows, columns = np.minimum(rows, columns), np.maximum(rows, columns)
        flat, i, j = out.reshape(-1), rows.reshape(-1), columns.reshape(-1)
        width = self._layout.grid[1]
        groups = {
            divmod(g, width): p for g, (p, _) in by_tile(i // c1 * width + j // c2, 1).items()
        }
        for (a, b), tile in self._tiles(groups):
            where = groups[a, b]
            flat[where] = tile[i[where] - a * c1, j[where] - b * c2]
        return out[()]
