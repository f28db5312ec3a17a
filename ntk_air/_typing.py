"""Types shared by the rooms: arrays as they come in, network functions, filters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

ArrayLike = jax.Array | np.ndarray
"""What public functions accept; what they return is `jax.Array`."""

ApplyFn = Callable[[Any, Array], Array]
"""``apply_fn(params, inputs) -> outputs`` of shape (n, C)."""

FilterLike = Callable[[Array], Array]
"""A spectral filter: eigenvalues (r,) to the fraction of each direction that is fitted (r,)."""

__all__ = ["ApplyFn", "Array", "ArrayLike", "FilterLike", "Float", "Int", "PRNGKeyArray", "PyTree"]
