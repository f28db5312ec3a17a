"""Distillation ≈ early stopping, measured: the stopping time nearest to any filter."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._numerics import as_float, in_precision, power_of_two
from .._results import result
from .._typing import Array, ArrayLike, Float
from ..spectral import Eigensystem, project
from ._banks import like
from ._filters import flow_fractions
from ._inputs import matching
from ._partial_spectrum import Filters, bank_of, evaluate, outside, spectrum
from ._trust import warn_where_untrusted

_GRID = 384
_BISECTIONS = 60


@result
class EquivalentTime:
    """The gradient flow nearest to a filter at the training points.

    Each field is (), or (F,) for a sequence of filters.

    Attributes:
        time: argmin_t ‖f − f_t‖² (learning rate × step); 0 for a filter that fits nothing,
            infinity for one that fits all that a kernel can.
        residual: ‖f − f_t‖² there, Σ_k ‖u_kᵀ(ỹ − f_0)‖² (g(λ_k) − g_t(λ_k))².
        relative: ‖f − f_t‖ / ‖f − f_0‖ there: 0 where the method is early stopping, 1 where no
            stopping time is nearer to it than no training at all.
        fitted: ‖f − f_0‖ / ‖ỹ − f_0‖, how much of the labels the method fits.
    """

    time: Float[Array, ...]
    residual: Float[Array, ...]
    relative: Float[Array, ...]
    fitted: Float[Array, ...]


@in_precision
def equivalent_stopping_time(
    eigensystem: Eigensystem,
    filter: Filters,
    observed: Float[ArrayLike, "n C"],
    *,
    initial: Float[ArrayLike, "n C"] | None = None,
) -> EquivalentTime:
    """The stopping time of gradient flow that comes nearest to a method, and what is left.

    The objective may have several minima: it is scanned on a logarithmic grid from a proven lower
    bound of the minimiser to convergence of the slowest direction, refined by bisection of its
    derivative, and compared with both ends, no training and full convergence.

    Args:
        eigensystem: of the training kernel; directions outside a partial one count as one more,
            at their mean eigenvalue.
        filter: one filter, or a sequence of F of them.
        observed: targets ỹ (n, C); the weight of a direction is ‖u_kᵀ(ỹ − f_0)‖².
        initial: outputs f_0 (n, C) before training; default zero.

    Returns:
        An `EquivalentTime`.

    Raises:
        ValueError: on shapes that do not match, or a filter that counts more directions than a
            partial eigensystem holds.

    Source: the question is that of Dong, Hou, Lu, Zhang (arXiv:1910.01255); the measure derived.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([2.0, 1.0]))
        >>> y, flow = np.ones((2, 1)), na.dynamics.gradient_flow(0.7)
        >>> round(float(na.dynamics.equivalent_stopping_time(es, flow, y).time), 3)
        0.7
    """
    matching(eigensystem, observed=observed, initial=initial)
    target = as_float(observed) if initial is None else as_float(observed) - as_float(initial)
    size = power_of_two(target)
    target = target / size
    coefficients = project(eigensystem, target)
    bank = bank_of(filter)
    fitted, rest = evaluate(eigensystem, bank)
    warn_where_untrusted(eigensystem, bank, coefficients)
    held = spectrum(eigensystem)
    beyond = outside(target, target, coefficients, coefficients) if held.count else 0.0
    energy = jnp.append(jnp.sum(coefficients**2, axis=1), beyond)
    values = jnp.append(held.values, held.mean)
    found = _search(values, energy, jnp.concatenate([fitted, rest[:, None]], axis=1))
    time, residual, relative, share = found
    return like(filter, EquivalentTime(time, residual * size * size, relative, share))


@jax.jit
def _search(values: Array, energy: Array, filters: Array) -> tuple[Array, ...]:
    """Time, residual, relative residual and fraction fitted of each filter (F, k)."""
    total = jnp.sum(energy)
    # Shares: with them neither the labels' scale nor that of the kernel can overflow.
    shares = jnp.where(total > 0, energy / jnp.where(total > 0, total, 1.0), 0.0)
    largest = jnp.max(values)
    scale = jnp.where(largest > 0, largest, 1.0)
    relative_values = values / scale

    def one(g: Array) -> tuple[Array, ...]:
        time, left = _nearest(relative_values, shares, g)
        size = jnp.sum(shares * g**2)
        relative = jnp.sqrt(jnp.where(size > 0, left / jnp.where(size > 0, size, 1.0), 0.0))
        return time / scale, left * total, relative, jnp.sqrt(size)

    return jax.lax.map(one, filters)


def _nearest(values: Array, shares: Array, g: Array) -> tuple[Array, Array]:
    def distance(time: Array) -> Array:
        return jnp.sum(shares * (g - flow_fractions(values, time)) ** 2)

    def slope(log_time: Array) -> Array:
        time = jnp.exp(log_time)
        return jnp.sum(
            shares * (flow_fractions(values, time) - g) * values * jnp.exp(-values * time)
        )

    low, high = _ends(values, shares, g)
    grid = jnp.linspace(low, high, _GRID)
    best = jnp.argmin(jax.lax.map(lambda log_time: distance(jnp.exp(log_time)), grid))
    around = jnp.clip(jnp.stack([best - 1, best, best + 1]), 0, _GRID - 1)
    left, middle, right = grid[around]
    rising = slope(middle) > 0
    bracket = jnp.where(rising, left, middle), jnp.where(rising, middle, right)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        centre = (ends[0] + ends[1]) / 2
        up = slope(centre) > 0
        return jnp.where(up, ends[0], centre), jnp.where(up, centre, ends[1])

    refined = jnp.mean(jnp.stack(jax.lax.fori_loop(0, _BISECTIONS, halve, bracket)))
    # Of equal distances the first: no training before the rest, convergence before a long time.
    times = jnp.stack(
        [jnp.zeros_like(low), jnp.full_like(low, jnp.inf), *jnp.exp(jnp.stack([refined, middle]))]
    )
    distances = jnp.stack([distance(time) for time in times])
    chosen = jnp.argmin(distances)
    return times[chosen], distances[chosen]


def _ends(values: Array, shares: Array, g: Array) -> tuple[Array, Array]:
    """Logarithms of times between which the minimiser lies, eigenvalues at most 1."""
    tiny = jnp.finfo(values.dtype).tiny ** 0.5
    # With g_t ≤ λt the objective falls as long as t Σ w λ² < e^{−t} Σ w λ g.
    pull, stiffness = jnp.sum(shares * values * g), jnp.sum(shares * values**2)
    first = jnp.where(stiffness > 0, pull / jnp.where(stiffness > 0, stiffness, 1.0), 1.0)
    low = jnp.log(jnp.clip(first / jnp.e, tiny, 1.0))
    smallest = jnp.min(jnp.where((values > 0) & (shares > 0), values, 1.0))
    # e^{−λt} is below round-off of 1 from here on.
    converged = -jnp.log(jnp.finfo(values.dtype).eps) + 1.0
    return low, jnp.log(converged / smallest)
