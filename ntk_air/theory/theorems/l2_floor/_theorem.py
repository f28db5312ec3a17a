"""The l2 floor 2 rho that monotone gradient descent leaves, and self-distillation does not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .... import distillation
from ...._checks import check_in_range, check_size
from ...._seeds import seed_list
from ...reporting._exponents import resolution_checks
from ...reporting._report import TheoremReport
from ...reporting._resumable import Cells
from ._checks import LINEAR, POINT, floor_assumptions, floor_conclusions
from ._overshoot import overshoot_assumptions, overshoot_conclusions, overshoot_rows, run_overshoot
from ._runs import FloorRun, FloorSettings, run_seed

NAME = "Monotone gradient descent has an l2 floor of 2 rho, self-distillation has none"
SOURCE = "after arXiv:1910.01255, self-distillation against early stopping; floor and rate derived"


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
    step_size: float = 1.0,
    momentum: float = 0.0,
    controls: bool = True,
    seeds: int | Sequence[int] = 5,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests that gradient descent stops at 2 rho from the clean labels, and distillation at 0.

    Statement (derived): labels +-1, K clusters of radius epsilon_0, a fraction rho < 1/2 of the
    labels of each wrong. In function space from outputs of zero, with clusters that are points,
    the outputs are (1 - 2 rho) times a filter g of the clean labels, so ||f_s - y||_2 / sqrt(n) is
    at least 2 rho wherever 0 <= g <= 1: at every step of gradient descent with eta lambda_1 <= 1
    and no momentum, which tends to it, with margin 1 - 2 rho; converged on clusters of positive
    radius it is 2 sqrt(rho). Self-distillation tends to 0 and margin 1. A radius turns the leading
    directions by angles of order epsilon_0 out of the cluster averages, so floor and margin move
    off these values like epsilon_0, up or down; what no filter between 0 and 1 gets below is then
    computed from the eigenvectors. The kernel is that of the two-layer network at initialisation;
    early stopping is its closed form over a grid of steps.

    The floor is that of filters up to 1. Heavy ball, and gradient descent with eta lambda_1 in
    (1, 2), overshoot: their filters exceed 1, which undoes part of the shrinking to (1 - 2 rho) y,
    and stopped at the right step they are nearer to y. The controls predict by how much, from
    `ntk_air.dynamics.heavy_ball`, and measure it on real networks.

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
        step_size: eta lambda_1 of the gradient descent whose floor is asked for, below 2; more
            than 1 overshoots.
        momentum: its heavy-ball momentum, in [0, 1).
        controls: also stop networks trained with larger steps and with momentum, on the smallest
            radius and the first seed.
        seeds: how many draws of data and network, or their seeds; fewer than three leave
            exponents undecided, and the report says "not applicable".
        quick: at most 3 seeds, 100 points and 4 radii.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report, with a row per seed and radius in table "radii" and, with controls, one per
        method in table "overshooting".

    Raises:
        ValueError: on numbers out of range, or clusters that cannot be placed.

    Example:
        >>> import ntk_air as na
        >>> report = na.theory.check_l2_floor(
        ...     radii=(0.02, 0.01, 0.0), num_points=20, num_clusters=2, dimension=6, noise_rate=0.1,
        ...     width=64, num_steps=100, time_constant=10, controls=False, seeds=1)
        >>> report.verdict
        'confirmed'
    """
    check_in_range("accuracy", accuracy, 0.0, 1.0, low_open=True)
    check_size("num_steps", num_steps, 1)
    check_in_range("step_size", step_size, 0.0, 2.0, low_open=True, high_open=True)
    check_in_range("momentum", momentum, 0.0, 1.0, high_open=True)
    if not any(radius <= POINT for radius in radii):
        raise ValueError(f"radii are {tuple(radii)}, expected one of at most {POINT:g}.")
    if quick:
        num_points, width, radii = min(num_points, 100), min(width, 400), _quick(radii)
    settings = FloorSettings(
        num_points=num_points,
        num_clusters=num_clusters,
        dimension=dimension,
        noise_rate=noise_rate,
        width=width,
        num_steps=num_steps,
        alpha=distillation.exponential(time_constant) if alpha is None else alpha,
        label_fn=distillation.hard if label_fn is None else label_fn,
        step_size=float(step_size),
        momentum=float(momentum),
    )
    chosen = seed_list(seeds, 3 if quick else None)
    with Cells("l2_floor", len(chosen) * len(radii) + controls, checkpoint, progress) as cells:
        every = [cells.run(run_seed, settings, seed, float(r)) for seed in chosen for r in radii]
        beyond = (
            cells.run(run_overshoot, settings, chosen[0], float(min(radii))) if controls else ()
        )
    rho = every[0].geometry.noise_rate
    conclusions = (*floor_conclusions(every, accuracy), *overshoot_conclusions(beyond, rho))
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(
            *floor_assumptions(every, settings, accuracy),
            *overshoot_assumptions(beyond),
            *resolution_checks(conclusions),
        ),
        conclusions=conclusions,
        tables={
            "radii": tuple(_row(run) for run in every),
            "overshooting": overshoot_rows(beyond),
        },
        histories={},
    )


def _quick(radii: Sequence[float]) -> tuple[float, ...]:
    """The smallest of the radii and three more from those that exponents are fitted over."""
    ordered = sorted(set(radii), reverse=True)
    fitted = [r for r in ordered if POINT < r <= LINEAR]
    return (*fitted[:1], *fitted[1:-1][:1], *fitted[-1:], ordered[-1])


def _row(run: FloorRun) -> dict[str, Any]:
    return {
        "seed": run.seed,
        "epsilon_0": run.geometry.radius,
        "2 rho": 2 * run.geometry.noise_rate,
        "filters up to 1": run.least,
        "early stopping": run.floor,
        "at step": run.floor_step,
        "margin": run.floor_margin,
        "converged": run.converged,
        "self-distillation": run.distilled,
        "its margin": run.distilled_margin,
    }
