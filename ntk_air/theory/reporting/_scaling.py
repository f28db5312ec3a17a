"""Exponents of power laws, with the interval that says how well they are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from ..._checks import check_finite, check_in_range, check_ndim, check_same_shape
from ..._results import result, static

CONFIDENCE = 0.95


@result
class PowerLaw:
    """y = constant_group x^exponent, fitted to logarithms.

    Attributes:
        exponent: the slope shared by all groups.
        low: lower end of its 95 % interval (Student's t); minus infinity where there is none.
        high: upper end; infinity where there is none.
    """

    exponent: float = static()
    low: float = static()
    high: float = static()

    def __str__(self) -> str:
        if not np.isfinite(self.high - self.low):
            return f"{self.exponent:.3f}, without an interval"
        # Three decimals, or as many as tell the ends of the interval apart.
        reach = (self.high - self.low) / 2
        digits = 3 if reach <= 0 else int(np.clip(1 - np.floor(np.log10(reach)), 3, 6))
        return f"{self.exponent:.{digits}f} in [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def power_law(x: Any, y: Any, groups: Any, *, next_order: float | None = None) -> PowerLaw:
    """Least squares of log y on log x with one intercept for each group, such as a seed.

    With three groups or more the interval is Student's t over the groups' own slopes, which is
    right whatever the points of one group have in common. With fewer it comes from the distances
    to the line and asks for independent errors of equal size.

    Args:
        x: (N,) positive values of the quantity varied.
        y: (N,) positive values measured.
        groups: (N,) the group of each.
        next_order: q of a law y = constant x^exponent (1 + c x^q + ...), whose c is fitted too.
            What this moves the exponent by is added to the interval on both sides: the last term
            kept stands for those that are not. Two values of x do not tell c: there the largest
            x^q is added, for |c| up to 1.

    Returns:
        The exponent and its interval.

    Raises:
        ValueError: with too few points for an interval, arrays of different shapes, or values that
            are not positive, finite numbers.

    Example:
        >>> import ntk_air as na
        >>> law = na.theory.power_law([1, 2, 4], [3.0, 6.0, 12.0], [0, 0, 0])
        >>> round(law.exponent, 6)
        1.0
    """
    x, y, groups = _checked(x, y, groups)
    if next_order is not None:
        check_in_range("next_order", next_order, -np.inf, low_open=True, high_open=True)
    if not (np.all(x > 0) and np.all(y > 0)):
        raise ValueError("a power law needs positive values; drop zeros before the fit.")
    plain = _fit(np.log(x), np.log(y), None, groups)
    if next_order is None:
        return plain
    if len(np.unique(np.log(x).round(2))) < 3:
        shift = float(np.max(x**next_order))
        return PowerLaw(exponent=plain.exponent, low=plain.low - shift, high=plain.high + shift)
    law = _fit(np.log(x), np.log(y), x**next_order, groups)
    shift = abs(law.exponent - plain.exponent)
    return PowerLaw(exponent=law.exponent, low=law.low - shift, high=law.high + shift)


def _checked(x: Any, y: Any, groups: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    for name, value in {"x": x, "y": y}.items():
        check_ndim(name, value, 1, "(N,)")
        check_finite(name, value)
    if np.ma.is_masked(groups):
        raise ValueError("groups has masked entries, expected the group of each point.")
    check_same_shape("y", y, "x", x)
    check_same_shape("groups", groups, "x", x)
    return np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(groups)


def exponent_alone(x: np.ndarray, y: np.ndarray) -> PowerLaw:
    """The slope over columns (W, S) of x and y, one intercept each, with no claim how sure it is.

    Distances to the line are no measure of error where a column has its own curve: what leaves the
    power law is the same at every draw, and one or two columns do not tell it from chance.
    """
    log_x, log_y = (np.log(v) - np.log(v).mean(0) for v in (x, y))
    slope = float(np.sum(log_x * log_y)) / max(float(np.sum(log_x**2)), 1e-300)
    return PowerLaw(exponent=slope, low=-np.inf, high=np.inf)


def _fit(
    log_x: np.ndarray, log_y: np.ndarray, term: np.ndarray | None, groups: np.ndarray
) -> PowerLaw:
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


def _of_slopes(slopes: np.ndarray, weights: np.ndarray) -> PowerLaw:
    """Mean of independent slopes, with Student's t of their scatter."""
    count, mean = len(slopes), float(weights @ slopes)
    variance = float(np.sum((weights * (slopes - mean)) ** 2)) * count / (count - 1)
    return _interval(mean, variance**0.5, count - 1)


def _of_points(x: np.ndarray, y: np.ndarray, used: int) -> PowerLaw:
    """Slope through points of which ``used`` parameters are already taken out."""
    freedom, spread = len(x) - used - 1, float(x @ x)
    if freedom < 1 or spread == 0:
        raise ValueError(
            f"{len(x)} points and {used + 1} parameters leave no freedom for an interval; measure "
            "at three or more values in each group."
        )
    slope = float(x @ y) / spread
    residual = y - slope * x
    return _interval(slope, (float(residual @ residual) / freedom / spread) ** 0.5, freedom)


def _interval(exponent: float, error: float, freedom: int) -> PowerLaw:
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom)) * error
    return PowerLaw(exponent=exponent, low=exponent - reach, high=exponent + reach)


def _centred(values: np.ndarray, rows: list[np.ndarray]) -> np.ndarray:
    centred = np.empty(len(values))
    for own in rows:
        centred[own] = values[own] - values[own].mean()
    return centred


def _without(values: np.ndarray, term: np.ndarray) -> np.ndarray:
    """What is left of the values once their part along the term is taken out."""
    size = float(term @ term)
    return values - (values @ term / size) * term if size > 0 else values
