"""Which class a row of encoded targets or outputs stands for: one rule for the whole package."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def class_of(rows: Any) -> Any:
    """The class that each row names, int32 of shape (...,) for rows (..., C).

    Several columns are read by their largest entry, the first of equals, whatever the coding. One
    column v stands for the two columns (-v, v): class 1 where it is above zero, for codes of ±1 as
    for 0 and 1; at zero it ties, and class 0 is the first of equals. A row that holds NaN, such as
    an output of training that diverged, names no class: -1, which is never a label, so that it
    counts as wrong instead of as class 0.

    NumPy in, NumPy out; anything else goes through JAX and may be traced.
    """
    numeric: Any = np if isinstance(rows, np.ndarray) else jnp
    rows = numeric.asarray(rows)
    single = rows.shape[-1] == 1
    index = rows[..., 0] > 0 if single else numeric.argmax(rows, axis=-1)
    return numeric.where(numeric.any(rows != rows, axis=-1), -1, index).astype(np.int32)
