"""HOW a kernel is computed: in equal tiles, half of them by symmetry, whatever the kernel is."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax import lax

from .._typing import Array

TileFn = Callable[[slice, slice], Array]
"""``tile(rows, columns)`` -> (..., rows·block, columns·block)."""


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


def assemble(
    tile: TileFn,
    shape: tuple[int, int],
    *,
    tile_size: int,
    symmetric: bool,
    block: int = 1,
    leading: tuple[int, ...] = (),
    dtype: jnp.dtype,
    progress: bool = False,
) -> Array:
    """Computes a kernel tile by tile into one array.

    Args:
        tile: computes one tile.
        shape: number of points (n1, n2).
        tile_size: rows and columns of a tile, an upper bound.
        symmetric: compute the tiles on and above the diagonal only and mirror them.
        block: entries per pair of points along each of the last two axes (C for a full kernel).
        leading: axes in front, e.g. ``(C,)`` for one kernel per output.
        dtype: of the result.
        progress: show a bar on a terminal.

    Returns:
        The kernel, (*leading, n1·block, n2·block).
    """
    size1, rows = starts(shape[0], tile_size)
    size2, columns = starts(shape[1], tile_size)
    pairs = [
        (i, j) for a, i in enumerate(rows) for b, j in enumerate(columns) if not symmetric or b >= a
    ]
    out = jnp.zeros((*leading, shape[0] * block, shape[1] * block), dtype)
    for i, j in with_progress(pairs, "kernel tiles", progress):
        value = tile(slice(i, i + size1), slice(j, j + size2)).astype(dtype)
        out = _place(
            out, value, jnp.int32(i * block), jnp.int32(j * block), _mirror(symmetric, i, j)
        )
    return out


def _mirror(symmetric: bool, i: int, j: int) -> str:
    if not symmetric:
        return "no"
    return "diagonal" if i == j else "yes"


@functools.partial(jax.jit, donate_argnums=0, static_argnums=4)
def _place(out: Array, tile: Array, i: Array, j: Array, mirror: str) -> Array:
    """Writes a tile in place (``out`` is donated), and its transpose if the kernel is symmetric."""
    zeros = (jnp.int32(0),) * (out.ndim - 2)
    transposed = jnp.swapaxes(tile, -1, -2)
    if mirror == "diagonal":
        # Round-off of a matrix product is not symmetric; the kernel is.
        tile = (tile + transposed) / 2
    out = lax.dynamic_update_slice(out, tile, (*zeros, i, j))
    if mirror == "yes":
        out = lax.dynamic_update_slice(out, transposed, (*zeros, j, i))
    return out


def with_progress(items: list, description: str, progress: bool) -> Iterator:
    """Iterates with a bar on a terminal; a pipe or a log file gets none."""
    if not progress or len(items) < 2:
        yield from items
        return
    from tqdm import tqdm

    yield from tqdm(items, desc=description, disable=None, leave=False)
