"""Slopes of logarithms, with what says how well they are known."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import stats


class Slope(NamedTuple):
    """A slope fitted by least squares.

    Attributes:
        value: the slope.
        error: its standard error.
        freedom: degrees of freedom left for the error.
    """

    value: float
    error: float
    freedom: int

    def interval(self, confidence: float) -> tuple[float, float]:
        """Both ends of Student's interval."""
        reach = student(confidence, self.freedom) * self.error
        return self.value - reach, self.value + reach


def student(confidence: float, freedom: int) -> float:
    """Half the width of Student's interval for a standard error of 1."""
    return float(stats.t.ppf(0.5 + confidence / 2, freedom))


def fitted_slope(
    log_x: np.ndarray, log_y: np.ndarray, groups: np.ndarray, term: np.ndarray | None = None
) -> Slope:
    """The slope that all groups share, each with an intercept of its own.

    With three groups or more the error is the scatter of the groups' own slopes; with fewer it
    comes from the distances to the line.

    Args:
        log_x: (N,).
        log_y: (N,).
        groups: (N,) the group of each.
        term: (N,) what log_y may hold besides, times a number that is fitted too.

    Raises:
        ValueError: if no freedom is left for an error.
    """
    names, owner = np.unique(groups, return_inverse=True)
    rows = [np.flatnonzero(owner == group) for group in range(len(names))]
    log_x, log_y = _centred(log_x, rows), _centred(log_y, rows)
    if term is None:
        each = [(log_x[r], log_y[r]) for r in rows]
    else:
        term = _centred(term, rows)
        each = [(_without(log_x[r], term[r]), _without(log_y[r], term[r])) for r in rows]
    spreads = np.array([float(a @ a) for a, _ in each])
    # What is left of two values once the term is taken out is round-off.
    sloping = spreads > 1e-12 * max(float(log_x @ log_x), 1e-300)
    if sloping.sum() >= 3:
        slopes = np.array([a @ b for a, b in each])[sloping] / spreads[sloping]
        return _of_slopes(slopes, spreads[sloping] / spreads.sum())
    if term is not None:
        log_x, log_y = _without(log_x, term), _without(log_y, term)
    return _of_points(log_x, log_y, len(names) + (term is not None))


def _of_slopes(slopes: np.ndarray, weights: np.ndarray) -> Slope:
    """Mean of independent slopes, with the error that their scatter gives."""
    count, mean = len(slopes), float(weights @ slopes)
    variance = float(np.sum((weights * (slopes - mean)) ** 2)) * count / (count - 1)
    return Slope(mean, variance**0.5, count - 1)


def _of_points(x: np.ndarray, y: np.ndarray, used: int) -> Slope:
    """Slope through points of which ``used`` parameters are already taken out."""
    freedom, spread = len(x) - used - 1, float(x @ x)
    if freedom < 1 or spread == 0:
        raise ValueError(
            f"{len(x)} points and {used + 1} parameters leave no freedom for an interval; measure "
            "at three or more values in each group."
        )
    slope = float(x @ y) / spread
    residual = y - slope * x
    return Slope(slope, (float(residual @ residual) / freedom / spread) ** 0.5, freedom)


def _centred(values: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    centred = np.empty(len(values))
    for own in rows:
        centred[own] = values[own] - values[own].mean()
    return centred


def _without(values: np.ndarray, term: np.ndarray) -> np.ndarray:
    """What is left of the values once their part along the term is taken out."""
    size = float(term @ term)
    return values - (values @ term / size) * term if size > 0 else values
