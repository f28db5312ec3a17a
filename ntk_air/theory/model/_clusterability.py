"""How far any dataset is from the clusterable model of the theorems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._checks import (
    check_finite,
    check_labels,
    check_same_length,
    check_same_shape,
    check_seed,
    check_size,
)
from ..._results import result, static
from ..._typing import Array, ArrayLike, Float, Int
from ._cluster_kernel import cluster_kernel

_MAX_PER_CLASS = 64
_LEAST_POINTS = 5
_STARTS: Any = 3


@result
class Clusterability:
    """The (epsilon_0, delta) clusterable, rho-corrupted model of arXiv:1903.11680, as measured.

    Attributes:
        centers: (K, d) cluster centres of unit norm.
        center_classes: (K,) class of each cluster.
        clusters: (n,) cluster of each point, one of its own class.
        num_clusters: K.
        num_classes: classes that hold points.
        radius: epsilon_0, the largest distance of a point to its centre.
        median_radius: the median distance.
        separation: the smallest distance of two centres of different classes; infinite with one.
        label_gap: delta, for labels equally spaced in [-1, 1]; infinite with one class.
        noise_rate: rho, the largest fraction of wrong observed labels in a cluster.
        least_eigenvalue: lambda(C) of the cluster NTK.
        norm: ||C||, the largest singular value of the centres.
        c_low, c_up: smallest and largest cluster size, times K / n.
        misplaced: fraction of points whose nearest centre is of another class.
    """

    centers: Float[Array, "K d"]
    center_classes: Int[Array, " K"]
    clusters: Int[Array, " n"]
    num_clusters: int = static()
    num_classes: int = static()
    radius: float = static()
    median_radius: float = static()
    separation: float = static()
    label_gap: float = static()
    noise_rate: float = static()
    least_eigenvalue: float = static()
    norm: float = static()
    c_low: float = static()
    c_up: float = static()
    misplaced: float = static()

    @property
    def clusterable(self) -> bool:
        """Whether centres of different classes are more than 2 epsilon_0 apart, none alike."""
        return 2 * self.radius < self.separation and self.least_eigenvalue > 0

    @property
    def few_enough_wrong(self) -> bool:
        """Whether rho <= delta / 8, which early stopping needs."""
        return self.noise_rate <= self.label_gap / 8


def measure_clusterability(
    inputs: Float[ArrayLike, "n ..."],
    labels: Int[ArrayLike, " n"],
    *,
    observed: Int[ArrayLike, " n"] | None = None,
    num_clusters: int | None = None,
    activation: str | Callable[[Any], Any] = "softplus",
    seed: int = 0,
) -> Clusterability:
    """Finds clusters within each class by k-means and measures what the theorems ask of them.

    Args:
        inputs: points, flattened to (n, d) and scaled to unit norm.
        labels: clean classes.
        observed: classes with noise; None takes them to be the clean ones.
        num_clusters: K, shared out over the classes in proportion to their size, at least one
            each. None tries 1, 2, 4, ... clusters per class, up to 64 and to 5 points per cluster,
            and takes the first at which the data is clusterable, else the one with the largest
            separation / (2 epsilon_0).
        activation: of the cluster NTK.
        seed: of k-means, which starts three times.

    Raises:
        ValueError: on shapes that do not match, inputs that are no finite numbers or zero, more
            clusters than points of a class, or fewer clusters than classes.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> inputs = np.array([[1.0, 0.0], [0.99, 0.1], [0.0, 1.0], [0.1, 0.99]])
        >>> found = na.theory.measure_clusterability(inputs, [0, 0, 1, 1], num_clusters=2)
        >>> found.num_clusters, found.num_classes, round(float(found.label_gap), 4)
        (2, 2, 2.0)
    """
    check_finite("inputs", inputs)
    clean = check_labels("labels", labels)
    noisy = clean if observed is None else check_labels("observed", observed)
    check_same_shape("observed", noisy, "labels", clean)
    check_same_length("inputs", inputs, "labels", clean)
    if not len(clean):
        raise ValueError("labels holds no points, expected at least one.")
    check_seed("seed", seed)
    points = np.asarray(inputs, np.float64).reshape(len(clean), -1)
    largest = np.abs(points).max(axis=1, initial=0.0, keepdims=True)
    if not largest.all():
        raise ValueError(
            f"inputs hold {int(np.sum(largest == 0))} zero vector(s), expected points that can be "
            "scaled to unit norm; drop them."
        )
    # Squares of very large and very small numbers leave the range of float64.
    points = points / largest
    points = points / np.linalg.norm(points, axis=1, keepdims=True)
    _, clean_index = np.unique(clean, return_inverse=True)
    sizes = np.bincount(clean_index)
    wrong = noisy != clean
    if num_clusters is not None:
        check_size("num_clusters", num_clusters, len(sizes), len(points), "one per class to n")
        return _measure(points, clean, wrong, _shares(sizes, num_clusters), activation, seed)
    best: Clusterability | None = None
    count = 1
    while best is None or (count <= _MAX_PER_CLASS and sizes.min() >= _LEAST_POINTS * count):
        found = _measure(points, clean, wrong, np.full(len(sizes), count), activation, seed)
        if found.clusterable:
            return found
        if best is None or _ratio(found) > _ratio(best):
            best = found
        count *= 2
    return best


def _ratio(found: Clusterability) -> float:
    return found.separation / (2 * found.radius) if found.radius > 0 else np.inf


def _shares(sizes: np.ndarray, num_clusters: int) -> np.ndarray:
    """Clusters of each class: one, and the rest to the class with most points per cluster."""
    shares = np.ones(len(sizes), int)
    for _ in range(num_clusters - len(sizes)):
        shares[np.argmax(sizes / shares)] += 1
    return shares


def _measure(
    points: np.ndarray,
    clean: np.ndarray,
    wrong: np.ndarray,
    shares: np.ndarray,
    activation: Any,
    seed: int,
) -> Clusterability:
    centers, classes, clusters = _cluster(points, clean, shares, seed)
    distance = np.linalg.norm(points - centers[clusters], axis=1)
    apart = np.linalg.norm(centers[:, None] - centers[None], axis=-1)
    other = classes[:, None] != classes[None]
    sizes = np.bincount(clusters, minlength=len(centers))
    nearest = classes[np.argmax(points @ centers.T, axis=1)]
    kernel = cluster_kernel(centers, activation)
    return Clusterability(
        centers=jnp.asarray(centers),
        center_classes=jnp.asarray(classes),
        clusters=jnp.asarray(clusters),
        num_clusters=len(centers),
        num_classes=len(shares),
        radius=float(distance.max()),
        median_radius=float(np.median(distance)),
        separation=float(apart[other].min(initial=np.inf)),
        label_gap=2.0 / (len(shares) - 1) if len(shares) > 1 else np.inf,
        noise_rate=float(max(wrong[clusters == k].mean() for k in range(len(centers)))),
        least_eigenvalue=kernel.least_eigenvalue,
        norm=float(np.linalg.norm(centers, 2)),
        c_low=float(sizes.min() * len(centers) / len(points)),
        c_up=float(sizes.max() * len(centers) / len(points)),
        misplaced=float(np.mean(nearest != clean)),
    )


def _cluster(
    points: np.ndarray, clean: np.ndarray, shares: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centres (K, d) on the sphere, their classes (K,), and the cluster of each point (n,)."""
    from sklearn.cluster import KMeans

    centers, classes = [], []
    clusters = np.empty(len(points), np.int32)
    for label, share in zip(np.unique(clean), shares, strict=True):
        members = np.flatnonzero(clean == label)
        if share > len(np.unique(points[members], axis=0)):
            raise ValueError(
                f"class {label} has {len(np.unique(points[members], axis=0))} distinct point(s), "
                f"fewer than its {share} clusters; lower num_clusters."
            )
        found = KMeans(int(share), n_init=_STARTS, random_state=seed).fit(points[members])
        clusters[members] = len(classes) + np.asarray(found.labels_)
        centers.append(found.cluster_centers_)
        classes += [int(label)] * int(share)
    stacked = np.concatenate(centers)
    return stacked / np.linalg.norm(stacked, axis=1, keepdims=True), np.asarray(classes), clusters
