"""Which class a row of encoded targets or outputs stands for: one rule for the whole package."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from ._checks import check_finite, check_labels, check_same_length
from ._typing import Array, ArrayLike


def threshold_of(*targets: Any) -> Any:
    """Where one column of targets (..., 1) or of outputs trained on them is split, a scalar.

    That is halfway between the two values that the targets take, 0 for codes of ±1 and 1/2 for 0
    and 1: of the first targets given that take two; 0 if none does, or for several columns. None
    counts as not given. The values of one batch may be of one class: take all points.

    NumPy in, NumPy out; anything else goes through JAX and may be traced.
    """
    given = [one for one in targets if one is not None]
    numeric: Any = np if all(isinstance(one, np.ndarray) for one in given) else jnp
    found = numeric.zeros(())
    for one in reversed(given):
        if one.shape[-1] != 1 or not one.size:
            return numeric.zeros(())
        low, high = numeric.min(one), numeric.max(one)
        both = numeric.all((one == low) | (one == high)) & (low < high)
        found = numeric.where(both, low / 2 + high / 2, found)
    return found


def class_of(rows: Any, threshold: Any = 0.0) -> Any:
    """The class that each row names, int32 of shape (...,) for rows (..., C).

    Several columns are read by their largest entry, the first of equals, whatever the coding. One
    column v stands for the two columns (c - v, v - c), c the threshold of its coding by
    `threshold_of`, 0 for ±1: class 1 where it is above; at c it ties, and class 0 is the first of
    equals. A row that holds NaN, such as an output of training that diverged, names no class: -1,
    which is never a label, so that it counts as wrong instead of as class 0.

    NumPy in, NumPy out; anything else goes through JAX and may be traced.
    """
    numeric: Any = np if isinstance(rows, np.ndarray) else jnp
    rows = numeric.asarray(rows)
    single = rows.shape[-1] == 1
    index = rows[..., 0] > threshold if single else numeric.argmax(rows, axis=-1)
    return numeric.where(numeric.any(rows != rows, axis=-1), -1, index).astype(np.int32)


def classes_given(labels_or_codes: ArrayLike, num_test: int, num_outputs: int) -> Array:
    """Class numbers (m,) of test points given as labels (m,) or encoded targets (m, C)."""
    given = np.asarray(labels_or_codes)
    if len(given) != num_test:
        check_same_length("test labels", given, "test inputs", np.empty(num_test))
    if given.ndim == 1:
        if num_outputs == 1 and given.size and given.min() == -1:
            given = (given + 1) // 2  # labels +-1 of a single output
        return jnp.asarray(check_labels("test labels", given, max(num_outputs, 2)))
    if given.shape[1:] != (num_outputs,):
        raise ValueError(
            f"test targets have shape {given.shape}, expected labels (m,) or encoded targets "
            f"(m, {num_outputs})."
        )
    check_finite("test targets", given)
    return jnp.asarray(class_of(given, threshold_of(given)))
