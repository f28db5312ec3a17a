"""The runs behind `check_l2_floor`: gradient descent in closed form, and self-distillation."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from .. import datasets, distillation
from .._numerics import double_precision
from ._clusters import ClusterGeometry, measure_clusters
from ._self_distillation_runs import targets
from ._two_layer import two_layer_init, two_layer_ntk


class Settings(NamedTuple):
    """What every seed and radius share."""

    num_points: int
    num_clusters: int
    dimension: int
    noise_rate: float
    width: int
    num_steps: int
    alpha: Any
    label_fn: Any


class Run(NamedTuple):
    """One seed and radius: gradient descent at its best step and in the limit, and distillation."""

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


def run_seed(settings: Settings, seed: int, radius: float) -> Run:
    """Draws data and network of one seed and radius and runs both methods in function space."""
    data = datasets.clusterable(
        num_points=settings.num_points,
        num_clusters=settings.num_clusters,
        dimension=settings.dimension,
        radius=radius,
        noise_rate=settings.noise_rate,
        seed=seed,
    )
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
            record_every=settings.num_steps,
        )
    # Without a radius the directions within clusters have eigenvalue 0 up to round-off.
    resolved = values > len(values) * np.finfo(np.float64).eps * values[-1]
    rates = np.where(resolved, values / values[-1], 0.0)
    step, floor, margin = _best_step(rates, vectors, clean[:, 0], observed[:, 0])
    limit = vectors @ (resolved * (vectors.T @ observed[:, 0]))
    return Run(
        seed=seed,
        asked=radius,
        geometry=geometry,
        spread=float(np.ptp(shares)),
        decay=float((1 - np.sort(rates)[-settings.num_clusters]) ** settings.num_steps),
        floor=floor,
        floor_step=step,
        floor_margin=margin,
        converged=float(np.linalg.norm(limit - clean[:, 0]) / np.sqrt(len(clean))),
        resolved=bool(resolved.all()),
        distilled=float(history.l2_to_clean[-1]),
        distilled_margin=float(history.margin[-1]),
    )


def _best_step(
    rates: np.ndarray, vectors: np.ndarray, clean: np.ndarray, observed: np.ndarray
) -> tuple[float, float, float]:
    """Step nearest to the clean labels over a log grid; its distance and margin."""
    steps = np.geomspace(1, 1e9, 2000)
    with np.errstate(divide="ignore"):
        fitted = -np.expm1(steps[:, None] * np.log1p(-rates))
    coefficients, wanted = vectors.T @ observed, vectors.T @ clean
    distances = np.linalg.norm(fitted * coefficients - wanted, axis=1) / np.sqrt(len(clean))
    best = int(distances.argmin())
    outputs = vectors @ (fitted[best] * coefficients)
    return float(steps[best]), float(distances[best]), float(np.min(clean * outputs))
