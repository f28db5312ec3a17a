"""Closed-form training: outputs of every filter on training and test points."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_finite, check_ndim, check_same_length, check_same_shape
from .._numerics import as_float
from .._typing import Array, ArrayLike, Filter, Float
from ..spectral import Eigensystem, project

Filters = Filter | Sequence[Filter]


def filter_values(eigensystem: Eigensystem, filters: Sequence[Filter]) -> Float[Array, "F r"]:
    """g(λ_k) of each filter (F, r).

    Raises:
        ValueError: if a filter returns another shape than the eigenvalues', or NaN.
    """
    rows = []
    for index, filter_ in enumerate(filters):
        row = filter_(eigensystem.eigenvalues)
        if row.shape != eigensystem.eigenvalues.shape:
            raise ValueError(
                f"filter {index} maps eigenvalues of shape {eigensystem.eigenvalues.shape} to "
                f"{row.shape}; expected one value per eigenvalue."
            )
        rows.append(row)
    values = jnp.stack(rows) if rows else jnp.zeros((0, eigensystem.rank))
    check_finite("filter values", values)
    return values


def fit(
    eigensystem: Eigensystem,
    filter: Filters,
    observed: Float[ArrayLike, "n C"],
    *,
    initial: Float[ArrayLike, "n C"] | None = None,
) -> Float[Array, ...]:
    """Outputs on the training points, f = f_0 + Σ g(λ_k) u_k u_kᵀ (ỹ − f_0).

    Args:
        eigensystem: of the training kernel; directions outside a partial one stay at f_0.
        filter: one filter, or a sequence of F of them.
        observed: targets ỹ (n, C).
        initial: outputs f_0 (n, C) before training; default zero.

    Returns:
        (n, C), or (F, n, C) for a sequence.

    Raises:
        ValueError: on shapes that do not match.
    """
    start = _initial(observed, initial)
    coefficients = project(eigensystem, as_float(observed) - start)
    out = _combine(
        eigensystem.eigenvectors, filter_values(eigensystem, _listed(filter)), coefficients
    )
    return _like(filter, out + start)


def predict(
    eigensystem: Eigensystem,
    filter: Filters,
    observed: Float[ArrayLike, "n C"],
    test_train_kernel: Float[ArrayLike, "m n"],
    *,
    initial: Float[ArrayLike, "n C"] | None = None,
    initial_test: Float[ArrayLike, "m C"] | None = None,
) -> Float[Array, ...]:
    """Outputs on test points, f(x) = f_0(x) + k(x, X) Σ (g(λ_k)/λ_k) u_k u_kᵀ (ỹ − f_0).

    Args:
        eigensystem: of the training kernel. Directions whose eigenvalue is within round-off of
            zero carry no prediction and are left out.
        filter: one filter, or a sequence of F of them.
        observed: targets ỹ (n, C).
        test_train_kernel: kernel between test and training points (m, n).
        initial: training outputs f_0 (n, C) before training; default zero.
        initial_test: test outputs (m, C) before training; default zero.

    Returns:
        (m, C), or (F, m, C) for a sequence.

    Raises:
        ValueError: on shapes that do not match.
    """
    check_ndim("test_train_kernel", test_train_kernel, 2, "(m, n)")
    kernel = as_float(test_train_kernel)
    check_finite("test_train_kernel", kernel)
    n = eigensystem.num_points
    if kernel.shape[1] != n:
        raise ValueError(
            f"test_train_kernel has shape {kernel.shape}, expected (m, {n}): rows are test points, "
            "columns the training points of the eigensystem."
        )
    start = _initial(observed, initial)
    coefficients = project(eigensystem, as_float(observed) - start)
    values = eigensystem.eigenvalues
    known = values > jnp.finfo(values.dtype).eps * values[0]
    weights = jnp.where(
        known, filter_values(eigensystem, _listed(filter)) / jnp.where(known, values, 1.0), 0.0
    )
    features = jnp.matmul(kernel, eigensystem.eigenvectors, precision="highest")
    out = _combine(features, weights, coefficients)
    if initial_test is not None:
        check_same_shape("initial_test", initial_test, "test outputs", out[0])
        out = out + as_float(initial_test)
    return _like(filter, out)


@jax.jit
def _combine(features: Array, weights: Array, coefficients: Array) -> Array:
    """(F, m, C) = features (m, r) · diag(weights (F, r)) · coefficients (r, C), one product."""
    f, r = weights.shape
    stacked = jnp.einsum("fr,rc->rfc", weights, coefficients).reshape(r, -1)
    out = jnp.matmul(features, stacked, precision="highest")
    return jnp.moveaxis(out.reshape(features.shape[0], f, -1), 1, 0)


def _initial(observed: ArrayLike, initial: ArrayLike | None) -> Array:
    check_ndim("observed", observed, 2, "(n, C)")
    if initial is None:
        return jnp.zeros(observed.shape, as_float(observed).dtype)
    check_same_shape("initial", initial, "observed", observed)
    check_finite("initial", initial)
    return as_float(initial)


def _listed(filter: Filters) -> list[Filter]:
    return [filter] if isinstance(filter, Callable) else list(filter)


def _like(filter: Filters, out: Array) -> Array:
    return out[0] if isinstance(filter, Callable) else out


def check_times(times: Sequence[float] | ArrayLike) -> list[float]:
    """Returns times as floats; ValueError unless non-negative and increasing."""
    values = np.ravel(np.asarray(times, np.float64)).tolist()
    if not values:
        raise ValueError("times is empty, expected at least one time.")
    for before, after in zip([-0.0, *values[:-1]], values, strict=True):
        if not (after >= 0.0 and after >= before):
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
        check_same_length("eigenvectors", eigensystem.eigenvectors, name, value)
        check_same_shape(next(iter(given)), next(iter(given.values())), name, value)
