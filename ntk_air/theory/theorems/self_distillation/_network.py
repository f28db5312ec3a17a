"""What the trained networks of `check_self_distillation` show, as conclusions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...model._clusters import ClusterGeometry
from ...reporting._report import Check
from ._controls import control_checks
from ._law import ROUND_OFF, bound_of, filter_floor
from ._premise import FIRST_STEPS, linearisation_error, signs_only
from ._runs import (
    GRADIENT_DESCENT,
    IDENTITY,
    SELF_DISTILLATION,
    Plan,
    SeedRuns,
    Start,
    targets,
    weights_of_steps,
)


def network_conclusions(
    every: Sequence[SeedRuns], plan: Plan, geometry: ClusterGeometry, accuracy: float
) -> tuple[Check, ...]:
    """What the trained networks show, worst over the initialisations."""
    distilled = [r.network[SELF_DISTILLATION] for r in every]
    last = float(np.max([h.l2_to_clean[-1] for h in distilled]))
    probe = float(np.max([r.probe for r in every]))
    conclusions = [
        Check.at_most(
            "the algorithm's steps (network)",
            "first outputs against gradient steps written out in float64, relative",
            required=FIRST_STEPS,
            measured=probe,
        ),
        _rate_check(every, plan),
        Check.at_most(
            "self-distillation reaches the clean labels",
            f"|f - y| / sqrt(n) at the end <= {accuracy:g} x the floor of monotone "
            "gradient descent",
            required=accuracy * geometry.average_error,
            measured=last,
        ),
        *_floor_check("early stopping has a floor", GRADIENT_DESCENT, every, plan, geometry),
    ]
    if signs_only(plan.data):
        margin = float(np.min([h.margin[-1] for h in distilled]))
        conclusions.append(
            Check.above(
                "margin",
                "min y f(x) at the end is above 1 - 2 rho, that of the cluster averages",
                required=geometry.average_margin,
                measured=margin,
            )
        )
    conclusions += _distance_check(every)
    if IDENTITY in every[0].network:
        conclusions += [
            *_floor_check("the label function must sharpen", IDENTITY, every, plan, geometry),
            *control_checks([control for r in every for control in r.controls]),
        ]
    return tuple(conclusions)


def _rate_check(every: Sequence[SeedRuns], plan: Plan) -> Check:
    clean, observed = targets(plan.data)
    ratios, errors = [], []
    for runs in every:
        history = runs.network[SELF_DISTILLATION]
        slowest = runs.start.learning_rate * float(runs.start.eigenvalues[-1])
        weights = weights_of_steps(plan.alpha, plan.num_steps, history)
        bound = bound_of(history, slowest, clean, observed, weights)
        error = 2 * linearisation_error(runs)
        errors.append(error)
        ratios.append(np.max((bound.distance - error) / bound.bound) if len(bound.step) else np.nan)
    worst = float(np.max(ratios))
    return Check(
        "rate (network)",
        "the same at every record of the network from its own s0, beside twice the "
        f"linearisation error measured on gradient descent, {max(errors):.2g}",
        required=1.0,
        measured="h(f_s) = y never holds to the end" if np.isnan(worst) else worst,
        holds=worst <= 1 + ROUND_OFF,
    )


def _distance_check(every: Sequence[SeedRuns]) -> list[Check]:
    """Asked only where function space predicts it.

    Gradient descent that has not overfitted yet has moved to (1 - 2 rho) y, less far than
    self-distillation to y.
    """
    pairs = [
        (r.linear.distilled.distance_from_init[-1], r.linear.descent.distance_from_init[-1])
        for r in every
    ]
    predicted = float(np.max([float(a) / float(b) for a, b in pairs]))
    if not predicted < 0.9:
        return []
    moved = [
        float(r.network[SELF_DISTILLATION].distance_from_init[-1])
        / float(r.network[GRADIENT_DESCENT].distance_from_init[-1])
        for r in every
    ]
    return [
        Check.below(
            "self-distillation stays closer to initialisation",
            "|W - W_0| at the end, ratio to gradient descent, < 1; function space "
            f"predicts {predicted:.3g}",
            required=1.0,
            measured=float(np.max(moved)),
        )
    ]


def _floor_check(
    name: str, method: str, every: Sequence[SeedRuns], plan: Plan, geometry: ClusterGeometry
) -> list[Check]:
    """No record below what filters between 0 and 1 can reach: 2 rho for clusters that are points.

    Such filters are what eta lambda_1 <= 1 without momentum gives. None where f_0 stays: a weight
    that falls to zero at once leaves h = identity where it started.
    """
    floors, lowest = [], []
    for runs in every:
        history, left = runs.network[method], _left(runs.start, plan, method, runs)
        size = np.linalg.norm(runs.start.initial) / np.sqrt(len(runs.start.initial))
        slow = left[:, geometry.num_clusters - 1] * size
        late = np.flatnonzero(slow <= geometry.average_error * max(geometry.radius, 1e-6))
        if not late.size:
            return []
        distance = np.asarray(history.l2_to_clean, np.float64)[late[0] :]
        floors.append(_floor(runs.start, plan.data, left[late[0]]) - 2 * linearisation_error(runs))
        lowest.append(float(np.min(distance)))
    worst = int(np.argmin(np.asarray(lowest) - np.asarray(floors)))
    return [
        Check(
            name,
            "|f - y| / sqrt(n) at every record once f_0 is forgotten, against the least "
            "of all filters between 0 and 1 (2 rho where clusters are points with equal shares of "
            f"flips) less twice the linearisation error, {method}",
            required=floors[worst],
            measured=lowest[worst],
            holds=bool(np.all(np.asarray(lowest) >= np.asarray(floors))),
        )
    ]


def _left(start: Start, plan: Plan, method: str, runs: SeedRuns) -> np.ndarray:
    """What is left of the initial outputs per direction at every record, (R, n)."""
    history, rates = runs.network[method], start.learning_rate * start.eigenvalues
    steps = np.asarray(history.step)
    if method == GRADIENT_DESCENT:
        return np.abs(1 - rates) ** steps[:, None]
    weights = weights_of_steps(plan.alpha, plan.num_steps, history)
    left, kept = np.ones_like(rates), []
    for step in range(int(steps[-1]) + 1):
        if step in steps:
            kept.append(left)
        left = left * np.abs(1 - weights[step] * rates)
    return np.stack(kept)


def _floor(start: Start, data: Any, left: np.ndarray) -> float:
    clean, observed = targets(data)
    given, wanted, initial = (
        start.eigenvectors.T @ v[:, 0] for v in (observed, clean, start.initial)
    )
    return filter_floor(given, wanted, initial, left) / float(np.sqrt(len(clean)))
