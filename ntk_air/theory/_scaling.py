"""Exponents of power laws, with the interval that says how well they are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from .._results import result, static

CONFIDENCE = 0.95
TOLERANCE = 0.1


@result
class PowerLaw:
    """y = constant_group x^exponent, fitted to logarithms.

    Attributes:
        exponent: the slope shared by all groups.
        low: lower end of its 95 % interval (Student's t).
        high: upper end.
    """

    exponent: float = static()
    low: float = static()
    high: float = static()

    def __str__(self) -> str:
        return f"{self.exponent:.3f} in [{self.low:.3f}, {self.high:.3f}]"


def power_law(x: Any, y: Any, groups: Any) -> PowerLaw:
    """Least squares of log y on log x with one intercept for each group, such as a seed.

    Args:
        x: (N,) positive values of the quantity varied.
        y: (N,) positive values measured.
        groups: (N,) the group of each.

    Raises:
        ValueError: with too few points for an interval, or values that are not positive.
    """
    x, y, groups = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(groups)
    if not (np.all(x > 0) and np.all(y > 0)):
        raise ValueError("a power law needs positive values; drop zeros before the fit.")
    log_x, log_y = np.log(x), np.log(y)
    used = np.unique(groups)
    for group in used:
        rows = groups == group
        log_x[rows] -= log_x[rows].mean()
        log_y[rows] -= log_y[rows].mean()
    freedom = len(x) - len(used) - 1
    spread = float(log_x @ log_x)
    if freedom < 1 or spread == 0:
        raise ValueError(
            f"{len(x)} points in {len(used)} groups leave no freedom for an interval; measure at "
            "three or more values in each group."
        )
    slope = float(log_x @ log_y) / spread
    residual = log_y - slope * log_x
    error = np.sqrt(float(residual @ residual) / freedom / spread)
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, freedom) * error)
    return PowerLaw(exponent=slope, low=slope - reach, high=slope + reach)
