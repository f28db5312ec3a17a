"""When to stop, from the noisy labels alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_in_range
from .._numerics import as_float
from .._results import result, static
from .._typing import Array, ArrayLike, Float
from ..spectral import Eigensystem
from ._fit import check_times, like, matching
from ._left_out import REMAINDERS
from ._noise import estimate_noise
from ._remainder import Filters, bank_of, evaluate, spectrum
from ._stopping_scores import left_out_scores, smoothed

RULES = ("gcv", "sure", "discrepancy", "leave_one_out", "leave_one_out_error")
_GRID_POINTS = 200
# Scores are equal within so many units of rounding, and flat where over so large a factor in time.
_ROUND_OFF, _FLAT = 16.0, 2.0


@result
class StoppingTime:
    """A stopping time of kernel gradient flow and the score that chose it.

    Attributes:
        time: (), the time with the least score (learning rate × step).
        score: (T,), the score at each time of the grid; smaller is better.
        times: (T,), the grid.
        rule: which score.
        at_edge: whether the minimum lies at an end of the grid, so that it may lie outside.
    """

    time: Float[Array, ""]
    score: Float[Array, " T"]
    times: Float[Array, " T"]
    rule: str = static()
    at_edge: bool = static()


def time_grid(eigensystem: Eigensystem, num: int = _GRID_POINTS) -> Float[Array, " num"]:
    """Log-spaced times from before the first direction is fitted to after the last trusted one."""
    values = eigensystem.eigenvalues
    smallest = values[max(eigensystem.trusted_rank - 1, 0)]
    return jnp.geomspace(0.01 / values[0], 10.0 / smallest, num)


def stopping_time(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    *,
    rule: str = "gcv",
    times: Sequence[float] | ArrayLike | None = None,
    noise_variance: float | None = None,
    remainder: str = "bounded",
) -> StoppingTime:
    """When to stop kernel gradient flow, from the noisy labels alone.

    With R = ‖ỹ − f_t‖²/n and df = Σ g_t(λ_k), the rules minimise

    - ``"gcv"``: R / (1 − df/n)², generalised cross-validation. Needs no noise level.
    - ``"sure"``: R + 2 σ² C df/n, Stein's unbiased estimate of the error at the training points,
      up to a constant.
    - ``"discrepancy"``: |log(R / C σ²)|, Morozov's principle: stop when the residual is as large
      as the noise.
    - ``"leave_one_out"``: the mean square of ỹ_i − f^{(−i)}(x_i), by `leave_one_out`.
    - ``"leave_one_out_error"``: the share of points whose observed class is not that of the largest
      output of f^{(−i)}(x_i) (or its sign, for one output). Symmetric noise leaves the order of
      accuracies as it is, so this chooses for accuracy where the others choose for squared error.

    Args:
        eigensystem: of the training kernel; directions outside a partial one count at their mean
            eigenvalue.
        observed: observed targets ỹ (n, C).
        rule: one of ``RULES``.
        times: grid to search; default `time_grid`.
        noise_variance: σ² = E‖ξ_i‖²/C, for the two rules that need it; default `estimate_noise`.

    Returns:
        A `StoppingTime`.

    Raises:
        ValueError: on an unknown rule, shapes that do not match, bad times, or a negative variance.

    Source: Golub, Heath, Wahba, Technometrics 21 (1979); Stein, Ann. Statist. 9 (1981); Morozov,
        Soviet Math. Dokl. 7 (1966).
    """
    check_choice("rule", rule, RULES)
    check_choice("remainder", remainder, REMAINDERS)
    matching(eigensystem, observed=observed)
    observed = as_float(observed)
    listed = check_times(time_grid(eigensystem) if times is None else times)
    score, advice = _score(rule, eigensystem, listed, observed, noise_variance, remainder)
    eps = float(jnp.finfo(eigensystem.eigenvalues.dtype).eps)
    best, at_edge = _choose(rule, listed, score, eps, advice)
    grid = jnp.asarray(listed, observed.dtype)
    return StoppingTime(grid[best], jnp.asarray(score, observed.dtype), grid, rule, at_edge)


def degrees_of_freedom(eigensystem: Eigensystem, filter: Filters) -> Float[Array, ...]:
    """How many directions a smoother fits, df = Σ g(λ_k) = tr A.

    Args:
        eigensystem: of the training kernel; directions outside a partial one count at their mean
            eigenvalue.
        filter: one filter, or a sequence of F of them.

    Returns:
        (), or (F,) for a sequence.
    """
    fitted, rest = evaluate(eigensystem, bank_of(filter))
    return like(filter, jnp.sum(fitted, axis=1) + spectrum(eigensystem).count * rest)


def _score(
    rule: str,
    eigensystem: Eigensystem,
    times: list[float],
    observed: Array,
    noise_variance: float | None,
    remainder: str,
) -> tuple[np.ndarray, str]:
    """The score (T,) of a rule, NaN where not known, and what would make more of it known."""
    if rule in ("leave_one_out", "leave_one_out_error"):
        left_out = left_out_scores(eigensystem, times, observed, remainder)
        return (left_out.squares if rule == "leave_one_out" else left_out.errors), left_out.advice
    found = smoothed(eigensystem, times, observed)
    if rule == "gcv":
        return found.gcv, found.advice
    if noise_variance is None:
        noise_variance = float(estimate_noise(eigensystem, observed).variance)
    check_in_range("noise_variance", noise_variance, 0.0, high_open=True)
    level = observed.shape[1] * noise_variance
    if rule == "sure":
        return found.residual + 2 * level * found.freedom, found.advice
    # Without noise the least residual is the best.
    mismatch = found.residual if level == 0 else np.abs(found.log_residual - np.log(level))
    return mismatch, found.advice


def _choose(
    rule: str, times: list[float], score: np.ndarray, eps: float, advice: str
) -> tuple[int, bool]:
    """Index of the least known score, and whether it is at an edge or ill-defined."""
    known = ~np.isnan(score)
    if not known.any():
        raise ValueError(
            f"the score of rule {rule!r} is not known at any of {len(times)} times from "
            f"{times[0]:g} to {times[-1]:g}: {advice}, or use another rule."
        )
    if not known.all():
        warnings.warn(
            f"the score of rule {rule!r} is not known at {np.sum(~known)} of {len(times)} times, "
            f"where it is NaN and is never the least: {advice}.",
            stacklevel=3,
        )
    best = int(np.nanargmin(score))
    # Comparisons with NaN are false.
    tied = np.flatnonzero(score <= score[best] + _ROUND_OFF * eps * abs(score[best]))
    bordered = np.pad(known, 1)
    at_edge = not (bordered[tied] & bordered[tied + 2]).all()
    # Shares of n points tie by nature; other scores that do have no minimum to speak of.
    flat = rule != "leave_one_out_error" and times[tied[-1]] >= _FLAT * times[tied[0]]
    return best, bool(at_edge or flat)
