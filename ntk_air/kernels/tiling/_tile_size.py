"""How large the tiles are: as large as helps, and as the memory budget allows."""

from __future__ import annotations

import functools
import math
import warnings
from typing import Any

import jax

from ..._checks import check_size
from ..._memory import check_fits, human, resolve_budget, tree_bytes
from ..._typing import PyTree
from ._request import RequestOptions, Task, struct_of
from ._tiles import KernelProgram, Layout, features_of, starts, tile_of

# Enough that a tile's features serve many tiles, where computing them again costs little.
_CHEAP_CACHED_TILES = 16


def plan(program: KernelProgram, task: Task, default_tile: int, options: RequestOptions) -> Layout:
    """Cuts a kernel into tiles that fit the memory, by XLA's own count of what they need.

    Args:
        program: what is computed.
        task: the kernel.
        default_tile: points of a tile where memory does not matter.
        options: of the caller; the budget is that of one device.

    Raises:
        ValueError: a tile size below 1; a budget too small for the part of the result that is held
            in memory and tiles of one point (the message names the least that works).
    """
    tile_size = options.tile_size
    if tile_size is not None:
        tile_size = check_size("tile_size", tile_size, 1)
    budget = resolve_budget(options.memory_budget)
    n1, n2 = task.num_points
    shape = (*task.leading, n1 * task.block, n2 * task.block)
    ring = 1 if options.ring is None else options.ring.size
    held_bytes = (
        0 if options.store else task.copies * math.prod(shape) * task.dtype.itemsize // ring
    )
    if held_bytes >= budget:
        least = _work_bytes(program, 1, task) + 2 * _feature_bytes(program, 1, task)
        check_fits(shape, held_bytes, least, budget)
    room = budget - held_bytes
    largest = -(-max(n1, n2) // (1 if options.store else ring))
    size = min(tile_size or default_tile, largest)
    while True:
        features = _feature_bytes(program, size, task)
        # Compiled only where the features alone leave room.
        work = _work_bytes(program, size, task) if 2 * features <= room or size == 1 else 0
        used = work + 2 * features
        if used <= room:
            break
        if size == 1:
            check_fits(shape, held_bytes, used, budget)
        # Between linear and quadratic in the tile: go where a quadratic one would fit, or half.
        size = max(1, min(size // 2, int(size * (room / used) ** 0.5)))
    if tile_size is not None and size < min(tile_size, largest):
        warnings.warn(
            f"tile_size {tile_size} exceeds the memory budget of {human(budget)}; using {size}.",
            stacklevel=4,
        )
    symmetric = task.points2 is None
    tiles = len(starts(n1, size)[1]) + (0 if symmetric else len(starts(n2, size)[1]))
    cached = min(tiles, max(2, int((room - work) / max(features, 1))))
    if program.cheap_features:
        cached = min(cached, _CHEAP_CACHED_TILES)
    return Layout((n1, n2), size, symmetric, task.dtype, task.block, task.leading, cached)


def block_structs(size: int, task: Task) -> list[PyTree]:
    """Shapes of a block of points of either side."""

    def cut(leaf: Any) -> jax.ShapeDtypeStruct:
        whole = struct_of(leaf)
        return jax.ShapeDtypeStruct((min(size, whole.shape[0]), *whole.shape[1:]), whole.dtype)

    sides = (task.points1, task.points1 if task.points2 is None else task.points2)
    return [jax.tree.map(cut, side) for side in sides]


def _feature_bytes(program: KernelProgram, size: int, task: Task) -> int:
    """Bytes of the features of a tile's points, from shapes alone."""
    return max(map(tree_bytes, _feature_structs(program, *_key(size, task))))


def _work_bytes(program: KernelProgram, size: int, task: Task) -> int:
    """Bytes beside the features of two tiles while one is computed."""
    return _counted_bytes(program, *_key(size, task))


def _key(size: int, task: Task) -> tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]:
    structs = jax.tree.map(struct_of, task.operands)
    leaves, structure = jax.tree.flatten((structs, *block_structs(size, task)))
    return structure, tuple(leaves)


@functools.lru_cache(maxsize=256)
def _feature_structs(
    program: KernelProgram, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]
) -> list[PyTree]:
    operands, *blocks = jax.tree.unflatten(structure, leaves)
    return [jax.eval_shape(features_of, program, operands, block) for block in blocks]


@functools.lru_cache(maxsize=256)
def _counted_bytes(
    program: KernelProgram, structure: Any, leaves: tuple[jax.ShapeDtypeStruct, ...]
) -> int:
    operands, *blocks = jax.tree.unflatten(structure, leaves)
    features = _feature_structs(program, structure, leaves)
    lowered = [tile_of.lower(program, operands, *features)]
    if not program.cheap_features:
        lowered.append(features_of.lower(program, operands, blocks[0]))
    work = 0
    for low in lowered:
        analysis = low.compile().memory_analysis()
        temporary = getattr(analysis, "temp_size_in_bytes", 0) if analysis is not None else 0
        output = getattr(analysis, "output_size_in_bytes", 0) if analysis is not None else 0
        work = max(work, int(temporary + output))
    return work
