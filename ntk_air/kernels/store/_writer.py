"""A kernel written to disk tile by tile, so that a job killed at any moment resumes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..._checks import check_finite, check_size
from ..._memory import human
from ..._progress import with_progress
from ..._typing import Array
from ._format import (
    MANIFEST,
    SEALED_SINCE,
    DiskLayout,
    Tile,
    ahead,
    differences,
    new_manifest,
    open_array,
    publish,
    read_manifest,
    tile_file,
    with_seals,
)
from ._reader import StoredKernel, open_kernel
from ._seals import Seals, sealed_tiles

__all__ = ["KernelStore", "DiskLayout", "StoredKernel", "fill", "open_kernel", "open_store"]

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What tensorstore calls a tile whose bytes are wrong; any other failure to read deletes nothing.
_DAMAGED = ("DATA_LOSS", "FAILED_PRECONDITION")


class KernelStore:
    """A store that is being filled; made by `open_store`.

    Attributes:
        path: the folder.
        layout: of the tiles on disk; its chunk wins over the one that was asked for.
    """

    def __init__(self, path: Path, layout: DiskLayout, job: str):
        """``job`` is the hash of the manifest."""
        self.path = path
        self.layout = layout
        self._array = open_array(path, layout, writable=True)
        self._seals = Seals(path, layout, job)
        self._writing: deque[Any] = deque()

    def missing(self, share: tuple[int, int] = (0, 1)) -> list[Tile]:
        """Grid indices of the tiles yet to be computed: absent, or deleted here as not theirs.

        Every tile that is present is read once and held against its checksum and its seal.

        Args:
            share: (index, count) looks at every count-th tile from the index-th on, so that
                several processes divide the tiles between them.

        Raises:
            OSError: if a tile cannot be read for another reason than its content.
        """
        count = check_size("the count of shares", share[1], 1)
        index = check_size("the index of a share", share[0], 0, count - 1)
        self.finish()
        mine = self.layout.tiles()[index::count]
        present = sealed_tiles(self.path, self.layout)
        damaged = self._damaged([tile for tile in mine if tile in present])
        for tile in damaged:
            # Only now is it sure to be ours to delete: it lies in a store of this very job.
            tile_file(self.path, self.layout, *tile).unlink(missing_ok=True)
        if damaged:
            warnings.warn(
                f"{len(damaged)} of {len(mine)} tiles of the kernel at {self.path} are damaged "
                f"(their checksum is wrong) or of another place or store, the first is tile "
                f"{damaged[0]}; they are deleted and computed again.",
                stacklevel=2,
            )
        return [tile for tile in mine if tile not in present or tile in damaged]

    def _damaged(self, tiles: list[Tile]) -> list[Tile]:
        bad = []
        for tile, reading in ahead(self._read, tiles, self.layout.in_flight):
            try:
                if not self._seals.fit(tile, reading.result()):
                    bad.append(tile)
            except (ValueError, OSError) as error:
                if not str(error).startswith(_DAMAGED):
                    raise OSError(
                        f"tile {tile} of the kernel at {self.path} cannot be read: {error}; "
                        "make its files readable, or give another path."
                    ) from error
                bad.append(tile)
        return bad

    def _read(self, tile: Tile) -> Any:
        if not stat.S_ISREG(os.stat(tile_file(self.path, self.layout, *tile)).st_mode):
            raise OSError(
                f"tile {tile} of the kernel at {self.path} cannot be read: it is no file; remove "
                "it, or give another path."
            )
        return self._array[(..., *self.layout.part(*tile))].read()

    def write(self, i: int, j: int, tile: Any) -> None:
        """Starts to write a tile; waits only while too many others are under way.

        Args:
            i: row of the tile in the grid.
            j: column of the tile in the grid; not below the diagonal if symmetric.
            tile: (*leading, rows, columns) of `DiskLayout.part`; not to be changed before `finish`.

        Raises:
            ValueError: if the tile is not of that shape, is not stored, or is not finite.
            OSError: if this or an earlier write failed; a full disk says what is still needed.
        """
        layout = self.layout
        rows, columns = layout.part(i, j)
        expected = (*layout.leading, rows.stop - rows.start, columns.stop - columns.start)
        if i < 0 or j < 0 or (layout.symmetric and i > j) or min(expected) < 1:
            raise ValueError(
                f"({i}, {j}) is none of the tiles of {layout}; see DiskLayout.tiles()."
            )
        value = np.asarray(tile)
        if value.shape != expected:
            raise ValueError(f"tile ({i}, {j}) has shape {value.shape}, expected {expected}.")
        writing = self._writing
        while writing and (len(writing) >= layout.in_flight or writing[0].done()):
            self._wait(writing.popleft())
        value = value.astype(layout.dtype, copy=False)
        check_finite(f"the tile of rows {rows.start}.. and columns {columns.start}..", value)
        try:
            self._seals.write((i, j), value)
        except OSError as error:
            self._raise_unwritten(error)
        # Written from where it lies: a copy into fresh memory costs more than the disk does.
        futures = self._array[..., rows, columns].write(
            value, can_reference_source_data_indefinitely=True
        )
        writing.append(futures.commit)

    def finish(self) -> None:
        """Waits until every tile given to `write` is on disk.

        Raises:
            OSError: if a write failed; a full disk says what is still needed.
        """
        while self._writing:
            self._wait(self._writing.popleft())

    def _wait(self, writing: Any) -> None:
        try:
            writing.result()
        except (ValueError, OSError) as error:
            self._raise_unwritten(error)

    def _raise_unwritten(self, error: ValueError | OSError) -> NoReturn:
        # Those under way may yet succeed, and count as done; the first failure tells enough.
        for other in self._writing:
            other.exception()
        self._writing.clear()
        code = re.search(r"os_error_code='(\d+)'", str(error))
        number = int(code[1]) if code else getattr(error, "errno", None)
        if number in _DISK_FULL:
            self._raise_full(number, error)
        raise OSError(
            f"a tile of the kernel at {self.path} cannot be written: {error}; "
            "the tiles that are done stay, and the same call resumes."
        ) from error

    def check_space(self, num_tiles: int) -> None:
        """Raises OSError if the disk clearly has no room for so many more tiles."""
        if num_tiles * self.layout.tile_bytes > shutil.disk_usage(self.path).free:
            self._raise_full(errno.ENOSPC, None)

    def _raise_full(self, code: int, cause: Exception | None) -> NoReturn:
        total = self.layout.num_tiles
        done = len(sealed_tiles(self.path, self.layout))
        needed = (total - done) * self.layout.tile_bytes
        free = shutil.disk_usage(self.path).free
        raise OSError(
            code,
            f"no room for the kernel at {self.path} ({os.strerror(code)}): {done} of {total} tiles "
            f"are done, the others need {needed} bytes ({human(needed)}) and {human(free)} are "
            "free there; make room, and the same call resumes with the tiles that are missing",
        ) from cause


def open_store(
    path: str | os.PathLike[str], *, job: dict[str, Any], layout: DiskLayout
) -> KernelStore:
    """Creates a store, or opens the one that an earlier call for the same kernel left.

    Several processes may do so at once; one of them creates it.

    Args:
        path: the folder; absent, empty, or a store of the same job.
        job: what determines the kernel's values, as JSON keeps it (hashes, names, versions).
        layout: of the tiles; an existing store keeps its own chunk.

    Raises:
        ValueError: if the folder holds another job (both hashes and what differs are named), is
            not a store, or is of a newer format.
    """
    path = Path(path)
    asked = new_manifest(job, layout)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is a file, expected a folder; give another path for the store.")
    path.mkdir(parents=True, exist_ok=True)
    if not (path / MANIFEST).exists():
        publish(path, asked)
    for draft in path.glob(f".{MANIFEST}.*"):
        # Of a process killed at that moment; one that lives sees that the manifest is there.
        draft.unlink(missing_ok=True)
    found, layout = read_manifest(path)
    if found["hash"] != asked["hash"]:
        where = differences(found["job"], asked["job"], "job")
        where += differences(found["kernel"], asked["kernel"], "kernel")
        raise ValueError(
            f"{path} holds the kernel of another job: its hash is {found['hash']}, the hash of "
            f"this job is {asked['hash']}. They differ in {'; '.join(where)}. "
            f"Give another path, or delete {path} to compute it anew."
        )
    if found["version"] < SEALED_SINCE:
        warnings.warn(
            f"{path} is a kernel store of format version {found['version']}, in which tiles are "
            "not bound to their places; its tiles are computed again.",
            stacklevel=2,
        )
        with_seals(path, found)
    return KernelStore(path, layout, found["hash"])


def fill(
    store: KernelStore,
    tile: Callable[[slice, slice], Array | np.ndarray],
    *,
    share: tuple[int, int] = (0, 1),
    order: Sequence[Tile] | None = None,
    ahead_by: int = 1,
    progress: bool = False,
) -> None:
    """Computes the tiles that a store misses.

    Args:
        store: as `open_store` returns it.
        tile: ``tile(rows, columns)`` -> (*leading, rows, columns), of entries. Always asked for a
            whole chunk, so that one compilation serves; the last ones overlap those before.
        share: (index, count), see `KernelStore.missing`.
        order: all tiles in the order they are best computed in; default row by row.
        ahead_by: tiles asked for before one is waited for, e.g. one per device.
        progress: show a bar on a terminal.

    Raises:
        ValueError: if a tile has another shape than was asked for.
        OSError: if the disk is full, before or while computing; the same call resumes.
    """
    todo = store.missing(share)
    store.check_space(len(todo))
    if order is not None:
        place = {tile: index for index, tile in enumerate(order)}
        todo.sort(key=place.__getitem__)

    def compute(index: Tile) -> Array | np.ndarray:
        return _compute(store.layout, tile, *index)

    # Tiles ahead: a device computes them while the host waits for the one before.
    shown = with_progress(todo, "tile", progress, description="kernel")
    for (i, j), value in ahead(compute, shown, ahead_by):
        store.write(i, j, value)
    store.finish()


def _compute(
    layout: DiskLayout, tile: Callable[[slice, slice], Array | np.ndarray], i: int, j: int
) -> Array | np.ndarray:
    part = layout.part(i, j)
    starts = [min(p.start, n - c) for p, n, c in zip(part, layout.shape, layout.chunk, strict=True)]
    rows, columns = (slice(s, s + c) for s, c in zip(starts, layout.chunk, strict=True))
    value = tile(rows, columns)
    if value.shape != (*layout.leading, *layout.chunk):
        raise ValueError(
            f"the tile of rows {rows.start}..{rows.stop} and columns {columns.start}.."
            f"{columns.stop} has shape {value.shape}, expected {(*layout.leading, *layout.chunk)}."
        )
    # A copy if it is NumPy's: the tile function may use its memory again.
    value = value.astype(layout.dtype)
    if layout.symmetric and i == j:
        # Round-off of a matrix product is not symmetric; the kernel is.
        value = (value + value.swapaxes(-1, -2)) / 2
    if part == (rows, columns):
        return value
    kept = (slice(p.start - s, p.stop - s) for p, s in zip(part, starts, strict=True))
    return value[(..., *kept)]
