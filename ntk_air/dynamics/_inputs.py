"""Checks of what the closed forms are given: signals on the points, kernels to others, times."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from .._checks import (
    check_finite,
    check_ndim,
    check_same_length,
    check_same_shape,
    real_array,
)
from .._numerics import as_float
from .._typing import Array, ArrayLike
from ..spectral import Eigensystem


def cross_kernel(eigensystem: Eigensystem, test_train_kernel: ArrayLike) -> Array:
    """The kernel (m, n) of test and training points; ValueError unless it is that."""
    check_ndim("test_train_kernel", test_train_kernel, 2, "(m, n)")
    check_finite("test_train_kernel", test_train_kernel)
    kernel = as_float(test_train_kernel, "test_train_kernel")
    n = eigensystem.num_points
    if kernel.shape[1] != n:
        raise ValueError(
            f"test_train_kernel has shape {kernel.shape}, expected (m, {n}): rows are test points, "
            "columns the training points of the eigensystem."
        )
    return kernel


def initial_outputs(observed: ArrayLike, initial: ArrayLike | None) -> Array:
    """Outputs (n, C) before training, zero by default; ValueError unless like the targets."""
    check_ndim("observed", observed, 2, "(n, C)")
    check_finite("observed", observed)
    if initial is None:
        return jnp.zeros(observed.shape, as_float(observed).dtype)
    check_same_shape("initial", initial, "observed", observed)
    check_finite("initial", initial)
    return as_float(initial)


def check_times(times: Sequence[float] | ArrayLike) -> list[float]:
    """Returns times as floats; ValueError unless non-negative and increasing."""
    values = np.ravel(real_array("times", times)).astype(np.float64).tolist()
    if not values:
        raise ValueError("times is empty, expected at least one time.")
    for before, after in zip([-np.inf, *values[:-1]], values, strict=True):
        if not (after >= 0.0 and after > before):
            raise ValueError(
                f"times holds {after} after {before}; expected non-negative, increasing times "
                "(learning rate × step)."
            )
    return values


def matching(eigensystem: Eigensystem, **signals: ArrayLike | None) -> None:
    """Raises ValueError unless every signal given is (n, C) with the eigensystem's n."""
    given = {name: value for name, value in signals.items() if value is not None}
    for name, value in given.items():
        check_ndim(name, value, 2, "(n, C)")
        check_finite(name, value)
        check_same_length("eigenvectors", eigensystem.eigenvectors, name, value)
        check_same_shape(next(iter(given)), next(iter(given.values())), name, value)
