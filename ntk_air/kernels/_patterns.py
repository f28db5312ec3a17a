"""Graphs of points: adjacencies that go with inputs, to kernels of infinite width and networks."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_finite, check_in_range, is_traced, real_array
from .._numerics import as_float
from .._typing import ApplyFn, Array, PyTree

# Integers up to it are floats of single precision.
_EXACT = 2**24


def check_patterns(pattern: Any, x1: Array, x2: Array | None) -> tuple[Array, Array | None] | None:
    """Patterns of both sides, None where none is given; that of x2 is None where it is.

    Raises:
        ValueError: not one pattern for each set of points, or of another number of points.
    """
    if pattern is None:
        return None
    paired = isinstance(pattern, tuple | list) and len(pattern) == 2
    if x2 is not None and not paired:
        raise ValueError(
            "pattern is one array, expected a pair, (pattern1, pattern2): the graphs of the points "
            "of x1 and those of x2."
        )
    first, second = pattern if paired else (pattern, None)
    if x2 is None and second is not None and not _same(first, second):
        raise ValueError(
            "pattern is a pair of different arrays and x2 is None, expected the graphs of the "
            "points of x1 alone; pass x2 too, or one array."
        )
    found = _checked("pattern of x1" if paired else "pattern", first, x1)
    return found, None if x2 is None else _checked("pattern of x2", second, x2)


def _same(first: Any, second: Any) -> bool:
    return first is second or (
        not is_traced(first, second) and np.array_equal(np.asarray(first), np.asarray(second))
    )


def _checked(name: str, pattern: Any, x: Array) -> Array:
    if not isinstance(pattern, jax.Array):
        pattern = real_array(name, pattern)
    check_finite(name, pattern)
    if np.ndim(pattern) < 2 or len(pattern) != len(x):
        raise ValueError(
            f"{name} has shape {np.shape(pattern)} for {len(x)} points, expected one graph for "
            "each, (n, N, N) for N nodes."
        )
    if jnp.issubdtype(pattern.dtype, jnp.inexact) or pattern.dtype == np.bool_:
        return as_float(pattern, name)
    return jnp.asarray(pattern)


def kernel_of(
    kernel_fn: Any, kinds: tuple[str, ...], rows: PyTree, columns: PyTree | None = None
) -> Array:
    """The kernels (kinds, t1, t2) of blocks of points, each its ``x`` and maybe ``pattern``."""
    if "pattern" not in rows:
        return jnp.stack(kernel_fn(rows["x"], None if columns is None else columns["x"], kinds))
    other = rows if columns is None else columns
    pair = rows["pattern"], other["pattern"]
    second = None if columns is None else columns["x"]
    return jnp.stack(kernel_fn(rows["x"], second, kinds, pattern=pair))


def given(points: PyTree) -> PyTree:
    """The part of a block of points that a kernel function is given."""
    return {name: points[name] for name in ("x", "pattern") if name in points}


def point_struct(points: PyTree) -> tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]:
    """Structure and shapes of a single point, to be found by."""
    leaves, structure = jax.tree.flatten(given(points))
    return structure, tuple(jax.ShapeDtypeStruct((1, *x.shape[1:]), x.dtype) for x in leaves)


def check_graphs(name: str, kernel_fn: Any, kinds: tuple[str, ...], points: PyTree) -> None:
    """Raises ValueError if a kernel needs a pattern that is not there, or has no use for one."""
    told = _use_of_pattern(kernel_fn, kinds, *point_struct(points))
    if told == "missing":
        raise ValueError(
            f"the architecture {name!r} aggregates over graphs (neural_tangents.stax.Aggregate) "
            "and needs pattern=, the graphs of the points: an array (n, N, N), or a pair of them "
            "for x1 and x2."
        )
    if told == "unused":
        raise ValueError(
            f"pattern= is given and the architecture {name!r} makes no use of it: it has no layer "
            "that aggregates over graphs (neural_tangents.stax.Aggregate); leave pattern out."
        )


@functools.lru_cache(maxsize=256)
def _use_of_pattern(
    kernel_fn: Any, kinds: tuple[str, ...], structure: Any, shapes: tuple[Any, ...]
) -> str:
    point = jax.tree.unflatten(structure, shapes)
    if "pattern" in point:
        jaxpr = jax.make_jaxpr(lambda p: kernel_of(kernel_fn, kinds, p))(point).jaxpr
        names = [
            jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(point)
        ]
        variable = jaxpr.invars[names.index("['pattern']")]
        used = any(variable is operand for step in jaxpr.eqns for operand in step.invars)
        return "used" if used else "unused"
    try:
        jax.eval_shape(lambda x: kernel_fn(x, None, kinds), point["x"])
    except TypeError:
        try:  # of graphs without edges
            jax.eval_shape(lambda x: kernel_fn(x, None, kinds, pattern=(None, None)), point["x"])
        except Exception:
            return "none"
        return "missing"
    except Exception:  # has its own message where the kernel is computed
        return "none"
    return "none"


@dataclasses.dataclass(frozen=True)
class OnGraphs:
    """A network of inputs with patterns, as one of vectors that hold both; see `packed`."""

    apply_fn: ApplyFn
    shapes: tuple[jax.ShapeDtypeStruct, jax.ShapeDtypeStruct]

    def __call__(self, params: PyTree, points: Array) -> Array:
        """The network at points (n, d)."""
        x, pattern = self.shapes
        size = math.prod(x.shape)
        inputs = points[:, :size].reshape(-1, *x.shape).astype(x.dtype)
        graphs = points[:, size:].reshape(-1, *pattern.shape).astype(pattern.dtype)
        return self.apply_fn(params, inputs, pattern=graphs)  # pyright: ignore[reportCallIssue]


def _struct(array: Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape[1:], array.dtype)


def packed(
    apply_fn: ApplyFn, x1: Array, x2: Array | None, patterns: tuple[Array, Array | None] | None
) -> tuple[ApplyFn, Array, Array | None]:
    """A network, and inputs that hold the patterns too: every program takes one array of points.

    Integers go there and back as they are, those of more than 24 bits are refused.
    """
    if patterns is None:
        return apply_fn, x1, x2
    one, other = patterns
    shapes = (_struct(x1), _struct(one))
    if other is not None and (other.shape[1:], other.dtype) != (one.shape[1:], one.dtype):
        raise ValueError(
            f"patterns have shapes {one.shape} and {other.shape} and dtypes {one.dtype} and "
            f"{other.dtype}, expected graphs of as many nodes on both sides."
        )
    dtype = jnp.result_type(x1.dtype, one.dtype, jnp.float32)

    def joined(x: Array, pattern: Array) -> Array:
        for name, part in (("x", x), ("pattern", pattern)):
            if jnp.issubdtype(part.dtype, jnp.integer) and not is_traced(part):
                check_in_range(f"the largest integer of {name}", int(part.max()), -_EXACT, _EXACT)
                check_in_range(f"the least integer of {name}", int(part.min()), -_EXACT, _EXACT)
        parts = [part.reshape(len(x), -1).astype(dtype) for part in (x, pattern)]
        return jnp.concatenate(parts, axis=1)

    second = None if x2 is None or other is None else joined(x2, other)
    return OnGraphs(apply_fn, shapes), joined(x1, one), second
