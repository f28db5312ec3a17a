"""What NumPy indices mean of a kernel in tiles."""

from __future__ import annotations

from typing import Any

import numpy as np

Selector = slice | np.ndarray


def index_positions(index: Any, n: int) -> np.ndarray:
    """The positions in ``range(n)`` that a NumPy index of one axis means."""
    if isinstance(index, slice):
        return np.arange(n)[index]
    index = np.asarray(index)
    if index.dtype == bool and index.shape == (n,):
        return np.flatnonzero(index)
    if not np.issubdtype(index.dtype, np.integer) and index.size:
        raise IndexError(
            f"an index has dtype {index.dtype} and shape {index.shape}, expected integers, a slice "
            f"or a mask of shape ({n},)."
        )
    if index.size and (index.min() < -n or index.max() >= n):
        raise IndexError(f"an index is out of bounds for an axis of {n} points.")
    return np.where(index < 0, index + n, index).astype(np.int64)


def by_tile(positions: np.ndarray, size: int) -> dict[int, tuple[Selector, Selector]]:
    """Tile -> (places in ``positions`` that fall into it, which entries of the tile they are)."""
    tile = positions // size
    order = np.argsort(tile, kind="stable")
    numbers, first = np.unique(tile[order], return_index=True)
    places = np.split(order, first[1:]) if len(order) else []
    return {
        int(t): (_compact(p), _compact(positions[p] - t * size))
        for t, p in zip(numbers, places, strict=True)
    }


def _compact(index: np.ndarray) -> Selector:
    """A slice where the index is a run: it copies without a gather."""
    run = bool((np.diff(index) == 1).all())
    return slice(int(index[0]), int(index[-1]) + 1) if run else index


def copy_entries(
    out: np.ndarray,
    tile: np.ndarray,
    rows: tuple[Selector, Selector],
    columns: tuple[Selector, Selector],
) -> None:
    """Writes into ``out`` what of a tile belongs there; both as `by_tile` says of each axis."""
    value = tile[rows[1]][:, columns[1]]
    to_rows, to_columns = rows[0], columns[0]
    if isinstance(to_rows, np.ndarray) and isinstance(to_columns, np.ndarray):
        to_rows, to_columns = np.ix_(to_rows, to_columns)
    out[to_rows, to_columns] = value
