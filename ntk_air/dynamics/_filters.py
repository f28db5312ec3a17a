"""Spectral filters: each training method as a fraction of every eigendirection fitted.

A filter is a plain function of eigenvalues, g(λ) (r,) -> (r,); the fitted outputs are
f = f_0 + Σ g(λ_k) u_k u_kᵀ (ỹ − f_0). Time is learning rate × step for the loss
½‖f − target‖² summed over points and outputs. Eigenvalues below zero are round-off and count as 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp

from .._checks import check_in_range
from .._typing import Array, Filter


def positive(eigenvalues: Array) -> Array:
    """Eigenvalues with the round-off below zero removed: the one place that does it."""
    return jnp.maximum(eigenvalues, 0.0)


def gradient_flow(time: float) -> Filter:
    """Gradient flow to ``time``: 1 − e^{−λt}.

    Raises:
        ValueError: if ``time`` is negative or NaN (infinity is full convergence).
    """
    check_in_range("time", time, 0.0)

    def filter_(eigenvalues: Array) -> Array:
        values = positive(eigenvalues)
        if math.isinf(time):
            return jnp.where(values > 0, 1.0, 0.0).astype(values.dtype)
        return -jnp.expm1(-values * time)

    return filter_


def gradient_descent(learning_rate: float, steps: int) -> Filter:
    """``steps`` steps of gradient descent: 1 − (1 − ηλ)^s, exact also where it oscillates.

    Raises:
        ValueError: if ``learning_rate`` is not positive or ``steps`` negative.
    """
    check_in_range("learning_rate", learning_rate, 0.0, math.inf, low_open=True, high_open=True)
    check_in_range("steps", steps, 0)

    def filter_(eigenvalues: Array) -> Array:
        rate = learning_rate * positive(eigenvalues)
        # log1p keeps the digits of small rates that (1 − ηλ)^s would round away.
        small = -jnp.expm1(steps * jnp.log1p(-jnp.minimum(rate, 0.5)))
        return jnp.where(rate < 0.5, small, 1.0 - (1.0 - rate) ** steps)

    return filter_


def heavy_ball(learning_rate: float, steps: int, momentum: float) -> Filter:
    """``steps`` steps of heavy-ball gradient descent, by the closed form of its recursion.

    The residual of a direction obeys r_{s+1} = (1 + β − ηλ) r_s − β r_{s−1} with r_{−1} = r_0 = 1
    (the velocity starts at zero); its characteristic roots give r_s.

    Args:
        learning_rate: η; the time reached is about η s / (1 − β).
        steps: s.
        momentum: β in [0, 1).

    Raises:
        ValueError: on values out of range.

    Source: Polyak, Some methods of speeding up the convergence of iteration methods, 1964.
    """
    check_in_range("learning_rate", learning_rate, 0.0, math.inf, low_open=True, high_open=True)
    check_in_range("steps", steps, 0)
    check_in_range("momentum", momentum, 0.0, 1.0, high_open=True)
    if momentum == 0.0:
        return gradient_descent(learning_rate, steps)

    def filter_(eigenvalues: Array) -> Array:
        values = positive(eigenvalues)
        middle = (1.0 + momentum - learning_rate * values) / 2.0
        discriminant = middle**2 - momentum
        # r_s = U_s − β U_{s−1}, U_s = (a^{s+1} − b^{s+1})/(a − b) for the roots a, b.
        return 1.0 - (
            _chebyshev_like(middle, discriminant, momentum, steps)
            - momentum * _chebyshev_like(middle, discriminant, momentum, steps - 1)
        )

    return filter_


def _chebyshev_like(middle: Array, discriminant: Array, product: float, steps: int) -> Array:
    """(a^{s+1} − b^{s+1}) / (a − b) for the roots a, b of z² − 2·middle·z + product."""
    count = steps + 1
    root = jnp.sqrt(jnp.abs(discriminant))
    # Real roots: divided difference, without cancellation through sinh.
    large = jnp.where(middle >= 0, middle + root, middle - root)
    safe = jnp.where(large == 0, 1.0, large)
    small = product / safe
    gap = large - small
    apart = jnp.abs(gap) > 1e-6 * jnp.abs(safe)
    real = jnp.where(
        apart,
        (large**count - small**count) / jnp.where(apart, gap, 1.0),
        count * middle ** max(count - 1, 0),
    )
    # Complex pair of modulus sqrt(product): sine form.
    modulus = math.sqrt(product)
    angle = jnp.arctan2(root, middle)
    sine = jnp.sin(angle)
    flat = jnp.abs(sine) < 1e-6
    ratio = jnp.where(
        flat,
        count * jnp.cos(angle) ** (count - 1 if count > 0 else 0),
        jnp.sin(count * angle) / jnp.where(flat, 1.0, sine),
    )
    return jnp.where(discriminant >= 0, real, modulus ** (count - 1) * ratio)


def ridge(strength: float) -> Filter:
    """Ridge regression: λ/(λ + γ).

    Raises:
        ValueError: if ``strength`` is not positive.
    """
    check_in_range("strength", strength, 0.0, low_open=True)
    return lambda eigenvalues: positive(eigenvalues) / (positive(eigenvalues) + strength)


def truncation(rank: int) -> Filter:
    """Spectral cut-off: 1 for the first ``rank`` directions, 0 for the rest.

    Raises:
        ValueError: if ``rank`` is negative.
    """
    check_in_range("rank", rank, 0)
    return lambda eigenvalues: (jnp.arange(eigenvalues.shape[0]) < rank).astype(eigenvalues.dtype)


def ridge_distillation(
    strength: float | Sequence[float], rounds: int | None = None, alpha: float = 0.0
) -> Filter:
    """Rounds of ridge self-distillation, the given labels weighted ``alpha`` in each target.

    d_i = λ/(λ + γ_i) · (α + (1 − α) d_{i−1}), d_0 = λ/(λ + γ_0); α = 0 drops the labels.

    Args:
        strength: γ, one number or one per round (round 0, plain ridge, first).
        rounds: rounds after plain ridge; default what the sequence of strengths says.
        alpha: weight of the given labels in [0, 1].

    Raises:
        ValueError: on values out of range, or a number of strengths that does not fit.

    Source: Mobahi, Farajtabar, Bartlett (arXiv:2002.05715); Borup, Andersen (arXiv:2102.13088).
    """
    check_in_range("alpha", alpha, 0.0, 1.0)
    many = isinstance(strength, Sequence)
    if rounds is None and not many:
        raise ValueError("ridge_distillation needs rounds= when strength is one number.")
    count = len(strength) - 1 if rounds is None else rounds  # pyright: ignore[reportArgumentType]
    check_in_range("rounds", count, 0)
    strengths = list(strength) if many else [strength] * (count + 1)  # pyright: ignore
    if len(strengths) != count + 1:
        raise ValueError(f"got {len(strengths)} strengths, expected rounds + 1 = {count + 1}.")
    for value in strengths:
        check_in_range("strength", value, 0.0, low_open=True)

    def filter_(eigenvalues: Array) -> Array:
        values = positive(eigenvalues)
        fitted = values / (values + strengths[0])
        for gamma in strengths[1:]:
            fitted = values / (values + gamma) * (alpha + (1.0 - alpha) * fitted)
        return fitted

    return filter_


def teacher_student(teacher_time: float, student_time: float) -> Filter:
    """A teacher stopped at one time, a student trained on its outputs to another.

    (1 − e^{−λt₁})(1 − e^{−λt₂}): a converged teacher (infinite time) leaves plain training.

    Raises:
        ValueError: if a time is negative.
    """
    teacher, student = gradient_flow(teacher_time), gradient_flow(student_time)
    return lambda eigenvalues: teacher(eigenvalues) * student(eigenvalues)
