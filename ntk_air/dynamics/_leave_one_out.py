"""Leave-one-out outputs: what each point gets from a kernel method that never saw its label."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_in_range
from .._numerics import as_float, in_precision
from .._typing import Array, ArrayLike, Float
from ..spectral import Eigensystem, project
from ._fit import like, matching
from ._remainder import Bank, Filters, bank_of, evaluate, spectrum
from ._trust import warn_where_untrusted

# Nodes of the contour by precision: more of them amplify round-off, fewer truncate.
_NODES = {jnp.dtype("float32"): 14, jnp.dtype("float64"): 30}


@in_precision
def leave_one_out(
    eigensystem: Eigensystem, filter: Filters, observed: Float[ArrayLike, "n C"]
) -> Float[Array, ...]:
    """Each point's output from the smoother without its own label.

    f^{(−i)} = (f_i − A_ii ỹ_i) / (1 − A_ii), A = Σ g(λ_k) u_k u_kᵀ: the value at i that is its own
    fit when ỹ_i is replaced by it. For `ridge` this is the output of a fit without point i,
    exactly; for gradient flow `leave_one_out_flow` gives that of training without point i, from
    which this differs. Where A_ii = 1 it is undefined; the mean label is returned.

    Args:
        eigensystem: of the training kernel; directions outside a partial one count at their mean
            eigenvalue.
        filter: one filter, or a sequence of F of them.
        observed: targets ỹ (n, C).

    Returns:
        (n, C), or (F, n, C) for a sequence.

    Raises:
        ValueError: on shapes that do not match.

    Source: Golub, Heath, Wahba, Technometrics 21 (1979).
    """
    matching(eigensystem, observed=observed)
    observed = as_float(observed)
    bank = bank_of(filter)
    fitted, rest = evaluate(eigensystem, bank)
    coefficients = project(eigensystem, observed)
    warn_where_untrusted(eigensystem, bank, coefficients)
    squares = _squares(eigensystem.eigenvectors)
    return like(
        filter,
        jax.lax.map(
            lambda one: _one(eigensystem.eigenvectors, squares, coefficients, observed, *one),
            (fitted, rest),
        ),
    )


def leave_one_out_scores(
    eigensystem: Eigensystem, bank: Bank, observed: Array
) -> tuple[Float[Array, " F"], Float[Array, " F"]]:
    """Mean square of ỹ_i − f^{(−i)}(x_i), and share of classes missed, for each of F filters."""
    fitted, rest = evaluate(eigensystem, bank)
    coefficients = project(eigensystem, observed)
    return _scores(eigensystem.eigenvectors, coefficients, observed, fitted, rest)


@jax.jit
def _scores(
    vectors: Array, coefficients: Array, observed: Array, fitted: Array, rest: Array
) -> tuple[Array, Array]:
    squares = vectors**2
    classes = _classes(observed)

    def score(one: tuple[Array, Array]) -> tuple[Array, Array]:
        left_out = _one(vectors, squares, coefficients, observed, *one)
        missed = jnp.mean(_classes(left_out) != classes, dtype=observed.dtype)
        return jnp.mean((left_out - observed) ** 2), missed

    return jax.lax.map(score, (fitted, rest))


def _classes(outputs: Array) -> Array:
    return outputs[:, 0] > 0 if outputs.shape[1] == 1 else jnp.argmax(outputs, axis=1)


@jax.jit
def _squares(vectors: Array) -> Array:
    return vectors**2


@jax.jit
def _one(
    vectors: Array, squares: Array, coefficients: Array, observed: Array, g: Array, rest: Array
) -> Array:
    inside = jnp.matmul(vectors, (g - rest)[:, None] * coefficients, precision="highest")
    outputs = inside + rest * observed
    own = (jnp.matmul(squares, g - rest, precision="highest") + rest)[:, None]
    free = 1 - own
    known = free > 10 * jnp.finfo(own.dtype).eps
    left_out = (outputs - own * observed) / jnp.where(known, free, 1.0)
    return jnp.where(known, left_out, jnp.mean(observed, axis=0))


@in_precision
def leave_one_out_flow(
    eigensystem: Eigensystem, time: float, observed: Float[ArrayLike, "n C"]
) -> Float[Array, "n C"]:
    """Each point's output when kernel gradient flow is trained without that point.

    Equal to n retrainings on n − 1 points to the same ``time`` (learning rate × step for the summed
    loss), at the cost of a few products with the eigenvectors. Gradient flow is the inverse
    Laplace transform of ridge regression, f(t) = (1/2πi) ∫ e^{zt} f_ridge(z) dz / z, and ridge has
    its leave-one-out output in closed form, ỹ_i − [(Θ + z)⁻¹ỹ]_i / [(Θ + z)⁻¹]_ii; the integral
    runs over Talbot's contour. Relative error below 1e-8 in float64, 1e-2 in float32.

    Args:
        eigensystem: of the training kernel; directions outside a partial one count at their mean
            eigenvalue.
        time: when each retraining stops; infinity is full convergence.
        observed: targets ỹ (n, C).

    Returns:
        (n, C) outputs f^{(−i)}(x_i) from f_0 = 0.

    Raises:
        ValueError: if ``time`` is negative, or on shapes that do not match.

    Source: derived; contour of Weideman, SIAM J. Numer. Anal. 44 (2006).
    """
    matching(eigensystem, observed=observed)
    check_in_range("time", time, 0.0)
    observed = as_float(observed)
    if time == 0.0:
        return jnp.zeros_like(observed)
    held = spectrum(eigensystem)
    if time == np.inf:
        # The limit of a vanishing ridge, far below any eigenvalue that counts.
        points, weights = np.full(1, 1e-3 * held.floor), np.ones(1)
    else:
        nodes, weights = _talbot(_NODES[observed.dtype])
        points, weights = nodes / time, weights / nodes
    coefficients = project(eigensystem, observed)
    dtype = jnp.result_type(observed.dtype, jnp.complex64)
    return _contour(
        eigensystem.eigenvectors,
        held.values,
        jnp.asarray(held.mean, observed.dtype),
        coefficients,
        observed,
        jnp.asarray(points, dtype),
        jnp.asarray(weights, dtype),
    )


@functools.cache
def _talbot(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes z and weights e^z dz / 2πi of the upper half of Talbot's contour, for time 1."""
    angle = np.pi * (np.arange(count // 2) * 2 + 1) / count
    cot = 1 / np.tan(0.6407 * angle)
    nodes = count * (-0.4814 + 0.6122 * angle * cot + 0.2645j * angle)
    slope = 0.6122 * cot - 0.6122 * 0.6407 * angle / np.sin(0.6407 * angle) ** 2 + 0.2645j
    # Conjugate pairs: twice the real part of the upper half.
    return nodes, np.exp(nodes) * slope * count * (2 * np.pi / count) / (2j * np.pi) * 2


@jax.jit
def _contour(
    vectors: Array,
    values: Array,
    mean: Array,
    coefficients: Array,
    observed: Array,
    nodes: Array,
    weights: Array,
) -> Array:
    squares = vectors**2

    def product(matrix: Array, columns: Array) -> Array:
        parts = jnp.concatenate([columns.real, columns.imag], axis=1)
        real, imaginary = jnp.split(jnp.matmul(matrix, parts, precision="highest"), 2, axis=1)
        return real + 1j * imaginary

    def add(total: Array, node_and_weight: tuple[Array, Array]) -> tuple[Array, None]:
        node, weight = node_and_weight
        beyond = 1 / (node + mean)
        inverse = (1 / (values + node) - beyond)[:, None]
        solved = product(vectors, inverse * coefficients) + beyond * observed
        own = product(squares, inverse) + beyond
        return total + (weight * (observed - solved / own)).real, None

    return jax.lax.scan(add, jnp.zeros_like(observed), (nodes, weights))[0]
