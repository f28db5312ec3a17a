"""The nearest network that fits wrong labels, and what bounds its distance."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..._numerics import double_precision
from ..model._activations import Activation
from ..model._clusters import ClusterGeometry, measure_clusters
from ..model._points import Points
from ..model._two_layer_training import interpolate, jacobian_gram, outputs
from ..reporting._records import record
from ._network_checks import split_jacobian

FITTED = 1e-6
"""Largest |f - observed| of a network that counts as overfitting."""


@record
class DistanceCase(NamedTuple):
    """One network that fits its labels.

    ``linear`` is the distance to the nearest weights at which the network linearised at
    initialisation fits. ``pairs`` is how many pairs of a cluster carry different labels,
    ``informative`` for how many of them the bound on the distance is positive, ``bound`` the
    largest of these bounds.
    """

    sweep: str
    seed: int
    geometry: ClusterGeometry
    error: float
    distance: float
    linear: float
    pairs: int
    informative: int
    bound: float

    @property
    def ratio(self) -> float:
        """Largest bound over the pairs, divided by the distance."""
        return self.bound / self.distance if self.distance > 0 else np.inf


def case(
    sweep: str, points: Points, seed: int, weights: np.ndarray, phi: Activation
) -> DistanceCase:
    """Fits the labels from given weights and measures how far that took the network."""
    targets = points.observed[:, 0]
    fitted = interpolate(weights, points.inputs, targets, phi)
    first, second = _conflicts(points)
    apart = np.linalg.norm(points.inputs[first] - points.inputs[second], axis=1)
    # The labels' gap less what is not fitted is a lower bound on the outputs' own gap.
    gaps = np.abs(targets[first] - targets[second]) - 2 * fitted.error
    with np.errstate(divide="ignore"):  # equal points with different labels cannot be fitted
        bounds = gaps / (phi.max_slope * apart) - np.linalg.norm(weights, 2)
    return DistanceCase(
        sweep=sweep,
        seed=seed,
        geometry=measure_clusters(points),
        error=fitted.error,
        distance=float(np.linalg.norm(fitted.weights - weights)),
        linear=_linear_distance(points.inputs, targets, weights, phi),
        pairs=len(first),
        informative=int(np.sum(bounds > 0)),
        bound=float(bounds.max(initial=-np.inf)),
    )


def _linear_distance(
    inputs: np.ndarray, targets: np.ndarray, weights: np.ndarray, phi: Activation
) -> float:
    """sqrt(r^T K_0^{-1} r), r = target - f_0: the least-norm solution of J dW = r."""
    with double_precision():
        initial = outputs(jnp.asarray(weights), jnp.asarray(inputs), phi)
    residual = targets - np.asarray(initial, np.float64)
    kernel = jacobian_gram(weights, inputs, inputs, phi)
    solution = np.linalg.lstsq(kernel, residual, rcond=None)[0]
    return float(np.sqrt(max(residual @ solution, 0.0)))


def spread(points: Points, weights: np.ndarray, phi: Activation) -> float:
    """||J - J_C||_2 / sigma_K(J_C) at initialisation."""
    split = split_jacobian(points, weights, phi)
    return split.difference / split.center_value


def _conflicts(points: Points) -> tuple[np.ndarray, np.ndarray]:
    """Indices of all pairs of points of one cluster whose observed labels differ."""
    together = points.clusters[:, None] == points.clusters
    differ = np.abs(points.observed - points.observed[:, 0]) > 1e-6
    first, second = np.nonzero(np.triu(together & differ))
    return first, second
