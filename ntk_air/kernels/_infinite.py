"""Infinite-width kernels of an architecture, in tiles, with an accurate diagonal."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_finite
from .._memory import check_fits, resolve_budget
from .._numerics import as_float
from .._typing import Array, ArrayLike, Float
from ._architectures import as_architecture
from ._tiles import assemble

# About what XLA holds at once per entry while it composes a fully connected kernel.
_LIVE_BUFFERS = 8
_DEFAULT_TILE = {"cpu": 512}
_PROBE = 4


def infinite_ntk(
    architecture: Any,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    kind: str = "ntk",
    memory_budget: float | None = None,
    tile_size: int | None = None,
    progress: bool = False,
) -> Float[Array, "n1 n2"]:
    """The infinite-width NTK or NNGP kernel between two sets of points.

    With ``x2=None`` only the tiles on and above the diagonal are computed, the result is exactly
    symmetric, and its diagonal is computed apart in float64: arc-cosine kernels lose half the
    digits there in float32, where the angle is the arc cosine of a number next to 1.

    Args:
        architecture: an `Architecture`, or a neural-tangents ``(init_fn, apply_fn, kernel_fn)``.
        x1: inputs (n1, ...), as the architecture expects them.
        x2: inputs (n2, ...), or None for the symmetric kernel of ``x1``.
        kind: ``"ntk"`` or ``"nngp"``.
        memory_budget: bytes that the result and the workspace of a tile may take together;
            default half of what is free.
        tile_size: rows of a tile; default as large as helps and the budget allows.
        progress: show a bar on a terminal.

    Returns:
        The kernel (n1, n2), in the dtype of the inputs. It is shared by all outputs.

    Raises:
        ValueError: inputs of different shapes or not finite, or a kernel that exceeds the budget
            (the message names the bytes).

    Source: Jacot, Gabriel, Hongler (arXiv:1806.07572); computed by neural-tangents.
    """
    check_choice("kind", kind, ("ntk", "nngp"))
    architecture = as_architecture(architecture)
    a, b = check_inputs(x1, x2)
    tile_size = _tile_size(architecture.kernel_fn, kind, a, b, memory_budget, tile_size)
    shape = (len(a), len(a if b is None else b))

    def tile(rows: slice, columns: slice) -> Array:
        other = (a if b is None else b)[columns]
        return _tile(architecture.kernel_fn, kind, a[rows], other)

    kernel = assemble(
        tile,
        shape,
        tile_size=tile_size,
        symmetric=b is None,
        dtype=a.dtype,
        progress=progress,
    )
    if b is None and architecture.closed_form:
        diagonal = infinite_diagonal(architecture, a, kind=kind)
        kernel = _set_diagonal(kernel, diagonal.astype(kernel.dtype))
    return kernel


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


@functools.partial(jax.jit, static_argnums=(0, 1))
def _tile(kernel_fn: Any, kind: str, x1: Array, x2: Array) -> Array:
    with jax.default_matmul_precision("float32"):
        return kernel_fn(x1, x2, kind)


@functools.partial(jax.jit, static_argnums=(0, 1, 3))
def _diagonal(kernel_fn: Any, kind: str, x: Array, batch: int) -> Array:
    return jax.lax.map(lambda p: kernel_fn(p[None], None, kind)[0, 0], x, batch_size=batch)


@functools.partial(jax.jit, donate_argnums=0)
def _set_diagonal(kernel: Array, diagonal: Array) -> Array:
    index = jnp.arange(kernel.shape[0])
    return kernel.at[index, index].set(diagonal)


def check_inputs(x1: ArrayLike, x2: ArrayLike | None) -> tuple[Array, Array | None]:
    named = {"x1": x1} if x2 is None else {"x1": x1, "x2": x2}
    arrays = []
    for name, value in named.items():
        if np.iscomplexobj(value):
            raise ValueError(f"{name} is complex, expected real inputs: split them into channels.")
        if np.ndim(value) < 2 or np.shape(value)[0] == 0:
            raise ValueError(
                f"{name} has shape {np.shape(value)}, expected at least one point and its features "
                "(n, ...)."
            )
        array = as_float(value)
        check_finite(name, array)
        arrays.append(array)
    if len(arrays) == 1:
        return arrays[0], None
    a, b = arrays
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"x1 has points of shape {a.shape[1:]}, x2 of shape {b.shape[1:]}; expected the same."
        )
    dtype = jnp.promote_types(a.dtype, b.dtype)
    return a.astype(dtype), b.astype(dtype)


def _tile_size(
    kernel_fn: Any,
    kind: str,
    a: Array,
    b: Array | None,
    memory_budget: float | None,
    tile_size: int | None,
) -> int:
    """The largest tile that helps and fits beside the result."""
    n1, n2 = len(a), len(a if b is None else b)
    budget = resolve_budget(memory_budget)
    itemsize = a.dtype.itemsize
    per_entry = _workspace_per_entry(kernel_fn, kind, a)
    check_fits((n1, n2), itemsize, per_entry, budget)
    room = budget - itemsize * n1 * n2
    largest = max(1, int((room / per_entry) ** 0.5))
    if tile_size is not None:
        if tile_size < 1:
            raise ValueError(f"tile_size is {tile_size}, expected at least 1.")
        if tile_size > largest:
            warnings.warn(
                f"tile_size {tile_size} exceeds the memory budget; using {largest}.", stacklevel=3
            )
        return min(tile_size, largest)
    return min(largest, _DEFAULT_TILE.get(jax.default_backend(), 2048))


def _workspace_per_entry(kernel_fn: Any, kind: str, a: Array) -> int:
    """Bytes of workspace per kernel entry: asked of XLA where positions make it large."""
    if a.ndim == 2:
        return _LIVE_BUFFERS * a.dtype.itemsize
    x = jax.ShapeDtypeStruct((min(_PROBE, len(a)), *a.shape[1:]), a.dtype)
    analysis = _tile.lower(kernel_fn, kind, x, x).compile().memory_analysis()
    used = getattr(analysis, "temp_size_in_bytes", 0) if analysis is not None else 0
    return max(_LIVE_BUFFERS * a.dtype.itemsize, -(-used // x.shape[0] ** 2))
