"""Stopping at the noise level: when the residual of a shallow network is as large as the noise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...._checks import check_in_range, check_size
from ...._seeds import seed_list
from ...reporting._exponents import resolution_checks
from ...reporting._report import TheoremReport
from ...reporting._resumable import Cells
from ._checks import assumptions, conclusions, harmonic_conclusions
from ._runs import NoiseLevelRun, NoiseLevelSettings, run_size, train_network
from ._truths import predicted_errors, unlearnable, values_at

NAME = "Stopping at the noise level learns Lipschitz functions from noisy values"
SOURCE = (
    "after Kuzborskij and Szepesvari (arXiv:2212.13848; its forerunner arXiv:2107.05341 was "
    "withdrawn), up to constants; odd harmonics after Basri et al. (arXiv:1906.00425)"
)

HARMONIC = "cos3"
"""A 1-Lipschitz function that a network without biases cannot learn at all."""
HARMONIC_SEEDS = 40


def check_noise_level_stopping(
    *,
    sizes: Sequence[int] = (50, 71, 100, 141, 200, 283, 400),
    truth: Any = "abs",
    bias: bool = True,
    noise: float = 0.3,
    noise_level: float | None = None,
    width: int = 1000,
    network_steps: int = 1000,
    controls: bool = True,
    seeds: int | Sequence[int] = 200,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests stopping gradient descent once the residual is at the noise level.

    Data: x uniform on the unit circle, values of a 1-Lipschitz function of its angle plus
    independent normal noise of standard deviation ``noise``. The two-layer ReLU network is trained
    on half the summed squared distance and stopped at the first step where the mean squared
    residual is at most the square of the noise level. Statement (up to constants): the mean squared
    error to the truth, at fresh points, then falls with n like n^(-2 / (2 + d)), the minimax rate
    of Lipschitz functions of d variables, or faster. The circle has one, d = 1, whatever the two
    coordinates of its points: n^(-2/3). Interpolating keeps the noise: on a line, 2/3 of its
    variance (derived: linear interpolation between neighbours, E[(1 - u)^2 + u^2] for u uniform).

    A noise level known only up to the fluctuation of its draw, of relative size n^(-1/2), is what
    the rule has: single draws stop early or late, which costs a part of order n^(-1/2) that is
    small at these sizes, and means over draws are what is compared. The sequence model (the same
    kernel with biases on a regular grid, each Fourier coefficient fitted at its own rate, stopped
    at the level of the noise) predicts the errors of any truth at any n; where the sizes are too
    few to resolve a truth it predicts a slower decay than n^(-2/3), and that is then asked for.
    Sizes for which it predicts less than n^(-0.4) fail an assumption: they could show nothing.

    The network needs biases (trained from zero). Without them it is a linear plus an even
    function, and its kernel has eigenvalue zero at odd harmonics from the third on: cos(3 theta)/3
    is not learned, however many points there are, and the error stays at its mean square 1/18. The
    controls show both. The network is linearised at infinite width and starts from outputs of zero;
    one real network of the largest size is trained beside it.

    Args:
        sizes: numbers of points n, at least three.
        truth: the function, by name ("abs", "cos3", "cos5", "relu", "even_tent", "odd_tent") or one
            from angles (n,) to values (n,); the model asks for a Lipschitz constant of at most 1.
        bias: whether the network has biases.
        noise: standard deviation of the noise.
        noise_level: what the rule takes it for; None is ``noise``.
        width: hidden units of the real network, even.
        network_steps: steps of the real network, of size 1 / lambda_1.
        controls: also learn cos(3 theta)/3 with and without biases.
        seeds: how many draws of each size, or their seeds; at least two.
        quick: at most 100 seeds, three sizes, 400 units and 300 steps.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report: means over seeds for each size beside the predicted ones in table "sizes", the
        controls in "harmonics", every draw in "draws", and the real network in "network".

    Raises:
        ValueError: on numbers out of range, an unknown truth or values that are not numbers.

    Example:
        >>> import ntk_air as na
        >>> na.theory.check_noise_level_stopping(quick=True).verdict
        'confirmed'
    """
    check_in_range("noise", noise, 0.0, low_open=True)
    level = noise if noise_level is None else noise_level
    check_in_range("noise_level", level, 0.0, low_open=True)
    if len(set(sizes)) < 3:
        raise ValueError(f"sizes is {tuple(sizes)}, expected at least three different numbers.")
    for size in sizes:
        check_size("sizes", size, 2)
    values_at(truth, np.zeros(1))
    if quick:
        sizes, width = sorted(sizes)[::2][:3], min(width, 400)
        network_steps = min(network_steps, 300)
    ordered, chosen = sorted(set(sizes)), seed_list(seeds, 100 if quick else None)
    if len(chosen) < 2:
        raise ValueError(f"seeds is {seeds!r}, expected at least two draws of each size.")
    settings = NoiseLevelSettings(truth, bool(bias), float(noise), float(level))
    kinds = [settings._replace(truth=HARMONIC, bias=b) for b in (True, False)] if controls else []
    with Cells(
        "noise_level_stopping", len(ordered) * (1 + len(kinds)) + 1, checkpoint, progress
    ) as cells:
        every = [cells.run(run_size, settings, n, chosen) for n in ordered]
        network = cells.run(train_network, settings, ordered[-1], width, network_steps, chosen[0])
        harmonics = {
            kind.bias: [cells.run(run_size, kind, n, chosen[:HARMONIC_SEEDS]) for n in ordered]
            for kind in kinds
        }
    predicted = _predicted(settings, ordered)
    harmonic = settings._replace(truth=HARMONIC, bias=True)
    promised = (
        *conclusions(every, network, noise, predicted),
        *harmonic_conclusions(harmonics, harmonic, _predicted(harmonic, ordered)),
    )
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=(
            *assumptions(every, network, settings, predicted),
            *resolution_checks(promised),
        ),
        conclusions=promised,
        tables={
            "sizes": tuple(_row(runs, *p) for runs, p in zip(every, predicted, strict=True)),
            "harmonics": tuple(
                {"truth": HARMONIC, "biases": "yes" if with_bias else "no"}
                | {"floor": unlearnable(HARMONIC, with_bias)}
                | _row(runs)
                for with_bias, rows in harmonics.items()
                for runs in rows
            ),
            "draws": tuple(run._asdict() for runs in every for run in runs),
            "network": (network,),
        },
        histories={},
    )


def _predicted(settings: NoiseLevelSettings, sizes: Sequence[int]) -> list[tuple[float, float]]:
    """Errors of the sequence model, where stopped and at best, per size.

    Always with biases and the level of the noise: what is promised, not what another choice makes.
    """
    return [predicted_errors(settings.truth, n, settings.noise) for n in sizes]


def _row(runs: Sequence[NoiseLevelRun], *predicted: float) -> dict[str, Any]:
    """Means over seeds of one size."""
    fields = ("stopped", "best", "last")
    return {
        "num_points": runs[0].num_points,
        "seeds": len(runs),
        **{field: float(np.mean([getattr(run, field) for run in runs])) for field in fields},
        "standard error": float(np.std([r.stopped for r in runs], ddof=1) / len(runs) ** 0.5),
        "median step": float(np.median([run.stop_step for run in runs])),
        **dict(zip(("predicted stopped", "predicted best"), predicted, strict=False)),
    }
