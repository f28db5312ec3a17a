"""When to stop, from the noisy labels alone."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import jax.numpy as jnp
import numpy as np

from ..._checks import check_choice, check_in_range
from ..._numerics import as_float, in_precision
from ..._results import result, static
from ..._typing import Array, ArrayLike, Float
from ...spectral import Eigensystem
from .._banks import like
from .._inputs import check_times, matching
from .._partial_spectrum import Filters, bank_of, evaluate, spectrum
from .._trust import warn_where_uncounted
from ._left_out import REMAINDERS, smallest_trusted, what_helps
from ._stopping_rules import RULES, StoppingProblem

_GRID_POINTS = 200
# Scores are equal within so many units of rounding, and flat where over so large a factor in time.
_ROUND_OFF, _FLAT = 16.0, 2.0


@result
class StoppingTime:
    """A stopping time of kernel gradient flow and the score that chose it.

    Attributes:
        time: (), the time with the least score (learning rate × step).
        score: (T,), the score at each time of the grid; smaller is better, NaN where not known.
        times: (T,), the grid.
        rule: which score.
        at_edge: whether the minimum is not to be relied on: it lies, or ties to rounding with a
            time that lies, at an end of the grid or next to a score that is not known, so that the
            least may be elsewhere; or (but for shares of points) scores tie over a factor of two
            in time, so that there is no minimum to speak of.
    """

    time: Float[Array, ""]
    score: Float[Array, " T"]
    times: Float[Array, " T"]
    rule: str = static()
    at_edge: bool = static()


@in_precision
def time_grid(eigensystem: Eigensystem, num: int = _GRID_POINTS) -> Float[Array, " num"]:
    """Log-spaced times from before the first direction is fitted to after the last one told.

    That is the last of ``trusted_rank``; where the trusted eigenvalues end far above round-off, the
    last one that its residual tells from zero.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([10.0, 0.1]))
        >>> print(na.dynamics.time_grid(es, 3).round(4))
        [1.000e-03 3.162e-01 1.000e+02]
    """
    values = eigensystem.eigenvalues
    last = jnp.asarray(smallest_trusted(eigensystem), values.dtype)
    return jnp.geomspace(0.01 / values[0], 10.0 / last, num)


@in_precision
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
    - ``"leave_one_out"``: the mean square of ỹ_i − f^{(−i)}(x_i), by `leave_one_out_flow`: what n
      retrainings on the other points, each to the same time, give.
    - ``"leave_one_out_error"``: the share of points whose observed class is not that of the largest
      output of f^{(−i)}(x_i) (of one output, on which side of the middle of the two numbers that
      code the classes it lies: of 0 for ±1). Symmetric noise leaves the order of
      accuracies as it is, so this chooses for accuracy where the others choose for squared error.

    For early-stopped training GCV is no consistent estimate of the test error: it is too large by
    more, the more directions are fitted (Patil, Wu, Tibshirani, arXiv:2402.16793; measured in
    docs/stopping.md). Both leave-one-out rules are unbiased for training on one point less.

    A score that the eigensystem does not tell is NaN, a warning counts those times, and none of
    them is ever chosen: for leave-one-out where values of `leave_one_out` are not given, for the
    others where eigenvalue errors could move the score by more than 5 %.

    Args:
        eigensystem: of the training kernel; of a partial one directions outside count at their mean
            eigenvalue, in leave-one-out as ``remainder`` says.
        observed: observed targets ỹ (n, C).
        rule: a name in ``RULES``, the five above and any that was added.
        times: grid to search; default `time_grid`.
        noise_variance: σ² = E‖ξ_i‖²/C, for the two rules that need it; default `estimate_noise`.
        remainder: ``"bounded"`` or ``"mean"``, for the leave-one-out rules as in `leave_one_out`.

    Returns:
        A `StoppingTime`.

    Raises:
        ValueError: on an unknown rule or remainder, shapes that do not match, bad times, a
            variance that is negative or that the rule does not use, or a score that is known at
            none of the times.

    Source: Golub, Heath, Wahba, Technometrics 21 (1979); Stein, Ann. Statist. 9 (1981); Morozov,
        Soviet Math. Dokl. 7 (1966).

    Example:
        >>> import numpy as np
        >>> import ntk_air as na
        >>> x = np.linspace(-1, 1, 40)[:, None]
        >>> es = na.spectral.eigendecompose(np.exp(-8 * (x - x.T) ** 2) + 0.1 * np.eye(40))
        >>> noise = np.random.default_rng(0).normal(size=(40, 1))
        >>> found = na.dynamics.stopping_time(es, np.sin(3 * x) + 0.5 * noise, rule="leave_one_out")
        >>> found.at_edge
        False
    """
    check_choice("rule", rule, tuple(RULES))
    if noise_variance is not None and not RULES[rule].uses_noise:
        using = ", ".join(name for name, one in RULES.items() if one.uses_noise)
        raise ValueError(
            f"noise_variance is {noise_variance!r} and rule {rule!r} does not use it; leave it "
            f"out, or choose one of {using}."
        )
    problem = _problem(eigensystem, observed, times, noise_variance, remainder)
    return _by_rule(rule, problem)


@in_precision
def stopping_times(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    *,
    rules: Iterable[str] | None = None,
    times: Sequence[float] | ArrayLike | None = None,
    noise_variance: float | None = None,
    remainder: str = "bounded",
) -> dict[str, StoppingTime]:
    """`stopping_time` by several rules, with what they share computed once.

    Args:
        eigensystem: of the training kernel, as in `stopping_time`.
        observed: observed targets ỹ (n, C).
        rules: names in ``RULES``; default all of them.
        times: grid to search; default `time_grid`.
        noise_variance: σ² = E‖ξ_i‖²/C, for the rules that need it; default `estimate_noise`.
        remainder: ``"bounded"`` or ``"mean"``, for the leave-one-out rules as in `leave_one_out`.

    Returns:
        A `StoppingTime` by the name of its rule, in the order of ``rules``.

    Raises:
        ValueError: on an unknown rule or remainder, shapes that do not match, bad times, a
            negative variance, or a score that is known at none of the times.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.linspace(-1, 1, 40)[:, None]
        >>> es = na.spectral.eigendecompose(np.exp(-8 * (x - x.T) ** 2) + 0.1 * np.eye(40))
        >>> noise = np.random.default_rng(0).normal(size=(40, 1))
        >>> found = na.dynamics.stopping_times(es, np.sin(3 * x) + 0.5 * noise)
        >>> found["sure"].time < found["gcv"].time < found["leave_one_out"].time
        Array(True, dtype=bool)
    """
    rules = tuple(RULES if rules is None else rules)
    for rule in rules:
        check_choice("rule", rule, tuple(RULES))
    problem = _problem(eigensystem, observed, times, noise_variance, remainder)
    found: dict[str, StoppingTime] = {}
    for rule in rules:
        found[rule] = _by_rule(rule, problem)
    return found


def _problem(
    eigensystem: Eigensystem,
    observed: ArrayLike,
    times: Sequence[float] | ArrayLike | None,
    noise_variance: float | None,
    remainder: str,
) -> StoppingProblem:
    """What the rules see, once it is found to be right."""
    check_choice("remainder", remainder, REMAINDERS)
    matching(eigensystem, observed=observed)
    if noise_variance is not None:
        check_in_range("noise_variance", noise_variance, 0.0, high_open=True)
    listed = check_times(time_grid(eigensystem) if times is None else times)
    return StoppingProblem(eigensystem, listed, as_float(observed), noise_variance, remainder)


def _by_rule(rule: str, problem: StoppingProblem) -> StoppingTime:
    """What one rule chooses."""
    score = RULES[rule].score(problem)
    es, dtype = problem.eigensystem, problem.observed.dtype
    advice = what_helps(es, problem.remainder if RULES[rule].leaves_out else "mean")
    eps = float(jnp.finfo(es.eigenvalues.dtype).eps)
    best, at_edge = _choose(rule, problem.times, score, eps, advice)
    grid = jnp.asarray(problem.times, dtype)
    with np.errstate(over="ignore", under="ignore"):
        score = score.astype(dtype)
    return StoppingTime(grid[best], jnp.asarray(score), grid, rule, at_edge)


@in_precision
def degrees_of_freedom(eigensystem: Eigensystem, filter: Filters) -> Float[Array, ...]:
    """How many directions a smoother fits, df = Σ g(λ_k) = tr A.

    Args:
        eigensystem: of the training kernel; directions outside a partial one count at their mean
            eigenvalue.
        filter: one filter, or a sequence of F of them.

    Returns:
        (), or (F,) for a sequence. A warning says where rounding of eigenvalues beyond the trusted
        rank can change it by more than 1 %.

    Raises:
        ValueError: if a filter gives something else than one finite value per eigenvalue, or
            counts more directions than the eigensystem holds.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> es = na.spectral.eigendecompose(np.diag([3.0, 1.0]))
        >>> round(float(na.dynamics.degrees_of_freedom(es, na.dynamics.ridge(1.0))), 6)
        1.25
    """
    bank = bank_of(filter)
    fitted, rest = evaluate(eigensystem, bank)
    warn_where_uncounted(eigensystem, bank)
    return like(filter, jnp.sum(fitted, axis=1) + spectrum(eigensystem).count * rest)


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
            stacklevel=4,
        )
    best = int(np.nanargmin(score))
    # Comparisons with NaN are false.
    tied = np.flatnonzero(score <= score[best] + _ROUND_OFF * eps * abs(score[best]))
    bordered = np.pad(known, 1)
    at_edge = not (bordered[tied] & bordered[tied + 2]).all()
    # Shares of n points tie by nature; other scores that do have no minimum to speak of.
    flat = not RULES[rule].counts_points and times[tied[-1]] >= _FLAT * times[tied[0]]
    return best, bool(at_edge or flat)
