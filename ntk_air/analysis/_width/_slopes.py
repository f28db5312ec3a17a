"""Power laws fitted to measurements: the exponent with its confidence interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..._checks import check_finite, check_in_range
from ..._power_laws import fitted_slope
from ..._results import result, static
from ..._typing import ArrayLike


@result
class SlopeFit:
    """Least squares of log(value) = intercept + slope · log(size).

    Attributes:
        slope: the exponent.
        intercept: natural logarithm of the value at size 1.
        standard_error: of the slope.
        low, high: ends of its confidence interval (Student's t), for independent errors.
        confidence: of that interval.
        num_points: how many values were fitted.
    """

    slope: float = static()
    intercept: float = static()
    standard_error: float = static()
    low: float = static()
    high: float = static()
    confidence: float = static()
    num_points: int = static()

    def __call__(self, sizes: ArrayLike) -> np.ndarray:
        """The fitted power law at these sizes."""
        return np.exp(self.intercept) * np.asarray(sizes, float) ** self.slope


def fit_slope(
    sizes: ArrayLike | Sequence[float], values: ArrayLike, *, confidence: float = 0.95
) -> SlopeFit:
    """Fits a power law to S values at each of W sizes.

    Args:
        sizes: (W,), at least two different ones, positive.
        values: (W, S), positive.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: on shapes that do not match, values that are not positive, finite numbers, or
            too few of them.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> sizes = np.array([1.0, 2.0, 4.0, 8.0])
        >>> fit = na.analysis.fit_slope(sizes, np.stack([3.0 / sizes, 5.0 / sizes], axis=1))
        >>> round(float(fit.slope), 6)
        -1.0
    """
    check_in_range("confidence", confidence, 0.0, 1.0, low_open=True, high_open=True)
    check_finite("sizes", sizes)
    check_finite("values", values)
    sizes, values = np.asarray(sizes, np.float64), np.asarray(values, np.float64)
    if sizes.ndim != 1 or values.ndim != 2 or len(sizes) != len(values):
        raise ValueError(
            f"sizes has shape {sizes.shape} and values {values.shape}; expected (W,) and (W, S)."
        )
    if len(np.unique(sizes)) < 2 or values.size < 3:
        raise ValueError(
            f"{values.size} value(s) at {len(np.unique(sizes))} size(s) do not give a slope with "
            "an error; expected three or more values at two or more sizes."
        )
    if not ((sizes > 0).all() and (values > 0).all()):
        raise ValueError("sizes and values must be positive: a power law has no others.")
    x = np.log(np.broadcast_to(sizes[:, None], values.shape)).ravel()
    y = np.log(values).ravel()
    fitted = fitted_slope(x, y, np.zeros(x.size))
    low, high = fitted.interval(confidence)
    return SlopeFit(
        slope=fitted.value,
        intercept=float(y.mean() - fitted.value * x.mean()),
        standard_error=fitted.error,
        low=low,
        high=high,
        confidence=confidence,
        num_points=values.size,
    )
