"""What the data model of the theorems asks of a clusterable dataset, as measured on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._results import result, static
from ..reporting._report import Check
from ._points import checked


@result
class ClusterGeometry:
    """Numbers of the (epsilon_0, delta) clusterable, rho-corrupted model (arXiv:1903.11680).

    Attributes:
        num_clusters: K, how many clusters hold points.
        radius: epsilon_0, the largest distance of a point to the centre of its cluster.
        separation: the smallest distance between centres of different classes; infinite with one.
        noise_rate: fraction of wrong labels, over all points.
        worst_noise_rate: the largest fraction of wrong labels within a cluster.
        label_gap: delta, the smallest distance between labels of two classes; infinite with one.
        label_error: ||observed - clean||_2 / sqrt(n): 2 sqrt(rho) for labels +-1.
        average_error: ||cluster average of observed - clean||_2 / sqrt(n): 2 rho for labels +-1
            with equally many wrong ones in each cluster. Monotone gradient descent (learning rate
            x lambda_1 <= 1, no momentum), however stopped, does not get below it where clusters are
            points (epsilon_0 = 0); momentum and larger steps do.
        average_margin: smallest clean label x cluster average: 1 - 2 rho for labels +-1.
        max_input_norm: the largest input norm; the model asks for 1.
    """

    num_clusters: int = static()
    radius: float
    separation: float
    noise_rate: float
    worst_noise_rate: float
    label_gap: float
    label_error: float
    average_error: float
    average_margin: float
    max_input_norm: float


def measure_clusters(data: Any) -> ClusterGeometry:
    """Measures a clusterable dataset.

    Args:
        data: has inputs (n, d), clean and observed (n, 1), clusters (n,), centers (K, d); for
            example an `ntk_air.datasets.ClusterableDataset`.

    Raises:
        ValueError: if the shapes do not fit, an array holds what is no finite number, a cluster has
            no centre or holds several clean labels.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.clusterable(
        ...     num_points=20, num_clusters=4, dimension=8, radius=0.1, noise_rate=0.25)
        >>> geometry = na.theory.measure_clusters(data)
        >>> geometry.num_clusters, geometry.radius <= 0.1, round(geometry.noise_rate, 4)
        (4, True, 0.2)
    """
    inputs, clean, observed, clusters, centers = checked(data)
    used = np.unique(clusters)
    labels = np.stack([clean[clusters == c][0, 0] for c in used])
    if any(np.ptp(clean[clusters == c]) > 1e-6 for c in used):
        raise ValueError("a cluster holds several clean labels; split it into one per label.")
    wrong = np.abs(observed - clean)[:, 0] > 1e-6
    apart = np.linalg.norm(centers[used][:, None] - centers[used][None], axis=-1)
    gaps = np.abs(labels[:, None] - labels[None])
    other = gaps > 1e-6
    average = np.empty_like(clean)
    for cluster in used:
        average[clusters == cluster] = observed[clusters == cluster].mean()
    return ClusterGeometry(
        num_clusters=len(used),
        radius=float(np.linalg.norm(inputs - centers[clusters], axis=1).max()),
        separation=float(apart[other].min(initial=np.inf)),
        noise_rate=float(wrong.mean()),
        worst_noise_rate=float(max(wrong[clusters == c].mean() for c in used)),
        label_gap=float(gaps[other].min(initial=np.inf)),
        label_error=float(np.sqrt(np.mean((observed - clean) ** 2))),
        average_error=float(np.sqrt(np.mean((average - clean) ** 2))),
        average_margin=float(np.min(clean * average)),
        max_input_norm=float(np.linalg.norm(inputs, axis=1).max()),
    )


def cluster_checks(geometry: ClusterGeometry, max_noise_rate: float) -> tuple[Check, ...]:
    """The assumptions that every theorem makes on the data, with its bound on the noise rate."""
    worst = geometry.worst_noise_rate
    return (
        Check(
            "some labels are wrong, few enough",
            f"0 < rho < {max_noise_rate:g} in every cluster",
            required=max_noise_rate,
            measured=worst,
            holds=0 < worst < max_noise_rate,
        ),
        Check(
            "classes are separated",
            "centres of different classes are more than 2 epsilon_0 apart",
            required=2 * geometry.radius,
            measured=geometry.separation,
            holds=2 * geometry.radius < geometry.separation < np.inf,
        ),
    )
