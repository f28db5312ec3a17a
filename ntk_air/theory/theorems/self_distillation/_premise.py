"""What the theorem on self-distillation asks of the schedule of alpha, measured on its own runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...model._clusters import ClusterGeometry
from ...reporting._report import Check
from ._law import ROUND_OFF, settled_step
from ._runs import (
    GRADIENT_DESCENT,
    LIMIT_ALPHA,
    SELF_DISTILLATION,
    Plan,
    SeedRuns,
    targets,
    weights_of_steps,
)

FIRST_STEPS = 1e-9
"""Relative deviation of float64 steps from the algorithm's up to which they count as the same."""

LABELS_KEPT = 0.1
"""Distance per root-n up to which a soft label function counts as giving the clean labels."""


def runs_are_the_algorithm(every: Sequence[SeedRuns]) -> bool:
    """Whether what was run is self-distillation; else nothing that it shows is a premise."""
    return all(r.linear.residual <= ROUND_OFF and r.probe <= FIRST_STEPS for r in every)


def schedule_checks(
    every: Sequence[SeedRuns], plan: Plan, geometry: ClusterGeometry, accuracy: float
) -> tuple[Check, ...]:
    """That alpha ends near zero, and that h(f_s) = y from some step on, early enough.

    The latter is the premise of the theorem and is read off the self-distilling runs themselves:
    at every step in function space, at every record of the networks. It cannot be told from the
    schedule alone. (A cluster whose outputs have the wrong sign is pulled to alpha (1 - 2 rho) y -
    (1 - alpha) y on average, towards y only while alpha > 1 / (2 (1 - rho)): but that pull is
    weaker than gradient descent's, so that signs which the latter has right may still be wrong.)
    """
    weights = [weights_of_steps(plan.alpha, plan.num_steps, r.linear.distilled) for r in every]
    last = float(np.max([w[-1] for w in weights]))
    # The other four fifths are left to what has not been fitted yet.
    allowed = 0.2 * accuracy * geometry.average_error
    ends = Check.at_most(
        "the schedule ends",
        "alpha_S |observed - clean| / sqrt(n) <= "
        f"{0.2 * accuracy:g} x the floor of monotone gradient descent",
        required=allowed,
        measured=last * geometry.label_error,
    )
    if not runs_are_the_algorithm(every):
        return (ends,)
    return (
        ends,
        _trusted_check(every, plan.num_steps),
        *_end_checks(every, geometry, accuracy, plan),
        _wide_check(every, geometry, accuracy),
        _limit_check(every),
    )


def _settled(every: Sequence[SeedRuns]) -> dict[str, list[int | None]]:
    return {
        "function space": [settled_step(r.linear.distilled) for r in every],
        "network": [settled_step(r.network[SELF_DISTILLATION]) for r in every],
    }


def _trusted_check(every: Sequence[SeedRuns], num_steps: int) -> Check:
    settled = _settled(every)
    found = [
        f"{space}: "
        + (
            "never"
            if any(s is None for s in steps)
            else str(max(s for s in steps if s is not None))
        )
        for space, steps in settled.items()
    ]
    return Check(
        "the network is not trusted too early",
        "h(f_s) = y at every step from some s0 < S on, on the self-distilling runs themselves",
        required=f"s0 < {num_steps}",
        measured=", ".join(found),
        holds=all(s is not None and s < num_steps for steps in settled.values() for s in steps),
    )


def _end_checks(
    every: Sequence[SeedRuns], geometry: ClusterGeometry, accuracy: float, plan: Plan
) -> tuple[Check, ...]:
    """That the steps after s_0 suffice, by the law of the theorem from the outputs at s_0."""
    ends = [end for r in every for end in (r.linear.end, r.end)]
    allowed = 0.8 * accuracy * geometry.average_error
    far = float(np.max([np.inf if end is None else end.distance for end in ends]))
    checks = [
        Check.at_most(
            "enough steps once the labels are right",
            "with h(f) = y, the run's alpha and its outputs at s0, |f - y| / sqrt(n) is "
            f"at most {0.8 * accuracy:g} x the floor of monotone gradient descent at the end",
            required=allowed,
            measured=far,
        )
    ]
    if signs_only(plan.data):
        # Half-way from what early stopping leaves to that of the clean labels is asked for.
        required = (1 + geometry.average_margin) / 2
        least = float(np.min([-np.inf if end is None else end.margin for end in ends]))
        checks.append(
            Check.at_least(
                "enough steps for the margin",
                "with h(f) = y, the run's alpha and its outputs at s0, the least y f is "
                "at least 1 - rho at the end",
                required=required,
                measured=least,
            )
        )
    return tuple(checks)


def linearisation_error(runs: SeedRuns) -> float:
    """Largest difference of |f - y| / sqrt(n) between gradient descent and its linearisation."""
    network, linear = runs.network[GRADIENT_DESCENT], runs.linear.descent
    steps = np.asarray(network.step)
    return float(np.max(np.abs(network.l2_to_clean - np.asarray(linear.l2_to_clean)[steps])))


def _wide_check(every: Sequence[SeedRuns], geometry: ClusterGeometry, accuracy: float) -> Check:
    allowed = 0.1 * accuracy * geometry.average_error
    off = float(np.max([linearisation_error(r) for r in every]))
    return Check.at_most(
        "wide enough",
        "|f - y| / sqrt(n) of gradient descent is that of its linearisation up to "
        f"{0.1 * accuracy:g} x the floor, at every record",
        required=allowed,
        measured=off,
    )


def _limit_check(every: Sequence[SeedRuns]) -> Check:
    wrong = float(np.max([r.linear.limit_label for r in every]))
    return Check.at_most(
        "labels stay clean at a constant alpha",
        f"|h(f_s) - y| / sqrt(n) from clean outputs, alpha {LIMIT_ALPHA:g}, every step",
        required=LABELS_KEPT,
        measured=wrong,
    )


def signs_only(data: Any) -> bool:
    """Whether the labels are +-1."""
    return bool(np.allclose(np.abs(targets(data)[0]), 1.0))


def premise_rows(
    every: Sequence[SeedRuns], plan: Plan, geometry: ClusterGeometry
) -> tuple[dict[str, Any], ...]:
    """One row per seed: when labels are right, the least weight until then, and the threshold."""
    rows = []
    for runs in every:
        first = settled_step(runs.linear.distilled)
        weights = weights_of_steps(plan.alpha, plan.num_steps, runs.linear.distilled)
        rows.append(
            {
                "seed": runs.start.seed,
                "h(f) = y from (function space)": first,
                "h(f) = y from (network)": settled_step(runs.network[SELF_DISTILLATION]),
                "least alpha until then": float(np.min(weights[: (first or 0) + 1])),
                "1 / (2 (1 - rho))": 1 / (2 * (1 - geometry.worst_noise_rate)),
                "predicted end (function space)": runs.linear.end and runs.linear.end.distance,
                "predicted end (network)": runs.end and runs.end.distance,
                "linearisation error": linearisation_error(runs),
            }
        )
    return tuple(rows)
