"""From students to assumptions and conclusions on supervision complexity, and its margin bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..reporting._records import record
from ..reporting._report import Check
from ._network_checks import worst

EARLY, CONVERGED, OBSERVED = "early-stopped teacher", "converged teacher", "observed labels"
NETWORK_EARLY, NETWORK_LATE = "early-stopped network", "network at its last step"
PROBABILITY = 0.05
"""With which the margin bound may fail, for all students of one kernel together."""

SCALE = 2**0.5
"""Ratio of neighbouring norms of the union."""

UNION = 40
"""Members of the union on each side of norm sqrt(n) that are tried: beyond, all are vacuous."""


@record
class Targets(NamedTuple):
    """What one teacher gives to the student and what the student makes of it."""

    seed: int
    teacher: str
    step: float
    complexity: float
    test_error: float
    bound: float
    l2_to_clean: float


@record
class SupervisionRun(NamedTuple):
    """All teachers of one seed, and how complexity moves along the path of the linearised one."""

    rows: dict[str, Targets]
    least_increment: float
    limit_error: float
    left: float
    ran_on: float
    least_eigenvalue: float
    round_off: float


def margin_bound(margins: np.ndarray, complexity: float, trace: float) -> float:
    """The margin bound of a student at the best member of its union; 1 or more says nothing.

    Args:
        margins: (n, 1) clean label x output of the student.
        complexity: |f| sqrt(tr K) / n.
        trace: of the student's kernel over the training points.
    """
    count = len(margins)
    member = np.arange(-UNION, UNION + 1)
    norms = np.sqrt(count) * SCALE**member
    chances = PROBABILITY / ((np.pi**2 / 3 - 1) * (1.0 + np.abs(member)) ** 2)
    choices = complexity * count / (np.sqrt(trace) * norms)
    shares = np.mean(margins[:, 0] < choices[:, None], axis=1)
    tails = 3 * np.sqrt(np.log(2 / chances) / (2 * count))
    return float(np.min(shares + 2 * norms * np.sqrt(trace) / count + tails))


def assumptions(every: Sequence[SupervisionRun]) -> tuple[Check, ...]:
    """What is asked of kernel, teachers and number of points, worst over seeds."""
    weakest = min(every, key=lambda run: run.least_eigenvalue - run.round_off)
    left = min(run.left for run in every)
    ran_on = min(run.ran_on for run in every)
    return (
        Check.above(
            "positive student kernel",
            "lambda_n > 0, above the round-off n eps lambda_1",
            required=weakest.round_off,
            measured=weakest.least_eigenvalue,
        ),
        Check.above(
            "the teacher is stopped early",
            "(1 - eta lambda_n)^s of the slowest direction is left",
            required=0.5,
            measured=left,
        ),
        Check.above(
            "the network teacher ran on",
            "its last step / the step nearest to the clean labels > 1",
            required=1.0,
            measured=ran_on,
        ),
    )


def conclusions_of(every: Sequence[SupervisionRun]) -> tuple[Check, ...]:
    """What is promised, as measured, worst over seeds."""
    increment = min(run.least_increment for run in every)
    limit = worst([run.limit_error for run in every])
    return (
        Check.at_least(
            "complexity grows along the path",
            "least increment, relative to the end, student of the teacher's kernel",
            required=-1e-9,
            measured=increment,
        ),
        Check.at_most(
            "limit",
            "the converged teacher's targets are as complex as the observed labels",
            required=1e-6,
            measured=limit,
        ),
        _less("early-stopped targets are easier", "complexity", EARLY, CONVERGED, every),
        _less("early-stopped networks too", "complexity", NETWORK_EARLY, NETWORK_LATE, every),
        _errs_less(every),
        *_bound_conclusions(every),
    )


def _bound_conclusions(every: Sequence[SupervisionRun]) -> tuple[Check, ...]:
    """Nothing where the bounds of early-stopped teachers' students say nothing."""
    if not all(run.rows[EARLY].bound < 1 for run in every):
        return ()
    students = [row for run in every for row in run.rows.values()]
    telling = [row for row in students if row.bound < 1]
    gap = worst([row.test_error - row.bound for row in telling])
    return (
        _less("the bound prefers early stopping", "bound", EARLY, CONVERGED, every),
        Check.at_most(
            "margin bound",
            "clean test error - bound, largest over the "
            f"{len(telling)} of {len(students)} students whose bound is not vacuous",
            required=0.0,
            measured=gap,
        ),
    )


def _errs_less(every: Sequence[SupervisionRun]) -> Check:
    """Strictly, wherever the converged teacher's student errs at all."""
    pairs = [(r.rows[EARLY].test_error, r.rows[CONVERGED].test_error) for r in every]
    largest = max(pairs, key=lambda pair: pair[0] - pair[1])
    return Check(
        "the student errs less",
        f"test error of the {EARLY} below that of the {CONVERGED}, or both 0",
        required=largest[1],
        measured=largest[0],
        holds=all(a < b or a == b == 0 for a, b in pairs),
    )


def _less(name: str, field: str, small: str, large: str, every: Sequence[SupervisionRun]) -> Check:
    pairs = [(getattr(r.rows[small], field), getattr(r.rows[large], field)) for r in every]
    largest = max(pairs, key=lambda pair: pair[0] - pair[1])
    shown = [_bound_text(v) if field == "bound" else v for v in largest]
    return Check(
        name,
        f"{field} of the {small} below that of the {large}",
        required=shown[1],
        measured=shown[0],
        holds=all(a < b for a, b in pairs),
    )


def _bound_text(bound: float) -> float | str:
    return bound if bound < 1 else f"{bound:.3g}, vacuous"
