"""Clusterable data moved along the quantities of the theorems: radius, n, K and noise rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..._checks import (
    check_finite,
    check_in_range,
    check_labels,
    check_ndim,
    check_same_length,
    check_same_shape,
    check_size,
)
from ..reporting._records import record


@record
class Points(NamedTuple):
    """What the theorems read of a clusterable dataset, in float64.

    inputs (n, d), clean and observed (n, 1), clusters (n,) in 0..K-1, centers (K, d).
    """

    inputs: np.ndarray
    clean: np.ndarray
    observed: np.ndarray
    clusters: np.ndarray
    centers: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Points of each cluster, (K,)."""
        return np.bincount(self.clusters, minlength=len(self.centers))

    @property
    def labels(self) -> np.ndarray:
        """Clean label of each cluster, (K,)."""
        first = [np.flatnonzero(self.clusters == k)[0] for k in range(len(self.centers))]
        return self.clean[first, 0]


def checked(data: Any) -> Points:
    """The five arrays of a dataset as they are, in float64.

    Raises:
        ValueError: if the shapes do not fit, an array holds what is no finite number, or a cluster
            has no centre.
    """
    for name in ("inputs", "clean", "observed", "centers"):
        check_ndim(name, getattr(data, name), 2, "(K, d)" if name == "centers" else "(n, d)")
        check_finite(name, getattr(data, name))
    inputs, clean, observed, centers = (
        np.asarray(v, np.float64) for v in (data.inputs, data.clean, data.observed, data.centers)
    )
    if not len(inputs):
        raise ValueError(f"inputs has shape {inputs.shape}, expected at least one point.")
    if clean.shape[1] != 1:
        raise ValueError(f"clean has shape {clean.shape}, expected (n, 1): one label per point.")
    if inputs.shape[1] != centers.shape[1]:
        raise ValueError(
            f"inputs has shape {inputs.shape} and centers {centers.shape}, expected one dimension."
        )
    check_same_length("inputs", inputs, "clean", clean)
    check_same_shape("observed", observed, "clean", clean)
    clusters = check_labels("clusters", data.clusters, len(centers))
    check_same_length("clusters", clusters, "inputs", inputs)
    return Points(inputs, clean, observed, clusters, centers)


def as_points(data: Any) -> Points:
    """Takes the five arrays from a dataset and drops clusters without points."""
    inputs, clean, observed, clusters, centers = checked(data)
    used, clusters = np.unique(clusters, return_inverse=True)
    return Points(inputs, clean, observed, clusters, centers[used])


def contract(points: Points, factor: float) -> Points:
    """Moves every point towards its centre, along the sphere it lies on; factor 1 changes nothing.

    Distances to the centre become ``factor`` times as large, up to O(epsilon_0^2).
    """
    check_in_range("factor", factor, 0.0, 1.0, low_open=True)
    own = points.centers[points.clusters]
    moved = own + factor * (points.inputs - own)
    norms = np.linalg.norm(points.inputs, axis=1) / np.linalg.norm(moved, axis=1)
    return points._replace(inputs=moved * norms[:, None])


def thin(points: Points, fraction: float, seed: int) -> Points:
    """Keeps a fraction of each cluster's right and of its wrong labels, at least one point each."""
    check_in_range("fraction", fraction, 0.0, 1.0, low_open=True)
    rng = np.random.default_rng(seed)
    wrong = np.abs(points.observed - points.clean)[:, 0] > 1e-6
    kept = []
    for cluster in range(len(points.centers)):
        for side in (wrong, ~wrong):
            members = np.flatnonzero(side & (points.clusters == cluster))
            count = max(round(fraction * len(members)), min(1, len(members)))
            kept.append(rng.permutation(members)[:count])
    return _take(points, np.sort(np.concatenate(kept)))


def cluster_groups(points: Points, count: int) -> list[Points]:
    """Divides the clusters into groups of ``count``, each with the classes in turn.

    Clusters that do not fill a group are left out.
    """
    check_size("count", count, 1, len(points.centers), "the data has no more clusters")
    labels = points.labels
    turn = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = labels == label
        turn[members] = np.arange(members.sum())
    order = np.lexsort((labels, turn))
    return [
        _keep(points, np.sort(order[start : start + count]))
        for start in range(0, len(order) - count + 1, count)
    ]


def corrupt(points: Points, rate: float, seed: int | Sequence[int]) -> Points:
    """Moves round(rate x size) labels of each cluster to other classes' labels, drawn uniformly.

    Halves are rounded up. The labels wrong at a low rate are wrong at a higher one too.
    """
    check_in_range("rate", rate, 0.0, 1.0)
    rng = np.random.default_rng(seed)
    levels = np.unique(points.clean)
    order = rng.permutation(len(points.clean))
    other = rng.integers(1, max(len(levels), 2), len(points.clean))
    observed = points.clean.copy()
    for cluster, size in enumerate(points.sizes):
        moved = order[points.clusters[order] == cluster][: int(rate * size + 0.5 + 1e-9)]
        own = np.searchsorted(levels, points.clean[moved, 0])
        observed[moved, 0] = levels[(own + other[moved]) % len(levels)]
    return points._replace(observed=observed)


def _keep(points: Points, clusters: np.ndarray) -> Points:
    kept = _take(points, np.flatnonzero(np.isin(points.clusters, clusters)))
    return kept._replace(
        clusters=np.searchsorted(clusters, kept.clusters), centers=points.centers[clusters]
    )


def _take(points: Points, rows: np.ndarray) -> Points:
    return points._replace(
        inputs=points.inputs[rows],
        clean=points.clean[rows],
        observed=points.observed[rows],
        clusters=points.clusters[rows],
    )
