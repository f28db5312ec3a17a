"""Exponents of power laws, with the interval that says how well they are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._checks import check_finite, check_in_range, check_ndim, check_same_shape
from ..._power_laws import fitted_slope
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
    plain = _fit(x, y, None, groups)
    if next_order is None:
        return plain
    if len(np.unique(np.log(x).round(2))) < 3:
        shift = float(np.max(x**next_order))
        return PowerLaw(exponent=plain.exponent, low=plain.low - shift, high=plain.high + shift)
    law = _fit(x, y, x**next_order, groups)
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


def _fit(x: np.ndarray, y: np.ndarray, term: np.ndarray | None, groups: np.ndarray) -> PowerLaw:
    slope = fitted_slope(np.log(x), np.log(y), groups, term)
    low, high = slope.interval(CONFIDENCE)
    return PowerLaw(exponent=slope.value, low=low, high=high)
