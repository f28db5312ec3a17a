"""What an infinite-width kernel is, tile by tile."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .._numerics import automatic, automatic_axes
from .._typing import Array, PyTree
from ._close import is_off, repaired, warn_of_loss
from ._patterns import kernel_of
from ._row_products import for_products


@dataclasses.dataclass(frozen=True)
class InfiniteProgram:
    """Tiles of an infinite-width kernel.

    A block of points holds the inputs ``x`` and, if there are any, the graphs ``pattern``; of
    kernels in closed form also each point's ``diagonal`` (t, kinds), computed apart, and if the
    kernel is symmetric its ``index``: the diagonal replaces the entries of equal indices.
    """

    kernel_fn: Any
    kinds: tuple[str, ...]
    cheap_features: ClassVar[bool] = True

    def features(self, operands: None, points: PyTree) -> PyTree:
        """A point itself."""
        return points

    def tile(self, operands: None, rows: PyTree, columns: PyTree) -> Array:
        """(t1, t2), or (kinds, t1, t2) for more than one."""
        with jax.default_matmul_precision("float32"):
            others = {**columns, "x": for_products(columns["x"], len(rows["x"]))}
            kernel = kernel_of(self.kernel_fn, self.kinds, rows, others)
        if "index" in rows:
            same = rows["index"][:, None] == columns["index"][None, :]
            kernel = jnp.where(same, rows["diagonal"].T[:, :, None], kernel)
        return kernel if len(self.kinds) > 1 else kernel[0]

    def repaired(self, tile: Array, rows: PyTree, columns: PyTree) -> Array:
        """The tile with what float32 spoils between points that nearly coincide made good."""
        if "diagonal" not in rows or tile.dtype != jnp.float32:
            return tile
        stacked = tile if len(self.kinds) > 1 else tile[None]
        stacked = repaired(self.kernel_fn, self.kinds, stacked, rows, columns)
        return stacked if len(self.kinds) > 1 else stacked[0]

    def warn_if_spoilt(self, kernel: Array, points1: PyTree, points2: PyTree | None) -> None:
        """Warns where a kernel already made, padded below or not, holds what float32 spoils."""
        if "diagonal" not in points1 or kernel.dtype != jnp.float32:
            return
        with automatic_axes():
            kernel, points1, points2 = jax.tree.map(automatic, (kernel, points1, points2))
            stacked = kernel if len(self.kinds) > 1 else kernel[None]
            columns = points1 if points2 is None else points2
            off = is_off(self.kernel_fn, self.kinds, stacked, points1, columns)
        if off:
            warn_of_loss("on a mesh they are not computed again")
