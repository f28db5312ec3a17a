"""Checks of what kernels are computed on."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .._checks import check_finite
from .._numerics import as_float
from .._typing import Array, ArrayLike


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
