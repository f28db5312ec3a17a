"""From training margins to test error: how far from the clusters a method stays right."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import datasets, distillation
from ..._checks import check_in_range, check_size
from ..._seeds import seed_list
from ..model._clusters import ClusterGeometry, measure_clusters
from ..reporting._report import Check, TheoremReport
from ..reporting._resumable import Cells, clustered_data
from ._margin_runs import DISTILLED, EARLY, LATE, Outcome, run_seed
from ._network_checks import apart_check, few_wrong_check, worst

NAME = "Larger training margins carry further from the clusters"
SOURCE = (
    "after arXiv:1910.01255, margins of self-distillation; the certified distance is derived from "
    "the Lipschitz constant in arXiv:1903.11680"
)


def check_margin_generalization(
    data: Any = None,
    *,
    distances: Sequence[float] = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2),
    width: int = 1000,
    num_steps: int = 2000,
    time_constant: float = 100.0,
    alpha: Any = None,
    label_fn: Any = None,
    num_test: int = 400,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests what the margins of early stopping and self-distillation mean for new points.

    Statement: at best in l2, early-stopped gradient descent has training margin about 1 - 2 rho and
    self-distillation about 1. The two-layer network is L-Lipschitz in x with L <= Gamma ||W||_2
    (Gamma = 1, softplus; ||v|| = 1), so a training point of clean margin m is surrounded by a ball
    of radius m / L in which every point is classified right: the certified distance, proportional
    to the margin. Both are right inside the clusters, for a fraction rho <= delta / 8 of wrong
    labels as early stopping asks; gradient descent run on loses margin there, since it fits wrong
    labels point by point. Away from the centres the clean label of a point is that of the centre
    it started from, meaningful up to half the separation of the classes. All this is for
    schedules that let the observed labels go and label functions that sharpen: plain training
    (alpha = 1) or the identity are reported as other than assumed. Trained by full-batch gradient
    descent on half the summed squared distance; steps of size 1 / lambda_1.

    Args:
        data: a clusterable dataset with labels +-1; None draws 200 points of 5 clusters in 20
            dimensions, radius 0.2, noise rate 0.2.
        distances: from the centres, of test points, at most 2.
        width: hidden units, even.
        num_steps: steps of each method.
        time_constant: tau, in steps, of the default schedule exp(-s / tau).
        alpha: another schedule for the weight of the observed labels.
        label_fn: outputs to labels; None is `hard`.
        num_test: test points at each distance.
        seeds: how many initialisations and draws of test points, or their seeds.
        quick: at most 2 seeds, 300 units, 500 steps and a time constant of 50; if ``data`` is None,
            100 points.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report, with a row per seed and method in table "methods" and one per distance and
        method, means over seeds, in table "distances".

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> report = na.theory.check_margin_generalization(
        ...     distances=(0.1, 0.2), width=64, num_steps=20, time_constant=5, num_test=10, seeds=1)
        >>> report.verdict
        'not applicable'
    """
    check_size("num_steps", num_steps, 1)
    check_size("num_test", num_test, 1)
    for distance in distances:
        check_in_range("distances", distance, 0.0, 2.0)
    if quick:
        width, num_steps = min(width, 300), min(num_steps, 500)
        time_constant = min(time_constant, 50.0)
    chosen = seed_list(seeds, 2 if quick else None)
    if data is None:
        data = datasets.clusterable(
            num_points=100 if quick else 200,
            num_clusters=5,
            dimension=20,
            radius=0.2,
            noise_rate=0.2,
            seed=0,
        )
    alpha = distillation.exponential(time_constant) if alpha is None else alpha
    label_fn = distillation.hard if label_fn is None else label_fn
    geometry = measure_clusters(data)
    reach = tuple(float(d) for d in distances)
    read, method = clustered_data(data), (alpha, label_fn)
    with Cells("margin_generalization", len(chosen), checkpoint, progress) as cells:
        every = [
            outcome
            for seed in chosen
            for outcome in cells.run(
                run_seed, read, reach, width, num_steps, method, num_test, seed
            )
        ]
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=_assumptions(every, geometry, reach),
        conclusions=_conclusions(every, geometry, reach),
        tables={
            "methods": tuple(_row(outcome) for outcome in every),
            "distances": tuple(_distance_rows(every, reach)),
        },
        histories={},
    )


def _assumptions(
    every: Sequence[Outcome], geometry: ClusterGeometry, distances: tuple[float, ...]
) -> tuple[Check, ...]:
    reachable = -worst([-o.reachable for o in every if o.method == DISTILLED])
    toward = -worst([-o.target_margin for o in every if o.method == DISTILLED])
    late = max(o.margin for o in every if o.method == LATE)
    return (
        few_wrong_check(geometry),
        apart_check(geometry),
        Check.at_most(
            "points of the sphere",
            "largest input norm <= 1",
            required=1.0,
            measured=geometry.max_input_norm,
            slack=1e-06,
        ),
        Check.below(
            "gradient descent ran on",
            "least clean training margin at the last step < 0: wrong labels are fitted",
            required=0.0,
            measured=late,
        ),
        Check.above(
            "targets are nearly clean",
            "least clean margin of alpha observed + (1 - alpha) h(f) over the last half "
            "of the steps above 1 - 2 rho: labels are let go, and what the network says is right",
            required=geometry.average_margin,
            measured=toward,
        ),
        Check.above(
            "enough steps",
            "least clean margin above 1 - 2 rho at which the network linearised at "
            "initialisation, trained on these targets from half way on, ends",
            required=geometry.average_margin,
            measured=reachable,
        ),
        Check.below(
            "a distance to test at",
            "least distance of test points below half the separation of the classes",
            required=geometry.separation / 2,
            measured=min(distances, default=np.inf),
        ),
    )


def _conclusions(
    every: Sequence[Outcome], geometry: ClusterGeometry, distances: tuple[float, ...]
) -> tuple[Check, ...]:
    by = {m: [o for o in every if o.method == m] for m in (EARLY, LATE, DISTILLED)}
    reached = [i for i, d in enumerate(distances) if d < geometry.separation / 2]
    return (*_margin_checks(by, geometry), *_test_error_checks(by, reached))


def _margin_checks(by: dict[str, list[Outcome]], geometry: ClusterGeometry) -> tuple[Check, ...]:
    """What self-distillation adds at the training points, and what it certifies around them."""
    pairs = list(zip(by[DISTILLED], by[EARLY], strict=True))
    gain = -worst([e.margin - d.margin for d, e in pairs])
    reach = -worst([e.certified - d.certified for d, e in pairs])
    every = [o for outcomes in by.values() for o in outcomes]
    probes = sum(o.probes for o in every)
    least = min(o.margin for o in by[DISTILLED])
    return (
        Check.above(
            "margin of self-distillation",
            "least clean training margin above 1 - 2 rho, that of the cluster averages",
            required=geometry.average_margin,
            measured=least,
        ),
        Check.above(
            "margins grow",
            "training margin, self-distillation - early stopping, least over seeds, > 0",
            required=0.0,
            measured=gain,
        ),
        Check.above(
            "certified distance grows",
            "margin / ||W||_2, self-distillation - early stopping, least over seeds, > 0",
            required=0.0,
            measured=reach,
        ),
        Check(
            "certificate",
            "points at 0.999 margin / ||W||_2 from each training point of positive "
            "margin, wrong ones",
            required=f"0 of {probes}, at least one",
            measured=sum(o.probes_wrong for o in every),
            holds=probes > 0 and all(o.probes_wrong == 0 for o in every),
        ),
    )


def _test_error_checks(by: dict[str, list[Outcome]], reached: Sequence[int]) -> tuple[Check, ...]:
    """New points, inside the clusters and at the distances of indices ``reached``."""
    inside = max(o.in_clusters for o in (*by[EARLY], *by[DISTILLED]))
    cost = worst(
        [
            late.test_margin - early.test_margin
            for late, early in zip(by[LATE], by[EARLY], strict=True)
        ]
    )
    gaps = [
        float(np.mean([o.errors[i] for o in by[DISTILLED]]))
        - float(np.mean([o.errors[i] for o in by[EARLY]]))
        for i in reached
    ] or [np.nan]
    worse = worst(gaps)
    return (
        Check(
            "right inside the clusters",
            "test error of early stopping and self-distillation within epsilon_0",
            required=0.0,
            measured=inside,
            holds=inside == 0,
        ),
        Check.below(
            "running on fits wrong labels",
            "least clean margin of test points within epsilon_0, gradient descent at the "
            "last step - early stopping, largest over seeds, < 0",
            required=0.0,
            measured=cost,
        ),
        Check.at_most(
            "no worse away from the centres",
            "mean test error of self-distillation - early stopping, largest over "
            "distances below half the separation",
            required=0.01,
            measured=worse,
        ),
    )


def _row(outcome: Outcome) -> dict[str, Any]:
    left_out = ("errors", "margins")
    return {k: v for k, v in outcome._asdict().items() if k not in left_out}


def _distance_rows(every: Sequence[Outcome], distances: tuple[float, ...]) -> list[dict[str, Any]]:
    rows = []
    for index, distance in enumerate(distances):
        row: dict[str, Any] = {"distance": distance}
        for method in (EARLY, LATE, DISTILLED):
            chosen = [o for o in every if o.method == method]
            row[f"{method}: error"] = float(np.mean([o.errors[index] for o in chosen]))
            row[f"{method}: margin"] = float(np.mean([o.margins[index] for o in chosen]))
        rows.append(row)
    return rows
