"""A schedule from what a caller may give: a number, weights for every step, a function of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_in_range
from ._alpha import KINDS, AlphaSchedule, constant
from ._posterior import Posterior


def as_schedule(alpha: Any, num_steps: int) -> AlphaSchedule:
    """The schedule of a number, an array or list of weights per step, or a function of the step.

    A function is read once at every step into a table. That lets it be ordinary Python, shows a
    weight outside [0, 1] before training starts, and compiles nothing anew for another function.

    Raises:
        ValueError: if a weight at a step in 0..num_steps is masked, not finite or outside [0, 1].
        TypeError: if ``alpha`` is none of these.

    Example:
        >>> import ntk_air as na
        >>> halving = na.distillation.as_schedule(lambda step: 0.5**step, 3)
        >>> [float(halving(step)) for step in (0, 2, 3)]
        [1.0, 0.25, 0.125]
    """
    if isinstance(alpha, AlphaSchedule):
        return _checked(alpha, num_steps)
    if isinstance(alpha, Posterior):
        raise TypeError(
            "alpha is posterior(...), which weighs each label for itself and is no schedule of the "
            "step; it is for self_distill and kernel_self_distill."
        )
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
    kinds = tuple(name for name in KINDS if name != "posterior")
    check_choice("alpha.kind", schedule.kind, (*kinds, "table"))
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
    """Values of a ``step -> number`` function at 0..num_steps, on the host, (num_steps + 1,).

    The function may be ordinary Python or one of JAX, such as a schedule of optax.

    Raises:
        ValueError: if it gives an array for a step; it is called ``name`` in the message.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.tabulate("learning_rate", lambda step: 1.0 / (1 + step), 1).tolist()
        [1.0, 0.5]
    """
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
