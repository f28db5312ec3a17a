"""Checks of what kernels are computed on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_finite
from .._numerics import as_float
from .._typing import ApplyFn, Array, ArrayLike, PyTree


def check_inputs(x1: ArrayLike, x2: ArrayLike | None) -> tuple[Array, Array | None]:
    """Inputs (n, ...) as arrays of one float dtype; integers become floats.

    Raises:
        ValueError: complex or non-finite inputs, no points, or points of different shapes.
    """
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


_forward = jax.jit(lambda apply_fn, params, x: apply_fn(params, x), static_argnums=0)


def check_params(params: PyTree) -> None:
    """Raises ValueError naming the parameter that is not finite, or if there are none."""
    leaves = [p for p in jax.tree.leaves(params) if _is_inexact(p)]
    if not leaves:
        raise ValueError(
            "params holds no floating-point parameters, expected at least one: their gradients "
            "make the kernel."
        )
    if bool(_all_finite(leaves)):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if _is_inexact(leaf):
            check_finite(f"params{jax.tree_util.keystr(path)}", leaf)


def _is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


@jax.jit
def _all_finite(leaves: list[Array]) -> Array:
    """One transfer for all parameters: asking each leaf apart would wait for each."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))


def check_network(apply_fn: ApplyFn, params: PyTree, x: Array) -> int:
    """Returns C; raises ValueError on outputs that are not (n, C) or that mix the batch."""
    pair = x[:2] if len(x) > 1 else jnp.concatenate([x, x])
    shape = jax.eval_shape(apply_fn, params, pair)
    if not hasattr(shape, "shape") or len(shape.shape) != 2 or shape.shape[0] != 2:
        came = getattr(shape, "shape", type(shape).__name__)
        raise ValueError(
            f"apply_fn returns {came} for 2 inputs, expected outputs (2, C); flatten them, or add "
            "an axis for a single output."
        )
    together, alone = _forward(apply_fn, params, pair), _forward(apply_fn, params, pair[:1])
    scale = float(jnp.abs(together).max()) or 1.0
    tolerance = 1e3 * float(jnp.finfo(together.dtype).eps)
    if float(jnp.abs(together[:1] - alone).max()) > tolerance * scale:
        raise ValueError(
            "apply_fn gives a point other outputs when the batch changes, so it has no NTK per "
            "point; put BatchNorm in evaluation mode and switch dropout off."
        )
    return shape.shape[1]
