"""The training runs behind `check_self_distillation`, on the network and in function space."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .... import distillation
from ...._numerics import double_precision
from ....distillation import History
from ...model._two_layer import two_layer_apply, two_layer_init, two_layer_ntk
from ...reporting._records import record
from ...reporting._resumable import Cells
from ._controls import CONTROL_STEPS, RIGHT, Control, control_schedules, judge
from ._first_steps import first_steps_deviation
from ._law import outputs_by_law, recursion_residual, settled_step

GRADIENT_DESCENT = "gradient descent"
SELF_DISTILLATION = "self-distillation"
IDENTITY = "identity label function"

LIMIT_ALPHA = 0.25
"""Weight at which the constant-alpha limit is tested; below 1/2, so that h(y + alpha noise) = y."""
CHECKED_STEPS = 2000
"""Steps in function space that are held against the algorithm one by one."""
EVERY_STEP = 1000
"""Steps up to which a self-distilling network is recorded at every one, later at every tenth."""


class Plan(NamedTuple):
    """What every seed runs."""

    data: Any
    width: int
    num_steps: int
    learning_rate: float | None
    alpha: Any
    label_fn: Any
    controls: bool


@record
class Start(NamedTuple):
    """One initialisation: weights, its kernel in float64 with eigenvalues descending, outputs."""

    seed: int
    weights: jax.Array
    kernel: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    learning_rate: float
    initial: np.ndarray


@record
class End(NamedTuple):
    """What the theorem predicts of a run from its own s_0: distance per root-n, least y f."""

    distance: float
    margin: float


@record
class Linear(NamedTuple):
    """One initialisation in function space.

    ``descent`` and ``distilled`` are recorded at every step; ``end`` is None if h(f) = y never
    settles. ``residual`` is the largest deviation of a step from the algorithm's,
    ``limit_deviation`` and ``limit_label`` those of the constant-alpha run from its closed form and
    of its labels from y, per root-n.
    """

    descent: History
    distilled: History
    end: End | None
    residual: float
    limit_deviation: float
    limit_label: float


@record
class SeedRuns(NamedTuple):
    """Everything measured from one initialisation.

    ``network`` maps the method to its history, ``drift`` to the relative change of its kernel;
    ``end`` is of the self-distilling network, ``probe`` the relative deviation of its first steps
    from those of the algorithm. ``controls`` are in function space.
    """

    start: Start
    network: dict[str, History]
    drift: dict[str, float]
    end: End | None
    probe: float
    linear: Linear
    controls: tuple[Control, ...]


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
        start=start,
        network={name: history for name, (history, _, _) in trained.items()},
        drift={name: drift for name, (_, drift, _) in trained.items()},
        end=trained[SELF_DISTILLATION][2],
        probe=cells.run(
            first_steps_deviation, plan.data, plan.label_fn, start.weights, start.learning_rate
        ),
        linear=cells.run(_linearised, plan, start),
        controls=cells.run(_controls, plan, start) if plan.controls else (),
    )


def cells_of_seed(plan: Plan) -> int:
    """How many cells `run_seed` runs."""
    return len(_methods(plan)) + 2 + bool(plan.controls)


def _train(plan: Plan, start: Start, method: str) -> tuple[History, float, End | None]:
    """History of the network, the relative change of its kernel, and what its end should be."""
    clean, observed = targets(plan.data)
    alpha, label_fn = _methods(plan)[method]
    distilled = method == SELF_DISTILLATION
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
        record_every=(dense if distilled else log_spaced)(plan.num_steps),
        record_outputs=distilled,
    )
    moved = _kernel(trained.params, plan.data.inputs) - start.kernel
    drift = float(np.linalg.norm(moved) / np.linalg.norm(start.kernel))
    history, end = trained.history, None
    first = settled_step(history) if distilled else None
    if first is not None and history.outputs is not None:
        outputs = np.asarray(history.outputs)[np.asarray(history.step) == first][0]
        weights = weights_of_steps(plan.alpha, plan.num_steps, history)
        end = _end(plan, start, outputs, weights[first:])
    return dataclasses.replace(history, outputs=None), drift, end


def _end(plan: Plan, start: Start, outputs: np.ndarray, alpha: np.ndarray) -> End:
    clean, observed = targets(plan.data)
    rates = start.learning_rate * start.eigenvalues
    last = outputs_by_law(
        rates, start.eigenvectors, np.asarray(outputs, np.float64), alpha[:-1], clean, observed
    )
    distance = float(np.linalg.norm(last - clean) / np.sqrt(len(clean)))
    return End(distance, float(np.min(clean * last)))


def weights_of_steps(alpha: Any, num_steps: int, history: History) -> np.ndarray:
    """Alpha at the steps 0 to S (S + 1,), as asked for, whatever the run made of it.

    Only where outputs decide it is it that of the history, as at the record before.
    """
    with double_precision():
        schedule = distillation.as_schedule(alpha, num_steps)
        if schedule.kind != "agreement":
            return np.asarray(schedule(jnp.arange(num_steps + 1)), np.float64)
    held = np.searchsorted(np.asarray(history.step), np.arange(num_steps + 1), side="right")
    return np.asarray(history.alpha, np.float64)[held - 1]


def _linearised(plan: Plan, start: Start) -> Linear:
    """Gradient descent and self-distillation in function space, and what they are held against."""
    distilled = _function_space(plan, start, plan.alpha, start.initial)
    first = settled_step(distilled)
    weights = weights_of_steps(plan.alpha, plan.num_steps, distilled)
    end = None
    if first is not None:
        end = _end(plan, start, np.asarray(distilled.outputs)[first], weights[first:])
    descent = _function_space(plan, start, 1.0, start.initial)
    constant = _function_space(plan, start, LIMIT_ALPHA, targets(plan.data)[0])
    always = np.full(plan.num_steps + 1, LIMIT_ALPHA)
    return Linear(
        descent=dataclasses.replace(descent, outputs=None),
        distilled=dataclasses.replace(distilled, outputs=None),
        end=end,
        residual=max(
            _residual(plan, start, distilled, weights, CHECKED_STEPS),
            _residual(plan, start, constant, always, CHECKED_STEPS // 10),
        ),
        limit_deviation=_limit_deviation(plan, start, constant),
        limit_label=float(np.max(np.asarray(constant.label_to_clean))),
    )


def _residual(plan: Plan, start: Start, history: History, weights: np.ndarray, steps: int) -> float:
    """Largest deviation of the first steps of a run from the algorithm's."""
    checked = slice(steps + 1)
    with double_precision():
        return recursion_residual(
            start.kernel,
            start.learning_rate,
            np.asarray(history.outputs)[checked],
            weights[checked],
            plan.label_fn,
            targets(plan.data)[1],
        )


def _controls(plan: Plan, start: Start) -> tuple[Control, ...]:
    """The controls of a constant weight, in function space."""
    clean, observed = targets(plan.data)
    steps = min(plan.num_steps, CONTROL_STEPS)
    short = plan._replace(num_steps=steps)
    found = []
    for name, alpha in control_schedules(steps).items():
        initial = clean if name == RIGHT else start.initial
        history = _function_space(short, start, alpha, initial)
        found.append(judge(start, name, history, alpha, clean, observed))
    return tuple(found)


def targets(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Clean and observed targets in float64, (n, 1) each."""
    return np.asarray(data.clean, np.float64), np.asarray(data.observed, np.float64)


def log_spaced(num_steps: int, per_decade: int = 40) -> list[int]:
    """Steps spaced by a constant factor, from 1 to ``num_steps``."""
    count = int(per_decade * np.log10(max(num_steps, 10))) + 1
    return sorted({int(s) for s in np.geomspace(1, max(num_steps, 1), count).round()})


def dense(num_steps: int) -> list[int]:
    """Every step up to EVERY_STEP, then every tenth: wrong labels between records go unseen."""
    every = range(1, min(num_steps, EVERY_STEP) + 1)
    return sorted({*every, *range(EVERY_STEP, num_steps + 1, 10), num_steps})


def _methods(plan: Plan) -> dict[str, tuple[Any, Any]]:
    methods = {
        GRADIENT_DESCENT: (1.0, plan.label_fn),
        SELF_DISTILLATION: (plan.alpha, plan.label_fn),
    }
    if plan.controls:
        methods[IDENTITY] = (plan.alpha, distillation.identity)
    return methods


def _kernel(weights: Any, inputs: Any) -> np.ndarray:
    with double_precision():
        return np.asarray(
            two_layer_ntk(np.asarray(weights, np.float64), np.asarray(inputs, np.float64))
        )


def _function_space(plan: Plan, start: Start, alpha: Any, initial: np.ndarray) -> History:
    """Recorded at every step with its outputs, so that all constant weights are one program."""
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
            record_outputs=True,
        )


def _limit_deviation(plan: Plan, start: Start, constant: History) -> float:
    """Deviation of a constant-alpha run from y + (1 - (1 - eta lambda)^s) alpha noise, per root-n.

    Its limit is y + alpha (observed - clean). A run of finitely many steps has not arrived in the
    slowest directions, so each direction is compared with where it should be by then.
    """
    clean, observed = targets(plan.data)
    decay = (1.0 - start.learning_rate * start.eigenvalues[:, None]) ** plan.num_steps
    noise = start.eigenvectors.T @ (LIMIT_ALPHA * (observed - clean))
    expected = clean + start.eigenvectors @ ((1.0 - decay) * noise)
    off = np.linalg.norm(np.asarray(constant.outputs)[-1] - expected)
    return float(off / np.sqrt(len(clean)))
