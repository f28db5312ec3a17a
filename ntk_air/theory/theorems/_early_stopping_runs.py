"""The training runs behind `check_early_stopping`: all the data, a sweep over n, a sweep over K."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..model._activations import Activation
from ..model._points import Points
from ..model._two_layer_training import descend, jacobian_gram, off_the_algorithm
from ..reporting._records import record
from ._network_checks import ClusterSpectrum, measure_spectrum

MAX_STEPS = 20_000
"""A cluster kernel so near to singular that T exceeds this is out of the theorem's reach."""


@record
class StoppingCase(NamedTuple):
    """One dataset, trained from S initialisations to its stopping step.

    Of shape (S,): ``wrong`` points whose rounded output is not the clean label, ``distance`` of
    the weights from initialisation, ``bound`` on it, ``leak``, the largest fraction fitted of any
    direction beyond the first K, ``pull`` the norm over clusters of the mean initial residual,
    ``of_points`` the distance of an infinitely wide network whose clusters are points, ``linear``
    that of this network linearised at initialisation, ``residual`` how far the first steps are from
    the algorithm's, relative to how far they move.
    """

    points: Points
    spectrum: ClusterSpectrum
    learning_rate: float
    num_steps: int
    wrong: np.ndarray
    distance: np.ndarray
    bound: np.ndarray
    leak: np.ndarray
    pull: np.ndarray
    of_points: np.ndarray
    linear: np.ndarray
    residual: np.ndarray

    @property
    def num_clusters(self) -> int:
        """K."""
        return len(self.points.centers)


def run_groups(
    groups: Sequence[Points], weights: np.ndarray, phi: Activation, time_factor: float
) -> list[StoppingCase]:
    """Trains on each dataset from weights (S, k, d), all for the longest of their steps T."""
    spectra = [measure_spectrum(points, weights, phi) for points in groups]
    plans = [_plan(p, s, phi, time_factor) for p, s in zip(groups, spectra, strict=True)]
    num_steps = max(steps for _, steps in plans)
    return [
        _run(points, spectrum, rate, num_steps, weights, phi)
        for points, spectrum, (rate, _) in zip(groups, spectra, plans, strict=True)
    ]


def needed_width(case: StoppingCase, phi: Activation) -> float:
    """Width at which the centres' Jacobian moves by half its least singular value on the way."""
    moved = phi.max_curvature * case.spectrum.norm * case.distance.max()
    return (
        float((2 * moved) ** 2 / (case.spectrum.least / 2)) if case.spectrum.least > 0 else np.inf
    )


def _plan(
    points: Points, spectrum: ClusterSpectrum, phi: Activation, time_factor: float
) -> tuple[float, int]:
    slope = phi.max_slope if np.isfinite(phi.max_slope) else 1.0
    rate = float(1.0 / (slope**2 * spectrum.norm**2 * points.sizes.max()))
    # Without wrong labels the theorem names no step; one in n is the least it could be about.
    rho = max(spectrum.geometry.worst_noise_rate, 1.0 / len(points.inputs))
    per_step = rate * points.sizes.min() * spectrum.least
    if per_step <= 0:
        return rate, MAX_STEPS
    return rate, int(np.clip(np.ceil(time_factor * np.log(1.0 / rho) / per_step), 1, MAX_STEPS))


def _run(
    points: Points,
    spectrum: ClusterSpectrum,
    rate: float,
    num_steps: int,
    weights: np.ndarray,
    phi: Activation,
) -> StoppingCase:
    count, observed = len(weights), points.observed[:, 0]
    trained = descend(
        jnp.asarray(weights, jnp.float32),
        jnp.asarray(np.broadcast_to(points.inputs, (count, *points.inputs.shape)), jnp.float32),
        jnp.asarray(np.broadcast_to(observed, (count, len(observed))), jnp.float32),
        jnp.full(count, rate, jnp.float32),
        num_steps=num_steps,
        phi=phi,
    )
    first, last = (np.asarray(trained.outputs[:, i], np.float64) for i in (0, -1))
    residual = first - observed
    systems = [np.linalg.eigh(jacobian_gram(w, points.inputs, points.inputs, phi)) for w in weights]
    beyond = np.asarray([_beyond(values, len(points.centers)) for values, _ in systems])
    # The mean of each cluster, (S, K).
    means = np.stack([np.bincount(points.clusters, weights=r) for r in residual]) / points.sizes
    ratio = points.sizes.max() / points.sizes.min()
    inside = np.sqrt(2 * len(points.centers) * ratio / max(spectrum.least, 1e-300))
    outside = rate * num_steps * beyond * np.linalg.norm(residual, axis=1)
    return StoppingCase(
        points=points,
        spectrum=spectrum,
        learning_rate=rate,
        num_steps=num_steps,
        wrong=np.asarray([_wrong(row, points) for row in last]),
        distance=np.asarray(trained.distance[:, -1], np.float64),
        bound=2 * (inside * np.abs(residual).max(axis=1) + outside),
        leak=rate * num_steps * beyond**2,
        pull=np.linalg.norm(means, axis=1),
        of_points=_of_points(points, spectrum, means, rate, num_steps),
        linear=np.asarray(
            [_travelled(*s, r, rate, num_steps) for s, r in zip(systems, residual, strict=True)]
        ),
        residual=np.asarray(
            [
                off_the_algorithm(w, points.inputs, observed, rate, phi, *run)
                for w, *run in zip(weights, trained.outputs, trained.distance, strict=True)
            ]
        ),
    )


def _beyond(values: np.ndarray, clusters: int) -> float:
    """The (K+1)-th singular value of the Jacobian; zero where there are K points."""
    return float(np.sqrt(max(values[-clusters - 1], 0.0))) if len(values) > clusters else 0.0


def _travelled(
    values: np.ndarray, vectors: np.ndarray, residual: np.ndarray, rate: float, steps: int
) -> float:
    """|W_T - W_0| of the network linearised at initialisation, from its kernel's eigensystem."""
    values = np.maximum(values, 0.0)
    fitted = 1 - np.clip(1 - rate * values, -1, 1) ** steps
    shares = fitted * np.divide(1, np.sqrt(values), out=np.zeros_like(values), where=values > 0)
    return float(np.linalg.norm(vectors.T @ residual * shares))


def _of_points(
    points: Points, spectrum: ClusterSpectrum, means: np.ndarray, rate: float, steps: int
) -> np.ndarray:
    """Distance (S,) at infinite width of clusters that are points, from mean residuals (S, K).

    sqrt(sum_k (1 - (1 - eta mu_k)^T)^2 a_k^2 / mu_k) over the eigensystem of D^(1/2) Sigma(C)
    D^(1/2), D the cluster sizes and a = U^T D^(1/2) r. Nothing of the network is in it but f_0.
    """
    roots = np.sqrt(points.sizes)
    system = np.linalg.eigh(roots[:, None] * spectrum.matrix * roots)
    return np.asarray([_travelled(*system, mean * roots, rate, steps) for mean in means])


def _wrong(outputs: np.ndarray, points: Points) -> int:
    """How many outputs are nearest to another label than the clean one, or not finite."""
    levels = np.unique(points.clean)
    nearest = levels[np.abs(outputs[:, None] - levels).argmin(axis=1)]
    return int(np.sum((np.abs(nearest - points.clean[:, 0]) > 1e-6) | ~np.isfinite(outputs)))
