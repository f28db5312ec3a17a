"""A kernel computed into one array, tile by tile."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..._progress import with_progress
from ..._typing import Array
from ._finite import refuse_unless_finite
from ._request import RequestOptions, Task
from ._tiles import Blocks, KernelProgram, Layout, checked_tile, starts, symmetrised, tile_order


def assemble_in_memory(
    program: KernelProgram, task: Task, layout: Layout, options: RequestOptions
) -> Array:
    """Computes a kernel into one array ``layout.shape``.

    Raises:
        ValueError: a kernel that is not finite everywhere.
    """
    kernel = _assemble(program, task, layout, options)
    refuse_unless_finite(kernel, layout)
    return kernel


def _assemble(program: KernelProgram, task: Task, layout: Layout, options: RequestOptions) -> Array:
    operands = task.operands
    size1, rows = starts(layout.points[0], layout.tile_size)
    size2, columns = starts(layout.points[1], layout.tile_size)
    left = Blocks(program, operands, task.points1, size1, layout.cached_tiles)
    right = left
    if task.points2 is not None:
        right = Blocks(program, operands, task.points2, size2, layout.cached_tiles)
    if len(rows) == len(columns) == 1:
        tile = checked_tile(program, operands, left[0], right[0]).astype(layout.dtype)
        return symmetrised(tile) if layout.symmetric else tile
    out = jnp.zeros(layout.shape, layout.dtype)
    pairs = tile_order(len(rows), len(columns), layout)
    block = layout.block
    for a, b in with_progress(pairs, "tile", options.progress, description="kernel"):
        i, j = left.starts[a] * block, right.starts[b] * block
        value = checked_tile(program, operands, left[a], right[b]).astype(layout.dtype)
        mirror = "no" if not layout.symmetric else "diagonal" if a == b else "yes"
        out = _place(out, value, np.int32(i), np.int32(j), mirror)
    return out


@functools.partial(jax.jit, donate_argnums=0, static_argnums=4)
def _place(out: Array, tile: Array, i: Array | np.int32, j: Array | np.int32, mirror: str) -> Array:
    """Writes a tile in place (``out`` is donated), and its transpose if the kernel is symmetric."""
    zeros = (np.int32(0),) * (out.ndim - 2)
    if mirror == "diagonal":
        tile = symmetrised(tile)
    out = lax.dynamic_update_slice(out, tile, (*zeros, i, j))
    if mirror == "yes":
        out = lax.dynamic_update_slice(out, jnp.swapaxes(tile, -1, -2), (*zeros, j, i))
    return out
