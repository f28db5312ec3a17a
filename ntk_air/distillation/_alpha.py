"""Schedules for the weight of the observed label, from training step to a number in [0, 1].

A schedule is a small pytree: its numbers are traced, so that another time constant runs the same
compiled training loop. Source: arXiv:1910.01255 and common use.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_in_range
from .._typing import Array

__all__ = [
    "AlphaSchedule",
    "agreement",
    "constant",
    "cosine",
    "exponential",
    "inverse_time",
    "linear",
]


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
        return _FORMULAS[self.kind](step.astype(jnp.result_type(float)), *self.parameters)


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


_FORMULAS: dict[str, Callable[..., Array]] = {
    "constant": _constant,
    "linear": _linear,
    "exponential": _exponential,
    "inverse_time": _inverse_time,
    "cosine": _cosine,
}


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


def as_schedule(alpha: Any, num_steps: int) -> AlphaSchedule:
    """The schedule of a number, an array or list of weights per step, or a function of the step.

    A function is read once at every step into a table. That lets it be ordinary Python, shows a
    weight outside [0, 1] before training starts, and compiles nothing anew for another function.

    Raises:
        ValueError: if a weight at a step in 0..num_steps is masked, not finite or outside [0, 1].
        TypeError: if ``alpha`` is none of these.
    """
    if isinstance(alpha, AlphaSchedule):
        return _checked(alpha, num_steps)
    if callable(alpha):
        return _table(tabulate("alpha", alpha, num_steps), num_steps)
    if np.ma.is_masked(alpha):
        raise ValueError("alpha has masked weights, expected a number for every step.")
    try:
        weights = np.asarray(alpha)
    except ValueError:  # rows of different lengths
        weights = np.empty((0, 0))
    real = np.issubdtype(weights.dtype, np.integer) or np.issubdtype(weights.dtype, np.floating)
    if weights.ndim > 1 or not real:
        raise TypeError(
            f"alpha is {alpha!r}, expected a number, a schedule of ntk_air.distillation.alpha, an "
            "array of one weight per step, or a function from step to weight."
        )
    return _table(weights, num_steps) if weights.ndim else constant(float(weights))


def _checked(schedule: AlphaSchedule, num_steps: int) -> AlphaSchedule:
    """A schedule whose weights are in [0, 1], whoever put it together."""
    check_choice("alpha.kind", schedule.kind, (*_FORMULAS, "agreement", "table"))
    if schedule.kind == "agreement":
        check_in_range("alpha", float(schedule.parameters[0]), 0.0, 1.0)
    elif schedule.kind == "table":
        return _table(np.asarray(schedule.parameters[0]), num_steps)
    else:
        _check_weights(np.asarray(schedule(np.arange(num_steps + 1))), num_steps)
    return schedule


def _table(weights: np.ndarray, num_steps: int) -> AlphaSchedule:
    """One weight for each step and, repeated if it is left out, one after the last."""
    if not len(weights) or len(weights) not in (num_steps, num_steps + 1):
        raise ValueError(
            f"alpha holds {len(weights)} weights, expected one for each of the {num_steps} steps."
        )
    _check_weights(weights, num_steps)
    table = np.append(weights, weights[-1:])[: num_steps + 1].clip(0, 1)
    return AlphaSchedule("table", (jnp.asarray(table, jnp.result_type(float)),))


def _check_weights(weights: np.ndarray, num_steps: int) -> None:
    slack = 1e-6  # round-off of a schedule computed in float32
    outside = np.flatnonzero(~((weights >= -slack) & (weights <= 1 + slack)))
    if outside.size:
        raise ValueError(
            f"alpha is {weights[outside[0]]} at step {outside[0]}, expected a weight in [0, 1] "
            f"at every step 0..{num_steps}; rescale the schedule."
        )


def tabulate(name: str, schedule: Callable[[Any], Any], num_steps: int) -> np.ndarray:
    """Values of a ``step -> number`` function at 0..num_steps, on the host, (num_steps + 1,)."""
    steps = np.arange(num_steps + 1)
    try:  # steps of JAX's default width, so that float64 schedules are float64 where enabled
        values = np.asarray(jax.vmap(schedule)(jnp.asarray(steps)))
    except Exception:  # ordinary Python that JAX cannot trace: ask it step by step
        values = np.asarray([np.asarray(schedule(int(s))) for s in steps])
    if values.shape != steps.shape:
        raise ValueError(
            f"{name} returns an array of shape {values.shape[1:]} per step, expected one number."
        )
    return values.astype(np.float64)
