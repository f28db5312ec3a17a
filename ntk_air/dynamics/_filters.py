"""Spectral filters: each training method as a fraction of every eigendirection fitted.

A filter is a function of eigenvalues, g(λ) (r,) -> (r,); the fitted outputs are
f = f_0 + Σ g(λ_k) u_k u_kᵀ (ỹ − f_0). Time is learning rate × step for the loss
½‖f − target‖² summed over points and outputs. Eigenvalues below zero are round-off and count as 0.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import jax.numpy as jnp

from .._checks import check_in_range, check_size
from .._typing import Array, FilterLike


@dataclasses.dataclass(frozen=True, eq=False)
class Filter:
    """A training method as a function of eigenvalues (r,) to fractions fitted (r,).

    Wherever a filter is taken, a plain function of this kind is too; this says besides what makes
    many of them, or large ones, cheap and exact.

    Attributes:
        function: from eigenvalues to fractions.
        name: what it is, with its numbers.
        rank_needed: how many directions it counts; 0 for a function of each eigenvalue alone.
        flow_time: the time (learning rate × step) of gradient flow, None for another method.
        ridge_strength: of ridge regression, None for another method.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> na.dynamics.ridge(0.5)
        Filter(ridge(0.5))
        >>> half = na.dynamics.Filter(lambda values: 0.5 * np.ones_like(values), "half of all")
        >>> half(np.array([2.0, 1.0])).tolist()
        [0.5, 0.5]
    """

    function: Callable[[Array], Array]
    name: str = "a filter"
    rank_needed: int = 0
    flow_time: float | None = None
    ridge_strength: float | None = None

    def __call__(self, eigenvalues: Array) -> Array:
        """Fractions fitted (r,) of eigenvalues (r,)."""
        return self.function(eigenvalues)

    def __repr__(self) -> str:
        return f"Filter({self.name})"


def positive(eigenvalues: Array) -> Array:
    """Eigenvalues with the round-off below zero removed: the one place that does it."""
    return jnp.maximum(eigenvalues, 0.0)


def gradient_flow(time: float) -> Filter:
    """Gradient flow to ``time``: 1 − e^{−λt}.

    Raises:
        ValueError: if ``time`` is negative or NaN (infinity is full convergence).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> print(na.dynamics.gradient_flow(2.0)(np.array([0.0, 1.0])).round(4))
        [0. 0.8647]
    """
    check_in_range("time", time, 0.0)

    def filter_(eigenvalues: Array) -> Array:
        return flow_fractions(eigenvalues, time)

    # The time lets many of them be evaluated in one array operation.
    return Filter(filter_, f"gradient_flow({float(time):g})", flow_time=float(time))


def flow_fractions(eigenvalues: Array, times: float | Array) -> Array:
    """1 − e^{−λt}, times broadcast against eigenvalues; 0 where λ = 0 whatever the time."""
    values = positive(eigenvalues)
    return -jnp.expm1(-jnp.where(values > 0, values * times, 0.0))


def gradient_descent(learning_rate: float, steps: int) -> Filter:
    """``steps`` steps of gradient descent: 1 − (1 − ηλ)^s, exact also where it oscillates.

    Raises:
        ValueError: if ``learning_rate`` is not positive, or ``steps`` negative or no whole number.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> na.dynamics.gradient_descent(0.5, 2)(np.array([0.0, 1.0])).tolist()
        [0.0, 0.75]
    """
    check_in_range("learning_rate", learning_rate, 0.0, math.inf, low_open=True, high_open=True)
    steps = check_size("steps", steps, 0)

    def filter_(eigenvalues: Array) -> Array:
        rate = learning_rate * positive(eigenvalues)
        # log1p keeps the digits of small rates that (1 − ηλ)^s would round away.
        small = -jnp.expm1(float(steps) * jnp.log1p(-jnp.minimum(rate, 0.5)))
        return jnp.where(rate < 0.5, small, 1.0 - _whole_power(1.0 - rate, steps))

    return Filter(filter_, f"gradient_descent({learning_rate:g}, {steps})")


def _whole_power(base: Array, count: int) -> Array:
    """base^count, also of counts beyond 32 bits."""
    if count < 2**31:
        return base**count
    size = jnp.abs(base) ** float(count)
    return jnp.where((base < 0) & (count % 2 == 1), -size, size)


def heavy_ball(learning_rate: float, steps: int, momentum: float) -> Filter:
    """``steps`` steps of heavy-ball gradient descent, by the closed form of its recursion.

    The residual of a direction obeys r_{s+1} = (1 + β − ηλ) r_s − β r_{s−1} with r_{−1} = r_0 = 1
    (the velocity starts at zero); its characteristic roots give r_s.

    Args:
        learning_rate: η; the time reached is about η s / (1 − β).
        steps: s.
        momentum: β in [0, 1).

    Raises:
        ValueError: on values out of range, or steps that are no whole number.

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> print(na.dynamics.heavy_ball(0.5, 2, 0.9)(np.array([0.0, 1.0])).round(4))
        [0. 1.2]
    """
    check_in_range("learning_rate", learning_rate, 0.0, math.inf, low_open=True, high_open=True)
    steps = check_size("steps", steps, 0)
    check_in_range("momentum", momentum, 0.0, 1.0, high_open=True)
    if momentum == 0.0:
        return gradient_descent(learning_rate, steps)
    name = f"heavy_ball({learning_rate:g}, {steps}, {momentum:g})"
    if steps == 0:
        return Filter(lambda eigenvalues: jnp.zeros_like(positive(eigenvalues)), name)

    def filter_(eigenvalues: Array) -> Array:
        rate = learning_rate * positive(eigenvalues)
        middle = (1.0 + momentum - rate) / 2.0
        # middle² − β in factors: no cancellation where the roots meet.
        modulus = math.sqrt(momentum)
        discriminant = ((1.0 - modulus) ** 2 - rate) * ((1.0 + modulus) ** 2 - rate) / 4.0
        root = jnp.sqrt(jnp.abs(discriminant))
        # r_s = U_s − β U_{s−1}, U_s = (a^{s+1} − b^{s+1})/(a − b) for the roots a, b.
        residual = _power_ratio(middle, root, discriminant, modulus, steps + 1)
        residual -= momentum * _power_ratio(middle, root, discriminant, modulus, steps)
        apart = (discriminant > 0) & (middle > 0) & (4 * root > 1.0 - momentum)
        return jnp.where(apart, _slow_and_fast(rate, middle, root, momentum, steps), 1.0 - residual)

    return Filter(filter_, name)


def _power_ratio(
    middle: Array, root: Array, discriminant: Array, modulus: float, count: int
) -> Array:
    """(a^c − b^c) / (a − b) for the roots a, b = middle ± root of product ``modulus``²."""
    # a, b = m e^{±θ} or m e^{±iθ} up to a common sign; both forms tend to c m^{c−1} as θ → 0.
    size = jnp.abs(middle)
    real = jnp.arcsinh(root / modulus)
    apart = real > 0
    growth = jnp.expm1(-2.0 * count * real) / jnp.where(apart, jnp.expm1(-2 * real), 1.0)
    hyperbolic = (size + root) ** float(count - 1) * jnp.where(apart, growth, float(count))
    angle = jnp.arctan2(root, size)
    turning = angle > 0
    ratio = jnp.sin(float(count) * angle) / jnp.where(turning, jnp.sin(angle), 1.0)
    circular = modulus ** (count - 1) * jnp.where(turning, ratio, float(count))
    sign = jnp.where((middle < 0) & (count % 2 == 0), -1.0, 1.0)
    return sign * jnp.where(discriminant >= 0, hyperbolic, circular)


def _slow_and_fast(rate: Array, middle: Array, root: Array, momentum: float, steps: int) -> Array:
    """1 − r_s where both roots are real and apart, with the digits of small rates kept."""
    slow = middle + root
    fast = momentum / jnp.where(slow > 0, slow, 1.0)
    # (1 − a)(1 − b) = ηλ gives 1 − a without subtracting, and A (1 − a^s) + B (1 − b^s) the sum.
    rest = rate / (1.0 - fast)
    weight = -rate * fast / ((1.0 - fast) * jnp.where(root > 0, 2 * root, 1.0))
    fitted = -jnp.expm1(float(steps) * jnp.log1p(-jnp.minimum(rest, 0.999)))
    return (1.0 - weight) * fitted + weight * (1.0 - fast ** float(steps))


def ridge(strength: float) -> Filter:
    """Ridge regression: λ/(λ + γ).

    Raises:
        ValueError: if ``strength`` is not positive.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> na.dynamics.ridge(1.0)(np.array([0.0, 1.0, 3.0])).tolist()
        [0.0, 0.5, 0.75]
    """
    check_in_range("strength", strength, 0.0, low_open=True)

    def filter_(eigenvalues: Array) -> Array:
        return positive(eigenvalues) / (positive(eigenvalues) + strength)

    return Filter(filter_, f"ridge({float(strength):g})", ridge_strength=float(strength))


def truncation(rank: int) -> Filter:
    """Spectral cut-off: 1 for the first ``rank`` directions, 0 for the rest.

    Raises:
        ValueError: if ``rank`` is negative or no whole number.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> na.dynamics.truncation(2)(np.array([3.0, 2.0, 1.0])).tolist()
        [1.0, 1.0, 0.0]
    """
    rank = check_size("rank", rank, 0)

    def filter_(eigenvalues: Array) -> Array:
        values = positive(eigenvalues)
        return (jnp.arange(values.shape[0]) < rank).astype(values.dtype)

    return Filter(filter_, f"truncation({rank})", rank_needed=rank)


def rank_needed(filter_: FilterLike) -> int:
    """How many directions a filter counts; 0 for functions of the eigenvalue alone."""
    return filter_.rank_needed if isinstance(filter_, Filter) else 0


def flow_time(filter_: FilterLike) -> float | None:
    """The time of a filter that `gradient_flow` made, else None."""
    return filter_.flow_time if isinstance(filter_, Filter) else None


def ridge_strength(filter_: FilterLike) -> float | None:
    """The strength of a filter that `ridge` made, else None."""
    return filter_.ridge_strength if isinstance(filter_, Filter) else None
