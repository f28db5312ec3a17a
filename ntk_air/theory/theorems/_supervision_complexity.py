"""Early-stopped teachers give targets that are easier for a student than converged ones."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from ... import datasets, distillation
from ..._checks import check_in_range, check_size
from ..._numerics import double_precision
from ..._seeds import seed_list
from ...spectral import eigendecompose, supervision_complexity
from ..model._clusters import cluster_checks, measure_clusters
from ..model._sphere import within
from ..model._two_layer import two_layer_apply, two_layer_init, two_layer_ntk
from ..reporting._report import TheoremReport
from ..reporting._resumable import Cells, clustered_data
from ._supervision_checks import (
    CONVERGED,
    EARLY,
    NETWORK_EARLY,
    NETWORK_LATE,
    OBSERVED,
    SupervisionRun,
    Targets,
    assumptions,
    conclusions_of,
    margin_bound,
)
from .self_distillation._runs import log_spaced, targets

NAME = "Early-stopped teachers give targets of lower supervision complexity"
SOURCE = (
    "after arXiv:2301.12245 (Harutyunyan et al.); the margin bound with its union over norms and "
    "margins derived"
)


def check_supervision_complexity(
    data: Any = None,
    *,
    width: int = 1000,
    num_steps: int = 1000,
    stop: float | None = None,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests that targets of early-stopped teachers are less complex for a student.

    The supervision complexity of targets y for a student of kernel K is sqrt(y^T K^-1 y tr K) / n:
    the norm of the student that fits them, in units without constants. Checked: it grows along a
    linearised teacher's path, exactly for a student of its own kernel, from 0 to that of the
    observed labels; for a student of another initialisation it is lower where the teacher was
    stopped than where it converged, and the student errs less, or neither errs; a real network
    teacher shows the same. Teacher and student are two-layer networks; students are interpolating,
    in closed form.

    Margin bound (derived). With probability 1 - p over independent points, for every student f of
    the kernel and every margin g > 0 with |f| / g = M_j = sqrt(n) 2^(j/2), j any whole number,
    P(wrong) <= share of training points with clean margin below g + 2 complexity / g +
    3 sqrt(log(2 / p_j) / (2n)), p_j = p / (c (1 + |j|)^2) with c = pi^2 / 3 - 1: the Rademacher
    bound of each ball |f| / g <= M_j, whose failures are summed, since norm and margin are seen in
    the data. The least over j is reported. From 1 up it says nothing and is called vacuous; where
    that of the early-stopped teacher's student is, there is no conclusion on bounds.

    Args:
        data: a clusterable dataset; None draws 400 points of 5 clusters in 20 dimensions, radius
            0.3, noise rate 0.2. Test points are drawn around its centres; the margin bound is for
            points that are independent draws from the same balls.
        width: hidden units, even.
        num_steps: steps of the network teacher, of size 1 / lambda_1.
        stop: step, not necessarily whole, at which the linearised teacher stops; None is the one
            nearest to the clean labels.
        seeds: how many pairs of teacher and student, or their seeds.
        quick: at most 2 seeds, 400 units and 200 steps; if ``data`` is None, 200 points.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report, with a row per seed and teacher in table "targets".

    Raises:
        ValueError: on data that are not clusterable data or numbers out of range.

    Example:
        >>> import ntk_air as na
        >>> report = na.theory.check_supervision_complexity(
        ...     width=64, num_steps=50, seeds=1, quick=True)
        >>> report.verdict
        'confirmed'
    """
    check_size("num_steps", num_steps, 1)
    if stop is not None:
        check_in_range("stop", stop, 0.0, low_open=True)
    if quick:
        width, num_steps = min(width, 400), min(num_steps, 200)
    chosen = seed_list(seeds, 2 if quick else None)
    if data is None:
        data = datasets.clusterable(
            num_points=200 if quick else 400,
            num_clusters=5,
            dimension=20,
            radius=0.3,
            noise_rate=0.2,
            seed=0,
        )
    read = clustered_data(data)
    with Cells("supervision_complexity", len(chosen), checkpoint, progress) as cells:
        every = [cells.run(_run, read, width, num_steps, stop, seed) for seed in chosen]
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(*cluster_checks(measure_clusters(data), 0.5), *assumptions(every)),
        conclusions=conclusions_of(every),
        tables={
            "targets": tuple(
                row._asdict() | {"bound says": "nothing" if row.bound >= 1 else "something"}
                for run in every
                for row in run.rows.values()
            )
        },
        histories={},
    )


def _run(data: Any, width: int, num_steps: int, stop: float | None, seed: int) -> SupervisionRun:
    clean, observed = targets(data)
    inputs, centers = (np.asarray(v, np.float64) for v in (data.inputs, data.centers))
    rng = np.random.default_rng([seed, *b"supervision_complexity"])
    test = within(centers[np.asarray(data.clusters)], measure_clusters(data).radius, rng)
    keys = jax.random.split(jax.random.key(seed))
    with double_precision():
        teacher, student = (two_layer_init(key, width, inputs.shape[1]) for key in keys)
        own, other = (np.asarray(two_layer_ntk(w, inputs)) for w in (teacher, student))
        cross = np.asarray(two_layer_ntk(student, test, inputs))
        students = eigendecompose(other)
        values, vectors = (v[..., ::-1] for v in np.linalg.eigh(own))
        steps, path = _path(values / values[0], vectors, observed, stop)
        nearest = int(np.argmin(np.linalg.norm(path - clean, axis=(1, 2))))
        index = nearest if stop is None else int(np.flatnonzero(steps == stop)[0])
        teachers = {
            EARLY: (float(steps[index]), path[index]),
            CONVERGED: (float(steps[-1]), path[-1]),
            OBSERVED: (np.nan, observed),
            **_network_teachers(teacher, inputs, (clean, observed), 1 / values[0], num_steps),
        }
        rows = {}
        for name, (step, wanted) in teachers.items():
            hard = float(supervision_complexity(students, wanted))
            predicted = cross @ np.linalg.solve(other, wanted)
            rows[name] = Targets(
                seed=seed,
                teacher=name,
                step=step,
                complexity=hard,
                test_error=float(np.mean((predicted >= 0) != (clean >= 0))),
                bound=margin_bound(clean * wanted, hard, float(np.trace(other))),
                l2_to_clean=float(np.linalg.norm(wanted - clean) / np.sqrt(len(clean))),
            )
        least, largest = (float(students.eigenvalues[i]) for i in (-1, 0))
    energies = np.sum((vectors.T @ path) ** 2, axis=2) / values
    along = np.sqrt(energies.sum(1) * values.sum()) / len(clean)
    return SupervisionRun(
        rows=rows,
        least_increment=float(np.diff(along).min() / along[-1]),
        limit_error=abs(rows[CONVERGED].complexity / rows[OBSERVED].complexity - 1),
        ran_on=rows[NETWORK_LATE].step / rows[NETWORK_EARLY].step,
        left=float(np.exp(steps[index] * np.log1p(-min(values[-1] / values[0], 0.5)))),
        least_eigenvalue=least,
        round_off=float(len(clean) * np.finfo(np.float64).eps * largest),
    )


def _network_teachers(
    weights: Any,
    inputs: np.ndarray,
    labels: tuple[np.ndarray, np.ndarray],
    learning_rate: float,
    num_steps: int,
) -> dict[str, tuple[float, np.ndarray]]:
    """Step and outputs of a trained network nearest to the clean labels, and at its last step."""
    clean, observed = labels
    history = distillation.self_distill(
        two_layer_apply,
        weights,
        inputs,
        observed,
        optimizer=float(learning_rate),
        num_steps=num_steps,
        alpha=1.0,
        clean=clean,
        record_every=log_spaced(num_steps),
        record_outputs=True,
    ).history
    outputs = np.asarray(history.outputs)
    best = int(np.argmin(np.asarray(history.l2_to_clean)))
    return {
        NETWORK_EARLY: (float(history.step[best]), outputs[best]),
        NETWORK_LATE: (float(num_steps), outputs[-1]),
    }


def _path(
    rates: np.ndarray, vectors: np.ndarray, observed: np.ndarray, stop: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Steps (T,) and outputs (T, n, 1) of the linearised teacher, which starts from zero.

    At the last step 1e-9 is left of the slowest direction.
    """
    last = np.log(1e-9) / np.log1p(-min(max(rates[-1], 1e-15), 0.5))
    steps = np.geomspace(1, last, 80)
    if stop is not None:
        steps = np.unique(np.append(steps, stop))
    with np.errstate(divide="ignore"):
        fitted = -np.expm1(steps[:, None] * np.log1p(-np.clip(rates, 0, 1)))
    return steps, ((fitted * (vectors.T @ observed)[:, 0]) @ vectors.T)[:, :, None]
