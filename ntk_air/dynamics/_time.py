"""Training time here and in neural-tangents."""

from __future__ import annotations

from typing import TypeVar

from .._checks import check_in_range, check_size
from .._typing import Array

_Time = TypeVar("_Time", float, Array)


def to_neural_tangents_time(
    time: _Time, num_points: int, num_outputs: int, *, learning_rate: float = 1.0
) -> _Time:
    """The ``t`` at which neural-tangents' predict functions reach a time of this package.

    Here time is learning rate × step for the loss ½‖f − target‖² SUMMED over points and outputs.
    neural-tangents' `predict.gradient_descent_mse` takes the MEAN over n · C of them, and counts
    steps of its own ``learning_rate``: t = time · n · C / learning_rate.

    Args:
        time: one time or an array of them.
        num_points: n, training points.
        num_outputs: C, outputs.
        learning_rate: what is given to neural-tangents; its default is 1.

    Raises:
        ValueError: if a size is no whole number from 1 up, or the rate is not positive.

    Example:
        >>> import ntk_air as na
        >>> na.dynamics.to_neural_tangents_time(0.5, 100, 10)
        500.0
    """
    return time * _steps_per_time(num_points, num_outputs, learning_rate)


def from_neural_tangents_time(
    time: _Time, num_points: int, num_outputs: int, *, learning_rate: float = 1.0
) -> _Time:
    """The time of this package that neural-tangents reaches at its ``t``; the inverse map.

    Args:
        time: one ``t`` of neural-tangents or an array of them.
        num_points: n, training points.
        num_outputs: C, outputs.
        learning_rate: what was given to neural-tangents; its default is 1.

    Raises:
        ValueError: if a size is no whole number from 1 up, or the rate is not positive.

    Example:
        >>> import ntk_air as na
        >>> na.dynamics.from_neural_tangents_time(500.0, 100, 10)
        0.5
    """
    return time / _steps_per_time(num_points, num_outputs, learning_rate)


def _steps_per_time(num_points: int, num_outputs: int, learning_rate: float) -> float:
    points = check_size("num_points", num_points, 1)
    outputs = check_size("num_outputs", num_outputs, 1)
    check_in_range("learning_rate", learning_rate, 0.0, low_open=True)
    return points * outputs / learning_rate
