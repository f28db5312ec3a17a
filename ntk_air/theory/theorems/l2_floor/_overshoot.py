"""Early stopping below 2 rho: step sizes and momentum whose filters exceed 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .... import distillation, dynamics, spectral
from ...._numerics import double_precision
from ...model._two_layer import two_layer_apply, two_layer_init, two_layer_ntk
from ...reporting._records import record
from ...reporting._report import Check
from ..self_distillation._runs import targets
from ._runs import FloorSettings, draw_data

METHODS = ((1.0, 0.0), (1.5, 0.0), (1.0, 0.5), (1.0, 0.9))
"""eta lambda_1 and momentum."""
STEPS = (*range(11), 15, 20, 30)
"""The minimum comes within a few steps; later a network's momentum carries it off its kernel."""
DRIFT = 0.2
"""Relative change of the network's kernel up to which it counts as wide."""
NEAR = 0.05
"""Distance from the prediction, relative to 2 rho, up to which the network meets it."""


@record
class Overshoot(NamedTuple):
    """One method stopped at its best step: predicted by its filter, and of a real network.

    Distances are |f - y|_2 / sqrt(n); ``largest`` is the largest filter value up to that step.
    """

    step_size: float
    momentum: float
    largest: float
    predicted: float
    predicted_step: int
    measured: float
    measured_step: int
    drift: float


def run_overshoot(settings: FloorSettings, seed: int, radius: float) -> tuple[Overshoot, ...]:
    """Every method on one dataset, with the kernel and the network of one initialisation.

    The network starts from outputs of zero: its second half repeats the weights of the first, whose
    output weights have the other sign.
    """
    data = draw_data(settings, seed, radius)
    with double_precision():
        inputs = jnp.asarray(data.inputs, float)
        clean, observed = targets(data)
        # An even half, as `two_layer_init` wants; widths of 2 modulo 4 lose two units.
        half = two_layer_init(
            jax.random.key(seed), max(settings.width // 4 * 2, 2), inputs.shape[1]
        )
        weights = jnp.concatenate([half, half])
        kernel = two_layer_ntk(weights, inputs)
        eigensystem = spectral.eigendecompose(kernel)
        return tuple(
            _one(m, weights, inputs, kernel, eigensystem, clean, observed) for m in METHODS
        )


def _one(
    method: tuple[float, float],
    weights: Any,
    inputs: Any,
    kernel: Any,
    eigensystem: spectral.Eigensystem,
    clean: np.ndarray,
    observed: np.ndarray,
) -> Overshoot:
    step_size, momentum = method
    rate = step_size / float(eigensystem.eigenvalues[0])
    filters = [dynamics.heavy_ball(rate, step, momentum) for step in STEPS]
    errors = dynamics.risk(eigensystem, filters, clean, observed).clean_error
    predicted = np.sqrt(np.asarray(errors))
    best = int(predicted.argmin())
    values = [np.asarray(one(eigensystem.eigenvalues)).max() for one in filters[: best + 1]]
    trained = distillation.self_distill(
        two_layer_apply,
        weights,
        inputs,
        observed,
        optimizer=optax.sgd(rate, momentum=momentum or None),
        num_steps=STEPS[-1],
        alpha=1.0,
        clean=clean,
        record_every=STEPS[1:],
    )
    measured = np.asarray(trained.history.l2_to_clean)
    moved = np.asarray(two_layer_ntk(trained.params, inputs) - kernel)
    return Overshoot(
        step_size=step_size,
        momentum=momentum,
        largest=float(np.max(values)),
        predicted=float(predicted[best]),
        predicted_step=STEPS[best],
        measured=float(measured.min()),
        measured_step=STEPS[int(measured.argmin())],
        drift=float(np.linalg.norm(moved) / np.linalg.norm(np.asarray(kernel))),
    )


def overshoot_assumptions(runs: tuple[Overshoot, ...]) -> tuple[Check, ...]:
    """That the network stays near the kernel that its outputs are predicted with."""
    if not runs:
        return ()
    drift = float(np.max([run.drift for run in runs]))
    return (
        Check.at_most(
            "wide enough",
            f"relative change of the network's kernel in {STEPS[-1]} steps, every method",
            required=DRIFT,
            measured=drift,
        ),
    )


def overshoot_conclusions(runs: tuple[Overshoot, ...], rho: float) -> tuple[Check, ...]:
    """The networks follow their filters: at the floor up to 1, below it where those say so."""
    if not runs:
        return ()
    off = float(np.max([abs(run.measured - run.predicted) for run in runs])) / (2 * rho)
    slack = NEAR * 2 * rho
    monotone = [run for run in runs if run.largest <= 1]
    beyond = [run for run in runs if run.predicted < 2 * rho - slack]
    checks = [
        Check.at_most(
            "networks stop where their filters say",
            "least |f - y| / sqrt(n) over the steps, network against closed form, "
            "deviation relative to 2 rho, gradient descent and heavy ball",
            required=NEAR,
            measured=off,
        )
    ]
    if monotone:
        least = float(np.min([run.measured for run in monotone]))
        checks.append(
            Check.at_least(
                "a network's gradient descent keeps the floor",
                "least |f - y| / sqrt(n), eta lambda_1 <= 1 without momentum, >= 2 rho "
                "less the deviation above",
                required=2 * rho - slack,
                measured=least,
            )
        )
    if beyond:
        most = float(np.max([run.measured for run in beyond]))
        best = min(beyond, key=lambda run: run.predicted)
        checks.append(
            Check(
                "overshooting gets below the floor",
                "least |f - y| / sqrt(n) of the methods predicted below 2 rho, all with "
                f"filters above 1: the largest; momentum {best.momentum:g} reaches "
                f"{best.measured:.4g}, predicted {best.predicted:.4g}",
                required=2 * rho,
                measured=most,
                holds=most < 2 * rho and all(run.largest > 1 for run in beyond),
            )
        )
    return tuple(checks)


def overshoot_rows(runs: tuple[Overshoot, ...]) -> tuple[dict[str, Any], ...]:
    """One row per method."""
    return tuple(
        {
            "eta lambda_1": run.step_size,
            "momentum": run.momentum,
            "largest filter value": run.largest,
            "predicted": run.predicted,
            "at step": run.predicted_step,
            "network": run.measured,
            "network at step": run.measured_step,
            "kernel change": run.drift,
        }
        for run in runs
    )
