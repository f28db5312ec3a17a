"""Early-stopped logistic regression against its limit and against the ridge path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .._checks import check_in_range, check_size
from . import _logistic as logistic
from ._cells import Cells
from ._exponents import scaling_check
from ._logistic import Problem, Risks
from ._report import Check, TheoremReport
from ._seeds import seed_list

NAME = "Early-stopped logistic regression is calibrated, its limit is not"
SOURCE = "after arXiv:2502.13283 (Wu, Bartlett, Telgarsky, Yu); the ridge bound is derived as there"

NEAREST = float(1 / np.sqrt(2))
"""Bound on |w_t - u| / |w_t| for the ridge solution u of strength 1 / (eta t)."""


class Path(NamedTuple):
    """One seed: records along gradient descent, and the rule's choice among them."""

    seed: int
    steps: np.ndarray
    times: np.ndarray
    losses: np.ndarray
    norms: np.ndarray
    margins: np.ndarray
    risks: list[Risks]
    truth: Risks
    ridge_distance: np.ndarray
    ridge_cosine: np.ndarray
    stop: int


def check_logistic_early_stopping(
    *,
    num_points: int = 200,
    dimension: int = 400,
    decay: float = 1.0,
    support: int = 20,
    num_steps: int = 30_000,
    step: float = 1.0,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests what early stopping does for logistic regression with more dimensions than points.

    Data: x ~ N(0, diag(i^-decay)), P(y = 1 | x) = sigmoid(x w*) with w* one on its first
    coordinates. Gradient descent from 0 on the mean loss, eta <= 1 / smoothness, stopped at the
    first record with training loss at most that of w*. Statement: for u the minimiser of loss +
    |u|^2 / (2 eta t), |w_t - u| <= |w_t| / sqrt(2) at every t, hence an angle of at most 45 degrees
    and norms within a factor of 3.42 (derived: convexity and strong convexity, two lines). The
    stopped solution has small excess risk and calibration error; on separable data the norm
    diverges, the training loss falls like 1/t, and excess risk, error and calibration error grow
    beyond those of the stopped one. Risks are exact, by quadrature. Times are eta x step.

    Args:
        num_points: n.
        dimension: d; d >= n makes almost every draw separable.
        decay: exponent of the variances of the coordinates.
        support: coordinates of w* that are not zero.
        num_steps: steps, at least 100.
        step: eta x smoothness.
        seeds: how many draws, or their seeds.
        quick: at most 2 seeds, 100 points in 200 dimensions and 8000 steps.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report; table "stopping" has a row per seed and solution, table "path" the records.

    Raises:
        ValueError: on numbers out of range.
    """
    check_size("num_points", num_points, 2)
    check_size("dimension", dimension, 1)
    check_size("support", support, 1, dimension)
    check_size("num_steps", num_steps, 100)
    check_in_range("decay", decay, 0.0)
    check_in_range("step", step, 0.0, low_open=True)
    if quick:
        dimension = min(dimension, 200)
        num_points, support = min(num_points, 100), min(support, dimension)
        num_steps = min(num_steps, 8000)
    chosen = seed_list(seeds, 2 if quick else None)
    variances = np.arange(1, dimension + 1) ** -decay
    truth = np.where(np.arange(dimension) < support, 1.0, 0.0)
    problem = logistic.draw(num_points, truth, variances, chosen, step)
    steps = sorted({int(s) for s in np.geomspace(1, num_steps, 60).round()})
    with Cells(1 + len(chosen), checkpoint, progress) as cells:
        weights = cells.run(logistic.descend, problem, steps)
        paths = [
            cells.run(_measure, problem, weights[:, index], np.array(steps), index, seed)
            for index, seed in enumerate(chosen)
        ]
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=_assumptions(problem, paths),
        conclusions=_conclusions(paths),
        tables={
            "stopping": tuple(row for path in paths for row in _stopping_rows(path)),
            "path": tuple(row for path in paths[:1] for row in _path_rows(path)),
        },
        histories={},
    )


def _measure(
    problem: Problem, weights: np.ndarray, steps: np.ndarray, index: int, seed: int
) -> Path:
    signed, times = problem.signed[index], problem.learning_rate[index] * steps
    norms = np.linalg.norm(weights, axis=1)
    losses = logistic.losses(signed, weights)
    ridge = logistic.ridge_path(signed, 1 / times)
    reached = np.flatnonzero(losses <= logistic.losses(signed, problem.truth[None])[0])
    cosine = np.sum(weights * ridge, 1) / (norms * np.linalg.norm(ridge, axis=1))
    return Path(
        seed=seed,
        steps=steps,
        times=times,
        losses=losses,
        norms=norms,
        margins=(weights @ signed.T).min(1),
        risks=[logistic.risks(problem, w) for w in weights],
        truth=logistic.risks(problem, problem.truth),
        ridge_distance=np.linalg.norm(weights - ridge, axis=1) / norms,
        ridge_cosine=cosine,
        stop=int(reached[0]) if reached.size else len(steps) - 1,
    )


def _assumptions(problem: Problem, paths: Sequence[Path]) -> tuple[Check, ...]:
    step = float(np.max(problem.learning_rate * problem.smoothness))
    margin = min(float(p.margins[-1]) for p in paths)
    early = max(float(p.steps[p.stop] / p.steps[-1]) for p in paths)
    return (
        Check(
            name="small step",
            statement="eta x smoothness <= 1",
            required=1.0,
            measured=step,
            holds=step <= 1 + 1e-12,
        ),
        Check(
            name="separable data",
            statement="min y x w > 0 at the last step",
            required=0.0,
            measured=margin,
            holds=margin > 0,
        ),
        Check(
            name="the rule stops early",
            statement="training loss of w* is reached within a tenth of the steps",
            required=0.1,
            measured=early,
            holds=early <= 0.1,
        ),
    )


def _conclusions(paths: Sequence[Path]) -> tuple[Check, ...]:
    furthest = max(float(p.ridge_distance.max()) for p in paths)
    angle = min(float(p.ridge_cosine.min()) for p in paths)
    last = paths[0].steps >= paths[0].steps[-1] / 10
    growth = min(float(p.norms[-1] - p.norms[last][0]) for p in paths)
    return (
        Check(
            name="ridge path",
            statement="|w_t - u| / |w_t| <= 1 / sqrt(2), u ridge of strength 1 / (eta t), every t",
            required=NEAREST,
            measured=furthest,
            holds=furthest <= NEAREST,
        ),
        Check(
            name="angle to the ridge path",
            statement="cosine >= 1 / sqrt(2) at every t",
            required=NEAREST,
            measured=angle,
            holds=angle >= NEAREST,
        ),
        _lower("excess risk", "logistic", paths),
        _lower("calibration error", "calibration", paths),
        _lower("excess error", "error", paths),
        Check(
            name="the norm diverges",
            statement="|w| grows over the last tenth of log-time, least over seeds",
            required=0.0,
            measured=growth,
            holds=growth > 0,
        ),
        scaling_check(
            "rate of the training loss",
            "loss over the last factor of ten",
            "t",
            paths[0].times[last],
            np.stack([p.losses[last] for p in paths], 1),
            -1.0,
        ),
    )


def _lower(name: str, field: str, paths: Sequence[Path]) -> Check:
    pairs = [(_excess(p, p.stop, field), _excess(p, -1, field)) for p in paths]
    worst = max(pairs, key=lambda pair: pair[0] - pair[1])
    return Check(
        name=f"{name} of the stopped solution",
        statement=f"{name} where stopped below that at the last step",
        required=worst[1],
        measured=worst[0],
        holds=all(a < b for a, b in pairs),
    )


def _excess(path: Path, record: int, field: str) -> float:
    return getattr(path.risks[record], field) - getattr(path.truth, field)


def _stopping_rows(path: Path) -> list[dict[str, Any]]:
    return [
        {
            "seed": path.seed,
            "solution": name,
            "step": int(path.steps[record]),
            "|w|": float(path.norms[record]),
            "min margin": float(path.margins[record]),
            "training loss": float(path.losses[record]),
            "excess risk": _excess(path, record, "logistic"),
            "excess error": _excess(path, record, "error"),
            "calibration error": path.risks[record].calibration,
            "|w - u| / |w|": float(path.ridge_distance[record]),
            "cosine to ridge": float(path.ridge_cosine[record]),
        }
        for name, record in (("stopped", path.stop), ("last", len(path.steps) - 1))
    ]


def _path_rows(path: Path) -> list[dict[str, Any]]:
    return [
        {
            "seed": path.seed,
            "step": int(path.steps[record]),
            "training loss": float(path.losses[record]),
            "excess risk": _excess(path, record, "logistic"),
            "calibration error": path.risks[record].calibration,
            "|w - u| / |w|": float(path.ridge_distance[record]),
        }
        for record in range(0, len(path.steps), 4)
    ]
