"""What the rules of `stopping_time` minimise, in float64, with what of it is not known."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._numerics import double_precision
from .._typing import Array, Float
from ..spectral import Eigensystem
from ._left_out import SAFETY, Parts, problem_of, what_helps
from ._left_out_flow import flow_outputs

# Largest relative error of a generalised cross-validation score that counts as known.
_GCV_ERROR = 0.05


class LeftOut(NamedTuple):
    """Leave-one-out scores at each of T times, NaN where not known.

    Attributes:
        squares: (T,), mean square of ỹ_i − f^{(−i)}(x_i).
        errors: (T,), share of points whose class f^{(−i)}(x_i) misses.
        advice: what would make more of them known.
    """

    squares: np.ndarray
    errors: np.ndarray
    advice: str


def left_out_scores(
    eigensystem: Eigensystem, times: list[float], observed: Array, remainder: str
) -> LeftOut:
    """Scores of gradient flow without each point, known as well as values of `leave_one_out`."""
    squares, missed = np.full((2, len(times)), np.nan)
    targets = np.asarray(observed, np.float64)
    classes = _classes(targets)
    with double_precision():
        problem = problem_of(eigensystem, observed, remainder)
        for window, windowed, errors in flow_outputs(problem, times):
            outputs = np.asarray(windowed)
            gap = outputs - targets
            score = np.mean(gap**2, axis=(1, 2))
            moved = np.mean(2 * np.abs(gap) * errors + errors**2, axis=(1, 2))
            squares[window] = np.where(moved <= problem.tolerance * score, score, np.nan)
            doubtful = np.mean(_margins(outputs, classes) < np.max(errors, axis=2), axis=1)
            share = np.mean(_classes(outputs) != classes, axis=1)
            missed[window] = np.where(doubtful <= problem.tolerance, share, np.nan)
    return LeftOut(squares, missed, what_helps(problem))


def _classes(outputs: np.ndarray) -> np.ndarray:
    return outputs[..., 0] > 0 if outputs.shape[-1] == 1 else np.argmax(outputs, axis=-1)


def _margins(outputs: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How far (T, n) each output may move before it changes whether the point's class is hit."""
    if outputs.shape[-1] == 1:
        return np.abs(outputs[..., 0])
    own = np.arange(outputs.shape[-1]) == classes[:, None]
    other = np.max(np.where(own, -np.inf, outputs), axis=-1)
    # Both outputs may be off, towards each other.
    return np.abs(np.sum(np.where(own, outputs, 0.0), axis=-1) - other) / 2


class Smoothed(NamedTuple):
    """Residual and freedom of gradient flow at each of T times.

    Attributes:
        residual: (T,), R = ‖ỹ − f_t‖²/n.
        log_residual: (T,), its logarithm, where R itself may be too small for a number.
        freedom: (T,), df/n.
        gcv: (T,), R / (1 − df/n)², NaN where not known to 5 %.
        advice: what would make more of it known.
    """

    residual: np.ndarray
    log_residual: np.ndarray
    freedom: np.ndarray
    gcv: np.ndarray
    advice: str


def smoothed(eigensystem: Eigensystem, times: list[float], observed: Array) -> Smoothed:
    """Residual, freedom and GCV; directions outside count at their mean eigenvalue.

    R and 1 − df/n vanish together late in training. Both are sums of exponentials of −λ_k t, taken
    as logarithms, so that their ratio is the ratio of what is left; it is not known once the
    eigenvalues' own errors, times t, move it.
    """
    with double_precision():
        problem = problem_of(eigensystem, observed, "mean")
        counts = np.ones(len(problem.parts.values))
        counts[-1] = problem.outside
        scaled = jnp.asarray(np.asarray(times, np.float64) * problem.scale)
        found = _sums(problem.parts, jnp.asarray(counts), scaled)
        log_residual, log_free, freedom, error = map(np.asarray, found)
    log_n = np.log(len(observed))
    log_residual, log_free = log_residual - log_n, log_free - log_n
    told = (error <= _GCV_ERROR) & np.isfinite(log_free)
    gcv = np.exp(log_residual - 2 * np.where(told, log_free, 0.0))
    gcv = np.where(told, gcv, np.nan)
    residual = np.exp(log_residual)
    return Smoothed(residual, log_residual, freedom / len(observed), gcv, what_helps(problem))


@jax.jit
def _sums(
    parts: Parts, counts: Array, times: Array
) -> tuple[Float[Array, " T"], Float[Array, " T"], Float[Array, " T"], Float[Array, " T"]]:
    """log ‖ỹ − f_t‖², log(n − df), df and the relative error of the score at each time."""
    energy = jnp.sum(parts.energy, axis=1)
    points = len(parts.observed)

    def one(time: Array) -> tuple[Array, Array, Array, Array]:
        # A direction of eigenvalue zero is never fitted, not even in infinite time.
        rates = jnp.where(parts.values > 0, parts.values * time, 0.0)
        left, free = -2 * rates + jnp.log(energy), -rates + jnp.log(counts)
        moves = jnp.where(rates > 0, parts.errors, 0.0) / jnp.sqrt(points)
        moves = jnp.where(parts.reach + moves > 0, (SAFETY * moves + parts.reach) * time, 0.0)
        error = 2 * (_mean(left, moves) + _mean(free, moves))
        freedom = jnp.sum(counts * -jnp.expm1(-rates))
        return jax.nn.logsumexp(left), jax.nn.logsumexp(free), freedom, error

    return jax.lax.map(one, times)


def _mean(logarithms: Array, values: Array) -> Array:
    """The mean of values under weights given by their logarithms."""
    some = jnp.max(logarithms) > -jnp.inf
    weights = jnp.where(some, jax.nn.softmax(jnp.where(some, logarithms, 0.0)), 0.0)
    return jnp.sum(jnp.where(weights > 0, weights * values, 0.0))
