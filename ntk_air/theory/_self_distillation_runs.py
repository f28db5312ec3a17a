"""The training runs behind `check_self_distillation`, on the network and in function space."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .. import distillation
from .._numerics import double_precision
from ..distillation import History
from ._cells import Cells
from ._two_layer import two_layer_apply, two_layer_init, two_layer_ntk

GRADIENT_DESCENT = "gradient descent"
SELF_DISTILLATION = "self-distillation"
IDENTITY = "identity label function"
TOO_EARLY = "constant alpha 0.5"

LIMIT_ALPHA = 0.25
"""Weight at which the constant-alpha limit is tested; below 1/2, so that h(y + alpha noise) = y."""


class Plan(NamedTuple):
    """What every seed runs."""

    data: Any
    width: int
    num_steps: int
    learning_rate: float | None
    alpha: Any
    label_fn: Any
    controls: bool


class Start(NamedTuple):
    """One initialisation: weights, its kernel in float64 with eigenvalues descending, outputs."""

    seed: int
    weights: jax.Array
    kernel: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    learning_rate: float
    initial: np.ndarray


class SeedRuns(NamedTuple):
    """Everything measured from one initialisation.

    ``network`` maps the method to its history, ``drift`` to the relative change of its kernel.
    ``function_gd`` and ``function_sd`` are recorded at every step. ``limit_deviation`` is the
    largest deviation of the constant-alpha run from its closed form.
    """

    start: Start
    network: dict[str, History]
    drift: dict[str, float]
    function_gd: History
    function_sd: History
    limit_deviation: float


def prepare(plan: Plan, seed: int) -> Start:
    """Draws the network and decomposes its kernel."""
    inputs = jnp.asarray(plan.data.inputs, jnp.result_type(float))
    weights = two_layer_init(jax.random.key(seed), plan.width, inputs.shape[1])
    kernel = _kernel(weights, plan.data.inputs)
    eigenvalues, eigenvectors = np.linalg.eigh(kernel)
    initial = np.asarray(two_layer_apply(weights, inputs), np.float64)
    rate = plan.learning_rate or float(1.0 / eigenvalues[-1])
    return Start(seed, weights, kernel, eigenvalues[::-1], eigenvectors[:, ::-1], rate, initial)


def run_seed(plan: Plan, start: Start, cells: Cells) -> SeedRuns:
    """Trains the network by every method, and its linearisation by two of them."""
    trained = {name: cells.run(_train, plan, start, name) for name in _methods(plan)}
    return SeedRuns(
        start,
        {name: history for name, (history, _) in trained.items()},
        {name: drift for name, (_, drift) in trained.items()},
        *cells.run(_linearised, plan, start),
    )


def cells_of_seed(plan: Plan) -> int:
    """How many cells `run_seed` runs."""
    return len(_methods(plan)) + 1


def _train(plan: Plan, start: Start, method: str) -> tuple[History, float]:
    """History of the network, and the relative change of its kernel."""
    clean, observed = targets(plan.data)
    alpha, label_fn = _methods(plan)[method]
    trained = distillation.self_distill(
        two_layer_apply,
        start.weights,
        jnp.asarray(plan.data.inputs, start.weights.dtype),
        observed,
        optimizer=start.learning_rate,
        num_steps=plan.num_steps,
        alpha=alpha,
        label_fn=label_fn,
        clean=clean,
        record_every=log_spaced(plan.num_steps),
    )
    moved = _kernel(trained.params, plan.data.inputs) - start.kernel
    return trained.history, float(np.linalg.norm(moved) / np.linalg.norm(start.kernel))


def _linearised(plan: Plan, start: Start) -> tuple[History, History, float]:
    """Gradient descent and self-distillation in function space, and the limit's deviation."""
    function_gd = _function_space(plan, start, 1.0, start.initial)
    function_sd = _function_space(plan, start, plan.alpha, start.initial)
    return function_gd, function_sd, _limit_deviation(plan, start)


def targets(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Clean and observed targets in float64, (n, 1) each."""
    return np.asarray(data.clean, np.float64), np.asarray(data.observed, np.float64)


def log_spaced(num_steps: int, per_decade: int = 40) -> list[int]:
    """Steps spaced by a constant factor, from 1 to ``num_steps``."""
    count = int(per_decade * np.log10(max(num_steps, 10))) + 1
    return sorted({int(s) for s in np.geomspace(1, max(num_steps, 1), count).round()})


def settled_step(history: History) -> int | None:
    """First recorded step from which the label function gives the clean labels to the end."""
    wrong = np.flatnonzero(~(np.asarray(history.label_to_clean) <= 1e-6))
    if wrong.size == 0:
        return int(history.step[0])
    return None if wrong[-1] == len(history.step) - 1 else int(history.step[wrong[-1] + 1])


def _methods(plan: Plan) -> dict[str, tuple[Any, Any]]:
    methods = {
        GRADIENT_DESCENT: (1.0, plan.label_fn),
        SELF_DISTILLATION: (plan.alpha, plan.label_fn),
    }
    if plan.controls:
        methods[IDENTITY] = (plan.alpha, distillation.identity)
        methods[TOO_EARLY] = (0.5, plan.label_fn)
    return methods


def _kernel(weights: Any, inputs: Any) -> np.ndarray:
    with double_precision():
        return np.asarray(
            two_layer_ntk(np.asarray(weights, np.float64), np.asarray(inputs, np.float64))
        )


def _function_space(
    plan: Plan, start: Start, alpha: Any, initial: np.ndarray, **options: Any
) -> History:
    clean, observed = targets(plan.data)
    with double_precision():
        return distillation.kernel_self_distill(
            start.kernel,
            observed,
            learning_rate=start.learning_rate,
            num_steps=plan.num_steps,
            alpha=alpha,
            label_fn=plan.label_fn,
            clean=clean,
            initial=initial,
            **options,
        )


def _limit_deviation(plan: Plan, start: Start) -> float:
    """Largest deviation of a constant-alpha run from y + (1 - (1 - eta lambda)^s) alpha noise.

    Its limit is y + alpha (observed - clean). A run of finitely many steps has not arrived in the
    slowest directions, so each direction is compared with where it should be by then.
    """
    clean, observed = targets(plan.data)
    history = _function_space(
        plan, start, LIMIT_ALPHA, clean, record_every=plan.num_steps, record_outputs=True
    )
    assert history.outputs is not None
    decay = (1.0 - start.learning_rate * start.eigenvalues[:, None]) ** plan.num_steps
    noise = start.eigenvectors.T @ (LIMIT_ALPHA * (observed - clean))
    expected = clean + start.eigenvectors @ ((1.0 - decay) * noise)
    return float(np.abs(np.asarray(history.outputs[-1]) - expected).max())
