"""The training runs and test points behind `check_margin_generalization`."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ... import distillation
from ..model._clusters import measure_clusters
from ..model._sphere import at_distance, within
from ..model._two_layer import two_layer_apply, two_layer_init, two_layer_ntk
from ..reporting._records import record
from .self_distillation._runs import log_spaced, targets

EARLY, LATE, DISTILLED = "early stopping", "gradient descent, last step", "self-distillation"


@record
class Outcome(NamedTuple):
    """One seed and method: margins, certificate and test errors by distance from the centres.

    ``target_margin`` is the least clean margin of what self-distillation was trained towards, over
    points and records of the last half of the steps, ``reachable`` the clean margin at which the
    network linearised at initialisation, trained on these targets from half way on, would end;
    both NaN for the other methods.
    """

    seed: int
    method: str
    step: int
    margin: float
    target_margin: float
    reachable: float
    lipschitz: float
    local_slope: float
    certified: float
    probes: int
    probes_wrong: int
    in_clusters: float
    test_margin: float
    errors: np.ndarray
    margins: np.ndarray


def run_seed(
    data: Any,
    distances: tuple[float, ...],
    width: int,
    num_steps: int,
    method: tuple[Any, Any],
    num_test: int,
    seed: int,
) -> list[Outcome]:
    """Early stopping, gradient descent to the last step, and self-distillation, of one seed."""
    clean, observed = targets(data)
    inputs = jnp.asarray(data.inputs, jnp.result_type(float))
    weights = two_layer_init(jax.random.key(seed), width, inputs.shape[1])
    values, vectors = np.linalg.eigh(np.asarray(two_layer_ntk(weights, inputs), np.float64))
    rate = 1.0 / float(values[-1])

    def train(steps: int, alpha: Any, label_fn: Any) -> Any:
        return distillation.self_distill(
            two_layer_apply,
            weights,
            inputs,
            observed,
            optimizer=rate,
            num_steps=steps,
            alpha=alpha,
            label_fn=label_fn,
            clean=clean,
            record_every=_records(num_steps) if steps == num_steps else max(steps, 1),
            record_outputs=steps == num_steps,
        )

    plain = train(num_steps, 1.0, method[1])
    best = int(plain.history.step[int(np.argmin(np.asarray(plain.history.l2_to_clean)))])
    stopped = plain if best == num_steps else train(best, 1.0, method[1])
    distilled = train(num_steps, *method)
    sets = _test_sets(data, distances, num_test, seed)
    decay = np.clip(1 - rate * values, 0, 1), vectors
    toward = _target_margins(distilled.history, clean, observed, method[1], decay)
    unknown = (np.nan, np.nan)
    return [
        _outcome(name, trained.params, data, sets, seed, step, margins)
        for name, trained, step, margins in (
            (EARLY, stopped, best, unknown), (LATE, plain, num_steps, unknown),
            (DISTILLED, distilled, num_steps, toward),
        )
    ]  # fmt: skip


def _records(num_steps: int) -> list[int]:
    """Steps spaced by a constant factor, and twenty of the last half."""
    late = np.linspace(num_steps / 2, num_steps, 20).round()
    return sorted({*log_spaced(num_steps), *(int(s) for s in late if s >= 1)})


def _target_margins(
    history: Any,
    clean: np.ndarray,
    observed: np.ndarray,
    label_fn: Any,
    decay: tuple[np.ndarray, np.ndarray],
) -> tuple[float, float]:
    """Least clean margin of the targets of the last half, and the one that its steps reach.

    ``decay`` are the factors 1 - eta lambda of a step and the kernel's eigenvectors.
    """
    steps, alpha = np.asarray(history.step), np.asarray(history.alpha, np.float64)
    outputs = np.asarray(history.outputs, np.float64)
    late = np.flatnonzero(steps >= steps[-1] / 2)
    targets_ = [
        alpha[i] * observed + (1 - alpha[i]) * np.asarray(label_fn(outputs[i])) for i in late
    ]
    factors, vectors = decay
    left = factors[:, None] ** (steps[-1] - steps[late[0]])
    end = targets_[-1] + vectors @ (left * (vectors.T @ (outputs[late[0]] - targets_[-1])))
    return min(float(np.min(clean * t)) for t in targets_), float(np.min(clean * end))


def _test_sets(
    data: Any, distances: tuple[float, ...], num_test: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Points and labels, first inside the clusters, then at each distance from their centres."""
    rng = np.random.default_rng([seed, *b"margin_generalization"])
    centers = np.asarray(data.centers, np.float64)
    own = rng.integers(0, len(centers), num_test)
    first = [np.flatnonzero(np.asarray(data.clusters) == k)[0] for k in range(len(centers))]
    labels = np.asarray(data.clean, np.float64)[first, 0][own]
    radius = measure_clusters(data).radius
    inside = within(centers[own], radius, rng)
    away = [at_distance(centers[own], np.full(num_test, d), rng) for d in distances]
    return [(points, labels) for points in (inside, *away)]


def _outcome(
    method: str,
    weights: Any,
    data: Any,
    sets: list[tuple[np.ndarray, np.ndarray]],
    seed: int,
    step: int,
    margins_ahead: tuple[float, float],
) -> Outcome:
    clean = np.asarray(data.clean, np.float64)[:, 0]
    inputs = np.asarray(data.inputs, np.float64)

    def outputs(points: np.ndarray) -> np.ndarray:
        return np.asarray(two_layer_apply(weights, jnp.asarray(points, weights.dtype)))[:, 0]

    margins = clean * outputs(inputs)
    lipschitz = float(np.linalg.norm(np.asarray(weights, np.float64), 2))
    positive = margins > 0
    rng = np.random.default_rng([seed, *b"certificate"])
    reached = 0.999 * margins[positive] / lipschitz
    probes = at_distance(inputs[positive], np.minimum(reached, 2.0), rng)
    certified_margins = clean[positive] * outputs(probes)
    signed = [labels * outputs(points) for points, labels in sets]
    return Outcome(
        seed=seed,
        method=method,
        step=step,
        margin=float(margins.min()),
        target_margin=margins_ahead[0],
        reachable=margins_ahead[1],
        lipschitz=lipschitz,
        local_slope=_slope(weights, inputs),
        certified=float(margins.min() / lipschitz),
        probes=int(positive.sum()),
        probes_wrong=int(np.sum(certified_margins <= 0)),
        in_clusters=float(np.mean(signed[0] <= 0)),
        test_margin=float(signed[0].min()),
        errors=np.array([np.mean(s <= 0) for s in signed[1:]]),
        margins=np.array([np.median(s) for s in signed[1:]]),
    )


def _slope(weights: Any, inputs: np.ndarray) -> float:
    """Largest |grad_x f| at the training points: what the Lipschitz bound overestimates."""

    def one(x: jax.Array) -> jax.Array:
        return two_layer_apply(weights, x[None])[0, 0]

    slopes = jax.vmap(jax.grad(one))(jnp.asarray(inputs, weights.dtype))
    return float(jnp.linalg.norm(slopes, axis=1).max())
