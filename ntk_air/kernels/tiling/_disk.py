"""A kernel computed to disk: every process its share of the tiles, on its own devices."""

from __future__ import annotations

import itertools
from importlib.metadata import version
from typing import Any

import jax
import numpy as np

from ..._digest import digest_of_arrays, digest_of_text
from ..._typing import Array
from ..._version import __version__
from ..store import _writer
from ..store._reader import StoredKernel
from ._request import RequestOptions, Task
from ._ring import no_mesh
from ._tile_size import block_structs
from ._tiles import (
    Blocks,
    KernelProgram,
    Layout,
    checked_tile,
    features_of,
    starts,
    tile_of,
    tile_order,
)

_PROBE = 2
_PACKAGES = ("jax", "jaxlib", "neural-tangents", "numpy")


def assemble_on_disk(
    program: KernelProgram, task: Task, layout: Layout, options: RequestOptions
) -> StoredKernel:
    """Computes a kernel into a store; each process its share of the tiles, on its own devices.

    Raises:
        ValueError: the store is of another job.
        OSError: the disk is full; the same call resumes.
    """
    n1, n2 = layout.points
    sizes = starts(n1, layout.tile_size)[0], starts(n2, layout.tile_size)[0]
    asked = _writer.DiskLayout(
        shape=(n1 * layout.block, n2 * layout.block),
        leading=layout.leading,
        dtype=layout.dtype,
        chunk=(sizes[0] * layout.block, sizes[1] * layout.block),
        symmetric=layout.symmetric,
    )
    store = _writer.open_store(options.store or "", job=describe(program, task), layout=asked)
    devices: list[Any] = [None]
    if options.ring is not None:
        devices = list(options.ring.mesh.local_devices)
    elif not jax.sharding.get_abstract_mesh().empty:
        devices = jax.local_devices()[:1]
    with no_mesh():
        # At the start too: processes that have met once may drift apart for longer.
        _meet(options.store)
        _fill(store, program, task, layout, devices, options.progress)
        _meet(options.store)
    return _writer.open_kernel(options.store or "")


def _meet(store: Any) -> None:
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(f"ntk_air: kernel store {store}")


def _fill(
    store: _writer.KernelStore,
    program: KernelProgram,
    task: Task,
    layout: Layout,
    devices: list[Any],
    progress: bool,
) -> None:
    # A store that is resumed keeps its tiles, whatever the memory is today.
    size1, size2 = (c // layout.block for c in store.layout.chunk)
    workers = itertools.cycle([_Worker(program, task, d, size1, size2, layout) for d in devices])

    def tile(rows: slice, columns: slice) -> Array:
        return next(workers)(rows.start // layout.block, columns.start // layout.block)

    _writer.fill(
        store,
        tile,
        share=(jax.process_index(), jax.process_count()),
        order=tile_order(*store.layout.grid, layout),
        ahead_by=len(devices),
        progress=progress,
    )


class _Worker:
    """Computes tiles on one device."""

    def __init__(
        self,
        program: KernelProgram,
        task: Task,
        device: Any,
        size1: int,
        size2: int,
        layout: Layout,
    ) -> None:
        points1, points2, operands = task.points1, task.points2, task.operands
        if device is not None:
            # By way of the host: an array's type may name the mesh that it came from.
            parts = jax.tree.map(np.asarray, (points1, points2, operands))
            points1, points2, operands = jax.device_put(parts, device)
        self._program, self._operands = program, operands
        self._sizes = size1, size2
        self._left = Blocks(program, operands, points1, size1, layout.cached_tiles)
        self._right = self._left
        if points2 is not None:
            self._right = Blocks(program, operands, points2, size2, layout.cached_tiles)

    def __call__(self, row: int, column: int) -> Array:
        """The tile whose first points are these."""
        # Only the last tile of an axis starts off the grid, at what would be the next index.
        i, j = (-(-start // size) for start, size in zip((row, column), self._sizes, strict=True))
        return checked_tile(self._program, self._operands, self._left[i], self._right[j])


def describe(program: KernelProgram, task: Task) -> dict[str, Any]:
    """What determines a kernel's values, bit by bit: the identity of a job on disk."""
    blocks = block_structs(_PROBE, task)
    features = [jax.eval_shape(features_of, program, task.operands, block) for block in blocks]
    compiled = [features_of.lower(program, task.operands, block) for block in blocks]
    compiled.append(tile_of.lower(program, task.operands, *features))
    text = "\n".join(lowered.as_text() for lowered in compiled)
    return {
        **task.description,
        "program": digest_of_text(text),
        "inputs": digest_of_arrays((task.points1, task.points2)),
        "parameters": digest_of_arrays(task.operands),
        "platform": jax.default_backend(),
        "versions": {"ntk_air": __version__} | {name: version(name) for name in _PACKAGES},
    }
