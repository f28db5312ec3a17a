"""The rules of `stopping_time`: of spectrum and noisy labels, a score over times.

A new rule is a function from `StoppingProblem` to scores (T,), and a line in `RULES`.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import numpy as np

from ..._numerics import power_of_two
from ..._typing import Array
from ...spectral import Eigensystem
from ._noise import estimate_noise
from ._stopping_scores import LeftOut, Smoothed, left_out_scores, smoothed

# Largest relative error of a score that counts as known.
_SCORE_ERROR = 0.05


@dataclasses.dataclass(frozen=True)
class StoppingProblem:
    """What a rule of `stopping_time` sees; what is expensive is computed once, when it is read.

    Attributes:
        eigensystem: of the training kernel.
        times: T times (learning rate × step).
        observed: observed targets ỹ (n, C).
        given_variance: σ² = E‖ξ_i‖²/C as given; None to be estimated.
        remainder: of leave-one-out: ``"bounded"`` or ``"mean"``.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([2.0, 1.0]))
        >>> problem = na.dynamics.StoppingProblem(es, [1.0], np.ones((2, 1)))
        >>> print(problem.smoothed.freedom.round(4))  # the mean of 1 - exp(-2) and 1 - exp(-1)
        [0.7484]
    """

    eigensystem: Eigensystem
    times: list[float]
    observed: Array
    given_variance: float | None = None
    remainder: str = "bounded"

    @functools.cached_property
    def smoothed(self) -> Smoothed:
        """Residual and degrees of freedom of gradient flow at each time."""
        return smoothed(self.eigensystem, self.times, self.observed)

    @functools.cached_property
    def left_out(self) -> LeftOut:
        """Leave-one-out scores at each time."""
        return left_out_scores(self.eigensystem, self.times, self.observed, self.remainder)

    @functools.cached_property
    def noise_energy(self) -> float:
        """C σ², the mean square of a point's noise."""
        variance = self.given_variance
        if variance is None:
            # The variance of large or small targets may leave the range of float32.
            unit = float(power_of_two(self.observed))
            found = estimate_noise(self.eigensystem, self.observed / unit)
            variance = unit**2 * float(found.variance)
        return self.observed.shape[1] * variance


@dataclasses.dataclass(frozen=True)
class StoppingRule:
    """A score over times, the least of which chooses when to stop.

    Attributes:
        score: from a `StoppingProblem` to (T,) float64, NaN where it is not known.
        uses_noise: whether it reads the noise level.
        leaves_out: whether it reads leave-one-out outputs.
        counts_points: whether it is a share of points, which ties by nature.

    Example:
        >>> import ntk_air as na
        >>> na.dynamics.RULES["sure"].uses_noise
        True
    """

    score: Callable[[StoppingProblem], np.ndarray]
    uses_noise: bool = False
    leaves_out: bool = False
    counts_points: bool = False


def _gcv(problem: StoppingProblem) -> np.ndarray:
    found = problem.smoothed
    told = np.isfinite(found.log_free)
    score = np.exp(found.log_residual - 2 * np.where(told, found.log_free, 0.0))
    error = found.residual_error + 2 * found.free_error
    return np.where(told & (error <= _SCORE_ERROR), score, np.nan)


def _sure(problem: StoppingProblem) -> np.ndarray:
    found, energy = problem.smoothed, problem.noise_energy
    residual = np.exp(found.log_residual)
    score = residual + 2 * energy * found.freedom
    error = residual * found.residual_error + 2 * energy * np.exp(found.log_free) * found.free_error
    return np.where(error <= _SCORE_ERROR * score, score, np.nan)


def _discrepancy(problem: StoppingProblem) -> np.ndarray:
    found, energy = problem.smoothed, problem.noise_energy
    # Without noise the least residual is the best.
    off = np.exp(found.log_residual) if energy == 0 else found.log_residual - np.log(energy)
    return np.where(found.residual_error <= _SCORE_ERROR, np.abs(off), np.nan)


def _leave_one_out(problem: StoppingProblem) -> np.ndarray:
    return problem.left_out.squares


def _leave_one_out_error(problem: StoppingProblem) -> np.ndarray:
    return problem.left_out.errors


RULES: dict[str, StoppingRule] = {
    "gcv": StoppingRule(_gcv),
    "sure": StoppingRule(_sure, uses_noise=True),
    "discrepancy": StoppingRule(_discrepancy, uses_noise=True),
    "leave_one_out": StoppingRule(_leave_one_out, leaves_out=True),
    "leave_one_out_error": StoppingRule(_leave_one_out_error, leaves_out=True, counts_points=True),
}
"""Every rule by name, in the order of tables."""
