"""The diagonal of an infinite-width kernel, exact to float64 on the way."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, is_traced
from .._numerics import in_precision
from .._typing import Array, ArrayLike, Float, PyTree
from ._close import widened
from ._inputs import check_inputs
from ._patterns import check_graphs, check_patterns, kernel_of, point_struct
from .architectures._architectures import Architecture, as_architecture

KINDS = ("nngp", "ntk")


@in_precision
def infinite_diagonal(
    architecture: Any,
    x: Float[ArrayLike, "n ..."],
    *,
    kind: str = "ntk",
    pattern: Any = None,
    precision: str | None = None,
) -> Float[Array, " n"]:
    """The diagonal Θ(x_i, x_i) (n,) of the infinite-width kernel, exact to float64 on the way.

    Activations without a closed form are integrated in the precision of the inputs. The result is
    in that precision too, and at least in float32; ``precision="float64"`` makes it float64.

    Raises:
        ValueError: an unknown kind or precision, inputs that are not finite or integers, graphs
            (``pattern``, as in `infinite_ntk`) that are missing or of no use, or a call inside
            jit, grad or vmap.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> network = na.kernels.fully_connected(depth=1, weight_std=2**0.5, bias_std=0.0)
        >>> print(na.kernels.infinite_diagonal(network, np.diag([1.0, 2.0])).round(4))
        [2. 8.]
    """
    check_choice("kind", kind, KINDS)
    if is_traced(x, pattern):
        raise ValueError(
            "x or pattern is traced by jit, grad or vmap, and the diagonal is computed in float64, "
            "which cannot be switched on inside a trace; call infinite_diagonal outside, or take "
            "the diagonal of infinite_ntk."
        )
    architecture = as_architecture(architecture)
    points: PyTree = {"x": check_inputs(x, None)[0]}
    patterns = check_patterns(pattern, points["x"], None)
    if patterns is not None:
        points["pattern"] = patterns[0]
    check_graphs(architecture.name, architecture.kernel_fn, (kind,), points)
    return diagonals(architecture, (kind,), points)[:, 0]


def diagonals(architecture: Architecture, kinds: tuple[str, ...], points: PyTree) -> Array:
    """(n, kinds), in the dtype of the inputs, from one pass over the points."""
    kernel_fn, x = architecture.kernel_fn, points["x"]
    batch = max(1, min(256, 2**16 // entries_per_pair(kernel_fn, kinds, points)))
    if not architecture.closed_form:
        return _diagonals_in(x.dtype, kernel_fn, kinds, batch, points)
    try:
        with jax.enable_x64(True):
            value = _diagonals_in(jnp.dtype("float64"), kernel_fn, kinds, batch, points)
    except Exception as error:
        # Somebody else's kernel_fn may hold arrays of another precision.
        warnings.warn(
            f"the kernel of {architecture.name} cannot be computed in float64 "
            f"({type(error).__name__}); its diagonal is computed in {x.dtype}, where arc-cosine "
            "kernels are accurate to about 1e-4.",
            stacklevel=4,
        )
        return _diagonals_in(x.dtype, kernel_fn, kinds, batch, points)
    return jnp.asarray(np.asarray(value), x.dtype)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _diagonals_in(
    dtype: jnp.dtype, kernel_fn: Any, kinds: tuple[str, ...], batch: int, points: PyTree
) -> Array:
    def of_point(point: PyTree) -> Array:
        # Widened here, so that a batch is held in float64 and not the data set.
        alone = jax.tree.map(lambda leaf: leaf[None], widened(point, dtype))
        return kernel_of(kernel_fn, kinds, alone)[:, 0, 0]

    return jax.lax.map(of_point, points, batch_size=batch)


def entries_per_pair(kernel_fn: Any, kinds: tuple[str, ...], points: PyTree) -> int:
    """Entries of the largest array in the kernel of two points: images hold pairs of positions."""
    return _entries_per_pair(kernel_fn, kinds, *point_struct(points))


@functools.lru_cache(maxsize=256)
def _entries_per_pair(
    kernel_fn: Any,
    kinds: tuple[str, ...],
    structure: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
) -> int:
    point = jax.tree.unflatten(structure, shapes)
    return _largest(
        jax.make_jaxpr(lambda a, b: kernel_of(kernel_fn, kinds, a, b))(point, point).jaxpr
    )


def _largest(jaxpr: Any) -> int:
    inner = [getattr(value, "jaxpr", value) for eqn in jaxpr.eqns for value in eqn.params.values()]
    sizes = [_largest(value) for value in inner if hasattr(value, "eqns")]
    return max([1, *sizes, *(var.aval.size for eqn in jaxpr.eqns for var in eqn.outvars)])
