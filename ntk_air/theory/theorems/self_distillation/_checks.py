"""From the runs to assumptions, conclusions and tables of the self-distillation theorem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ....distillation import History
from ...model._clusters import ClusterGeometry
from ...reporting._report import Check
from ._law import ROUND_OFF, bound_of, settled_step
from ._premise import LABELS_KEPT
from ._runs import (
    GRADIENT_DESCENT,
    LIMIT_ALPHA,
    SELF_DISTILLATION,
    Plan,
    SeedRuns,
    Start,
    targets,
    weights_of_steps,
)


def kernel_checks(starts: Sequence[Start]) -> tuple[Check, ...]:
    """Assumptions on step size and kernel, worst over the initialisations."""
    step = max(s.learning_rate * float(s.eigenvalues[0]) for s in starts)
    least = min(float(s.eigenvalues[-1]) for s in starts)
    # Below n eps lambda_1 an eigenvalue of a float64 matrix is round-off.
    resolved = max(len(s.eigenvalues) * np.finfo(np.float64).eps * s.eigenvalues[0] for s in starts)
    return (
        Check.at_most(
            "small step",
            "eta lambda_1 <= 1, kernel at initialisation",
            required=1.0,
            measured=step,
            slack=ROUND_OFF,
        ),
        Check.above(
            "positive kernel",
            "lambda_n > 0, above the round-off n eps lambda_1",
            required=float(resolved),
            measured=least,
        ),
    )


def horizon_checks(
    starts: Sequence[Start], plan: Plan, geometry: ClusterGeometry, accuracy: float
) -> tuple[Check, ...]:
    """Assumptions on the number of steps, from the spectrum alone, worst over initialisations."""
    clean, _ = targets(plan.data)
    # A fifth of what counts as converged is left to the observed labels' share in the target.
    required = 0.8 * accuracy * geometry.average_error
    remaining = max(_remaining(start, clean, plan.num_steps) for start in starts)
    forgotten = max(forgotten_step(start, geometry) for start in starts)
    return (
        Check.at_most(
            "enough steps",
            "gradient descent on the clean labels themselves would end within "
            f"{0.8 * accuracy:g} x the floor of monotone gradient descent",
            required=required,
            measured=remaining,
        ),
        Check.below(
            "initial outputs are forgotten",
            "(1 - eta lambda_K)^s |f_0| / sqrt(n) <= 2 rho epsilon_0 at some step < S",
            required=float(plan.num_steps),
            measured=forgotten,
        ),
    )


def _remaining(start: Start, clean: np.ndarray, num_steps: int) -> float:
    """||f - y||_2 / sqrt(n) after gradient descent on the clean labels, in closed form."""
    with np.errstate(over="ignore"):  # too large a step grows without bound: infinity is right
        decay = (1 - start.learning_rate * start.eigenvalues[:, None]) ** num_steps
    left = decay * (start.eigenvectors.T @ (start.initial - clean))
    return float(np.linalg.norm(left) / np.sqrt(len(clean)))


def forgotten_step(start: Start, geometry: ClusterGeometry) -> float:
    """Step from which the initial outputs move the floor by less than epsilon_0 of it."""
    size = np.linalg.norm(start.initial) / np.sqrt(len(start.initial))
    allowed = geometry.average_error * max(geometry.radius, 1e-6)
    # K directions carry clusters: lambda_K is the slowest that initial outputs leave through.
    decay = start.learning_rate * start.eigenvalues[geometry.num_clusters - 1]
    if size <= allowed or allowed == 0:
        return 0.0
    return float(np.log(size / allowed) / -np.log1p(-min(decay, 1 - 1e-12)))


def recursion_check(name: str, residuals: Sequence[float], required: float) -> Check:
    """That what was run in function space is the algorithm, worst over the runs."""
    return Check.at_most(
        name,
        "f_{s+1} = f_s - eta K (f_s - alpha_s observed - (1 - alpha_s) h(f_s)), largest "
        "deviation of a step",
        required=required,
        measured=float(np.max(residuals)),
    )


def function_space_conclusions(every: Sequence[SeedRuns], plan: Plan) -> tuple[Check, ...]:
    """What holds exactly for the kernel at initialisation, at every step."""
    ratios = [_bound_ratio(r.linear.distilled, r.start, plan, plan.alpha) for r in every]
    worst = None if None in ratios else float(np.max(np.asarray(ratios, np.float64)))
    deviation = float(np.max([r.linear.limit_deviation for r in every]))
    wrong = float(np.max([r.linear.limit_label for r in every]))
    checks = [
        recursion_check(
            "the algorithm's steps (function space)", [r.linear.residual for r in every], ROUND_OFF
        ),
        Check(
            "rate (function space)",
            "|f_{s0+j} - y| / ((1 - eta lambda_n)^j |f_{s0} - y| + max alpha |noise|) "
            "<= 1 at every step",
            required=1.0,
            measured="h(f_s) = y never holds to the end" if worst is None else worst,
            holds=worst is not None and worst <= 1 + ROUND_OFF,
        ),
    ]
    # The limit is that of h(f) = y, which a soft label function gives up to `wrong` only.
    allowed = ROUND_OFF + (wrong if wrong <= LABELS_KEPT else 0.0)
    checks.append(
        Check.at_most(
            "limit of a constant alpha (function space)",
            f"alpha = {LIMIT_ALPHA:g}: f - y is alpha (observed - clean), deviation per "
            "root-n from its closed form, beside that of h(f) from y",
            required=allowed,
            measured=deviation,
        )
    )
    return tuple(checks)


def diverged(error: Exception) -> Check:
    """The one conclusion left when training did not stay finite."""
    return Check(
        "training stays finite",
        "the loss is finite at every record",
        required="finite",
        measured=str(error),
        holds=False,
    )


def _bound_ratio(history: History, start: Start, plan: Plan, alpha: Any) -> float | None:
    """Largest ratio of distance to bound over the records from s0, or None if there is no s0."""
    slowest = start.learning_rate * float(start.eigenvalues[-1])
    weights = weights_of_steps(alpha, plan.num_steps, history)
    bound = bound_of(history, slowest, *targets(plan.data), weights)
    return bound.ratio if len(bound.step) else None


def method_rows(every: Sequence[SeedRuns], plan: Plan) -> tuple[dict[str, Any], ...]:
    """One row per seed and method."""
    rows = []
    for runs in every:
        function = {
            f"{GRADIENT_DESCENT} (function space)": runs.linear.descent,
            f"{SELF_DISTILLATION} (function space)": runs.linear.distilled,
        }
        for name, history in {**runs.network, **function}.items():
            distance = np.asarray(history.l2_to_clean)
            alpha = 1.0 if name.startswith(GRADIENT_DESCENT) else plan.alpha
            rows.append(
                {
                    "seed": runs.start.seed,
                    "method": name,
                    "min l2": float(distance.min()),
                    "at step": int(history.step[distance.argmin()]),
                    "last l2": float(distance[-1]),
                    "last margin": float(history.margin[-1]),
                    "last error": float(history.error_to_clean[-1]),
                    "|W - W0|": float(history.distance_from_init[-1]),
                    "h(f) = y from": settled_step(history),
                    "distance / bound": _bound_ratio(history, runs.start, plan, alpha),
                    "kernel change": runs.drift.get(name, 0.0),
                }
            )
    return tuple(rows)


def kernel_rows(
    every: Sequence[SeedRuns], geometry: ClusterGeometry, data: Any
) -> tuple[dict[str, Any], ...]:
    """One row per seed: eigenvalues, step size, energy of labels and noise in the top K."""
    clean, observed = targets(data)
    clusters = geometry.num_clusters
    rows = []
    for runs in every:
        top = runs.start.eigenvectors[:, :clusters].T
        values = runs.start.eigenvalues
        rows.append(
            {
                "seed": runs.start.seed,
                "lambda_1": float(values[0]),
                "lambda_K": float(values[clusters - 1]),
                "lambda_K+1": float(values[clusters]) if clusters < len(values) else 0.0,
                "lambda_n": float(values[-1]),
                "eta": runs.start.learning_rate,
                "label energy in top K": _energy(top, clean),
                "noise energy in top K": _energy(top, observed - clean),
                "rho": geometry.noise_rate,
                "epsilon_0": geometry.radius,
            }
        )
    return tuple(rows)


def _energy(directions: np.ndarray, signal: np.ndarray) -> float:
    total = float(np.sum(signal**2))
    return float(np.sum((directions @ signal) ** 2)) / total if total else 0.0
