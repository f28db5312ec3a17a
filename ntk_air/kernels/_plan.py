"""How large the tiles are: as large as helps, and as the memory budget allows."""

from __future__ import annotations

import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from .._memory import check_fits, human, resolve_budget
from .._typing import PyTree
from ._tiles import Layout, Program, features_of, starts, tile_of

# Enough that a tile's features serve many tiles, where computing them again costs little.
_CHEAP_CACHED_TILES = 16


def plan(
    program: Program,
    operands: PyTree,
    points1: PyTree,
    points2: PyTree | None,
    *,
    dtype: jnp.dtype,
    default_tile: int,
    leading: tuple[int, ...] = (),
    block: int = 1,
    tile_size: int | None = None,
    memory_budget: float | None = None,
    held: float = 1.0,
) -> Layout:
    """Cuts a kernel into tiles that fit the budget, by XLA's own count of what they need.

    Args:
        program: what is computed.
        operands: its parameters.
        points1: pytree of arrays (n1, ...).
        points2: pytree of arrays (n2, ...), or None for the symmetric kernel of ``points1``.
        dtype: of the result.
        default_tile: points of a tile where memory does not matter.
        leading: axes in front of the kernel.
        block: entries per pair of points along each axis.
        tile_size: an upper bound from the caller.
        memory_budget: bytes for the part of the result that is held and the work on a tile;
            default half of what is free.
        held: how much of the result one device holds: 0 for a kernel on disk.

    Raises:
        ValueError: a tile size below 1; a budget too small for the result and tiles of one point
            (the message names the least that works).
    """
    if tile_size is not None and tile_size < 1:
        raise ValueError(f"tile_size is {tile_size}, expected at least 1.")
    budget = resolve_budget(memory_budget)
    sizes = [len(jax.tree.leaves(p)[0]) for p in (points1, points2) if p is not None]
    n1, n2 = sizes[0], sizes[-1]
    shape = (*leading, n1 * block, n2 * block)
    held_bytes = int(held * math.prod(shape)) * dtype.itemsize
    check_fits(shape, held_bytes, 0, budget)
    room = budget - held_bytes
    shapes = [jax.tree.map(_struct, p) for p in (operands, points1, points2)]
    size = min(tile_size or default_tile, max(n1, n2))
    while True:
        work, features = _tile_bytes(program, size, *shapes)
        used = work + 2 * features
        if used <= room:
            break
        if size == 1:
            check_fits(shape, held_bytes, used, budget)
        # Between linear and quadratic in the tile: go where a quadratic one would fit, or half.
        size = max(1, min(size // 2, int(size * (room / used) ** 0.5)))
    if tile_size is not None and size < min(tile_size, max(n1, n2)):
        warnings.warn(
            f"tile_size {tile_size} exceeds the memory budget of {human(budget)}; using {size}.",
            stacklevel=4,
        )
    tiles = len(starts(n1, size)[1]) + (len(starts(n2, size)[1]) if points2 is not None else 0)
    cached = min(tiles, max(2, int((room - work) / max(features, 1))))
    if program.cheap_features:
        cached = min(cached, _CHEAP_CACHED_TILES)
    return Layout((n1, n2), size, points2 is None, dtype, block, leading, cached)


def _struct(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _tile_bytes(
    program: Program, size: int, operands: PyTree, points1: PyTree, points2: PyTree | None
) -> tuple[int, int]:
    """Bytes beside the features of two tiles while one is computed, and of a tile's features."""
    blocks = [
        jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(
                (min(size, leaf.shape[0]), *leaf.shape[1:]), leaf.dtype
            ),
            points,
        )
        for points in (points1, points1 if points2 is None else points2)
    ]
    features = [jax.eval_shape(program.features, operands, block) for block in blocks]
    feature_bytes = max(
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(f)) for f in features
    )
    lowered = [tile_of.lower(program, operands, *features)]
    if not program.cheap_features:
        lowered.append(features_of.lower(program, operands, blocks[0]))
    work = 0
    for low in lowered:
        analysis = low.compile().memory_analysis()
        temporary = getattr(analysis, "temp_size_in_bytes", 0) if analysis is not None else 0
        output = getattr(analysis, "output_size_in_bytes", 0) if analysis is not None else 0
        work = max(work, int(temporary + output))
    return work, feature_bytes
