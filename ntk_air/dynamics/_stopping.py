"""When to stop: the risk-optimal time with clean labels, and rules that need none."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp

from .._checks import check_choice
from .._numerics import as_float
from .._results import result, static
from .._typing import Array, ArrayLike, Filter, Float
from ..spectral import Eigensystem, project, resolve_retention
from ._filters import gradient_flow
from ._fit import check_times, filter_values, matching

RULES = ("gcv", "leave_one_out")
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


@result
class Risk:
    """Squared distance of the fitted outputs to the retained clean labels, per point.

    Attributes:
        bias: (), Σ (1 − g)² ‖u_kᵀ κy‖² / n.
        variance: (), Σ g² ‖u_kᵀξ‖² / n.
        cross: (), the cross term of this draw, −2 Σ g(1 − g) ⟨u_kᵀκy, u_kᵀξ⟩ / n.
        total: (), their sum: ‖f − κy‖²/n exactly.
        clean_error: (), ‖f − y‖²/n, the distance to the clean labels themselves.
    """

    bias: Float[Array, ""]
    variance: Float[Array, ""]
    cross: Float[Array, ""]
    total: Float[Array, ""]
    clean_error: Float[Array, ""]


def time_grid(eigensystem: Eigensystem, num: int = _GRID_POINTS) -> Float[Array, " num"]:
    """Log-spaced times from before the first direction is fitted to after the last trusted one."""
    values = eigensystem.eigenvalues
    smallest = values[max(eigensystem.trusted_rank - 1, 0)]
    return jnp.geomspace(0.01 / values[0], 10.0 / smallest, num)


def risk(
    eigensystem: Eigensystem,
    filter: Filter,
    clean: Float[ArrayLike, "n C"],
    observed: Float[ArrayLike, "n C"],
    *,
    retention: float | None = None,
) -> Risk:
    """Bias and variance of a filter's outputs at the training points (f_0 = 0).

    Args:
        eigensystem: of the training kernel; what a partial one leaves out counts as not fitted.
        filter: a spectral filter.
        clean: clean targets y (n, C).
        observed: observed targets ỹ (n, C).
        retention: κ; default the least-squares κ of this draw.

    Raises:
        ValueError: on shapes that do not match.

    Source: derived; the bias-variance decomposition of a linear smoother.
    """
    matching(eigensystem, clean=clean, observed=observed)
    fitted = filter_values(eigensystem, [filter])[0][:, None]
    kappa = resolve_retention(retention, clean, observed)
    clean, observed = as_float(clean), as_float(observed)
    n = len(clean)
    y, z = project(eigensystem, clean), project(eigensystem, observed)
    xi = z - kappa * y
    untracked = jnp.maximum(jnp.sum(clean**2) - jnp.sum(y**2), 0.0)
    bias = (jnp.sum((1 - fitted) ** 2 * (kappa * y) ** 2) + kappa**2 * untracked) / n
    variance = jnp.sum(fitted**2 * xi**2) / n
    cross = -2 * jnp.sum(fitted * (1 - fitted) * kappa * y * xi) / n
    clean_error = (jnp.sum((fitted * z - y) ** 2) + untracked) / n
    return Risk(bias, variance, cross, bias + variance + cross, clean_error)


def stopping_time(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    *,
    rule: str = "gcv",
    times: Sequence[float] | ArrayLike | None = None,
) -> StoppingTime:
    """When to stop kernel gradient flow, from the noisy labels alone.

    Args:
        eigensystem: of the training kernel.
        observed: observed targets ỹ (n, C).
        rule: ``"gcv"``, generalised cross-validation (‖ỹ − f_t‖²/n) / (1 − df/n)², with
            df = Σ g_t(λ_k); or ``"leave_one_out"``, its exact mean squared error.
        times: grid to search; default `time_grid`.

    Returns:
        A `StoppingTime`.

    Raises:
        ValueError: on an unknown rule, shapes that do not match, or bad times.

    Source: Golub, Heath, Wahba, Technometrics 21 (1979).
    """
    check_choice("rule", rule, RULES)
    matching(eigensystem, observed=observed)
    grid = jnp.asarray(check_times(time_grid(eigensystem) if times is None else times))
    filters = [gradient_flow(float(t)) for t in grid]
    if rule == "gcv":
        score = _gcv(eigensystem, filter_values(eigensystem, filters), as_float(observed))
    else:
        truth = as_float(observed)
        score = jnp.stack(
            [jnp.mean((leave_one_out(eigensystem, g, observed) - truth) ** 2) for g in filters]
        )
    best = int(jnp.argmin(score))
    return StoppingTime(grid[best], score, grid, rule, best in (0, len(grid) - 1))


def _gcv(eigensystem: Eigensystem, fitted: Array, observed: Array) -> Array:
    n = len(observed)
    energy = jnp.sum(project(eigensystem, observed) ** 2, axis=1)
    untracked = jnp.maximum(jnp.sum(observed**2) - jnp.sum(energy), 0.0)
    residual = (jnp.matmul((1 - fitted) ** 2, energy, precision="highest") + untracked) / n
    free = 1 - jnp.sum(fitted, axis=1) / n
    # At full fit both vanish; the score there is undefined, and never the choice.
    return jnp.where(free > 1e-6, residual / jnp.where(free > 1e-6, free, 1.0) ** 2, jnp.inf)


def leave_one_out(
    eigensystem: Eigensystem, filter: Filter, observed: Float[ArrayLike, "n C"]
) -> Float[Array, "n C"]:
    """Each point's output from the smoother without its own label, exact for linear smoothers.

    f^{(−i)} = (f_i − A_ii ỹ_i) / (1 − A_ii), A = Σ g(λ_k) u_k u_kᵀ: the value at i that is its own
    fit when ỹ_i is replaced by it. Where A_ii = 1 it is undefined; the mean label is returned.

    Raises:
        ValueError: on shapes that do not match.
    """
    matching(eigensystem, observed=observed)
    observed = as_float(observed)
    fitted = filter_values(eigensystem, [filter])[0]
    outputs = jnp.matmul(
        eigensystem.eigenvectors,
        fitted[:, None] * project(eigensystem, observed),
        precision="highest",
    )
    own = jnp.matmul(eigensystem.eigenvectors**2, fitted, precision="highest")[:, None]
    free = 1 - own
    known = free > 10 * jnp.finfo(own.dtype).eps
    left_out = (outputs - own * observed) / jnp.where(known, free, 1.0)
    return jnp.where(known, left_out, jnp.mean(observed, axis=0))
