"""Early-stopped logistic regression against its limit and against the ridge path."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ...._checks import check_in_range, check_size
from ...._seeds import seed_list
from ...reporting._exponents import resolution_checks
from ...reporting._report import TheoremReport
from ...reporting._resumable import Cells
from . import _logistic as logistic
from ._checks import EXCESS_ERROR, LogisticPath, assumptions, conclusions_of, resolved_error
from ._logistic import LogisticProblem
from ._tables import path_rows, stopping_rows

NAME = "Early-stopped logistic regression is calibrated, its limit is not"
SOURCE = (
    "after arXiv:2502.13283 (Wu, Bartlett, Telgarsky, Yu); the ridge bound is derived as there, "
    "the others here"
)


def check_logistic_early_stopping(
    *,
    num_points: int = 200,
    dimension: int = 400,
    decay: float = 1.0,
    support: int = 20,
    num_steps: int = 30_000,
    step: float = 1.0,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests what early stopping does for logistic regression with more dimensions than points.

    Data: x ~ N(0, diag(i^-decay)), P(y = 1 | x) = sigmoid(x w*) with w* one on its first
    coordinates. Gradient descent from 0 on the mean loss, eta <= 1 / smoothness, stopped at the
    first record with training loss at most that of w*. Statement: for u the minimiser of loss +
    |u|^2 / (2 eta t), |w_t - u| <= |w_t| / sqrt(2) at every t, hence an angle of at most 45 degrees
    and norms within a factor of 3.42 (derived: convexity and strong convexity, two lines).

    The calibration error is the paper's, C(w) = E |p(w; x) - P(y = 1 | x)|^2: 0 at w* only, and
    not for a model that is right on average, such as w = 0. It is at most half the excess risk
    (Pinsker's inequality), and the excess error at most 2 E |p - p*| <= 2 sqrt(C) (derived). The
    paper: both vanish as n grows where training stops early; on separable data the norm diverges,
    p goes to 0 or 1, and C ends above c = E min(p*, 1 - p*)^2. At every w, sqrt(C) >= sqrt(c) -
    sqrt(E min(p, 1 - p)^2), whose last term vanishes as |w| grows (derived: p* is no nearer to any
    decision than to its own). Checked: these inequalities at every record; the stopped solution is
    below c, below w = 0 and below the last step; its error is below that of the last step in the
    mean over seeds, by a 95 % interval.

    The training loss is at most L(u) + |u|^2 / (2 t) for every u (derived), which along a
    separating direction is log^2(t) / t up to constants: it falls at least as fast as that bound.
    Slower than 1/t by powers of log t is all that this leaves; the exponent itself approaches -1
    as points beyond the margin drop out, too slowly for a correction of known form. The norm grows
    by log(t) / margin in the limit. Risks are exact, by quadrature. Times are eta x step.

    Args:
        num_points: n.
        dimension: d; d >= n makes almost every draw separable.
        decay: exponent of the variances of the coordinates.
        support: coordinates of w* that are not zero.
        num_steps: steps, at least 100.
        step: eta x smoothness.
        seeds: how many draws, or their seeds; with fewer than about five the excess error stays
            undecided, and the report says "not applicable".
        quick: at most 5 seeds, 100 points in 200 dimensions and 8000 steps.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report; table "stopping" has a row per seed and solution, table "path" the records.

    Raises:
        ValueError: on numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> na.theory.check_logistic_early_stopping(quick=True).verdict
        'confirmed'
    """
    check_size("num_points", num_points, 2)
    check_size("dimension", dimension, 1)
    check_size("support", support, 1, dimension)
    check_size("num_steps", num_steps, 100)
    check_in_range("decay", decay, 0.0)
    check_in_range("step", step, 0.0, low_open=True)
    if quick:
        dimension = min(dimension, 200)
        num_points, support = min(num_points, 100), min(support, dimension)
        num_steps = min(num_steps, 8000)
    chosen = seed_list(seeds, 5 if quick else None)
    variances = np.arange(1, dimension + 1) ** -decay
    truth = np.where(np.arange(dimension) < support, 1.0, 0.0)
    problem = logistic.draw(num_points, truth, variances, chosen, step)
    steps = sorted({int(s) for s in np.geomspace(1, num_steps, 60).round()})
    with Cells("logistic_early_stopping", 1 + len(chosen), checkpoint, progress) as cells:
        weights = cells.run(logistic.descend, problem, steps)
        paths = [
            cells.run(_measure, problem, weights[:, index], np.array(steps), index, seed)
            for index, seed in enumerate(chosen)
        ]
    conclusions = conclusions_of(paths)
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(
            *assumptions(problem, paths),
            *resolution_checks(conclusions, {EXCESS_ERROR: resolved_error(paths)}),
        ),
        conclusions=conclusions,
        tables={
            "stopping": tuple(row for path in paths for row in stopping_rows(path)),
            "path": tuple(row for path in paths[:1] for row in path_rows(path)),
        },
        histories={},
    )


def _measure(
    problem: LogisticProblem, weights: np.ndarray, steps: np.ndarray, index: int, seed: int
) -> LogisticPath:
    signed, times = problem.signed[index], problem.learning_rate[index] * steps
    norms = np.linalg.norm(weights, axis=1)
    losses = logistic.losses(signed, weights)
    ridge = logistic.ridge_path(signed, 1 / times)
    reached = np.flatnonzero(losses <= logistic.losses(signed, problem.truth[None])[0])
    cosine = np.sum(weights * ridge, 1) / (norms * np.linalg.norm(ridge, axis=1))
    return LogisticPath(
        seed=seed,
        steps=steps,
        times=times,
        losses=losses,
        norms=norms,
        margins=(weights @ signed.T).min(1),
        risks=[logistic.risks(problem, w) for w in weights],
        truth=logistic.risks(problem, problem.truth),
        untrained=logistic.risks(problem, np.zeros_like(problem.truth)),
        uncalibrated=logistic.limit_calibration(problem),
        loss_bounds=logistic.loss_bounds(signed, weights[-1], times),
        ridge_distance=np.linalg.norm(weights - ridge, axis=1) / norms,
        ridge_cosine=cosine,
        stop=int(reached[0]) if reached.size else len(steps) - 1,
        residual=logistic.off_the_algorithm(
            signed, float(problem.learning_rate[index]), weights, steps
        ),
    )
