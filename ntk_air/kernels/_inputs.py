"""Checks of what kernels are computed on."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import check_finite, check_real, is_traced, real_array, seen_finite
from .._modules import refusing_collections
from .._numerics import as_float, at_least_float32, check_range
from .._typing import ApplyFn, Array, ArrayLike, PyTree
from .tiling._request import struct_of


def check_inputs(
    x1: ArrayLike, x2: ArrayLike | None, *, whole: bool = False
) -> tuple[Array, Array | None]:
    """Inputs (n, ...) as arrays of one dtype: of floats, and if ``whole`` also of integers.

    Traced ones pass unseen.

    Raises:
        ValueError: complex or non-finite inputs, integers, or such that JAX does not hold, no
            points, or points of different shapes.
    """
    named = {"x1": x1} if x2 is None else {"x1": x1, "x2": x2}
    arrays = [_checked(name, value, whole) for name, value in named.items()]
    if len(arrays) == 1:
        return arrays[0], None
    a, b = arrays
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"x1 has points of shape {a.shape[1:]}, x2 of shape {b.shape[1:]}; expected the same."
        )
    if _is_inexact(a) != _is_inexact(b):
        raise ValueError(
            f"x1 has dtype {a.dtype} and x2 {b.dtype}, expected integers on both sides or floats."
        )
    dtype = jnp.promote_types(a.dtype, b.dtype)
    return a.astype(dtype), b.astype(dtype)


def _checked(name: str, value: ArrayLike, whole: bool) -> Array:
    if not isinstance(value, jax.Array | Tracer):
        value = real_array(name, value)
    if np.ndim(value) < 2 or np.size(value) == 0:
        raise ValueError(
            f"{name} has shape {np.shape(value)}, expected at least one point and its features "
            "(n, ...)."
        )
    if isinstance(value, Tracer):
        check_real(name, value)
    else:
        if isinstance(value, jax.Array) and len(value.devices()) > 1:
            # Tiles are cut on one device, or placed over a mesh from there.
            value = np.asarray(value)
        check_finite(name, value)
    if _is_inexact(value):
        return as_float(value, name)
    if not whole:
        raise ValueError(
            f"{name} has integer dtype {value.dtype}, and a kernel of infinite width takes numbers "
            f"that can be scaled and added; pass {name}.astype(float) if they are numbers, and the "
            "outputs of an embedding if they are tokens."
        )
    return _as_integers(name, value)


def _as_integers(name: str, value: Any) -> Array:
    """The integers or booleans as JAX holds them, their values unchanged."""
    kind = jnp.dtype(jax.dtypes.canonicalize_dtype(value.dtype))
    if isinstance(value, np.ndarray) and value.dtype.itemsize > kind.itemsize:
        least, most = int(value.min()), int(value.max())
        if least < jnp.iinfo(kind).min or most > jnp.iinfo(kind).max:
            raise ValueError(
                f"{name} holds integers from {least} to {most}, which {kind} does not hold; use "
                "smaller ones, or precision='float64', which has 64-bit integers too."
            )
    return jnp.asarray(value, kind)


def checked_params(params: PyTree) -> PyTree:
    """The parameters, half precision widened to float32; traced ones pass unseen.

    Raises:
        ValueError: naming the parameter that is not finite, or whose size is beyond the dtype that
            JAX computes in; or if there are none.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if isinstance(leaf, np.ndarray):
            name = f"params{jax.tree_util.keystr(path)}"
            array, kind = real_array(name, leaf), jnp.dtype(jnp.result_type(leaf))
            if array.dtype.itemsize > kind.itemsize:
                check_range(name, array, kind)
    params = at_least_float32(params)
    leaves = [p for p in jax.tree.leaves(params) if _is_inexact(p)]
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if jnp.issubdtype(jnp.result_type(leaf), jnp.complexfloating):
            raise ValueError(
                f"params{jax.tree_util.keystr(path)} is complex, expected real parameters: keep "
                "real and imaginary parts apart."
            )
    if not leaves:
        raise ValueError(
            "params holds no floating-point parameters, expected at least one: their gradients "
            "make the kernel."
        )
    if is_traced(leaves) or all(map(seen_finite, leaves)) or bool(_all_finite(leaves)):
        return params
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if _is_inexact(leaf):
            check_finite(f"params{jax.tree_util.keystr(path)}", leaf)
    return params


def kernel_dtype(params: PyTree, x: Array) -> Any:
    """The dtype of a kernel: that of the inputs, or of the parameters where these are integers."""
    if _is_inexact(x):
        return x.dtype
    kinds = map(jnp.result_type, jax.tree.leaves(params))
    return jnp.result_type(*[kind for kind in kinds if jnp.issubdtype(kind, jnp.floating)])


def _is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


@jax.jit
def _all_finite(leaves: list[Array]) -> Array:
    """One transfer for all parameters: asking each leaf apart would wait for each."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def check_rank(name: str, input_axes: tuple[str, ...] | None, x: Array) -> None:
    """Raises ValueError if inputs have not the axes that an architecture takes."""
    if input_axes is None or x.ndim == len(input_axes):
        return
    hint = "; .flattened() of a dataset, or x.reshape(len(x), -1)" if len(input_axes) == 2 else ""
    raise ValueError(
        f"{name} takes inputs ({', '.join(input_axes)}), these have shape {x.shape}{hint}."
    )


def check_network(apply_fn: ApplyFn, params: PyTree, x: Array) -> int:
    """Returns C; ValueError on outputs that are not real, finite (n, C), or that mix the batch.

    Asked of each network once: a kernel of few points would take longer to check than to compute.
    Of traced parameters or inputs there are shapes only: whether the batch is mixed is not seen.
    """
    if getattr(type(apply_fn), "__hash__", None) is None:
        raise ValueError(
            f"apply_fn is a {type(apply_fn).__name__}, which cannot be hashed, so it cannot be "
            "compiled; wrap it: lambda params, x: apply_fn(params, x)."
        )
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(map(struct_of, leaves))
    network = (apply_fn, structure, shapes, x.shape[1:], x.dtype)
    if network not in _CHECKED:
        num_outputs = _num_outputs(apply_fn, params, x)
        if is_traced(params, x) or _mixing(apply_fn, params, x) is None:
            return num_outputs
        if len(_CHECKED) >= _MOST_CHECKED:
            _CHECKED.pop(next(iter(_CHECKED)))
        _CHECKED[network] = num_outputs
    return _CHECKED[network]


_MOST_CHECKED = 256
_ADVICE = (
    "and a kernel would be of them too; split the network by apply_fn, params = "
    "ntk_air.kernels.functional(module, variables), which keeps all but the parameters fixed."
)
_CHECKED: dict[Any, int] = {}


def _num_outputs(apply_fn: ApplyFn, params: PyTree, x: Array) -> int:
    point = jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)
    try:
        shape = jax.eval_shape(refusing_collections(apply_fn, _ADVICE), params, point)
    except TypeError as error:
        if "pattern" in str(error):
            raise ValueError(
                f"apply_fn does not go with pattern=: {str(error).splitlines()[0]}; expected "
                "apply_fn(params, inputs, pattern=graphs) where pattern= is given, and "
                "apply_fn(params, inputs) where it is not."
            ) from error
        if _is_inexact(x):
            raise
        raise ValueError(
            f"apply_fn does not take inputs of dtype {x.dtype}: {str(error).splitlines()[0]} "
            "Integers are kept as they are, for tokens; of a network of numbers pass "
            "x.astype(float)."
        ) from error
    rank_2 = len(getattr(shape, "shape", ())) == 2
    if not rank_2 or shape.shape[0] != 2 or shape.shape[1] == 0:
        came = getattr(shape, "shape", type(shape).__name__)
        raise ValueError(
            f"apply_fn returns {came} for 2 inputs, expected outputs (2, C); flatten them, or add "
            "an axis for a single output."
        )
    if not jnp.issubdtype(shape.dtype, jnp.floating):
        raise ValueError(
            f"apply_fn returns outputs of dtype {shape.dtype}, expected real floating-point ones."
        )
    return shape.shape[1]


def _mixing(apply_fn: ApplyFn, params: PyTree, x: Array) -> bool | None:
    """False if points keep their outputs whatever the batch, ValueError else; None if untold."""
    alone, outputs, derivatives = _in_three_batches(apply_fn, params, x[:2])
    if is_traced(alone):  # by what apply_fn closes over
        return None
    check_finite("the output of apply_fn at x1[0]", alone)
    # Derivatives by parameters come in the precision of the parameters, which may be less.
    kinds = {alone.dtype, *map(jnp.result_type, jax.tree.leaves(params))}
    floating = [kind for kind in kinds if jnp.issubdtype(kind, jnp.floating)]
    tolerance = 1e3 * max(float(jnp.finfo(kind).eps) for kind in floating)
    # A derivative that is NaN has its own message, which names the points.
    if not float(outputs) <= tolerance or float(derivatives) > tolerance:
        raise ValueError(
            "apply_fn gives a point other outputs when the batch changes, so it has no NTK "
            "per point; put BatchNorm in evaluation mode and switch dropout off."
        )
    return False


@functools.partial(jax.jit, static_argnums=0)
def _in_three_batches(apply_fn: ApplyFn, params: PyTree, x: Array) -> tuple[Array, Array, Array]:
    """Outputs (C,) of the first point, and how much they and their derivatives change with others.

    Before another point and after it, relative to the terms of the outputs: parameters times the
    derivatives by them. The outputs of a network minus its initial outputs cancel, those do not.
    """
    point, other = x[:1], x[-1:]
    # A point that is the same, or the only one, would hide what the batch does.
    other = jnp.where(jnp.all(other == point), _another(other), other)

    def terms(batch: Array, row: int) -> tuple[Array, PyTree]:
        outputs, pull_back = jax.vjp(lambda params: apply_fn(params, batch)[row], params)
        (gradient,) = pull_back(jnp.ones_like(outputs))
        pairs = zip(jax.tree.leaves(params), jax.tree.leaves(gradient), strict=True)
        # Integers, such as indices, have derivatives without a value.
        return outputs, [p * g for p, g in pairs if jnp.issubdtype(g.dtype, jnp.floating)]

    def size(tree: PyTree) -> Array:
        sizes = jax.tree.map(lambda leaf: jnp.sum(jnp.abs(leaf)).astype(alone.dtype), tree)
        return sum(jax.tree.leaves(sizes), jnp.zeros((), alone.dtype))

    alone, own = terms(point, 0)
    scale = jnp.maximum(jnp.max(jnp.abs(alone)), jnp.nan_to_num(size(own)))
    scale = jnp.where(scale == 0, 1, scale)
    outputs, derivatives = [], []
    for batch, row in (([point, other], 0), ([other, point], 1)):
        beside, among = terms(jnp.concatenate(batch), row)
        outputs.append(jnp.max(jnp.abs(beside - alone)) / scale)
        derivatives.append(size(jax.tree.map(jnp.subtract, among, own)) / scale)
    return alone, jnp.max(jnp.stack(outputs)), jnp.max(jnp.stack(derivatives))


def _another(point: Array) -> Array:
    """A point unlike another one; of integers one that a table of tokens has, if it has two."""
    if jnp.issubdtype(point.dtype, jnp.bool_):
        return ~point
    if jnp.issubdtype(point.dtype, jnp.integer):
        return jnp.where(point > 0, point - 1, point + 1).astype(point.dtype)
    return point * 1.5 + 0.5
