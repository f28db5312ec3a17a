"""Infinite-width kernels of an architecture, in tiles, with an accurate diagonal."""

from __future__ import annotations

import dataclasses
import functools
import warnings
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice
from .._numerics import as_float
from .._typing import Array, ArrayLike, Float, PyTree
from ._architectures import Architecture, as_architecture
from ._inputs import check_inputs
from ._plan import plan
from ._tiles import assemble

KINDS = ("nngp", "ntk")
_DEFAULT_TILE = {"cpu": 512}


def infinite_ntk(
    architecture: Any,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    kind: str | tuple[str, str] = "ntk",
    memory_budget: float | None = None,
    tile_size: int | None = None,
    progress: bool = False,
) -> Float[Array, "n1 n2"] | InfiniteKernels:
    """The infinite-width NTK or NNGP kernel between two sets of points.

    With ``x2=None`` only the tiles on and above the diagonal are computed, the result is exactly
    symmetric, and its diagonal is computed apart in float64: arc-cosine kernels lose half the
    digits there in float32, where the angle is the arc cosine of a number next to 1.

    Args:
        architecture: an `Architecture`, or a neural-tangents ``(init_fn, apply_fn, kernel_fn)``.
        x1: inputs (n1, ...), as the architecture expects them.
        x2: inputs (n2, ...), or None for the symmetric kernel of ``x1``.
        kind: ``"ntk"``, ``"nngp"``, or ``("nngp", "ntk")`` for both at the price of one.
        memory_budget: bytes that the result and the workspace of a tile may take together;
            default half of what is free.
        tile_size: rows of a tile; default as large as helps and the budget allows.
        progress: show a bar on a terminal.

    Returns:
        The kernel (n1, n2), in the dtype of the inputs, or `InfiniteKernels` of both. It is
        shared by all outputs.

    Raises:
        ValueError: inputs of different shapes or not finite, or a kernel that exceeds the budget
            (the message names the bytes).

    Source: Jacot, Gabriel, Hongler (arXiv:1806.07572); computed by neural-tangents.
    """
    kinds = _check_kind(kind)
    architecture = as_architecture(architecture)
    a, b = check_inputs(x1, x2)
    program = InfiniteProgram(architecture.kernel_fn, kinds)
    points1, points2 = _points(architecture, kinds, a, b)
    layout = plan(
        program,
        None,
        points1,
        points2,
        dtype=a.dtype,
        default_tile=_DEFAULT_TILE.get(jax.default_backend(), 2048),
        leading=(len(kinds),) if len(kinds) > 1 else (),
        tile_size=tile_size,
        memory_budget=memory_budget,
    )
    kernel = assemble(program, None, points1, points2, layout, progress=progress)
    return kernel if len(kinds) == 1 else InfiniteKernels(kernel[0], kernel[1])


class InfiniteKernels(NamedTuple):
    """Both infinite-width kernels, (n1, n2) each, from one pass over the points."""

    nngp: Array
    ntk: Array


@dataclasses.dataclass(frozen=True)
class InfiniteProgram:
    """Tiles of an infinite-width kernel.

    A block of points holds the inputs ``x``; where the diagonal was computed apart, also each
    point's ``index`` and ``diagonal`` (t, kinds), which replaces the entries of equal indices.
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
            kernel = jnp.stack(self.kernel_fn(rows["x"], columns["x"], self.kinds))
        if "diagonal" in rows:
            same = rows["index"][:, None] == columns["index"][None, :]
            kernel = jnp.where(same, rows["diagonal"].T[:, :, None], kernel)
        return kernel if len(self.kinds) > 1 else kernel[0]


def _check_kind(kind: str | tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(kind, tuple | list):
        check_choice("kind", kind, (*KINDS, KINDS))
        return (kind,)
    if sorted(kind) != sorted(KINDS):
        raise ValueError(f"kind is {kind!r}, expected 'ntk', 'nngp' or both: {KINDS}.")
    return KINDS


def _points(
    architecture: Architecture, kinds: tuple[str, ...], a: Array, b: Array | None
) -> tuple[PyTree, PyTree | None]:
    if b is not None:
        return {"x": a}, {"x": b}
    if not architecture.closed_form:
        return {"x": a}, None
    diagonals = [infinite_diagonal(architecture, a, kind=kind) for kind in kinds]
    diagonal = jnp.stack(diagonals, axis=1).astype(a.dtype)
    return {"x": a, "index": jnp.arange(len(a)), "diagonal": diagonal}, None


def infinite_diagonal(
    architecture: Any, x: Float[ArrayLike, "n ..."], *, kind: str = "ntk"
) -> Float[Array, " n"]:
    """The diagonal Θ(x_i, x_i) (n,) of the infinite-width kernel, exact to float64 on the way.

    Activations without a closed form are integrated in the precision of the inputs.
    """
    check_choice("kind", kind, ("ntk", "nngp"))
    architecture = as_architecture(architecture)
    kernel_fn = architecture.kernel_fn
    x = as_float(x)
    # A point at a time for images: their kernels hold all pairs of positions.
    batch = 256 if x.ndim == 2 else 1
    if not architecture.closed_form:
        return _diagonal(kernel_fn, kind, x, batch)
    try:
        with jax.enable_x64(True):
            value = _diagonal(kernel_fn, kind, jnp.asarray(np.asarray(x), jnp.float64), batch)
    except Exception as error:
        # Somebody else's kernel_fn may hold arrays of another precision.
        warnings.warn(
            f"the kernel of {architecture.name} cannot be computed in float64 "
            f"({type(error).__name__}); its diagonal is computed in {x.dtype}, where arc-cosine "
            "kernels are accurate to about 1e-4.",
            stacklevel=2,
        )
        return _diagonal(kernel_fn, kind, x, batch)
    return jnp.asarray(np.asarray(value), x.dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def _diagonal(kernel_fn: Any, kind: str, x: Array, batch: int) -> Array:
    return jax.lax.map(lambda p: kernel_fn(p[None], None, kind)[0, 0], x, batch_size=batch)
