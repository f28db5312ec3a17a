"""The theorem that self-distillation converges to the clean labels in l2, tested on data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import distillation
from .._checks import check_in_range
from ..distillation import DivergenceError
from . import _self_distillation_checks as checks
from . import _self_distillation_runs as runs
from ._cells import Cells, clustered_data
from ._clusters import cluster_checks, measure_clusters
from ._report import TheoremReport
from ._seeds import seed_list
from ._self_distillation_controls import control_rows
from ._self_distillation_network import network_conclusions
from ._self_distillation_premise import premise_rows, schedule_checks
from ._self_distillation_runs import Plan

NAME = "Self-distillation converges to the clean labels in l2"
SOURCE = "arXiv:1910.01255, l2 convergence of self-distillation; rate and floor are derived"


def check_self_distillation(
    data: Any = None,
    *,
    width: int = 2000,
    num_steps: int = 20_000,
    time_constant: float = 200.0,
    alpha: Any = None,
    label_fn: Any = None,
    learning_rate: float | None = None,
    seeds: int | Sequence[int] = 5,
    accuracy: float = 0.05,
    controls: bool = True,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    r"""Tests that self-distillation reaches the clean labels in l2, which no early stopping does.

    The network is f(W, x) = v^T softplus(W x) of arXiv:1903.11680 with v = +-1/sqrt(width) fixed,
    trained by full-batch gradient descent on half the squared distance, summed over points.

    Statement: let eta <= 1/lambda_1 and lambda_n > 0. If h(f_s) = y for all s >= s_0, then
    ||f_{s_0+j} - y|| <= (1 - eta lambda_n)^j ||f_{s_0} - y|| + max alpha_s ||observed - y||, so
    alpha_s -> 0 gives f_s -> y, and a constant alpha the limit y + alpha (observed - y). Where
    clusters are points and a fraction rho < 1/2 of the +-1 labels of each is wrong, gradient
    descent from outputs of zero stays at least 2 rho away from y per root-n, however it is stopped;
    here that is asked from the step on at which the network has forgotten its initial outputs. The
    assumptions are on data, step size, number of steps and the schedule, which must end near zero
    and stay large until the majority of each cluster shows; that the label function comes to give
    the clean labels is itself a conclusion, so one that does not sharpen shows as a violation.

    Args:
        data: a clusterable dataset with inputs (n, d), clean and observed (n, 1), clusters (n,)
            and centers (K, d); None draws 400 points in 20 dimensions, 8 clusters of radius 0.05,
            noise rate 0.2.
        width: hidden units, even.
        num_steps: steps of gradient descent; time = learning_rate x step.
        time_constant: tau, in steps, of the default schedule exp(-s / tau).
        alpha: another schedule for the weight of the observed labels.
        label_fn: another label function; None is `hard` for labels +-1, else `nearest` level.
        learning_rate: of the summed loss; None is 1 / lambda_1 of the empirical kernel at init.
        seeds: how many initialisations, or their seeds; a conclusion must hold for every one.
        accuracy: self-distillation counts as converged once its distance to the clean labels is
            below this fraction of the distance that early stopping cannot beat.
        controls: also train with h = identity and with the weight constant at 0.5.
        quick: at most one seed, width 400 and 2000 steps; if ``data`` is None, 100 points in 5
            clusters of radius 0.02.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report. Its table "methods" has a row per seed and method: distance to the clean labels
        at its minimum and at the end, margin, distance of the weights from initialisation, the step
        from which h(f_s) = y, and the largest ratio of distance to bound from there. Conclusions
        name function space (the kernel at initialisation, float64, where the statement is exact)
        or are about the network.

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.
    """
    check_in_range("accuracy", accuracy, 0.0, 1.0, low_open=True)
    check_in_range("num_steps", num_steps, 1)
    if learning_rate is not None:
        check_in_range("learning_rate", learning_rate, 0.0, low_open=True, high_open=True)
    if quick:
        width, num_steps = min(width, 400), min(num_steps, 2000)
    if data is None:
        data = _default_data(quick)
    geometry = measure_clusters(data)
    plan = Plan(
        data=clustered_data(data),
        width=width,
        num_steps=num_steps,
        learning_rate=learning_rate,
        alpha=distillation.exponential(time_constant) if alpha is None else alpha,
        label_fn=_default_label_fn(data) if label_fn is None else label_fn,
        controls=controls,
    )
    starts = [runs.prepare(plan, seed) for seed in seed_list(seeds, 1 if quick else None)]
    assumptions = (
        *cluster_checks(geometry, 0.5),
        *checks.kernel_checks(starts),
        *checks.horizon_checks(starts, plan, geometry, accuracy),
    )
    try:
        with Cells(len(starts) * runs.cells_of_seed(plan), checkpoint, progress) as cells:
            every = [runs.run_seed(plan, start, cells) for start in starts]
    except DivergenceError as error:
        return TheoremReport(NAME, SOURCE, assumptions, (checks.diverged(error),), {}, {})
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(*assumptions, *schedule_checks(every, plan, geometry, accuracy)),
        conclusions=(
            *checks.function_space_conclusions(every, plan),
            *network_conclusions(every, plan, geometry, accuracy),
        ),
        tables={
            "methods": checks.method_rows(every, plan),
            "labels": premise_rows(every, plan, geometry),
            "controls": control_rows([c for r in every for c in r.controls]),
            "kernel": checks.kernel_rows(every, geometry, data),
        },
        histories={f"{m}, seed {r.start.seed}": h for r in every for m, h in r.network.items()},
    )


def _default_data(quick: bool) -> Any:
    from .. import datasets

    return datasets.clusterable(
        num_points=100 if quick else 400,
        num_clusters=5 if quick else 8,
        dimension=20,
        radius=0.02 if quick else 0.05,
        noise_rate=0.2,
        seed=0,
    )


def _default_label_fn(data: Any) -> Any:
    levels = np.unique(np.asarray(data.clean, np.float64))
    if np.allclose(np.abs(levels), 1.0):
        return distillation.hard
    return distillation.nearest(levels)
