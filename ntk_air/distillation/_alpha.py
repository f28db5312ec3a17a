"""Schedules for the weight of the observed label, from training step to a number in [0, 1].

A schedule is a small pytree: its numbers are traced, so that another time constant runs the same
compiled training loop. Source: arXiv:1910.01255 and common use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._checks import check_in_range
from .._typing import Array
from ._posterior import Posterior, posterior


@dataclasses.dataclass(frozen=True, eq=False)
class AlphaSchedule:
    """The weight alpha_s of the observed label at step s.

    Call it with a step (and, for `agreement`, with the fraction of the batch on which network and
    observed label agree) to get the weight; it works on Python numbers, arrays and tracers.

    Attributes:
        kind: name of the formula.
        parameters: its numbers, each a scalar; for kind "table" one array of weights per step.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.exponential(200)
        AlphaSchedule(kind='exponential', parameters=(200.0,))
    """

    kind: str
    parameters: tuple[Any, ...]

    def __call__(self, step: Any, agreement: Any = None) -> Array:
        """Returns the weight at ``step``, shape of ``step``.

        Raises:
            ValueError: if the schedule needs the network's agreement and none is given.
        """
        if self.kind == "agreement":
            if agreement is None:
                raise ValueError(
                    "the agreement schedule needs the batch agreement as second argument; it is "
                    "known during training only."
                )
            return 1.0 - self.parameters[0] * jnp.asarray(agreement)
        step = jnp.asarray(step)
        if self.kind == "table":
            (table,) = self.parameters
            return table[jnp.clip(step, 0, table.shape[0] - 1)]
        return _formula(self.kind)(step.astype(jnp.result_type(float)), *self.parameters)


jax.tree_util.register_dataclass(AlphaSchedule, data_fields=["parameters"], meta_fields=["kind"])


def _constant(step: Array, value: Any) -> Array:
    return jnp.full_like(step, value)


def _linear(step: Array, start: Any, end: Any, steps: Any) -> Array:
    return start + (end - start) * jnp.clip(step / steps, 0.0, 1.0)


def _exponential(step: Array, time_constant: Any) -> Array:
    return jnp.exp(-step / time_constant)


def _inverse_time(step: Array, time_constant: Any) -> Array:
    return 1.0 / (1.0 + step / time_constant)


def _cosine(step: Array, steps: Any) -> Array:
    return 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.clip(step / steps, 0.0, 1.0)))


def constant(value: float) -> AlphaSchedule:
    """The same weight at every step; 1 is plain training on the observed labels.

    Raises:
        ValueError: if ``value`` is not a number in [0, 1].

    Example:
        >>> import ntk_air as na
        >>> float(na.distillation.constant(0.5)(100))
        0.5
    """
    check_in_range("alpha", value, 0.0, 1.0)
    return AlphaSchedule("constant", (float(value),))


def linear(start: float, end: float, steps: float) -> AlphaSchedule:
    """From ``start`` to ``end`` over ``steps`` training steps, ``end`` from then on.

    Raises:
        ValueError: if a weight is outside [0, 1] or ``steps`` is not positive.

    Example:
        >>> import ntk_air as na
        >>> [float(na.distillation.linear(1.0, 0.0, 100)(step)) for step in (0, 50, 200)]
        [1.0, 0.5, 0.0]
    """
    check_in_range("start", start, 0.0, 1.0)
    check_in_range("end", end, 0.0, 1.0)
    check_in_range("steps", steps, 0.0, low_open=True, high_open=True)
    return AlphaSchedule("linear", (float(start), float(end), float(steps)))


def exponential(time_constant: float) -> AlphaSchedule:
    """exp(-s / time_constant), the time constant in training steps.

    Raises:
        ValueError: if ``time_constant`` is not a positive number.

    Example:
        >>> import ntk_air as na
        >>> [round(float(na.distillation.exponential(100)(step)), 4) for step in (0, 100)]
        [1.0, 0.3679]
    """
    check_in_range("time_constant", time_constant, 0.0, low_open=True, high_open=True)
    return AlphaSchedule("exponential", (float(time_constant),))


def inverse_time(time_constant: float) -> AlphaSchedule:
    """1 / (1 + s / time_constant), the time constant in training steps.

    Raises:
        ValueError: if ``time_constant`` is not a positive number.

    Example:
        >>> import ntk_air as na
        >>> [round(float(na.distillation.inverse_time(100)(step)), 4) for step in (0, 100, 300)]
        [1.0, 0.5, 0.25]
    """
    check_in_range("time_constant", time_constant, 0.0, low_open=True, high_open=True)
    return AlphaSchedule("inverse_time", (float(time_constant),))


def cosine(steps: float) -> AlphaSchedule:
    """(1 + cos(pi s / steps)) / 2 up to ``steps`` training steps, 0 from then on.

    Raises:
        ValueError: if ``steps`` is not positive.

    Example:
        >>> import ntk_air as na
        >>> [round(float(na.distillation.cosine(100)(step)), 4) for step in (0, 50, 100)]
        [1.0, 0.5, 0.0]
    """
    check_in_range("steps", steps, 0.0, low_open=True, high_open=True)
    return AlphaSchedule("cosine", (float(steps),))


def agreement(scale: float = 1.0) -> AlphaSchedule:
    """1 - scale x the fraction of the batch whose argmax output agrees with the observed label.

    The schedule of the paper's authors (arXiv:1910.01255; scale 1, hard labels, cross-entropy). It
    needs no tuning: a network that agrees with few labels is not trusted yet.

    Raises:
        ValueError: if ``scale`` is outside [0, 1].

    Example:
        >>> import numpy as np, ntk_air as na
        >>> eye = np.eye(2)
        >>> run = na.distillation.kernel_self_distill(
        ...     eye, eye, learning_rate=0.1, num_steps=1, alpha=na.distillation.agreement(0.5))
        >>> print(run.alpha)  # half the share of points whose output names the given class
        [0.75 0.5 ]
    """
    check_in_range("scale", scale, 0.0, 1.0)
    return AlphaSchedule("agreement", (float(scale),))


def _posterior_of(rate: float | None = None) -> Posterior:
    return posterior(rate=rate)


class Kind(NamedTuple):
    """A kind of schedule.

    Attributes:
        make: from its numbers to a schedule, or to a `Posterior`.
        forms: how it is written as text; numbers are written in capitals.
        formula: from a step, or an array of them, and the numbers to weights; None where the step
            does not say.
        default: its number where none is written, given the steps of the whole training.
    """

    make: Callable[..., AlphaSchedule | Posterior]
    forms: tuple[str, ...]
    formula: Callable[..., Array] | None
    default: Callable[[int], float] | None = None


KINDS: dict[str, Kind] = {
    "agreement": Kind(agreement, ("agreement", "agreement:SCALE"), None),
    "constant": Kind(constant, ("constant:VALUE",), _constant),
    "exponential": Kind(exponential, ("exponential:STEPS",), _exponential),
    "inverse_time": Kind(inverse_time, ("inverse_time:STEPS",), _inverse_time),
    "linear": Kind(linear, ("linear:START:END:STEPS",), _linear),
    "cosine": Kind(cosine, ("cosine", "cosine:STEPS"), _cosine, float),
    "posterior": Kind(_posterior_of, ("posterior", "posterior:RATE"), None),
}
"""Every kind of schedule by name: another is its function and a line here."""

__all__ = ["AlphaSchedule", "parse", *KINDS]  # pyright: ignore[reportUnsupportedDunderAll]


def _formula(kind: str) -> Callable[..., Array]:
    formula = KINDS[kind].formula
    assert formula is not None
    return formula


def parse(text: str | float, num_steps: int) -> AlphaSchedule | Posterior:
    """The schedule that a text names: a number, or KIND:NUMBERS.

    Args:
        text: as in ``"0.5"``, ``"exponential:200"`` or ``"linear:1:0.1:700"``; time constants are
            in steps. ``"cosine"`` alone runs over the whole training; ``"posterior:0.3"`` is
            `posterior` with a rate.
        num_steps: steps of the whole training.

    Returns:
        The schedule.

    Raises:
        ValueError: an unknown kind, a wrong count of numbers, or one out of range.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.alpha.parse("exponential:200", 1000)
        AlphaSchedule(kind='exponential', parameters=(200.0,))
    """
    kind, *numbers = str(text).strip().split(":")
    if kind not in KINDS:
        kind, numbers = "constant", str(text).split(":")
    found = KINDS[kind]
    try:
        values = [float(number) for number in numbers]
    except ValueError:
        values = None
    if values is None or len(values) not in {form.count(":") for form in found.forms}:
        *forms, last = (form for one in KINDS.values() for form in one.forms)
        raise ValueError(
            f"alpha is {str(text)!r}, expected a number, {', '.join(forms)} or {last}."
        )
    if not values and found.default is not None:
        values = [found.default(num_steps)]
    return found.make(*values)
