"""Entries between points that nearly coincide, where float32 loses half of the digits.

The angle between two layers' outputs is the arc cosine of a number next to 1 there, and a number
next to 1 holds it to √eps only. Other layers lose digits where inputs are large. How far that puts
an entry off depends on the activation, the depth and the biases; so it is measured: of each tile
with points that are alike, or large, the entries likeliest to be wrong are computed again in
float64, and so is the whole tile where they differ by more than rounding explains.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._numerics import double_precision
from .._typing import Array, PyTree
from ._patterns import given, kernel_of

# In units of sqrt(Θ(x, x) Θ(x', x')): kernels of some layers between points apart stay below it.
_TOLERANCE = 2e-6
_PROBES = 9
# Θ(x, x') of points this much alike, over that size, and inputs of this mean square.
_ALIKE, _CLOSE, _LARGE = 0.9, 0.98, 8.0


class Probe(NamedTuple):
    """Entries of a tile that are the likeliest to be wrong.

    Attributes:
        needed: (), whether any are likely to be.
        rows: (c,) indices.
        columns: (c,) indices.
        entries: (kinds, c, c) between them.
        sizes: (kinds, c, c), sqrt(Θ(x, x) Θ(x', x')).
    """

    needed: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    entries: np.ndarray
    sizes: np.ndarray


def _probe(tile: Array, rows: PyTree, columns: PyTree, count: int) -> Probe:
    """Which entries to compute again.

    Args:
        tile: (kinds, t1, t2).
        rows: features of the row points: ``diagonal`` (t1, kinds), and ``index`` (t1,) if the
            kernel is symmetric.
        columns: the same of the column points.
        count: how many rows and columns, at most.
    """
    each = max(1, min(count // 3, len(rows["x"])))
    return Probe(*map(np.asarray, _most_alike(tile, rows, columns, each)))


@functools.partial(jax.jit, static_argnums=3)
def _most_alike(tile: Array, rows: PyTree, columns: PyTree, each: int) -> tuple[Array, ...]:
    first, second = rows["diagonal"], columns["diagonal"]
    tile = tile[..., : len(first), :]
    one, two = jnp.sqrt(first[:, -1]), jnp.sqrt(second[:, -1])
    cosine = tile[-1] / jnp.where(one > 0, one, 1)[:, None] / jnp.where(two > 0, two, 1)
    if "index" in rows:
        # The diagonal was computed apart.
        cosine = jnp.where(rows["index"][:, None] == columns["index"], -1.0, cosine)
    best = cosine.max(axis=1)
    squares = jnp.mean(rows["x"] ** 2, axis=tuple(range(1, rows["x"].ndim)))
    # Of points that coincide, rounding puts some above 1, where they are right, and others below.
    low = jnp.where(best > _CLOSE, -best, -2.0)
    i = jnp.concatenate([jax.lax.top_k(key, each)[1] for key in (best, low, squares)])
    j = jnp.argmax(cosine[i], axis=1)
    sizes = jnp.sqrt(first)[i].T[:, :, None] * jnp.sqrt(second)[j].T[:, None, :]
    needed = (best.max() > _ALIKE) | (squares.max() > _LARGE)
    return needed, i, j, tile[:, i][:, :, j], sizes


def is_off(
    kernel_fn: Any, kinds: tuple[str, ...], tile: Array, rows: PyTree, columns: PyTree
) -> bool:
    """Whether a tile (kinds, t1, t2) is off by more than rounding where points are most alike."""
    entries = int(np.prod(rows["x"].shape[1:-1])) ** 2
    # Pairs of points of images hold pairs of positions.
    count = max(3, int(_PROBES / entries**0.25))
    needed, i, j, said, sizes = _probe(tile, rows, columns, count)
    if not needed:
        return False
    points = [
        {name: np.asarray(leaf[taken]) for name, leaf in given(side).items()}
        for side, taken in ((rows, i), (columns, j))
    ]
    exact = in_double(kernel_fn, kinds, *points)
    off = np.abs(said - exact) / np.where(sizes > 0, sizes, 1.0)
    if "index" in rows:
        own = np.asarray(rows["index"])[i][:, None] == np.asarray(columns["index"])[j]
        off = np.where(own, 0.0, off)
    return bool(off.max() > _TOLERANCE)


def in_double(kernel_fn: Any, kinds: tuple[str, ...], rows: PyTree, columns: PyTree) -> np.ndarray:
    """The kernels (kinds, t1, t2) of blocks of points in float64, on the host."""
    with double_precision():
        sides = jax.tree.map(jnp.asarray, (given(rows), given(columns)))
        return np.asarray(_in_double(kernel_fn, kinds, *sides))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _in_double(kernel_fn: Any, kinds: tuple[str, ...], rows: PyTree, columns: PyTree) -> Array:
    return kernel_of(kernel_fn, kinds, *widened((rows, columns), jnp.float64))


def widened(points: PyTree, dtype: Any) -> PyTree:
    """Points in another dtype, integers as they are."""

    def widen(leaf: Array) -> Array:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(widen, points)


def repaired(
    kernel_fn: Any, kinds: tuple[str, ...], tile: Array, rows: PyTree, columns: PyTree
) -> Array:
    """The tile (kinds, t1, t2), computed in float64 and rounded where float32 is not enough."""
    try:
        if not is_off(kernel_fn, kinds, tile, rows, columns):
            return tile
        # Half of the rows at a time: the work takes the memory of the tile's own.
        halves = np.array_split(np.arange(tile.shape[1]), 2)
        parts = [
            in_double(
                kernel_fn,
                kinds,
                jax.tree.map(lambda leaf, half=half: leaf[half[0] : half[-1] + 1], given(rows)),
                columns,
            )
            for half in halves
            if len(half)
        ]
    except Exception as error:
        warn_of_loss(f"they cannot be computed in float64 ({type(error).__name__}: {error})")
        return tile
    exact = jnp.asarray(np.concatenate(parts, axis=1).astype(tile.dtype))
    if "index" not in rows:
        return exact
    return _with_diagonal(exact, rows, columns)


@jax.jit
def _with_diagonal(tile: Array, rows: PyTree, columns: PyTree) -> Array:
    same = rows["index"][:, None] == columns["index"][None, :]
    return jnp.where(same, rows["diagonal"].T[:, :, None], tile)


def warn_of_loss(reason: str, advice: str = "pass precision='float64'") -> None:
    """Says that a float32 kernel holds entries that are off by more than rounding."""
    warnings.warn(
        "points that nearly coincide cost a float32 kernel up to half of its digits between them, "
        f"and {reason}; {advice}.",
        stacklevel=4,
    )
