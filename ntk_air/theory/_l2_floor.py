"""The floor 2 rho that early stopping leaves in l2, and self-distillation does not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import distillation
from .._checks import check_in_range, check_size
from ._cells import Cells
from ._clusters import cluster_checks
from ._exponents import scaling_check
from ._l2_floor_runs import Run, Settings, run_seed
from ._report import Check, TheoremReport
from ._seeds import seed_list

NAME = "Early stopping has an l2 floor of 2 rho, self-distillation has none"
SOURCE = "after arXiv:1910.01255, self-distillation against early stopping; floor and rate derived"

THREE_DIGITS = 5e-4
POINT = 1e-4
"""Radius up to which clusters count as points: what is of order epsilon_0 is below THREE_DIGITS."""
LINEAR = 0.02
"""Radius up to which deviations are fitted as powers of epsilon_0; above, the next order shows."""


def check_l2_floor(
    *,
    radii: Sequence[float] = (0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0),
    num_points: int = 200,
    num_clusters: int = 5,
    dimension: int = 20,
    noise_rate: float = 0.2,
    width: int = 1000,
    num_steps: int = 2000,
    time_constant: float = 100.0,
    alpha: Any = None,
    label_fn: Any = None,
    accuracy: float = 0.05,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests that gradient descent stops at 2 rho from the clean labels, and distillation at 0.

    Statement (derived): labels +-1, K clusters of radius epsilon_0, a fraction rho < 1/2 of the
    labels of each wrong. In function space from outputs of zero, with clusters that are points,
    gradient descent moves within the cluster averages (1 - 2 rho) y, so ||f_s - y||_2 / sqrt(n) is
    above 2 rho at every step and tends to it, with margin 1 - 2 rho; converged on clusters of
    positive radius it is 2 sqrt(rho). Self-distillation tends to 0 and margin 1. A radius turns the
    leading directions by angles of order epsilon_0 out of the cluster averages, so floor and margin
    move off these values like epsilon_0, up or down. The kernel is that of the two-layer network at
    initialisation; early stopping is its closed form over a grid of steps.

    Args:
        radii: epsilon_0 of each dataset, at least one of at most 0.0001; distinct.
        num_points: n.
        num_clusters: K.
        dimension: of the inputs.
        noise_rate: rho, flipped in every cluster up to rounding.
        width: hidden units of the network whose kernel is taken, even.
        num_steps: steps of self-distillation of size 1 / lambda_1; time = step / lambda_1.
        time_constant: tau, in steps, of the default schedule exp(-s / tau).
        alpha: another schedule for the weight of the observed labels.
        label_fn: outputs to labels; None is `hard`.
        accuracy: self-distillation counts as converged below this fraction of 2 rho, and its
            margin as 1 above 1 minus this.
        seeds: how many draws of data and network, or their seeds.
        quick: at most 2 seeds, 100 points and 4 radii.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report, with a row per seed and radius in table "radii".

    Raises:
        ValueError: on numbers out of range, or clusters that cannot be placed.
    """
    check_in_range("accuracy", accuracy, 0.0, 1.0, low_open=True)
    check_size("num_steps", num_steps, 1)
    if not any(radius <= POINT for radius in radii):
        raise ValueError(f"radii are {tuple(radii)}, expected one of at most {POINT:g}.")
    if quick:
        num_points, width, radii = min(num_points, 100), min(width, 400), _quick(radii)
    settings = Settings(
        num_points=num_points,
        num_clusters=num_clusters,
        dimension=dimension,
        noise_rate=noise_rate,
        width=width,
        num_steps=num_steps,
        alpha=distillation.exponential(time_constant) if alpha is None else alpha,
        label_fn=distillation.hard if label_fn is None else label_fn,
    )
    chosen = seed_list(seeds, 2 if quick else None)
    with Cells(len(chosen) * len(radii), checkpoint, progress) as cells:
        every = [cells.run(run_seed, settings, seed, float(r)) for seed in chosen for r in radii]
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=_assumptions(every),
        conclusions=_conclusions(every, accuracy),
        tables={"radii": tuple(_row(run) for run in every)},
        histories={},
    )


def _quick(radii: Sequence[float]) -> tuple[float, ...]:
    """The smallest of the radii and three more from those that exponents are fitted over."""
    ordered = sorted(set(radii), reverse=True)
    fitted = [r for r in ordered if POINT < r <= LINEAR]
    return (*fitted[:1], *fitted[1:-1][:1], *fitted[-1:], ordered[-1])


def _assumptions(every: Sequence[Run]) -> tuple[Check, ...]:
    worst = max(every, key=lambda run: run.geometry.radius)
    noisiest = max(every, key=lambda run: run.geometry.worst_noise_rate)
    few, apart = cluster_checks(noisiest.geometry, 0.5)[0], cluster_checks(worst.geometry, 0.5)[1]
    spread, decay = max(run.spread for run in every), max(run.decay for run in every)
    return (
        few,
        apart,
        Check(
            name="equal shares of wrong labels",
            statement="rho differs between clusters by less than 0.001",
            required=1e-3,
            measured=spread,
            holds=spread < 1e-3,
        ),
        Check(
            name="enough steps",
            statement="(1 - lambda_K / lambda_1)^S: the cluster directions are fitted",
            required=1e-3,
            measured=decay,
            holds=decay < 1e-3,
        ),
    )


def _conclusions(every: Sequence[Run], accuracy: float) -> tuple[Check, ...]:
    points = [run for run in every if run.asked <= POINT]
    wide = [run for run in every if run.resolved]
    rho = every[0].geometry.noise_rate
    off = max((run.floor for run in points), key=lambda v: abs(v - 2 * rho))
    margin = max((run.floor_margin for run in points), key=lambda v: abs(v - (1 - 2 * rho)))
    distilled = max(run.distilled for run in every)
    least = min(run.distilled_margin for run in points)
    checks = [
        Check(
            name="floor of early stopping",
            statement="min over steps of |f - y| / sqrt(n) is 2 rho to three digits, epsilon_0 <= "
            f"{POINT:g}",
            required=2 * rho,
            measured=off,
            holds=abs(off - 2 * rho) < THREE_DIGITS,
        ),
        Check(
            name="margin of early stopping",
            statement="min y f at that step is 1 - 2 rho to three digits",
            required=1 - 2 * rho,
            measured=margin,
            holds=abs(margin - (1 - 2 * rho)) < THREE_DIGITS,
        ),
        Check(
            name="self-distillation has no floor",
            statement=f"|f - y| / sqrt(n) at the end <= {accuracy:g} x 2 rho, every radius",
            required=accuracy * 2 * rho,
            measured=distilled,
            holds=distilled <= accuracy * 2 * rho,
        ),
        Check(
            name="margin of self-distillation",
            statement=f"min y f at the end >= 1 - {accuracy:g}, epsilon_0 <= {POINT:g}",
            required=1 - accuracy,
            measured=least,
            holds=least >= 1 - accuracy,
        ),
    ]
    if wide:
        limit = max((run.converged for run in wide), key=lambda v: abs(v - 2 * rho**0.5))
        checks.append(
            Check(
                name="converged gradient descent",
                statement="|f - y| / sqrt(n) in the limit is 2 sqrt(rho), where no "
                "eigenvalue is round-off",
                required=2 * rho**0.5,
                measured=limit,
                holds=abs(limit - 2 * rho**0.5) < THREE_DIGITS,
            )
        )
    return (*checks, *_exponents(every))


def _exponents(every: Sequence[Run]) -> tuple[Check, ...]:
    """How floor and margin leave 2 rho and 1 - 2 rho as the radius grows."""
    small = [run for run in every if POINT < run.asked <= LINEAR]
    if len({run.asked for run in small}) < 3:
        return ()
    # One column per seed, whose runs follow one another.
    by_seed = np.reshape(np.arange(len(small)), (-1, len({run.asked for run in small}))).T
    rho = small[0].geometry.noise_rate
    laws = {
        "floor": ("|floor - 2 rho|", [abs(run.floor - 2 * rho) for run in small]),
        "margin": ("|margin - (1 - 2 rho)|", [abs(r.floor_margin - 1 + 2 * rho) for r in small]),
    }
    return tuple(
        scaling_check(
            f"exponent of {name} in epsilon_0",
            f"{quantity}, for epsilon_0 <= {LINEAR:g},",
            "epsilon_0",
            np.asarray([run.geometry.radius for run in small])[by_seed],
            np.asarray(values)[by_seed],
            1.0,
        )
        for name, (quantity, values) in laws.items()
    )


def _row(run: Run) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "epsilon_0": run.geometry.radius,
        "2 rho": 2 * run.geometry.noise_rate,
        "early stopping": run.floor,
        "at step": run.floor_step,
        "margin": run.floor_margin,
        "converged": run.converged,
        "self-distillation": run.distilled,
        "its margin": run.distilled_margin,
    }
