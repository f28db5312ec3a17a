"""From the paths of logistic regression to assumptions and conclusions of its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...._power_laws import student
from ...reporting._exponents import decay_check
from ...reporting._records import record
from ...reporting._report import Check
from ...reporting._scaling import CONFIDENCE
from .._network_checks import worst
from ._logistic import CHECKED_STEPS, LogisticProblem, Risks

NEAREST = float(1 / np.sqrt(2))
"""Bound on |w_t - u| / |w_t| for the ridge solution u of strength 1 / (eta t)."""

ENOUGH = 2.0
"""Largest tr Sigma |w*|^2 / n that counts as enough points: measured, the theorem names none."""

QUADRATURE = 1e-9
"""Error that the quadrature of risks, and round-off of steps in float64, are allowed."""


EXCESS_ERROR = "excess error of the stopped solution"


@record
class LogisticPath(NamedTuple):
    """One seed: records along gradient descent, and the rule's choice among them.

    ``truth`` and ``untrained`` are the risks of w* and of w = 0, ``uncalibrated`` the least
    calibration error of weights that grow without bound, ``loss_bounds`` (T,) is the derived bound
    on the training loss, ``residual`` the largest relative deviation of early records from the
    algorithm.
    """

    seed: int
    steps: np.ndarray
    times: np.ndarray
    losses: np.ndarray
    norms: np.ndarray
    margins: np.ndarray
    risks: list[Risks]
    truth: Risks
    untrained: Risks
    uncalibrated: float
    loss_bounds: np.ndarray
    ridge_distance: np.ndarray
    ridge_cosine: np.ndarray
    stop: int
    residual: float


def assumptions(problem: LogisticProblem, paths: Sequence[LogisticPath]) -> tuple[Check, ...]:
    """What the theorem asks of step size, data and stopping rule."""
    step = float(np.max(problem.learning_rate * problem.smoothness))
    count = problem.signed.shape[1]
    load = float(problem.variances.sum() * np.sum(problem.truth**2) / count)
    margin = min(float(p.margins[-1]) for p in paths)
    early = max(float(p.steps[p.stop] / p.steps[-1]) for p in paths)
    return (
        Check.at_most(
            "small step", "eta x smoothness <= 1", required=1.0, measured=step, slack=1e-12
        ),
        Check.at_most(
            "enough points",
            "tr Sigma |w*|^2 / n, whose root bounds the excess risk of the stopped "
            "solution up to constants and logarithms",
            required=ENOUGH,
            measured=load,
        ),
        Check.above(
            "separable data", "min y x w > 0 at the last step", required=0.0, measured=margin
        ),
        Check.at_most(
            "the rule stops early",
            "training loss of w* is reached within a tenth of the steps",
            required=0.1,
            measured=early,
        ),
    )


def resolved_error(paths: Sequence[LogisticPath]) -> Check:
    """The assumption that the draws tell the sign of the gap in error."""
    gap, reach = _error_gap(paths)
    return Check(
        "the gap in error is resolved",
        "95 % interval of the mean over seeds of the error where stopped less that "
        "at the last step leaves 0 out: half-width below the mean's size",
        required=abs(gap),
        measured=reach,
        holds=reach < abs(gap) or reach == 0,
    )


def conclusions_of(paths: Sequence[LogisticPath]) -> tuple[Check, ...]:
    """What it promises, as measured, worst over seeds."""
    off = worst([p.residual for p in paths])
    return (
        Check.at_most(
            "the algorithm's steps",
            "w_{s+1} = w_s + eta mean of y x sigmoid(-y x w): records of the first "
            f"{CHECKED_STEPS} steps, largest relative deviation",
            required=QUADRATURE,
            measured=off,
        ),
        *_ridge_conclusions(paths),
        *_risk_conclusions(paths),
        *_divergence_conclusions(paths),
    )


def _ridge_conclusions(paths: Sequence[LogisticPath]) -> tuple[Check, ...]:
    furthest = worst([p.ridge_distance for p in paths])
    angle = -worst([-p.ridge_cosine for p in paths])
    return (
        Check.at_most(
            "ridge path",
            "|w_t - u| / |w_t| <= 1 / sqrt(2), u ridge of strength 1 / (eta t), every t",
            required=NEAREST,
            measured=furthest,
        ),
        Check.at_least(
            "angle to the ridge path",
            "cosine >= 1 / sqrt(2) at every t",
            required=NEAREST,
            measured=angle,
        ),
    )


def _risk_conclusions(paths: Sequence[LogisticPath]) -> tuple[Check, ...]:
    pinsker = worst([2 * r.calibration - above(p, r, "logistic") for p in paths for r in p.risks])
    plug_in = worst([above(p, r, "error") - 2 * r.distance for p in paths for r in p.risks])
    calibrated = worst([p.risks[p.stop].calibration / p.uncalibrated for p in paths])
    short = worst(
        [
            np.sqrt(p.uncalibrated) - np.sqrt(r.undecided) - np.sqrt(r.calibration)
            for p in paths
            for r in p.risks
        ]
    )
    return (
        _lower("excess risk", "logistic", paths, "at the last step"),
        _lower("excess risk", "logistic", paths, "without training"),
        _lower("calibration error", "calibration", paths, "at the last step"),
        _lower("calibration error", "calibration", paths, "without training"),
        _error_check(paths),
        Check.below(
            "calibrated where stopped",
            "C(w) / E min(p*, 1 - p*)^2 < 1: below what diverging weights can end at",
            required=1.0,
            measured=calibrated,
        ),
        Check.at_most(
            "the limit is not calibrated",
            "sqrt E min(p*, 1 - p*)^2 - sqrt E min(p, 1 - p)^2 - sqrt C(w) <= 0 at every "
            "record, largest; the second term vanishes as |w| grows",
            required=0.0,
            measured=short,
            slack=QUADRATURE,
        ),
        Check.at_most(
            "calibration error within the excess risk",
            "2 C(w) - excess risk <= 0 at every record, largest",
            required=0.0,
            measured=pinsker,
            slack=QUADRATURE,
        ),
        Check.at_most(
            "excess error within the distance of probabilities",
            "excess error - 2 E |p - p*| <= 0 at every record, largest",
            required=0.0,
            measured=plug_in,
            slack=QUADRATURE,
        ),
    )


def _divergence_conclusions(paths: Sequence[LogisticPath]) -> tuple[Check, ...]:
    last = paths[0].steps >= paths[0].steps[-1] / 10
    times = paths[0].times[last]
    # In the limit |w| grows by log(t) / margin of the unit weights.
    growth = -worst(
        [-(p.norms[-1] - p.norms[last][0]) * p.margins[-1] / p.norms[-1] for p in paths]
    ) / float(np.log(times[-1] / times[0]))
    above = worst([p.losses / p.loss_bounds for p in paths])
    slopes = [np.polyfit(np.log(times), np.log(p.loss_bounds[last]), 1)[0] for p in paths]
    return (
        Check.at_least(
            "the norm diverges",
            "growth of |w| over the last factor of ten in time / (log 10 / margin of "
            "w / |w|) >= 1/2, least over seeds; 1 in the limit",
            required=0.5,
            measured=growth,
        ),
        Check.at_most(
            "training loss below its bound",
            "loss / min over u along the last w of (loss of u + |u|^2 / (2 t)) <= 1 at "
            "every record, largest",
            required=1.0,
            measured=above,
            slack=QUADRATURE,
        ),
        decay_check(
            "rate of the training loss",
            "loss over the last factor of ten",
            "t",
            times,
            np.stack([p.losses[last] for p in paths], 1),
            float(np.round(np.mean(slopes), 3)),
        ),
    )


def _lower(name: str, field: str, paths: Sequence[LogisticPath], other: str) -> Check:
    """That the stopped solution is below the last step, or below w = 0."""
    pairs = [
        (
            above(p, p.risks[p.stop], field),
            above(p, p.untrained if other == "without training" else p.risks[-1], field),
        )
        for p in paths
    ]
    largest = max(pairs, key=lambda pair: pair[0] - pair[1])
    return Check(
        f"{name} of the stopped solution"
        + (" against no training" if other == "without training" else ""),
        f"{name} where stopped below that {other}",
        required=largest[1],
        measured=largest[0],
        holds=all(a < b for a, b in pairs),
    )


def _error_check(paths: Sequence[LogisticPath]) -> Check:
    """Of a mean: the paper's separation of errors is one of rates in n, not of every draw."""
    mean, reach = _error_gap(paths)
    return Check(
        EXCESS_ERROR,
        "error where stopped - at the last step, mean over seeds: upper end of the 95 % "
        "interval below 0",
        required=0.0,
        measured=f"{mean:.4f} in [{mean - reach:.4f}, {mean + reach:.4f}]",
        holds=mean + reach < 0,
    )


def _error_gap(paths: Sequence[LogisticPath]) -> tuple[float, float]:
    """Mean over seeds of the error where stopped less that at the end, and its half-width."""
    gaps = np.array([p.risks[p.stop].error - p.risks[-1].error for p in paths])
    if len(gaps) < 2:
        return float(gaps.mean()), float("inf")
    reach = student(CONFIDENCE, len(gaps) - 1) * gaps.std(ddof=1)
    return float(gaps.mean()), float(reach / len(gaps) ** 0.5)


def above(path: LogisticPath, risks: Risks, field: str) -> float:
    """A risk less that of w*."""
    return getattr(risks, field) - getattr(path.truth, field)
