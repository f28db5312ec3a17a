"""What the rules of `stopping_time` minimise, in float64, with what of it is not known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp, softmax

from ..._classes import class_of, threshold_of
from ..._numerics import double_precision
from ..._typing import Array
from ...spectral import Eigensystem
from .._partial_spectrum import split
from ._left_out import SAFETY, problem_of, told
from ._left_out_flow import flow_outputs


class LeftOut(NamedTuple):
    """Leave-one-out scores at each of T times, NaN where not known.

    Attributes:
        squares: (T,), mean square of ỹ_i − f^{(−i)}(x_i).
        errors: (T,), share of points whose class f^{(−i)}(x_i) misses.
    """

    squares: np.ndarray
    errors: np.ndarray


def left_out_scores(
    eigensystem: Eigensystem, times: list[float], observed: Array, remainder: str
) -> LeftOut:
    """Scores of gradient flow without each point, known as well as values of `leave_one_out`."""
    squares, missed = np.full((2, len(times)), np.nan)
    targets = np.asarray(observed, np.float64)
    threshold = threshold_of(targets)
    classes = class_of(targets, threshold)
    with double_precision():
        problem = problem_of(eigensystem, observed, remainder)
        for window, windowed, errors in flow_outputs(problem, times):
            outputs = np.asarray(windowed)
            gap = outputs - targets
            score = np.mean(gap**2, axis=(1, 2))
            moved = np.mean(2 * np.abs(gap) * errors + errors**2, axis=(1, 2))
            squares[window] = np.where(moved <= problem.tolerance * score, score, np.nan)
            doubtful = np.mean(
                _margins(outputs - threshold, classes) < np.max(errors, axis=2), axis=1
            )
            share = np.mean(class_of(outputs, threshold) != classes, axis=1)
            missed[window] = np.where(doubtful <= problem.tolerance, share, np.nan)
    return LeftOut(squares, missed)


def _margins(outputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How far (T, n) each output may move before it changes whether the point's class is hit."""
    if outputs.shape[-1] == 1:
        return np.abs(outputs[..., 0])
    own = np.arange(outputs.shape[-1]) == classes[:, None]
    other = np.max(np.where(own, -np.inf, outputs), axis=-1)
    # Both outputs may be off, towards each other.
    return np.abs(np.sum(np.where(own, outputs, 0.0), axis=-1) - other) / 2


class Smoothed(NamedTuple):
    """Residual and freedom of gradient flow at each of T times, with relative errors.

    Attributes:
        log_residual: (T,), of R = ‖ỹ − f_t‖²/n.
        residual_error: (T,), of R.
        freedom: (T,), df/n.
        log_free: (T,), of 1 − df/n.
        free_error: (T,), of 1 − df/n.
    """

    log_residual: np.ndarray
    residual_error: np.ndarray
    freedom: np.ndarray
    log_free: np.ndarray
    free_error: np.ndarray


def smoothed(eigensystem: Eigensystem, times: list[float], observed: Array) -> Smoothed:
    """Residual and freedom; directions outside count at their mean eigenvalue.

    R and 1 − df/n vanish together late in training. Both are sums of exponentials of −λ_k t, taken
    as logarithms so that neither is a difference nor underflows; they are not known once the
    eigenvalues' own errors, times t, move them.
    """
    coefficients, beyond = split(eigensystem, observed)
    energy = np.sum(np.asarray(coefficients, np.float64) ** 2, axis=1)
    energy = np.append(energy, float(beyond))
    counts = np.ones(len(energy))
    counts[-1] = eigensystem.num_points - eigensystem.rank
    values, errors, reach = told(eigensystem, "mean")
    scaled = np.asarray(times, np.float64)[:, None] * float(eigensystem.eigenvalues[0])
    # A direction of eigenvalue zero is never fitted, not even in infinite time.
    with np.errstate(invalid="ignore"):
        rates = np.where(values > 0, values * scaled, 0.0)
        spread = SAFETY * errors * (values > 0) / np.sqrt(len(observed)) + reach
        moves = np.where(spread > 0, spread * scaled, 0.0)
    with np.errstate(divide="ignore"):
        left, free = np.log(energy) - 2 * rates, np.log(counts) - rates
    freedom = -np.expm1(-rates) @ counts / len(observed)
    log_residual, log_free = (
        logsumexp(one, axis=1) - np.log(len(observed)) for one in (left, free)
    )
    return Smoothed(log_residual, 2 * _mean(left, moves), freedom, log_free, _mean(free, moves))


def _mean(logarithms: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Row means under weights given by their logarithms; 0 where all weigh nothing."""
    some = np.max(logarithms, axis=1, keepdims=True) > -np.inf
    weights = softmax(np.where(some, logarithms, 0.0), axis=1) * some
    return np.sum(np.where(weights > 0, weights * np.where(weights > 0, values, 0.0), 0.0), axis=1)
