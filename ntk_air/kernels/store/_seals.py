"""Seals of the tiles of a stored kernel: each binds entries to their place and their job.

The checksum in a tile's file knows whether its bytes are what was written, not where and for which
kernel. Beside the tiles, ``seals/I/J`` holds a digest of the job's hash, the layout, the place and
the entries of tile (I, J); with axes in front, one for each leading index. A tile that was moved,
swapped, copied from another store or written over by a tile of its own store does not fit it.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np

from ..._digest import DIGEST_SIZE, add_bytes, new_digest
from ._format import DiskLayout, Tile, present_tiles, tile_file

_FOLDER = "seals"
_SEAL_BYTES = 2 * DIGEST_SIZE + 1


class Seals:
    """The seals of one store.

    A seal is written before its tile, in one small write, and a tile counts once both are there:
    a process killed at any moment leaves no tile with the seal of another.
    """

    def __init__(self, path: Path, layout: DiskLayout, job: str):
        """``job`` is the hash of the manifest."""
        self._path, self._layout = path, layout
        kernel = (job, layout.shape, layout.leading, layout.dtype.name, layout.chunk)
        self._kernel = json.dumps([*kernel, layout.symmetric])
        self._checked: dict[tuple[Tile, int | None], tuple[int, ...]] = {}

    def write(self, tile: Tile, entries: np.ndarray) -> None:
        """Seals a tile (*leading, rows, columns) that is about to be written.

        Raises:
            OSError: if that cannot be written.
        """
        parts = entries.reshape(-1, *entries.shape[-2:])
        digests = [self._digest(tile, k, part) for k, part in enumerate(parts)]
        path = _file(self._path, tile)
        if self._found(tile) == digests:  # another process was first, and may be reading it
            return
        text = "".join(digest + "\n" for digest in digests)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb", buffering=0) as file:
            file.write(text.encode())
            # Like the tile's: what counts as done survives a power cut.
            os.fsync(file.fileno())

    def fit(self, tile: Tile, entries: np.ndarray, leading: int | None = None) -> bool:
        """Whether entries that were read are those that belong to this place of this kernel.

        They are compared once, and again whenever the tile's file has changed since.

        Args:
            tile: the place.
            entries: (*leading, rows, columns), or (rows, columns) of one leading index.
            leading: which one, counted along all axes in front; None is all.
        """
        state = os.stat(tile_file(self._path, self._layout, *tile))
        mark = (state.st_ino, state.st_size, state.st_mtime_ns)
        if self._checked.get((tile, leading)) == mark:
            return True
        seals = self._found(tile)
        parts = entries.reshape(-1, *entries.shape[-2:])
        first = 0 if leading is None else leading
        digests = [self._digest(tile, first + k, part) for k, part in enumerate(parts)]
        if seals[first : first + len(parts)] != digests:
            return False
        self._checked[tile, leading] = mark
        return True

    def _digest(self, tile: Tile, leading: int, entries: np.ndarray) -> str:
        taken = new_digest(f"{self._kernel} {tile} {leading}\n")
        little = entries.dtype.newbyteorder("<")
        add_bytes(taken, np.asarray(entries, little))
        return taken.hexdigest()

    def _found(self, tile: Tile) -> list[str]:
        try:
            text = _file(self._path, tile).read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return []
        return text.decode("ascii", "replace").split("\n")[:-1]


def sealed_tiles(path: Path, layout: DiskLayout) -> set[Tile]:
    """The tiles that have a file and a whole seal; the content of neither is looked at."""
    size = _SEAL_BYTES * math.prod(layout.leading)
    return {tile for tile in present_tiles(path, layout) if _size(_file(path, tile)) == size}


def _file(path: Path, tile: Tile) -> Path:
    return path.joinpath(_FOLDER, *map(str, tile))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
