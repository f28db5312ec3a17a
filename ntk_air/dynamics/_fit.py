"""Closed-form training: outputs of every filter on training and test points."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from .._checks import (
    check_finite,
    check_same_shape,
    is_finite,
)
from .._numerics import as_float, in_precision, power_of_two
from .._typing import Array, ArrayLike, FilterLike, Float
from ..spectral import Eigensystem, project
from ._banks import like, some_bank
from ._filter_basis import skeleton
from ._inputs import cross_kernel, initial_outputs
from ._partial_spectrum import Filters, bank_of, evaluate, spectrum, split, spread
from ._trust import warn_where_untrusted


@in_precision
def filter_values(eigensystem: Eigensystem, filters: Sequence[FilterLike]) -> Float[Array, "F r"]:
    """g(λ_k) of each filter (F, r); eigenvalues that cannot be told from zero are given as zero.

    Raises:
        ValueError: if a filter is no function, returns another shape than the eigenvalues', or
            NaN, or counts more directions than a partial eigensystem holds.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 1.0]))
        >>> filters = [na.dynamics.ridge(1.0), na.dynamics.truncation(1)]
        >>> print(na.dynamics.filter_values(es, filters).round(4))
        [[0.75 0.5 ]
         [1.   0.  ]]
    """
    return evaluate(eigensystem, bank_of(filters))[0]


@in_precision
def fit(
    eigensystem: Eigensystem,
    filter: Filters,
    observed: Float[ArrayLike, "n C"],
    *,
    initial: Float[ArrayLike, "n C"] | None = None,
) -> Float[Array, ...]:
    """Outputs on the training points, f = f_0 + Σ g(λ_k) u_k u_kᵀ (ỹ − f_0).

    Args:
        eigensystem: of the training kernel. Directions outside a partial one are fitted at their
            mean eigenvalue λ̄ = (tr Θ − Σ λ_k)/(n − r); `remainder_bound` bounds the error.
        filter: one filter, or a sequence of F of them.
        observed: targets ỹ (n, C).
        initial: outputs f_0 (n, C) before training; default zero.

    Returns:
        (n, C), or (F, n, C) for a sequence.

    Raises:
        ValueError: on shapes that do not match, no filter, or one that is no function or counts
            more directions than a partial eigensystem holds.

    Warns:
        UserWarning: if outputs are beyond the range of their dtype.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 1.0]))
        >>> print(na.dynamics.fit(es, na.dynamics.ridge(1.0), np.array([[4.0], [4.0]])).round(4))
        [[3.]
         [2.]]
    """
    start = initial_outputs(observed, initial)
    unit = _units(as_float(observed), start)
    start = start / unit
    target = as_float(observed) / unit - start
    coefficients = project(eigensystem, target)
    bank = some_bank(filter)
    fitted, rest = evaluate(eigensystem, bank)
    warn_where_untrusted(eigensystem, bank, _comparable(coefficients, unit), fitted=fitted)
    vectors = eigensystem.eigenvectors
    outputs = _outputs(vectors, fitted, rest, coefficients, target, start) * unit
    return like(filter, _warned_of_overflow(outputs))


@in_precision
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
        eigensystem: of the training kernel. Directions whose eigenvalue cannot be told from zero
            carry no prediction; those outside a partial one are taken at their mean eigenvalue
            (`remainder_bound` bounds the error).
        filter: one filter, or a sequence of F of them.
        observed: targets ỹ (n, C).
        test_train_kernel: kernel between test and training points (m, n).
        initial: training outputs f_0 (n, C) before training; default zero.
        initial_test: test outputs (m, C) before training; default zero.

    Returns:
        (m, C), or (F, m, C) for a sequence.

    Raises:
        ValueError: on shapes that do not match, no filter, or one that is no function or counts
            more directions than a partial eigensystem holds.

    Warns:
        UserWarning: if outputs are beyond the range of their dtype.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 1.0]))
        >>> observed, cross = np.array([[4.0], [4.0]]), np.array([[1.0, 1.0]])
        >>> print(na.dynamics.predict(es, na.dynamics.ridge(1.0), observed, cross).round(4))
        [[3.]]
    """
    kernel = cross_kernel(eigensystem, test_train_kernel)
    start = initial_outputs(observed, initial)
    outputs = jnp.zeros((len(kernel), start.shape[1]), start.dtype)
    if initial_test is not None:
        check_same_shape("initial_test", initial_test, "test outputs", outputs)
        check_finite("initial_test", initial_test)
        outputs = as_float(initial_test)
    unit = _units(as_float(observed), start, outputs)
    outputs = outputs / unit
    target = as_float(observed) / unit - start / unit
    coefficients = project(eigensystem, target)
    held = spectrum(eigensystem)
    bank = some_bank(filter)
    fitted, rest = evaluate(eigensystem, bank)
    known = held.values > 0
    inverse = jnp.where(known, 1.0 / jnp.where(known, held.values, 1.0), 0.0)
    inverse_rest = 1.0 / held.mean if held.mean > 0 else 0.0
    features = jnp.matmul(kernel, eigensystem.eigenvectors, precision="highest")
    lengths = jnp.linalg.norm(features / power_of_two(features), axis=0)
    comparable = _comparable(coefficients, unit)
    warn_where_untrusted(eigensystem, bank, comparable, weights=lengths, per_eigenvalue=True)
    whole = jnp.matmul(kernel, target, precision="highest") if held.count else outputs
    scales = inverse, inverse_rest
    outputs = unit * _outputs(features, fitted, rest, coefficients, whole, outputs, scales=scales)
    return like(filter, _warned_of_overflow(outputs))


@in_precision
def remainder_bound(
    eigensystem: Eigensystem,
    filter: Filters,
    observed: Float[ArrayLike, "n C"],
    *,
    test_train_kernel: Float[ArrayLike, "m n"] | None = None,
    initial: Float[ArrayLike, "n C"] | None = None,
) -> Float[Array, ...]:
    """How far a partial eigensystem can put `fit` or `predict` from the full one.

    At the training points ‖f − f_full‖ ≤ sup |g(λ) − g(λ̄)| · ‖z⊥‖ with z⊥ the part of ỹ − f_0
    outside the directions held and the supremum over 0 ≤ λ ≤ min(λ_r, tr Θ − Σ λ_k); at a test
    point ‖f(x) − f_full(x)‖ ≤ sup |g(λ)/λ − g(λ̄)/λ̄| · ‖k⊥(x)‖ ‖z⊥‖, eigenvalues below eps · λ_1
    counted as zero. Zero for a full eigensystem. Exact pairs are assumed: add the solver's own
    residuals where they matter.

    Args:
        eigensystem: of the training kernel.
        filter: one filter, or a sequence of F of them; the supremum is exact for filters monotone
            in λ, and over 256 points for others.
        observed: targets ỹ (n, C).
        test_train_kernel: kernel between test and training points (m, n), for the bound there.
        initial: outputs f_0 (n, C) before training; default zero.

    Returns:
        Frobenius norm over all training points, () or (F,); with ``test_train_kernel`` the norm
        over outputs at each test point, (m,) or (F, m).

    Raises:
        ValueError: on shapes that do not match.

    Source: derived.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 2.0, 1.0]), rank=1)
        >>> bound = na.dynamics.remainder_bound(es, na.dynamics.ridge(1.0), np.ones((3, 1)))
        >>> exact, mean = np.array([2 / 3, 1 / 2]), 1.5 / 2.5  # g of the two left out
        >>> bool(bound >= np.linalg.norm(exact - mean))
        True
    """
    start = initial_outputs(observed, initial)
    target = as_float(observed) - start
    size = power_of_two(target)
    missing = size * jnp.sqrt(split(eigensystem, target / size)[1])
    bank = bank_of(filter)
    if test_train_kernel is None:
        return like(filter, spread(eigensystem, bank) * missing)
    kernel = cross_kernel(eigensystem, test_train_kernel)
    inside = jnp.matmul(kernel, eigensystem.eigenvectors, precision="highest")
    unit = power_of_two(kernel)
    kernel, inside = kernel / unit, inside / unit
    squares = jnp.sum(kernel**2, axis=1) - jnp.sum(inside**2, axis=1)
    norms = unit * jnp.sqrt(jnp.maximum(squares, 0.0))
    factor = spread(eigensystem, bank, per_eigenvalue=True) * missing
    return like(filter, factor[:, None] * norms)


def _outputs(
    features: Array,
    fitted: Array,
    rest: Array,
    coefficients: Array,
    whole: Array,
    start: Array,
    *,
    scales: tuple[Any, Any] = (1.0, 1.0),
) -> Array:
    """(F, m, C) = start + features · (g − g_rest) · coefficients + g_rest · whole.

    ``scales`` multiply g and g_rest. Where a few of the filters span the others, only those are
    computed in full.
    """
    bank = np.concatenate([np.asarray(fitted), np.asarray(rest)[:, None]], axis=1)
    found = skeleton(bank, float(jnp.finfo(fitted.dtype).eps))
    if found is not None:
        few = jnp.asarray(bank[found.chosen])
        fitted, rest = few[:, :-1], few[:, -1]
    out = _combine(features, fitted * scales[0], rest * scales[1], coefficients, whole)
    if found is None:
        return out + start
    return _mix(jnp.asarray(found.mixing, out.dtype), out, start)


@jax.jit
def _combine(
    features: Array, weights: Array, rest: Array, coefficients: Array, whole: Array
) -> Array:
    f, r = weights.shape
    stacked = jnp.einsum("fr,rc->rfc", weights - rest[:, None], coefficients).reshape(r, -1)
    out = jnp.matmul(features, stacked, precision="highest")
    out = jnp.moveaxis(out.reshape(features.shape[0], f, -1), 1, 0)
    return out + rest[:, None, None] * whole


@jax.jit
def _mix(mixing: Array, out: Array, start: Array) -> Array:
    mixed = jnp.matmul(mixing, out.reshape(len(out), -1), precision="highest")
    return mixed.reshape(-1, *out.shape[1:]) + start


@jax.jit
def _units(*arrays: Array) -> Array:
    """A power of two for each output, at the largest magnitude in arrays (..., C), (C,)."""
    return jax.vmap(power_of_two, in_axes=1)(*arrays)


def _comparable(coefficients: Array, unit: Array) -> Array:
    """Coefficients (r, C) over one unit for all outputs."""
    return coefficients * (unit / unit.max())


def _warned_of_overflow(outputs: Array) -> Array:
    if not isinstance(outputs, Tracer) and not is_finite(outputs):
        warnings.warn(
            f"outputs hold infinity or NaN: they are beyond the range of {outputs.dtype}; rescale "
            "the targets or the kernel, or compute in float64 (precision='float64').",
            stacklevel=4,
        )
    return outputs
