"""From the runs to assumptions, conclusions and tables of the self-distillation theorem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..distillation import History
from ._clusters import ClusterGeometry
from ._report import Check
from ._self_distillation_runs import (
    GRADIENT_DESCENT,
    IDENTITY,
    LIMIT_ALPHA,
    SELF_DISTILLATION,
    TOO_EARLY,
    Plan,
    SeedRuns,
    Start,
    settled_step,
    targets,
)

ROUND_OFF = 1e-8
"""Relative slack of what is exact in function space, in float64 over some 10^4 steps."""


def kernel_checks(starts: Sequence[Start]) -> tuple[Check, ...]:
    """Assumptions on step size and kernel, worst over the initialisations."""
    step = max(s.learning_rate * float(s.eigenvalues[0]) for s in starts)
    least = min(float(s.eigenvalues[-1]) for s in starts)
    # Below n eps lambda_1 an eigenvalue of a float64 matrix is round-off.
    resolved = max(len(s.eigenvalues) * np.finfo(np.float64).eps * s.eigenvalues[0] for s in starts)
    return (
        Check(
            name="small step",
            statement="eta lambda_1 <= 1, kernel at initialisation",
            required=1.0,
            measured=step,
            holds=step <= 1 + ROUND_OFF,
        ),
        Check(
            name="positive kernel",
            statement="lambda_n > 0, above the round-off n eps lambda_1",
            required=float(resolved),
            measured=least,
            holds=bool(least > resolved),
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
        Check(
            name="enough steps",
            statement="gradient descent on the clean labels themselves would end within "
            f"{0.8 * accuracy:g} x the early-stopping floor",
            required=required,
            measured=remaining,
            holds=remaining <= required,
        ),
        Check(
            name="initial outputs are forgotten",
            statement="(1 - eta lambda_K)^s |f_0| / sqrt(n) <= 2 rho epsilon_0 at some step < S",
            required=float(plan.num_steps),
            measured=forgotten,
            holds=forgotten < plan.num_steps,
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


def function_space_conclusions(every: Sequence[SeedRuns], data: Any) -> tuple[Check, ...]:
    """What holds exactly for the kernel at initialisation, at every step."""
    ratios = [_bound_ratio(r.function_sd, r.start, data) for r in every]
    worst = None if None in ratios else max(r for r in ratios if r is not None)
    deviation = max(r.limit_deviation for r in every)
    return (
        Check(
            name="rate (function space)",
            statement="|f_{s0+j} - y| / ((1 - eta lambda_n)^j |f_{s0} - y| + max alpha |noise|) "
            "<= 1 at every step",
            required=1.0,
            measured="h(f_s) = y never holds to the end" if worst is None else worst,
            holds=worst is not None and worst <= 1 + ROUND_OFF,
        ),
        Check(
            name="limit of a constant alpha (function space)",
            statement=f"alpha = {LIMIT_ALPHA:g}: f - y is alpha (observed - clean), deviation per "
            "direction from its closed form",
            required=ROUND_OFF,
            measured=deviation,
            holds=deviation <= ROUND_OFF,
        ),
    )


def network_conclusions(
    every: Sequence[SeedRuns], geometry: ClusterGeometry, accuracy: float
) -> tuple[Check, ...]:
    """What the trained networks show, worst over the initialisations."""
    distilled = [r.network[SELF_DISTILLATION] for r in every]
    plain = [r.network[GRADIENT_DESCENT] for r in every]
    settled = [settled_step(h) for h in distilled]
    known = [s for s in settled if s is not None]
    last = max(float(h.l2_to_clean[-1]) for h in distilled)
    margin = min(float(h.margin[-1]) for h in distilled)
    moved = max(
        float(a.distance_from_init[-1] / b.distance_from_init[-1])
        for a, b in zip(distilled, plain, strict=True)
    )
    conclusions = [
        Check(
            name="labels become clean",
            statement="h(f_s) = y on all points from some step s0 to the end",
            required=f"s0 < {int(distilled[0].step[-1])}",
            measured=max(known) if len(known) == len(settled) else "never",
            holds=len(known) == len(settled),
        ),
        Check(
            name="self-distillation reaches the clean labels",
            statement=f"|f - y| / sqrt(n) at the end <= {accuracy:g} x the early-stopping floor",
            required=accuracy * geometry.average_error,
            measured=last,
            holds=last <= accuracy * geometry.average_error,
        ),
        _floor_check("early stopping has a floor", GRADIENT_DESCENT, every, geometry),
        Check(
            name="margin",
            statement="min y f(x) at the end is above 1 - 2 rho, that of the cluster averages",
            required=geometry.average_margin,
            measured=margin,
            holds=margin > geometry.average_margin,
        ),
        Check(
            name="self-distillation stays closer to initialisation",
            statement="|W - W_0| at the end, ratio to gradient descent, < 1",
            required=1.0,
            measured=moved,
            holds=moved < 1,
        ),
    ]
    if IDENTITY in every[0].network:
        conclusions += [
            _floor_check("the label function must sharpen", IDENTITY, every, geometry),
            _early_check(every, accuracy * geometry.average_error),
        ]
    return tuple(conclusions)


def _early_check(every: Sequence[SeedRuns], converged: float) -> Check:
    early = [r.network[TOO_EARLY] for r in every]
    least = min(float(h.l2_to_clean[-1]) for h in early)
    known = [step for h in early if (step := settled_step(h)) is not None]
    when = f"{len(known)} of {len(early)} runs" + (
        f", last from step {max(known)}" if known else ""
    )
    return Check(
        name="trusting too early does not converge",
        statement=f"|f - y| / sqrt(n) at the end, {TOO_EARLY} from the start, stays above what "
        f"counts as converged; h(f) = y in {when}",
        required=converged,
        measured=least,
        holds=least > converged,
    )


def diverged(error: Exception) -> Check:
    """The one conclusion left when training did not stay finite."""
    return Check(
        name="training stays finite",
        statement="the loss is finite at every record",
        required="finite",
        measured=str(error),
        holds=False,
    )


def _floor_check(
    name: str, method: str, every: Sequence[SeedRuns], geometry: ClusterGeometry
) -> Check:
    # 2 rho is exact for clusters that are points; their radius epsilon_0 moves it by O(epsilon_0).
    floor = geometry.average_error * (1 - geometry.radius)
    lowest = np.inf
    for runs in every:
        history = runs.network[method]
        late = np.asarray(history.step) >= forgotten_step(runs.start, geometry)
        lowest = min(lowest, float(np.asarray(history.l2_to_clean)[late].min(initial=np.inf)))
    return Check(
        name=name,
        statement="|f - y| / sqrt(n) >= 2 rho (1 - epsilon_0) at every record once f_0 is "
        f"forgotten, {method}",
        required=floor,
        measured=lowest,
        holds=lowest >= floor,
    )


def _bound_ratio(history: History, start: Start, data: Any) -> float | None:
    """Largest ratio of distance to bound over the records from s0, or None if there is no s0."""
    first = settled_step(history)
    if first is None:
        return None
    clean, observed = targets(data)
    from_first = np.asarray(history.step) >= first
    distance = np.asarray(history.l2_to_clean, np.float64)[from_first]
    noise = np.linalg.norm(observed - clean) / np.sqrt(len(clean))
    steps = np.asarray(history.step)[from_first] - first
    decay = (1 - start.learning_rate * start.eigenvalues[-1]) ** steps
    bound = decay * distance[0] + float(np.max(np.asarray(history.alpha)[from_first])) * noise
    return float(np.max(distance / bound))


def method_rows(every: Sequence[SeedRuns], data: Any) -> tuple[dict[str, Any], ...]:
    """One row per seed and method."""
    rows = []
    for runs in every:
        function = {
            f"{GRADIENT_DESCENT} (function space)": runs.function_gd,
            f"{SELF_DISTILLATION} (function space)": runs.function_sd,
        }
        for name, history in {**runs.network, **function}.items():
            distance = np.asarray(history.l2_to_clean)
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
                    "distance / bound": _bound_ratio(history, runs.start, data),
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
