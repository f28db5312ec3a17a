"""Stopping at the noise level: when the residual of a shallow network is as large as the noise."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_in_range, check_size
from ._activations import find_activation
from ._cells import Cells
from ._exponents import decay_check
from ._report import Check, TheoremReport
from ._seeds import seed_list
from ._two_layer import two_layer_init
from ._two_layer_training import descend, outputs

NAME = "Stopping at the noise level learns Lipschitz functions from noisy values"
SOURCE = (
    "after Kuzborskij and Szepesvari (arXiv:2212.13848; its forerunner arXiv:2107.05341 was "
    "withdrawn), up to constants"
)

INPUT_DIMENSION = 2
RATE = -2 / (2 + INPUT_DIMENSION)
"""Minimax exponent of the squared error for Lipschitz functions of INPUT_DIMENSION inputs."""
LAST_STEP = 1e7
RESOLVED = 1e-12
"""Relative eigenvalue above which float64 knows an inverse to a few digits."""
KEPT = 0.8
"""Share of its limit below which no mean over seeds of the error of interpolation may be."""
KNOWN = 0.1
"""Relative error of the noise level up to which it counts as known."""


class Run(NamedTuple):
    """One draw of points: squared errors to the truth where stopped, at best and in the limit."""

    seed: int
    num_points: int
    noise_level: float
    asked: float
    stopped: float
    stop_step: float
    best: float
    best_step: float
    last: float
    least: float


def check_noise_level_stopping(
    *,
    sizes: Sequence[int] = (50, 71, 100, 141, 200, 283, 400),
    noise: float = 0.3,
    noise_level: float | None = None,
    width: int = 1000,
    network_steps: int = 1000,
    seeds: int | Sequence[int] = 40,
    quick: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> TheoremReport:
    """Tests stopping gradient descent once the residual is at the noise level.

    Data: x uniform on the unit circle, values |x_1| - E|x_1|, which are 1-Lipschitz and not
    differentiable, plus independent normal noise of standard deviation ``noise``. The two-layer
    network is trained on half the summed squared distance and stopped at the first step where the
    mean squared residual is at most the square of the noise level. Statement (up to constants): the
    mean squared error to the truth, at fresh points, then falls with n at least like
    n^(-2 / (2 + d)), d = 2, the minimax rate of Lipschitz functions; interpolating keeps the noise:
    on a line, 2/3 of its variance (derived: linear interpolation between neighbours, E[(1 - u)^2 +
    u^2] for u uniform). The network has ReLU units, is linearised at infinite width and starts from
    outputs of zero; one real network of the largest size is trained beside it. A noise level known
    only up to the fluctuation of its draw, of relative size n^(-1/2), is what the rule has: single
    draws stop early or late, and means over seeds are what is compared.

    Args:
        sizes: numbers of points n, at least three.
        noise: standard deviation of the noise.
        noise_level: what the rule takes it for; None is ``noise``.
        width: hidden units of the real network, even.
        network_steps: steps of the real network, of size 1 / lambda_1.
        seeds: how many draws of each size, or their seeds.
        quick: at most 8 seeds, three sizes, 400 units and 300 steps.
        checkpoint: folder to store finished parts in and to go on from; None stores nothing.
        progress: show a progress bar on a terminal.

    Returns:
        The report: means over seeds for each size in table "sizes", every draw in "draws", and the
        real network in "network".

    Raises:
        ValueError: on numbers out of range.
    """
    check_in_range("noise", noise, 0.0, low_open=True)
    level = noise if noise_level is None else noise_level
    check_in_range("noise_level", level, 0.0, low_open=True)
    if len(set(sizes)) < 3:
        raise ValueError(f"sizes is {tuple(sizes)}, expected at least three different numbers.")
    for size in sizes:
        check_size("sizes", size, 2)
    if quick:
        sizes, width, network_steps = (
            sorted(sizes)[::2][:3],
            min(width, 400),
            min(network_steps, 300),
        )
    chosen = seed_list(seeds, 8 if quick else None)
    with Cells(len(sizes) * len(chosen) + 1, checkpoint, progress) as cells:
        every = [[cells.run(_run, n, noise, level, seed) for seed in chosen] for n in sorted(sizes)]
        network = cells.run(_train, max(sizes), noise, level, width, network_steps, chosen[0])
    return TheoremReport(
        name=NAME,
        source=SOURCE,
        assumptions=_assumptions(every),
        conclusions=_conclusions(every, network, noise),
        tables={
            "sizes": tuple(_row(runs) for runs in every),
            "draws": tuple(run._asdict() for runs in every for run in runs),
            "network": (network,),
        },
        histories={},
    )


def _draw(
    num_points: int, noise: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points (n, 2), truth (n,), noisy values (n,), and fresh points (m, 2)."""
    rng = np.random.default_rng([seed, num_points, *b"noise_level"])
    angles = 2 * np.pi * rng.random(num_points)
    inputs = np.stack([np.cos(angles), np.sin(angles)], 1)
    truth = _truth(inputs)
    fresh = 2 * np.pi * (np.arange(200) + rng.random()) / 200
    observed = truth + noise * rng.standard_normal(num_points)
    return inputs, truth, observed, np.stack([np.cos(fresh), np.sin(fresh)], 1)


def _truth(inputs: np.ndarray) -> np.ndarray:
    return np.abs(inputs[:, 0]) - 2 / np.pi


def _kernel(x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
    """NTK of the first layer of an infinitely wide ReLU network at unit vectors, (n1, n2)."""
    cosine = np.clip(x1 @ x2.T, -1.0, 1.0)
    return cosine * (np.pi - np.arccos(cosine)) / (2 * np.pi)


def _run(num_points: int, noise: float, level: float, seed: int) -> Run:
    inputs, truth, observed, fresh = _draw(num_points, noise, seed)
    values, vectors = np.linalg.eigh(_kernel(inputs, inputs))
    # The last of the steps is the limit, which interpolates.
    steps = np.append(np.geomspace(1, LAST_STEP, 250), np.inf)
    rates = np.clip(values / values[-1], np.finfo(np.float64).tiny, 1 - 1e-12)
    fitted = -np.expm1(steps[:, None] * np.log1p(-rates))
    coefficients = fitted * (vectors.T @ observed)
    trained = coefficients @ vectors.T
    residual = np.mean((trained - observed) ** 2, axis=1)
    predicted = (coefficients / values) @ (_kernel(fresh, inputs) @ vectors).T
    errors = np.mean((predicted - _truth(fresh)) ** 2, axis=1)
    under = np.flatnonzero(residual <= level**2)
    stop, best = int(under[0]) if under.size else len(steps) - 1, int(errors.argmin())
    return Run(
        seed=seed,
        num_points=num_points,
        noise_level=float(np.std(observed - truth)),
        asked=level,
        stopped=float(errors[stop]),
        stop_step=float(steps[stop]),
        best=float(errors[best]),
        best_step=float(steps[best]),
        last=float(errors[-1]),
        least=float(values[0] / values[-1]),
    )


def _train(
    num_points: int, noise: float, level: float, width: int, num_steps: int, seed: int
) -> dict[str, Any]:
    """The real network, stopped by the same rule, beside its linearisation."""
    inputs, _, observed, fresh = _draw(num_points, noise, seed)
    phi = find_activation("relu")
    weights = two_layer_init(jax.random.key(seed), width, INPUT_DIMENSION)
    points, new = (jnp.asarray(x, weights.dtype) for x in (inputs, fresh))
    # Training towards values + f_0 is training f - f_0 towards the values.
    start = outputs(weights, points, phi)
    targets = jnp.asarray(observed, weights.dtype) + start
    rate = jnp.asarray([1.0 / np.linalg.eigvalsh(_kernel(inputs, inputs))[-1]], weights.dtype)

    def train(steps: int) -> Any:
        return descend(weights[None], points[None], targets[None], rate, num_steps=steps, phi=phi)

    residual = np.mean((np.asarray(train(num_steps).outputs[0]) - np.asarray(targets)) ** 2, 1)
    under = np.flatnonzero(residual <= level**2)
    stop = int(under[0]) if under.size else num_steps
    predicted = outputs(train(stop).weights[0], new, phi) - outputs(weights, new, phi)
    linear = _run(num_points, noise, level, seed)
    return {
        "seed": seed,
        "num_points": num_points,
        "step": stop,
        "error": float(np.mean((np.asarray(predicted) - _truth(fresh)) ** 2)),
        "linearised step": linear.stop_step,
        "linearised error": linear.stopped,
    }


def _assumptions(every: Sequence[Sequence[Run]]) -> tuple[Check, ...]:
    runs = [run for row in every for run in row]
    largest = [run for run in every[-1]]
    drawn = float(np.sqrt(np.mean([run.noise_level**2 for run in largest])))
    wrong = max(abs(run.asked / drawn - 1) for run in runs)
    least = min(run.least for run in runs)
    return (
        Check(
            name="known noise level",
            statement="noise level of the rule, relative error against that of the draws",
            required=KNOWN,
            measured=wrong,
            holds=wrong <= KNOWN,
        ),
        Check(
            name="the network can fit the noise",
            statement="least eigenvalue of the kernel, relative to the largest, above round-off",
            required=RESOLVED,
            measured=least,
            holds=least > RESOLVED,
        ),
    )


def _conclusions(
    every: Sequence[Sequence[Run]], network: dict[str, Any], noise: float
) -> tuple[Check, ...]:
    sizes = [row[0].num_points for row in every]
    means = np.array([np.mean([run.stopped for run in row]) for row in every])
    largest = every[-1]
    last = float(np.mean([run.last for run in largest]) / means[-1])
    lasting = [np.mean([run.last for run in row]) for row in every]
    kept = float(min(lasting) / (2 / 3 * noise**2))
    near = abs(network["error"] / network["linearised error"] - 1)
    return (
        decay_check(
            "rate",
            "squared error, mean over seeds,",
            "n",
            sizes,
            means[:, None],
            RATE,
        ),
        Check(
            name="interpolation keeps the noise",
            statement="squared error of interpolation, mean over seeds, / (2/3 noise^2), which "
            "linear interpolation between neighbours keeps at every n: least over n",
            required=KEPT,
            measured=kept,
            holds=kept >= KEPT,
        ),
        Check(
            name="running on is worse",
            statement="squared error of interpolation / where stopped, largest n",
            required=1.0,
            measured=last,
            holds=last > 1,
        ),
        Check(
            name="the network does the same",
            statement="squared error of the real network, relative to its linearisation's",
            required=0.5,
            measured=near,
            holds=near <= 0.5,
        ),
    )


def _row(runs: Sequence[Run]) -> dict[str, Any]:
    """Means over seeds of one size."""
    fields = ("stopped", "best", "last")
    return {
        "num_points": runs[0].num_points,
        "seeds": len(runs),
        **{field: float(np.mean([getattr(run, field) for run in runs])) for field in fields},
        "standard error": float(np.std([r.stopped for r in runs], ddof=1) / len(runs) ** 0.5),
        "median step": float(np.median([run.stop_step for run in runs])),
    }
