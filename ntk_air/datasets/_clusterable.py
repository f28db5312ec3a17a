"""Clusterable, corrupted data: the model under which the theorems are stated."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from .._checks import check_bool, check_in_range, check_size
from .._results import result, static
from .._typing import Array, Float, Int
from ._draw import generator

_RESTARTS, _TRIES = 50, 200
# Rounding a unit vector to float32 moves it by at most 6e-8, both ends of a distance by 1.2e-7.
_ROUNDING = 2.5e-7


@result
class ClusterableDataset:
    """(radius, separation) clusterable, noise_rate-corrupted data.

    Attributes:
        inputs: (n, d) float32 points of unit norm.
        clean: (n, 1) float32 scalar labels in [-1, 1], the label of the point's cluster.
        observed: (n, 1) float32 labels, some of them flipped.
        flipped: (n,) bool, where ``observed`` differs from ``clean``.
        clusters: (n,) int32, the cluster of each point.
        centers: (K, d) float32 cluster centres of unit norm.
        center_labels: (K,) float32 label of each cluster.
        clean_labels: (n,) int32 classes of ``clean``, in 0..num_classes - 1.
        observed_labels: (n,) int32 classes of ``observed``.
        radius: bound on the distance of a point to its centre (epsilon_0).
        separation: distance of neighbouring class labels (delta), 2 / (num_classes - 1).
        noise_rate: fraction of wrong labels asked for (rho).
        num_classes: number of classes.
    """

    inputs: Float[Array, "n d"]
    clean: Float[Array, "n 1"]
    observed: Float[Array, "n 1"]
    flipped: Array
    clusters: Int[Array, " n"]
    centers: Float[Array, "K d"]
    center_labels: Float[Array, " K"]
    clean_labels: Int[Array, " n"]
    observed_labels: Int[Array, " n"]
    radius: float = static()
    separation: float = static()
    noise_rate: float = static()
    num_classes: int = static()

    @property
    def retention(self) -> float:
        """The factor kappa of E[observed | clean] = kappa clean, 1 - rho C / (C - 1).

        A flipped label is uniform over the other classes, whose labels sum to minus the clean one.
        """
        return 1.0 - self.noise_rate * self.num_classes / (self.num_classes - 1)


def clusterable(
    *,
    num_points: int,
    num_clusters: int,
    dimension: int,
    radius: float,
    num_classes: int = 2,
    noise_rate: float = 0.0,
    exact_rate: bool = True,
    size_ratio: float = 1.0,
    separated: bool = True,
    seed: int = 0,
) -> ClusterableDataset:
    """Draws data from the clusterable model of Li, Soltanolkotabi, Oymak (arXiv:1903.11680).

    Centres are uniform on the unit sphere, redrawn until centres of different classes are more
    than two radii apart. Points lie on the sphere within ``radius`` of their centre, uniform in
    the cap's tangent plane: in high dimension most are close to the bound. Clusters are of equal
    size up to one unless ``size_ratio`` says otherwise, classes go to clusters in turn, and the
    classes' labels are equally spaced in [-1, 1].

    Args:
        num_points: number of points n.
        num_clusters: number of clusters K, at most n.
        dimension: input dimension d, at least 2.
        radius: bound on the Euclidean distance of a point to its centre, in [0, 1).
        num_classes: number of classes, from 2 to K.
        noise_rate: fraction of labels moved to a uniformly drawn other class, in [0, 1). Rates that
            outvote the true class, or break a theorem's assumption, are allowed: reports measure
            them.
        exact_rate: flip exactly round(noise_rate x size) labels in each cluster, halves rounded
            up; otherwise each label independently with that probability.
        size_ratio: size of the last cluster over that of the first, up to rounding, at least 1;
            sizes grow by a constant factor in between.
        separated: whether centres of different classes keep more than two radii apart. False draws
            them freely: classes may overlap, and a theorem's assumption fails.
        seed: of all random draws, from 0 up.

    Returns:
        The dataset, in shuffled order.

    Raises:
        ValueError: for values out of range, more clusters than points or more classes than
            clusters, or a radius at which no such centres were found.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.clusterable(
        ...     num_points=20, num_clusters=4, dimension=8, radius=0.1, noise_rate=0.25)
        >>> data.inputs.shape, int(data.flipped.sum())
        ((20, 8), 4)
    """
    check_size("num_points", num_points, 1)
    check_size("num_clusters", num_clusters, 2, num_points, "a cluster needs a point")
    check_size("num_classes", num_classes, 2, num_clusters, "a class needs a cluster")
    check_size("dimension", dimension, 2)
    check_in_range("radius", radius, 0.0, 1.0, high_open=True)
    check_in_range("noise_rate", noise_rate, 0.0, 1.0, high_open=True)
    check_in_range("size_ratio", size_ratio, 1.0, high_open=True)
    exact_rate = check_bool("exact_rate", exact_rate)
    # Centres at distance -1 or more are all of them.
    apart = 2 * radius if check_bool("separated", separated) else -1.0
    center_classes = np.arange(num_clusters) % num_classes
    centers = _draw_centers(
        center_classes, dimension, apart, generator(seed, "clusterable.centers")
    )
    rng = generator(seed, "clusterable.points")
    clusters = rng.permutation(_assign(num_points, num_clusters, size_ratio))
    inputs = _draw_points(centers[clusters], radius, rng)
    clean = center_classes[clusters]
    noise = generator(seed, "clusterable.noise")
    flipped = _draw_flips(clusters, noise_rate, exact_rate, noise)
    shift = noise.integers(1, num_classes, num_points)
    observed = np.where(flipped, (clean + shift) % num_classes, clean)
    values = np.linspace(-1.0, 1.0, num_classes, dtype=np.float32)
    return ClusterableDataset(
        inputs=jnp.asarray(inputs),
        clean=jnp.asarray(values[clean][:, None]),
        observed=jnp.asarray(values[observed][:, None]),
        flipped=jnp.asarray(flipped),
        clusters=jnp.asarray(clusters, jnp.int32),
        centers=jnp.asarray(centers),
        center_labels=jnp.asarray(values[center_classes]),
        clean_labels=jnp.asarray(clean, jnp.int32),
        observed_labels=jnp.asarray(observed, jnp.int32),
        radius=float(radius),
        separation=2.0 / (num_classes - 1),
        noise_rate=float(noise_rate),
        num_classes=int(num_classes),
    )


def _draw_centers(
    classes: np.ndarray, dimension: int, apart: float, rng: np.random.Generator
) -> np.ndarray:
    """(K, d) float32; each is redrawn until ``apart`` from those of other classes before it."""
    for _ in range(_RESTARTS):
        centers = np.empty((len(classes), dimension), np.float32)
        for k in range(len(classes)):
            tries = _unit(rng.standard_normal((_TRIES, dimension))).astype(np.float32)
            others = centers[:k][classes[:k] != classes[k]].astype(np.float64)
            far = np.ones(_TRIES, bool)
            if len(others):
                gaps = np.linalg.norm(tries[:, None, :] - others[None], axis=2)
                far = gaps.min(axis=1) > apart
            if not far.any():
                break
            centers[k] = tries[np.argmax(far)]
        else:
            return centers
    raise ValueError(
        f"found no {len(classes)} centres in {dimension} dimensions with different classes more "
        f"than 2 x radius = {apart:g} apart; lower radius or num_clusters, raise dimension, or let "
        "classes overlap with separated=False."
    )


def _assign(num_points: int, num_clusters: int, size_ratio: float) -> np.ndarray:
    """(n,) the cluster of each point: one each, the rest in proportion to the wanted sizes."""
    if size_ratio == 1.0:
        return np.arange(num_points) % num_clusters
    wanted = np.geomspace(1.0, size_ratio, num_clusters)
    wanted *= num_points / wanted.sum()
    sizes = np.maximum(np.floor(wanted).astype(int), 1)
    while sizes.sum() != num_points:
        if sizes.sum() < num_points:
            sizes[np.argmax(wanted - sizes)] += 1
        else:
            sizes[np.argmax(np.where(sizes > 1, sizes - wanted, -np.inf))] -= 1
    return np.repeat(np.arange(num_clusters), sizes)


def _draw_points(centers: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray:
    """(n, d) float32 points of unit norm, each within ``radius`` of its row of ``centers``."""
    limit = radius - _ROUNDING
    if limit <= 0:
        return centers.copy()
    n, d = centers.shape
    c = _unit(centers.astype(np.float64))
    raw = rng.standard_normal((n, d))
    tangent = _unit(raw - np.sum(raw * c, axis=1, keepdims=True) * c)
    distance = limit * rng.random((n, 1)) ** (1 / (d - 1))
    # Along a great circle the chord of length r subtends the angle 2 arcsin(r / 2).
    angle = 2 * np.arcsin(distance / 2)
    return (np.cos(angle) * c + np.sin(angle) * tangent).astype(np.float32)


def _draw_flips(
    clusters: np.ndarray, rate: float, exact: bool, rng: np.random.Generator
) -> np.ndarray:
    if not exact:
        return rng.random(len(clusters)) < rate
    flipped = np.zeros(len(clusters), bool)
    for k in range(clusters.max() + 1):
        members = np.flatnonzero(clusters == k)
        # The small number undoes the rounding of products such as 0.29 * 50 = 14.499999999999998.
        count = int(np.floor(rate * len(members) + 0.5 + 1e-9))
        flipped[rng.permutation(members)[:count]] = True
    return flipped


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
