"""Assumptions on network and cluster kernel that several theorems share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..model._activations import Activation
from ..model._cluster_kernel import cluster_kernel
from ..model._clusters import ClusterGeometry, measure_clusters
from ..model._points import Points
from ..model._two_layer_training import jacobian_gram
from ..reporting._records import record
from ..reporting._report import Check


@record
class ClusterSpectrum(NamedTuple):
    """Geometry of the data with lambda(C), ||C||, and their finite-width counterpart per seed.

    ``at_init`` (S,) is the least eigenvalue of the network's own kernel of the centres, ``matrix``
    (K, K) is Sigma(C).
    """

    geometry: ClusterGeometry
    least: float
    norm: float
    at_init: np.ndarray
    matrix: np.ndarray

    @property
    def weakest(self) -> float:
        """Least eigenvalue of the centres' kernel over the initialisations."""
        return float(self.at_init.min())


@record
class JacobianSplit(NamedTuple):
    """The Jacobian J at one initialisation beside J_C, that at every point's centre.

    ``values`` are the singular values of J (n,), descending, ``vectors`` (n, n) its left singular
    vectors as columns; ``center_value`` is the K-th singular value of J_C, whose rank is at most K;
    ``difference`` is ||J - J_C||_2.
    """

    values: np.ndarray
    vectors: np.ndarray
    center_value: float
    difference: float


def measure_spectrum(points: Points, weights: np.ndarray, phi: Activation) -> ClusterSpectrum:
    """Cluster kernel at infinite width and at each of the weights (S, k, d)."""
    centers = points.centers
    at_init = [np.linalg.eigvalsh(jacobian_gram(w, centers, centers, phi))[0] for w in weights]
    kernel = cluster_kernel(centers, phi)
    return ClusterSpectrum(
        geometry=measure_clusters(points),
        least=kernel.least_eigenvalue,
        norm=float(np.linalg.norm(centers, 2)),
        at_init=np.asarray(at_init),
        matrix=np.asarray(kernel.matrix),
    )


def split_jacobian(points: Points, weights: np.ndarray, phi: Activation) -> JacobianSplit:
    """Decomposes the Jacobian of one network, weights (k, d), in float64."""
    own = points.centers[points.clusters]
    gram = jacobian_gram(weights, points.inputs, points.inputs, phi)
    mixed = jacobian_gram(weights, points.inputs, own, phi)
    center = jacobian_gram(weights, own, own, phi)
    values, vectors = np.linalg.eigh(gram)
    difference = np.linalg.eigvalsh(gram - mixed - mixed.T + center)[-1]
    return JacobianSplit(
        values=np.sqrt(np.maximum(values[::-1], 0.0)),
        vectors=vectors[:, ::-1],
        center_value=float(np.sqrt(max(np.linalg.eigvalsh(center)[-len(points.centers)], 0.0))),
        difference=float(np.sqrt(max(difference, 0.0))),
    )


def spectrum_checks(spectrum: ClusterSpectrum) -> tuple[Check, ...]:
    """lambda(C) > 0, and a width at which the network's own kernel of the centres is near it."""
    # Below K eps ||C||^2 an eigenvalue of a float64 matrix is round-off.
    resolved = spectrum.geometry.num_clusters * np.finfo(np.float64).eps * spectrum.norm**2
    return (
        Check.above(
            "positive cluster kernel",
            "lambda(C) > 0, above the round-off K eps |C|^2",
            required=float(resolved),
            measured=spectrum.least,
        ),
        Check.at_least(
            "wide enough at initialisation",
            "least eigenvalue of the network's kernel of the centres >= lambda(C) / 2",
            required=spectrum.least / 2,
            measured=spectrum.weakest,
        ),
    )


def cluster_data_checks(geometries: Sequence[ClusterGeometry]) -> tuple[Check, Check, Check]:
    """Few wrong labels, unit norm and classes apart, each of the data that are worst for it."""
    return (
        few_wrong_check(max(geometries, key=lambda g: g.worst_noise_rate)),
        unit_norm_check(max(geometries, key=lambda g: g.max_input_norm)),
        apart_check(min(geometries, key=lambda g: g.separation - 2 * g.radius)),
    )


def small_clusters_check(ratios: Sequence[float], what: str) -> Check:
    """The assumption on |J - J_C|_2 / sigma_K(J_C): the radius is small beside the centres."""
    ratio = worst(ratios)
    return Check(
        "small clusters",
        f"0 < |J - J_C|_2 <= sigma_K(J_C) / 4{what}",
        required=0.25,
        measured=ratio,
        holds=0 < ratio <= 0.25,
    )


def few_wrong_check(geometry: ClusterGeometry) -> Check:
    """The assumption on the noise rate of early stopping and of overfitting: rho <= delta / 8."""
    limit = geometry.label_gap / 8
    return Check(
        "some labels are wrong, few enough",
        "0 < rho <= delta / 8 in every cluster",
        required=limit,
        measured=geometry.worst_noise_rate,
        # 1e-9 allows for delta / 8 = 0.25 and a rate of 0.25 in float32 labels.
        holds=0 < geometry.worst_noise_rate <= limit + 1e-9,
    )


def unit_norm_check(geometry: ClusterGeometry) -> Check:
    """The assumption that inputs have unit norm."""
    return Check.at_most(
        "unit norm",
        "max |x| <= 1 up to float32 rounding",
        required=1.0,
        measured=geometry.max_input_norm,
        slack=1e-06,
    )


def apart_check(geometry: ClusterGeometry) -> Check:
    """The assumption that clusters of different classes do not overlap."""
    from ..model._clusters import cluster_checks

    return cluster_checks(geometry, 0.5)[1]


def worst(values: Any) -> float:
    """The largest value, as a float; NaN if one is."""
    return float(np.max(np.asarray(values, np.float64)))
