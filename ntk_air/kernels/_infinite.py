"""Infinite-width kernels of an architecture, in tiles, with an accurate diagonal."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from .._checks import check_choice, is_traced
from .._numerics import in_precision
from .._typing import Array, ArrayLike, Float, PyTree
from ._close import warn_of_loss
from ._infinite_diagonal import KINDS, diagonals, entries_per_pair
from ._infinite_program import InfiniteProgram
from ._inputs import check_inputs, check_rank
from ._patterns import check_graphs, check_patterns
from .architectures._architectures import Architecture, as_architecture
from .tiling._destination import Kernel, compute
from .tiling._request import RequestOptions, Task
from .tiling._tile_size import plan

# Points of a tile, and entries of its largest array: a CPU wants few in its cache, but every tile
# is probed in float64 as well, which costs a small one more than itself.
_DEFAULT_TILE, _TILE_ENTRIES = {"cpu": 512}, {"cpu": 2**20}


class InfiniteKernels(NamedTuple):
    """Both infinite-width kernels, (n1, n2) each, from one pass over the points."""

    nngp: Kernel
    ntk: Kernel


@overload
def infinite_ntk(
    architecture: Any,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    kind: str = "ntk",
    pattern: Any = None,
    memory_budget: float | None = None,
    tile_size: int | None = None,
    progress: bool = False,
    precision: str | None = None,
) -> Float[Array, "n1 n2"]: ...


@overload
def infinite_ntk(
    architecture: Any,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    kind: tuple[str, str],
    pattern: Any = None,
    memory_budget: float | None = None,
    tile_size: int | None = None,
    mesh: Mesh | None = None,
    mesh_axes: str | Sequence[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool = False,
    precision: str | None = None,
) -> InfiniteKernels: ...


@overload
def infinite_ntk(
    architecture: Any,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    kind: str = "ntk",
    pattern: Any = None,
    memory_budget: float | None = None,
    tile_size: int | None = None,
    mesh: Mesh | None = None,
    mesh_axes: str | Sequence[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool = False,
    precision: str | None = None,
) -> Kernel: ...


@in_precision
def infinite_ntk(
    architecture: Any,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    kind: str | tuple[str, str] = "ntk",
    pattern: Any = None,
    memory_budget: float | None = None,
    tile_size: int | None = None,
    mesh: Mesh | None = None,
    mesh_axes: str | Sequence[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool = False,
    precision: str | None = None,
) -> Kernel | InfiniteKernels:
    """The infinite-width NTK or NNGP kernel between two sets of points.

    With ``x2=None`` only the tiles on and above the diagonal are computed, the result is exactly
    symmetric, and its diagonal is computed apart in float64: arc-cosine kernels lose half the
    digits there in float32, where the angle is the arc cosine of a number next to 1. Tiles of
    different points that nearly coincide, and others that a probe in float64 shows to be off by
    more than 2e-6, are computed in float64 and rounded, at two to three times their cost; with
    ``mesh`` they are not, and a warning says so; nor under ``jax.jit``, ``grad`` or ``vmap``, where
    also the diagonal is as accurate as the other entries, and values are not checked.

    Args:
        architecture: an `Architecture`, or a neural-tangents ``(init_fn, apply_fn, kernel_fn)``.
        x1: inputs (n1, ...) of floating point, as the architecture expects them.
        x2: inputs (n2, ...), or None for the symmetric kernel of ``x1``.
        kind: ``"ntk"``, ``"nngp"``, or ``("nngp", "ntk")`` for both at the price of one.
        pattern: graphs of the points, for architectures with `neural_tangents.stax.Aggregate`:
            (n1, N, N) for N nodes, which is tiled as the points are; with ``x2`` a pair of them.
        memory_budget: bytes that the result and the workspace of a tile may take together;
            default half of what is free.
        tile_size: rows of a tile; default as large as helps and the budget allows.
        mesh: devices to spread the rows of the kernel over; each keeps its own, nothing is
            gathered (`gather` does). Rows that do not divide evenly come as a `ShardedKernel`.
        mesh_axes: names of the axes of the mesh to use; default all.
        store: folder to write the tiles to, for kernels larger than the memory; a call that was
            interrupted resumes there. Several processes (``jax.distributed.initialize``) share
            the work.
        progress: show a bar on a terminal.
        precision: ``"float64"`` computes in float64 whatever JAX's default is, and returns it;
            ``"float32"`` likewise.

    Returns:
        The kernel (n1, n2), or `InfiniteKernels` of both, in the dtype of the inputs, half
        precision widened to float32 first; with ``store`` a `StoredKernel`. It is shared by all
        outputs.

    Raises:
        ValueError: inputs of different shapes, of integers or not finite, graphs that the
            architecture needs and are not there, or has no use for, a kernel that exceeds the
            budget (the message names the bytes), a mesh without the axes named, or a store of
            another kernel.
        OSError: a full disk.

    Source: Jacot, Gabriel, Hongler (arXiv:1806.07572); computed by neural-tangents.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> network = na.kernels.fully_connected(depth=1, weight_std=2**0.5, bias_std=0.0)
        >>> print(na.kernels.infinite_ntk(network, np.eye(2)).round(4))  # 2 and 1 / pi
        [[2. 0.3183]
         [0.3183 2. ]]
    """
    kinds = _check_kind(kind)
    architecture = as_architecture(architecture)
    a, b = check_inputs(x1, x2)
    check_rank(architecture.name, architecture.input_axes, a)
    options = RequestOptions.checked(memory_budget, tile_size, mesh, mesh_axes, store, progress)
    points1, points2 = _points(architecture, kinds, a, b, check_patterns(pattern, a, b))
    task = Task(
        operands=None,
        points1=points1,
        points2=points2,
        dtype=a.dtype,
        leading=(len(kinds),) if len(kinds) > 1 else (),
        block=1,
        description={
            "kernel": "infinite_ntk",
            "kind": " and ".join(kinds),
            "close_points": "float64",
        },
        copies=len(kinds),
    )
    program = InfiniteProgram(architecture.kernel_fn, kinds)
    default_tile = _default_tile(architecture.kernel_fn, kinds, points1)
    kernel = compute(program, task, plan(program, task, default_tile, options), options)
    return kernel if len(kinds) == 1 else _split(kernel)


def _split(kernel: Kernel) -> InfiniteKernels:
    if isinstance(kernel, jax.Array):
        return InfiniteKernels(kernel[0], kernel[1])
    return InfiniteKernels(kernel.select(0), kernel.select(1))


def _check_kind(kind: str | tuple[str, ...]) -> tuple[str, ...]:
    if not isinstance(kind, tuple | list):
        check_choice("kind", kind, (*KINDS, KINDS))
        return (kind,)
    if sorted(kind) != sorted(KINDS):
        raise ValueError(f"kind is {kind!r}, expected 'ntk', 'nngp' or both: {KINDS}.")
    return KINDS


def _points(
    architecture: Architecture,
    kinds: tuple[str, ...],
    a: Array,
    b: Array | None,
    patterns: tuple[Array, Array | None] | None,
) -> tuple[PyTree, PyTree | None]:
    points: list[PyTree] = [{"x": side} for side in (a, b) if side is not None]
    for one, pattern in zip(points, patterns or (), strict=False):
        one["pattern"] = pattern
    check_graphs(architecture.name, architecture.kernel_fn, kinds, points[0])
    if is_traced(points):
        if architecture.closed_form and a.dtype == jnp.float32:
            warn_of_loss(
                "inside jit, grad or vmap they, and the diagonal, are not computed again",
                "take x in float64, under 'with jax.enable_x64(True)' around the outermost call",
            )
        return points[0], points[1] if b is not None else None
    if architecture.closed_form and (b is None or a.dtype == jnp.float32):
        for one in points:
            one["diagonal"] = diagonals(architecture, kinds, one)
    if b is not None:
        return points[0], points[1]
    if architecture.closed_form:
        points[0]["index"] = jnp.arange(len(a))
    return points[0], None


def _default_tile(kernel_fn: Any, kinds: tuple[str, ...], points: PyTree) -> int:
    backend = jax.default_backend()
    most = _DEFAULT_TILE.get(backend, 2048)
    if points["x"].ndim == 2:
        return most
    entries = entries_per_pair(kernel_fn, kinds, points)
    return max(1, min(most, math.isqrt(_TILE_ENTRIES.get(backend, 2**26) // entries)))
