"""The same tiles on many devices: rows stay where they are, columns go round in a ring."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

from ..._progress import with_progress
from ..._typing import Array, PyTree
from ._finite import refuse_unless_finite
from ._request import RequestOptions, Task
from ._ring import Ring, ShardedKernel
from ._tiles import KernelProgram, Layout, starts, symmetrised


@dataclasses.dataclass(frozen=True)
class Recomputed:
    """A program whose features are computed again for each tile, where they would not fit."""

    program: KernelProgram
    cheap_features: ClassVar[bool] = True

    def features(self, operands: PyTree, points: PyTree) -> PyTree:
        """A point itself."""
        return points

    def tile(self, operands: PyTree, rows: PyTree, columns: PyTree) -> Array:
        """The tile of the program, from points."""
        left = self.program.features(operands, rows)
        return self.program.tile(operands, left, self.program.features(operands, columns))


@dataclasses.dataclass(frozen=True)
class _Job:
    """What the compiled parts depend on."""

    program: KernelProgram
    ring: Ring
    layout: Layout
    rows: int
    columns: int

    @property
    def row_tiles(self) -> tuple[int, list[int]]:
        return starts(self.rows, self.layout.tile_size)

    @property
    def column_tiles(self) -> tuple[int, list[int]]:
        return starts(self.columns, self.layout.tile_size)

    def spread(self, ndim: int) -> PartitionSpec:
        """Rows of the kernel over the ring."""
        return self.ring.sharding(ndim - 2, ndim).spec


def assemble_on_mesh(
    program: KernelProgram, task: Task, layout: Layout, options: RequestOptions
) -> Array | ShardedKernel:
    """Computes a kernel with its rows spread over the devices of a ring.

    Each device keeps its rows; blocks of columns visit it one after the other. A symmetric kernel
    needs half of the visits: a block computed here is, transposed, another device's.

    Returns:
        The kernel, sharded over rows; a `ShardedKernel` where these do not divide evenly.

    Raises:
        ValueError: a kernel that is not finite everywhere.
    """
    assert options.ring is not None
    ring, (n1, n2), given = options.ring, layout.points, program
    if not program.cheap_features and layout.cached_tiles < 2 * (
        -(-max(n1, n2) // ring.size) // layout.tile_size + 1
    ):
        program = Recomputed(program)
    job = _Job(program, ring, layout, -(-n1 // ring.size), -(-n2 // ring.size))
    with ring.active():
        out = _run(job, task.operands, task.points1, task.points2, options.progress)
    out = ring.handed_over(out)
    exact = job.rows * ring.size == n1
    kernel = out if exact else ShardedKernel(out, layout.shape)
    refuse_unless_finite(kernel, layout)
    if hasattr(given, "warn_if_spoilt"):
        given.warn_if_spoilt(out, task.points1, task.points2)  # pyright: ignore[reportAttributeAccessIssue]
    return kernel


def _run(
    job: _Job, operands: PyTree, points1: PyTree, points2: PyTree | None, progress: bool
) -> Array:
    ring, symmetric = job.ring, job.layout.symmetric
    operands = jax.tree.map(lambda leaf: _replicated(ring, leaf), operands)
    rows = _features(job, job.row_tiles, operands, _spread(ring, points1, job.rows))
    columns = rows
    if points2 is not None:
        columns = _features(job, job.column_tiles, operands, _spread(ring, points2, job.columns))
    out = _zeros(job)
    last = ring.size // 2 if symmetric else ring.size - 1
    for shift in with_progress(range(last + 1), "block", progress, description="kernel"):
        own = symmetric and shift == 0
        out = _visit(job, own, operands, out, rows, columns, np.int32(shift))
        if symmetric and shift > 0:
            out = _mirror(job, shift, out)
        if shift < last:
            columns = _pass_on(job, columns)
    return _without_spare_columns(job, out)


def _spread(ring: Ring, points: PyTree, each: int) -> PyTree:
    """Points over the ring, ``each`` per device; the last point is repeated to fill up."""

    def place(leaf: Array) -> Array:
        host = np.asarray(leaf)
        total = each * ring.size
        index = np.minimum(np.arange(total), len(host) - 1)
        shape = (total, *host.shape[1:])
        sharding = ring.sharding(0, host.ndim)

        def part(cut: Any) -> np.ndarray:
            return host[index[cut[0]]]

        return jax.make_array_from_callback(shape, sharding, part)

    return jax.tree.map(place, points)


def _replicated(ring: Ring, leaf: Any) -> Array:
    host = np.asarray(leaf)
    return jax.make_array_from_callback(
        host.shape, ring.sharding(None, host.ndim), lambda cut: host[cut]
    )


def _zeros(job: _Job) -> Array:
    block, total = job.layout.block, job.ring.size
    shape = (*job.layout.leading, job.rows * total * block, job.columns * total * block)
    sharding = NamedSharding(job.ring.mesh, job.spread(len(shape)))
    return jax.jit(lambda: jnp.zeros(shape, job.layout.dtype), out_shardings=sharding)()


@functools.partial(jax.jit, static_argnums=(0, 1))
def _features_jit(
    job: _Job, tiles: tuple[int, tuple[int, ...]], operands: PyTree, points: PyTree
) -> PyTree:
    size, begin = tiles

    def local(operands: PyTree, points: PyTree) -> PyTree:
        def one(start: Array) -> PyTree:
            block = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size), points)
            return job.program.features(operands, block)

        return lax.map(one, jnp.asarray(begin, jnp.int32))

    spec = PartitionSpec(job.ring.axes)
    return _on_ring(job, local, (PartitionSpec(), spec), spec)(operands, points)


def _features(job: _Job, tiles: tuple[int, list[int]], operands: PyTree, points: PyTree) -> PyTree:
    """Features by tile: leaves (tiles of all devices, t, ...)."""
    return _features_jit(job, (tiles[0], tuple(tiles[1])), operands, points)


def _on_ring(job: _Job, function: Any, in_specs: Any, out_specs: Any) -> Any:
    return jax.shard_map(
        function, mesh=job.ring.mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False
    )


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=3)
def _visit(
    job: _Job,
    own: bool,
    operands: PyTree,
    out: Array,
    rows: PyTree,
    columns: PyTree,
    shift: Array | np.int32,
) -> Array:
    """Each device's tiles with the columns that visit it; ``own``: its own, by symmetry."""
    (_, row_starts), (_, column_starts) = job.row_tiles, job.column_tiles
    count = range(len(column_starts))
    pairs = [(a, b) for a in range(len(row_starts)) for b in count if not own or a <= b]
    table = np.array(pairs, np.int32)
    at_row, at_column = np.array(row_starts, np.int32), np.array(column_starts, np.int32)
    block = job.layout.block
    zero = (jnp.int32(0),) * len(job.layout.leading)

    def local(operands: PyTree, out: Array, rows: PyTree, columns: PyTree, shift: Array) -> Array:
        visitor = (lax.axis_index(job.ring.axes) + shift) % job.ring.size

        def body(index: Array, out: Array) -> Array:
            a, b = jnp.asarray(table)[index]
            left = jax.tree.map(lambda x: x[a], rows)
            right = jax.tree.map(lambda x: x[b], columns)
            tile = job.program.tile(operands, left, right).astype(out.dtype)
            i, j = jnp.asarray(at_row)[a], jnp.asarray(at_column)[b]
            here = visitor * job.columns
            if own:
                tile = jnp.where(a == b, symmetrised(tile), tile)
                mirrored = jnp.swapaxes(tile, -1, -2)
                out = lax.dynamic_update_slice(
                    out, mirrored, (*zero, j * block, (here + i) * block)
                )
            return lax.dynamic_update_slice(out, tile, (*zero, i * block, (here + j) * block))

        return lax.fori_loop(0, len(pairs), body, out)

    spec, kernel = PartitionSpec(job.ring.axes), job.spread(out.ndim)
    in_specs = (PartitionSpec(), kernel, spec, spec, PartitionSpec())
    return _on_ring(job, local, in_specs, kernel)(operands, out, rows, columns, shift)


@functools.partial(jax.jit, static_argnums=0)
def _pass_on(job: _Job, columns: PyTree) -> PyTree:
    """Each device's columns to the one before it, so that device d next sees those of d + 1."""
    size = job.ring.size
    to = [(i, (i - 1) % size) for i in range(size)]
    spec = PartitionSpec(job.ring.axes)

    def local(columns: PyTree) -> PyTree:
        return jax.tree.map(lambda x: lax.ppermute(x, job.ring.axes, to), columns)

    return _on_ring(job, local, (spec,), spec)(columns)


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=2)
def _mirror(job: _Job, shift: int, out: Array) -> Array:
    """Block (d, d + shift), transposed, to device d + shift."""
    size, block = job.ring.size, job.layout.block
    # Half way round two devices have each other's block: the first one's counts.
    senders = shift if 2 * shift == size else size
    to = [(i, (i + shift) % size) for i in range(senders)]
    width = job.columns * block

    def local(out: Array) -> Array:
        me = lax.axis_index(job.ring.axes)
        there, back = (me + shift) % size * width, (me - shift) % size * width
        sent = lax.dynamic_slice_in_dim(out, there, width, axis=-1)
        received = lax.ppermute(jnp.swapaxes(sent, -1, -2), job.ring.axes, to)
        if senders < size:
            received = jnp.where(me < senders, sent, received)
        return lax.dynamic_update_slice_in_dim(out, received, back, axis=-1)

    spec = job.spread(out.ndim)
    return _on_ring(job, local, (spec,), spec)(out)


@functools.partial(jax.jit, static_argnums=0)
def _without_spare_columns(job: _Job, out: Array) -> Array:
    width = job.layout.points[1] * job.layout.block
    spec = job.spread(out.ndim)
    return _on_ring(job, lambda x: x[..., :width], (spec,), spec)(out)
