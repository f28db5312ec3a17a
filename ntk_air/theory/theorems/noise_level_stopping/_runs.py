"""The runs behind `check_noise_level_stopping`: the infinitely wide network, and a real one."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ...model._activations import find_activation
from ...model._two_layer import two_layer_init
from ...model._two_layer_training import descend, jacobian_gram, off_the_algorithm, outputs
from ...reporting._records import record
from ._truths import angle_kernel, values_at

LAST_STEP = 1e7


class NoiseLevelSettings(NamedTuple):
    """What every draw shares."""

    truth: Any
    bias: bool
    noise: float
    level: float


@record
class NoiseLevelRun(NamedTuple):
    """One draw of points: squared errors to the truth where stopped, at best and in the limit.

    ``missed`` is that of interpolating values without noise; steps are of size 1 / lambda_1.
    """

    seed: int
    num_points: int
    noise_level: float
    asked: float
    stopped: float
    stop_step: float
    best: float
    best_step: float
    last: float
    missed: float
    least: float


@record
class Draw(NamedTuple):
    """Angles (n,) and (m,) of training and fresh points, truth (n,), noisy values (n,)."""

    angles: np.ndarray
    fresh: np.ndarray
    truth: np.ndarray
    observed: np.ndarray


def draw_points(settings: NoiseLevelSettings, num_points: int, seed: int) -> Draw:
    """Points uniform on the circle, and fresh ones evenly spaced from a random one on."""
    rng = np.random.default_rng([seed, num_points, *b"noise_level"])
    angles = 2 * np.pi * rng.random(num_points)
    fresh = 2 * np.pi * (np.arange(200) + rng.random()) / 200
    truth = values_at(settings.truth, angles)
    observed = truth + settings.noise * rng.standard_normal(num_points)
    return Draw(angles, fresh, truth, observed)


def run_size(
    settings: NoiseLevelSettings, num_points: int, seeds: tuple[int, ...]
) -> tuple[NoiseLevelRun, ...]:
    """Every seed at one number of points."""
    return tuple(_run(settings, num_points, seed) for seed in seeds)


def _kernel(first: np.ndarray, second: np.ndarray, bias: bool) -> np.ndarray:
    return angle_kernel(np.cos(first[:, None] - second[None]), bias)


def _run(settings: NoiseLevelSettings, num_points: int, seed: int) -> NoiseLevelRun:
    drawn = draw_points(settings, num_points, seed)
    values, vectors = np.linalg.eigh(_kernel(drawn.angles, drawn.angles, settings.bias))
    # The last of the steps is the limit, which interpolates.
    steps = np.append(np.geomspace(1, LAST_STEP, 250), np.inf)
    rates = np.clip(values / values[-1], np.finfo(np.float64).tiny, 1 - 1e-12)
    fitted = -np.expm1(steps[:, None] * np.log1p(-rates))
    coefficients = fitted * (vectors.T @ drawn.observed)
    residual = np.mean((coefficients @ vectors.T - drawn.observed) ** 2, axis=1)
    cross = _kernel(drawn.fresh, drawn.angles, settings.bias) @ vectors / values
    wanted = values_at(settings.truth, drawn.fresh)
    errors = np.mean((coefficients @ cross.T - wanted) ** 2, axis=1)
    missed = np.mean((cross @ (vectors.T @ drawn.truth) - wanted) ** 2)
    under = np.flatnonzero(residual <= settings.level**2)
    stop, best = int(under[0]) if under.size else len(steps) - 1, int(errors.argmin())
    return NoiseLevelRun(
        seed=seed,
        num_points=num_points,
        noise_level=float(np.std(drawn.observed - drawn.truth)),
        asked=settings.level,
        stopped=float(errors[stop]),
        stop_step=float(steps[stop]),
        best=float(errors[best]),
        best_step=float(steps[best]),
        last=float(errors[-1]),
        missed=float(missed),
        least=float(values[0] / values[-1]),
    )


def train_network(
    settings: NoiseLevelSettings, num_points: int, width: int, num_steps: int, seed: int
) -> dict[str, Any]:
    """The real network, stopped by the same rule, beside its linearisation at infinite width.

    Biases are weights of a third input, 1, and start at zero.
    """
    drawn = draw_points(settings, num_points, seed)
    phi = find_activation("relu")
    weights = two_layer_init(jax.random.key(seed), width, 2)
    inputs, new = (_inputs(angles, settings.bias) for angles in (drawn.angles, drawn.fresh))
    if settings.bias:
        weights = jnp.pad(weights, ((0, 0), (0, 1)))
    points, fresh = (jnp.asarray(x, weights.dtype) for x in (inputs, new))
    # Training towards values + f_0 is training f - f_0 towards the values.
    targets = jnp.asarray(drawn.observed, weights.dtype) + outputs(weights, points, phi)
    kernel = _kernel(drawn.angles, drawn.angles, settings.bias)
    norm = float(np.linalg.eigvalsh(kernel)[-1])
    rate = jnp.asarray([1.0 / norm], weights.dtype)
    own = jacobian_gram(np.asarray(weights, np.float64), inputs, inputs, phi)

    def train(steps: int) -> Any:
        return descend(weights[None], points[None], targets[None], rate, num_steps=steps, phi=phi)

    run = train(num_steps)
    residual = np.mean((np.asarray(run.outputs[0]) - np.asarray(targets)) ** 2, 1)
    under = np.flatnonzero(residual <= settings.level**2)
    stop = int(under[0]) if under.size else num_steps
    predicted = outputs(train(stop).weights[0], fresh, phi) - outputs(weights, fresh, phi)
    linear = _run(settings, num_points, seed)
    wanted = values_at(settings.truth, drawn.fresh)
    return {
        "seed": seed,
        "num_points": num_points,
        "step": stop,
        "stopped": bool(under.size),
        "error": float(np.mean((np.asarray(predicted) - wanted) ** 2)),
        "linearised step": linear.stop_step,
        "linearised error": linear.stopped,
        "kernel deviation": float(np.linalg.norm(own - kernel, 2)) / norm,
        "off the algorithm": off_the_algorithm(
            np.asarray(weights, np.float64),
            inputs,
            np.asarray(targets, np.float64),
            1.0 / norm,
            phi,
            run.outputs[0],
            run.distance[0],
        ),
    }


def _inputs(angles: np.ndarray, bias: bool) -> np.ndarray:
    columns = [np.cos(angles), np.sin(angles), *([np.ones_like(angles)] if bias else [])]
    return np.stack(columns, 1)
