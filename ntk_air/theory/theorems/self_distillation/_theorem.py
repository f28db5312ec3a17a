"""The theorem that self-distillation converges to the clean labels in l2, tested on data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .... import distillation
from ...._checks import check_in_range
from ...._seeds import seed_list
from ....distillation import DivergenceError
from ...model._clusters import cluster_checks, measure_clusters
from ...reporting._report import TheoremReport
from ...reporting._resumable import Cells, clustered_data
from . import _checks as checks
from . import _runs as runs
from ._controls import control_rows
from ._network import network_conclusions
from ._premise import premise_rows, schedule_checks
from ._runs import Plan

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
    r"""Tests that self-distillation reaches the clean labels in l2, as gradient descent does not.

    The network is f(W, x) = v^T softplus(W x) of arXiv:1903.11680 with v = +-1/sqrt(width) fixed,
    trained by full-batch gradient descent on half the squared distance, summed over points.

    Statement: let eta <= 1/lambda_1 and lambda_n > 0. If h(f_s) = y for all s >= s_0, then
    ||f_{s_0+j} - y|| <= (1 - eta lambda_n)^j ||f_{s_0} - y|| + max alpha_s ||observed - y||, so
    alpha_s -> 0 gives f_s -> y, and a constant alpha the limit y + alpha (observed - y). That
    h(f_s) = y from some step on is an assumption. No schedule has it by itself, so it is measured
    on the self-distilling runs: at every step in function space, at every step (from 1000 on every
    tenth) of the networks. A label function that does not sharpen, or a schedule that trusts the
    network while labels are wrong, fails it, and the theorem then says nothing.

    Where clusters are points and a fraction rho < 1/2 of the +-1 labels of each is wrong, gradient
    descent with eta lambda_1 <= 1 and without momentum, from outputs of zero, stays at least 2 rho
    away from y per root-n, however it is stopped: its filters are between 0 and 1. (Momentum and
    larger steps overshoot and get below, see `check_l2_floor`.) Here the least distance of all such
    filters is computed from the eigenvectors and the initial outputs.

    What is run is held against the algorithm written out in NumPy, step by step: a fault in the
    training fails these conclusions, and no premise measured on it counts then.

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
            below this fraction of the floor of monotone gradient descent.
        controls: also train with h = identity and with the weight constant at 0.5. The latter never
            converges, trusted early or not; its labels tell. In function space it is therefore run
            three times: trusted from step 0, only after a tenth of the steps, and from clean
            outputs on, each beside the same weight with h(f) = y.
        quick: at most one seed, width 400 and 2000 steps; if ``data`` is None, 100 points in 5
            clusters of radius 0.02.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report. Its table "methods" has a row per seed and method: distance to the clean labels
        at its minimum and at the end, margin, distance of the weights from initialisation, the step
        from which h(f_s) = y, and the largest ratio of distance to bound from there; "labels" says
        when the labels are right and what the theorem predicts from there, "controls" what each of
        the three came to: "locks wrong labels in" or "follows the theorem". Conclusions
        name function space (the kernel at initialisation, float64, where the statement is exact)
        or are about the network.

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.
        TypeError: if ``alpha`` is no number, array or schedule, or ``label_fn`` no function.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.clusterable(
        ...     num_points=20, num_clusters=2, dimension=6, radius=0.01, noise_rate=0.1)
        >>> report = na.theory.check_self_distillation(
        ...     data, width=64, num_steps=100, time_constant=10, seeds=1, controls=False)
        >>> report.verdict
        'not applicable'
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
        with Cells(
            "self_distillation", len(starts) * runs.cells_of_seed(plan), checkpoint, progress
        ) as cells:
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
    from .... import datasets

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
