"""Bias and variance of fitted outputs, where the clean labels are known."""

from __future__ import annotations

import jax.numpy as jnp

from .._numerics import as_float, in_precision, power_of_two
from .._results import result
from .._typing import Array, ArrayLike, Float
from ..spectral import Eigensystem, project, resolve_retention
from ._banks import like
from ._inputs import matching
from ._partial_spectrum import Filters, bank_of, evaluate, outside, spread
from ._trust import warn_where_untrusted


@result
class Risk:
    """Squared distance of the fitted outputs to the retained clean labels, per point.

    Each field is (), or (F,) for a sequence of filters.

    Attributes:
        bias: Σ (1 − g)² ‖u_kᵀ κy‖² / n.
        variance: Σ g² ‖u_kᵀξ‖² / n.
        cross: the cross term of this draw, −2 Σ g(1 − g) ⟨u_kᵀκy, u_kᵀξ⟩ / n.
        total: their sum: ‖f − κy‖²/n exactly.
        clean_error: ‖f − y‖²/n, the distance to the clean labels themselves.
        bound: how far a partial eigensystem can put ``total`` or ``clean_error`` from that of the
            full one; zero for a full one, None in results of older versions.
    """

    bias: Float[Array, ...]
    variance: Float[Array, ...]
    cross: Float[Array, ...]
    total: Float[Array, ...]
    clean_error: Float[Array, ...]
    bound: Float[Array, ...] | None = None


@in_precision
def risk(
    eigensystem: Eigensystem,
    filter: Filters,
    clean: Float[ArrayLike, "n C"],
    observed: Float[ArrayLike, "n C"],
    *,
    retention: float | None = None,
) -> Risk:
    """Bias and variance of a filter's outputs at the training points (f_0 = 0).

    Args:
        eigensystem: of the training kernel; directions outside a partial one are fitted at their
            mean eigenvalue, as by `fit`, and ``bound`` says how far that can be off.
        filter: one filter, or a sequence of F of them.
        clean: clean targets y (n, C).
        observed: observed targets ỹ (n, C).
        retention: κ; default the least-squares κ of this draw.

    Returns:
        A `Risk`.

    Raises:
        ValueError: on shapes that do not match, or a filter that counts more directions than a
            partial eigensystem holds.

    Source: derived; the bias-variance decomposition of a linear smoother.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 1.0]))
        >>> clean, observed = np.array([[2.0], [0.0]]), np.array([[2.0], [2.0]])
        >>> found = na.dynamics.risk(es, na.dynamics.ridge(1.0), clean, observed, retention=1.0)
        >>> round(float(found.bias), 6), round(float(found.clean_error), 6)
        (0.125, 0.625)
    """
    matching(eigensystem, clean=clean, observed=observed)
    bank = bank_of(filter)
    fitted, rest = evaluate(eigensystem, bank)
    kappa = resolve_retention(retention, clean, observed)
    clean, observed = as_float(clean), as_float(observed)
    # Squares are taken of numbers near 1 and scaled at the end.
    scale = power_of_two(clean, observed)
    clean, observed = clean / scale, observed / scale
    noise = observed - kappa * clean
    y, xi = project(eigensystem, clean), project(eigensystem, noise)
    warn_where_untrusted(eigensystem, bank, kappa * y + xi)
    full = eigensystem.rank == eigensystem.num_points

    def energies(first: Array, second: Array, of_first: Array, of_second: Array) -> Array:
        beyond = 0.0 if full else outside(first, second, of_first, of_second)
        return jnp.append(jnp.sum(of_first * of_second, axis=1), beyond)

    signal, label_noise = energies(clean, clean, y, y), energies(noise, noise, xi, xi)
    mixed = energies(clean, noise, y, xi)
    g = jnp.concatenate([fitted, rest[:, None]], axis=1)
    # Terms of ‖f − κy‖² per direction, the last one for all that is outside: f = g (κy + ξ).
    bias, variance = (1 - g) ** 2 * kappa**2 * signal, g**2 * label_noise
    cross = -2 * g * (1 - g) * kappa * mixed
    to_clean = (1 - kappa * g) ** 2 * signal + variance - 2 * g * (1 - kappa * g) * mixed
    to_retained = bias + variance + cross
    # Outside, and only there, the full eigensystem's outputs differ, by at most `moved`.
    held_out = (kappa**2 * signal + label_noise + 2 * kappa * mixed)[-1]
    moved = spread(eigensystem, bank) * jnp.sqrt(jnp.maximum(held_out, 0.0))
    farther = jnp.sqrt(jnp.maximum(jnp.maximum(to_retained, to_clean)[:, -1], 0.0))
    bound = moved * (2 * farther + moved)
    n = len(clean)

    def mean(terms: Array) -> Array:
        return jnp.sum(terms, axis=1) / n * scale * scale

    found = Risk(
        bias=mean(bias),
        variance=mean(variance),
        cross=mean(cross),
        total=mean(to_retained),
        clean_error=mean(to_clean),
        bound=bound / n * scale * scale,
    )
    return like(filter, found)
