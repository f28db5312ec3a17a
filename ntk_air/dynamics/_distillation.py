"""Distillation as spectral filters: teachers, students, and rounds of both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from .._checks import check_in_range, check_size
from .._typing import Array, FilterLike
from ._filters import Filter, gradient_flow, positive, rank_needed, ridge

# More rounds of one strength than these are summed in closed form.
_LOOPED = 1000


def distilled(teacher: FilterLike, student: FilterLike, alpha: float = 0.0) -> Filter:
    """A student trained on α ỹ + (1 − α) teacher outputs: g_student (α + (1 − α) g_teacher).

    Args:
        teacher: filter of the teacher, trained on ỹ.
        student: filter of the student, of the same kernel.
        alpha: weight of the given labels, at most 1; below 0 the teacher weighs more than 1.

    Raises:
        ValueError: if ``alpha`` is above 1 or not finite.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> half = na.dynamics.ridge(1.0)
        >>> na.dynamics.distilled(half, half)(np.array([1.0])).tolist()
        [0.25]
    """
    check_in_range("alpha", alpha, -math.inf, 1.0, low_open=True)

    def filter_(eigenvalues: Array) -> Array:
        return student(eigenvalues) * (alpha + (1.0 - alpha) * teacher(eigenvalues))

    name = f"distilled({_name(teacher)}, {_name(student)}, {alpha:g})"
    return Filter(filter_, name, rank_needed=max(rank_needed(teacher), rank_needed(student)))


def _name(filter_: FilterLike) -> str:
    return filter_.name if isinstance(filter_, Filter) else "a function"


def teacher_student(teacher_time: float, student_time: float, alpha: float = 0.0) -> Filter:
    """A teacher stopped at one time, a student trained on its outputs to another.

    (1 − e^{−λt₂})(α + (1 − α)(1 − e^{−λt₁})); times are learning rate × step. A converged teacher
    (infinite time) leaves plain training, a converged student early stopping of the teacher.

    Args:
        teacher_time: t₁.
        student_time: t₂.
        alpha: weight of the given labels in the student's target, at most 1.

    Raises:
        ValueError: if a time is negative, or ``alpha`` above 1.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> student = na.dynamics.teacher_student(1.0, 1.0)
        >>> print(student(np.array([1.0])).round(4))  # (1 - exp(-1)) ** 2
        [0.3996]
    """
    return distilled(gradient_flow(teacher_time), gradient_flow(student_time), alpha)


def ridge_distillation(
    strength: float | Sequence[float], rounds: float | None = None, alpha: float = 0.0
) -> Filter:
    """Rounds of ridge self-distillation, the given labels weighted ``alpha`` in each target.

    d_i = λ/(λ + γ_i) · (α + (1 − α) d_{i−1}), d_0 = λ/(λ + γ_0); α = 0 drops the labels, for which
    it is Π λ/(λ + γ_i). Infinitely many rounds of one strength are plain ridge of strength γ/α.

    Args:
        strength: γ, one number or one per round (round 0, plain ridge, first).
        rounds: rounds after plain ridge, or ``math.inf`` for the limit; default what the sequence
            of strengths says.
        alpha: weight of the given labels, at most 1; below 0 the teacher weighs more than 1 (see
            `optimal_teacher_weight`).

    Raises:
        ValueError: on values out of range, a number of strengths that does not fit, or infinite
            rounds of several strengths or of a negative ``alpha``, which have no limit.

    Source: Mobahi, Farajtabar, Bartlett (arXiv:2002.05715); Borup, Andersen (arXiv:2102.13088).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> na.dynamics.ridge_distillation(1.0, 3)(np.array([1.0])).tolist()
        [0.0625]
    """
    check_in_range("alpha", alpha, -math.inf, 1.0, low_open=True)
    single = np.ndim(strength) == 0
    strengths = [float(value) for value in np.atleast_1d(np.asarray(strength))]
    for value in strengths:
        check_in_range("strength", value, 0.0, low_open=True)
    if rounds == math.inf:
        return _limit(strengths, alpha)
    if rounds is None and single:
        raise ValueError("ridge_distillation needs rounds= when strength is one number.")
    count = check_size("rounds", len(strengths) - 1 if rounds is None else rounds, 0)
    if single and count > _LOOPED:
        return _many_rounds(strengths[0], count, alpha)
    if single:
        strengths *= count + 1
    if len(strengths) != count + 1:
        raise ValueError(f"got {len(strengths)} strengths, expected rounds + 1 = {count + 1}.")

    def filter_(eigenvalues: Array) -> Array:
        values = positive(eigenvalues)
        fitted = values / (values + strengths[0])
        for gamma in strengths[1:]:
            fitted = values / (values + gamma) * (alpha + (1.0 - alpha) * fitted)
        return fitted

    shown = f"{strengths[0]:g}" if single else str(strengths)
    return Filter(filter_, f"ridge_distillation({shown}, {count}, {alpha:g})")


def _many_rounds(strength: float, rounds: int, alpha: float) -> Filter:
    """The sum of the recursion: a q^i + a α (1 − q^i)/(1 − q), q = (1 − α) a, a = λ/(λ + γ)."""

    def filter_(eigenvalues: Array) -> Array:
        values = positive(eigenvalues)
        first = values / (values + strength)
        missing = (strength + alpha * values) / (values + strength)  # 1 − q without cancellation
        power = float(rounds) * jnp.log1p(-missing)
        some = missing != 0
        summed = jnp.where(some, -jnp.expm1(power) / jnp.where(some, missing, 1.0), float(rounds))
        return first * jnp.exp(power) + first * alpha * summed

    return Filter(filter_, f"ridge_distillation({strength:g}, {rounds}, {alpha:g})")


def _limit(strengths: list[float], alpha: float) -> Filter:
    if len(strengths) != 1 or alpha < 0.0:
        raise ValueError(
            f"got {len(strengths)} strengths and alpha {alpha}; infinitely many rounds need one "
            "strength and an alpha in [0, 1], else they have no limit."
        )
    if alpha == 0.0:
        nothing = f"ridge_distillation({strengths[0]:g}, inf, 0)"
        return Filter(lambda eigenvalues: jnp.zeros_like(positive(eigenvalues)), nothing)
    return ridge(strengths[0] / alpha)


def label_averaging(
    weight_decay: float, rounds: int, *, num_classes: int, points_per_class: int
) -> Filter:
    """Rounds of softmax self-distillation of a linear probe: (s/(s + K² n λ))^t, linearised.

    The probe of each round minimises the MEAN cross-entropy to the outputs of the last plus
    ½ λ ‖W‖²; to first order in the logits softmax(v) = 1/K + v/K, so its probabilities minus 1/K
    are this filter, at Gram eigenvalues s, of the one-hot labels minus 1/K.

    Args:
        weight_decay: λ.
        rounds: t, at least 1; the probe trained on the given labels is round 1.
        num_classes: K.
        points_per_class: n.

    Raises:
        ValueError: on values out of range.

    Source: Jeong, Chung (arXiv:2402.10482); the linearisation re-derived here.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> averaging = na.dynamics.label_averaging(0.1, 2, num_classes=2, points_per_class=5)
        >>> print(averaging(np.array([1.0, 0.0])).round(4))
        [0.1111 0.    ]
    """
    check_in_range("weight_decay", weight_decay, 0.0, low_open=True)
    rounds = check_size("rounds", rounds, 1)
    classes = check_size("num_classes", num_classes, 2)
    points = check_size("points_per_class", points_per_class, 1)
    return ridge_distillation(classes**2 * points * weight_decay, rounds - 1)
