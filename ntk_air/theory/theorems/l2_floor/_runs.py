"""The runs behind `check_l2_floor`: gradient descent in closed form, and self-distillation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from .... import datasets, distillation
from ...._numerics import double_precision
from ...model._clusters import ClusterGeometry, measure_clusters
from ...model._two_layer import two_layer_init, two_layer_ntk
from ...reporting._records import record
from ..self_distillation._law import filter_floor, outputs_by_law, recursion_residual, settled_step
from ..self_distillation._runs import targets, weights_of_steps

CHECKED_STEPS = 500
"""Steps of self-distillation that are held against the algorithm one by one."""

OSCILLATING_STEPS = 1000
"""Steps among which the best is looked for where filters oscillate: it comes early."""


class FloorSettings(NamedTuple):
    """What every seed and radius share."""

    num_points: int
    num_clusters: int
    dimension: int
    noise_rate: float
    width: int
    num_steps: int
    alpha: Any
    label_fn: Any
    step_size: float = 1.0
    momentum: float = 0.0


@record
class FloorRun(NamedTuple):
    """One seed and radius: gradient descent at its best step and in the limit, and distillation.

    ``least`` is what no filter between 0 and 1 gets below, ``largest`` the largest filter value of
    gradient descent over all steps and directions. Of the distillation, ``residual`` is the largest
    deviation of a step from the algorithm's, ``settled`` the step s_0 from which h(f_s) = y,
    ``end`` and ``end_margin`` what the convergence theorem predicts from there.
    """

    seed: int
    asked: float
    geometry: ClusterGeometry
    spread: float
    decay: float
    floor: float
    floor_step: float
    floor_margin: float
    converged: float
    resolved: bool
    distilled: float
    distilled_margin: float
    least: float
    largest: float
    residual: float
    settled: int | None
    last_alpha: float
    end: float
    end_margin: float


def draw_data(settings: FloorSettings, seed: int, radius: float) -> Any:
    """The clusterable dataset of one seed and radius."""
    return datasets.clusterable(
        num_points=settings.num_points,
        num_clusters=settings.num_clusters,
        dimension=settings.dimension,
        radius=radius,
        noise_rate=settings.noise_rate,
        seed=seed,
    )


def run_seed(settings: FloorSettings, seed: int, radius: float) -> FloorRun:
    """Draws data and network of one seed and radius and runs both methods in function space."""
    data = draw_data(settings, seed, radius)
    geometry = measure_clusters(data)
    clean, observed = targets(data)
    clusters = np.asarray(data.clusters)
    shares = [np.mean((observed != clean)[clusters == c]) for c in np.unique(clusters)]
    with double_precision():
        weights = two_layer_init(jax.random.key(seed), settings.width, settings.dimension)
        kernel = np.asarray(two_layer_ntk(weights, np.asarray(data.inputs, np.float64)))
        values, vectors = np.linalg.eigh(kernel)
        history = distillation.kernel_self_distill(
            kernel,
            observed,
            learning_rate=1.0 / values[-1],
            num_steps=settings.num_steps,
            alpha=settings.alpha,
            label_fn=settings.label_fn,
            clean=clean,
            record_outputs=True,
        )
        # Of the schedule asked for: what broken training says of itself excuses nothing.
        alpha = weights_of_steps(settings.alpha, settings.num_steps, history)
        outputs = np.asarray(history.outputs)
        checked = slice(CHECKED_STEPS + 1)
        residual = recursion_residual(
            kernel, 1.0 / values[-1], outputs[checked], alpha[checked], settings.label_fn, observed
        )
    first = settled_step(history)
    end = None
    if first is not None:
        end = outputs_by_law(
            values / values[-1], vectors, outputs[first], alpha[first:-1], clean, observed
        )
    # Without a radius the directions within clusters have eigenvalue 0 up to round-off.
    resolved = values > len(values) * np.finfo(np.float64).eps * values[-1]
    rates = np.where(resolved, values / values[-1], 0.0)
    best = _best_step(rates, vectors, clean[:, 0], observed[:, 0], settings)
    coefficients, wanted = vectors.T @ observed[:, 0], vectors.T @ clean[:, 0]
    least = filter_floor(coefficients, wanted, np.zeros(len(rates)), 1.0) / np.sqrt(len(clean))
    limit = vectors @ (resolved * (vectors.T @ observed[:, 0]))
    return FloorRun(
        seed=seed,
        asked=radius,
        geometry=geometry,
        spread=float(np.ptp(shares)),
        decay=float((1 - np.sort(rates)[-settings.num_clusters]) ** settings.num_steps),
        floor=best.distance,
        floor_step=best.step,
        floor_margin=best.margin,
        converged=float(np.linalg.norm(limit - clean[:, 0]) / np.sqrt(len(clean))),
        resolved=bool(resolved.all()),
        distilled=float(history.l2_to_clean[-1]),
        distilled_margin=float(history.margin[-1]),
        least=float(least),
        largest=best.largest,
        residual=residual,
        settled=first,
        last_alpha=float(alpha[-1]),
        end=np.inf if end is None else float(np.linalg.norm(end - clean) / np.sqrt(len(clean))),
        end_margin=-np.inf if end is None else float(np.min(clean * end)),
    )


class _BestStep(NamedTuple):
    step: float
    distance: float
    margin: float
    largest: float


def _best_step(
    rates: np.ndarray,
    vectors: np.ndarray,
    clean: np.ndarray,
    observed: np.ndarray,
    settings: FloorSettings,
) -> _BestStep:
    """Step nearest to the clean labels over a log grid, with its distance and margin.

    Args:
        rates: (n,) eigenvalues over the largest.
        vectors: (n, n), eigenvectors as columns.
        clean: (n,).
        observed: (n,).
        settings: of which step size and momentum are read.
    """
    if settings.step_size <= 1 and settings.momentum == 0:
        steps = np.geomspace(1, 1e9, 2000)
        with np.errstate(divide="ignore"):
            fitted = -np.expm1(steps[:, None] * np.log1p(-settings.step_size * rates))
    else:  # a filter that oscillates is known at whole steps only
        steps = np.arange(1, OSCILLATING_STEPS + 1)
        fitted = _oscillating(settings.step_size * rates, settings.momentum)
    coefficients, wanted = vectors.T @ observed, vectors.T @ clean
    distances = np.linalg.norm(fitted * coefficients - wanted, axis=1) / np.sqrt(len(clean))
    best = int(distances.argmin())
    outputs = vectors @ (fitted[best] * coefficients)
    return _BestStep(
        step=float(steps[best]),
        distance=float(distances[best]),
        margin=float(np.min(clean * outputs)),
        largest=float(fitted.max()),
    )


def _oscillating(rates: np.ndarray, momentum: float) -> np.ndarray:
    """Filter values of heavy ball after each step (steps, n), by its recursion."""
    left = before = np.ones_like(rates)
    fitted = []
    for _ in range(OSCILLATING_STEPS):
        left, before = (1 + momentum - rates) * left - momentum * before, left
        fitted.append(1 - left)
    return np.stack(fitted)
