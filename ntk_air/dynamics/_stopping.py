"""When to stop, from the noisy labels alone."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_in_range
from .._numerics import as_float, in_precision, power_of_two
from .._results import result, static
from .._typing import Array, ArrayLike, Float
from ..spectral import Eigensystem, project
from ._fit import check_times, like, matching
from ._leave_one_out import leave_one_out_scores
from ._noise import estimate_noise
from ._remainder import Filters, bank_of, evaluate, flows, outside, spectrum
from ._trust import warn_where_untrusted

RULES = ("gcv", "sure", "discrepancy", "leave_one_out", "leave_one_out_error")
_GRID_POINTS = 200


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


@in_precision
def time_grid(eigensystem: Eigensystem, num: int = _GRID_POINTS) -> Float[Array, " num"]:
    """Log-spaced times from before the first direction is fitted to after the last trusted one."""
    values = eigensystem.eigenvalues
    smallest = values[max(eigensystem.trusted_rank - 1, 0)]
    return jnp.geomspace(0.01 / values[0], 10.0 / smallest, num)


@in_precision
def stopping_time(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    *,
    rule: str = "gcv",
    times: Sequence[float] | ArrayLike | None = None,
    noise_variance: float | None = None,
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
    matching(eigensystem, observed=observed)
    observed = as_float(observed)
    # Scores are squares: of numbers near 1 they keep within range, and are scaled at the end.
    scale = power_of_two(observed)
    observed = observed / scale
    listed = check_times(time_grid(eigensystem) if times is None else times)
    if rule in ("leave_one_out", "leave_one_out_error"):
        squares, errors = leave_one_out_scores(eigensystem, flows(listed), observed)
        score = squares if rule == "leave_one_out" else errors
    else:
        residual, freedom = _residual_and_freedom(eigensystem, listed, observed)
        score = _gcv(residual, freedom)
        if rule != "gcv":
            if noise_variance is None:
                noise_variance = float(estimate_noise(eigensystem, observed).variance)
            else:
                check_in_range("noise_variance", noise_variance, 0.0)
                noise_variance = float(noise_variance / float(scale) ** 2)
            level = observed.shape[1] * noise_variance
            score = residual + 2 * level * freedom
            if rule == "discrepancy":
                score = _mismatch(residual, level)
    best = int(jnp.argmin(score))
    grid = jnp.asarray(listed, observed.dtype)
    warn_where_untrusted(eigensystem, flows([listed[best]]), project(eigensystem, observed))
    if rule not in ("discrepancy", "leave_one_out_error"):
        score = score * scale * scale
    return StoppingTime(grid[best], score, grid, rule, best in (0, len(listed) - 1))


@in_precision
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


def _residual_and_freedom(
    eigensystem: Eigensystem, times: list[float], observed: Array
) -> tuple[Array, Array]:
    """‖ỹ − f_t‖²/n and df/n at each time."""
    n = len(observed)
    fitted, rest = evaluate(eigensystem, flows(times))
    coefficients = project(eigensystem, observed)
    energy = jnp.sum(coefficients**2, axis=1)
    residual = jnp.matmul((1 - fitted) ** 2, energy, precision="highest")
    freedom = jnp.sum(fitted, axis=1)
    count = spectrum(eigensystem).count
    if count:
        beyond = outside(observed, observed, coefficients, coefficients)
        residual, freedom = residual + (1 - rest) ** 2 * beyond, freedom + count * rest
    return residual / n, freedom / n


@jax.jit
def _gcv(residual: Array, freedom: Array) -> Array:
    free = 1 - freedom
    # At full fit both vanish; the score there is undefined, and never the choice.
    return jnp.where(free > 1e-6, residual / jnp.where(free > 1e-6, free, 1.0) ** 2, jnp.inf)


def _mismatch(residual: Array, level: float) -> Array:
    """|log(residual / level)|; without noise the least residual is the best."""
    if level == 0.0:
        return residual
    smallest = np.finfo(np.float32).tiny
    return jnp.abs(jnp.log(jnp.maximum(residual, smallest)) - np.log(max(level, smallest)))
