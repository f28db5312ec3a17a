"""Test points that are training points too, or nearly."""

from __future__ import annotations

import warnings

import jax.numpy as jnp
import numpy as np

from .._checks import check_in_range
from .._results import result
from .._typing import Array, Float, Int
from ._dataset import Dataset

_BLOCK = 1024
_MOST_PAIRS = 20_000**2


@result
class Duplicates:
    """Test points that equal a training point, or nearly, each with the nearest one.

    Attributes:
        test: (k,) int32 positions of the test points, ascending.
        train: (k,) int32 positions of a training point that is nearest to each.
        distance: (k,) float32 relative distance of the two, see `find_duplicates`.
        exact: (k,) bool, whether the two are equal in every number.
        same_label: (k,) bool, whether the two have one label.
    """

    test: Int[Array, " k"]
    train: Int[Array, " k"]
    distance: Float[Array, " k"]
    exact: Array
    same_label: Array


def find_duplicates(dataset: Dataset, *, distance: float = 0.05) -> Duplicates:
    """Finds test points that are in the training set too, so that a network may know them by heart.

    Two points are near if |a - b| <= distance * sqrt(|a| |b|), of standardised inputs; for points
    of one length, 0.05 is a cosine of 0.9988. Images that were compressed again are as near as
    that; of few columns, so may points be that are no copies.

    Args:
        dataset: of any kind; tokens are compared as they are.
        distance: relative distance up to which points are near; 0 finds equal points only.

    Returns:
        The pairs, one for each test point that has any.

    Raises:
        ValueError: if ``distance`` is not in [0, 1], or all training inputs are equal.

    Warns:
        UserWarning: beyond 4e8 pairs of points, of which only equal ones are looked for.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.random.default_rng(0).normal(size=(6, 20))
        >>> data = na.datasets.from_arrays(x, [0, 1] * 3, x[[4, 1]] * 1.001, [0, 0], name="mine")
        >>> found = na.datasets.find_duplicates(data)
        >>> found.train.tolist(), found.exact.tolist(), found.same_label.tolist()
        ([4, 1], [False, False], [True, False])
    """
    check_in_range("distance", distance, 0.0, 1.0)
    train, test = _rows(dataset.train_inputs), _rows(dataset.test_inputs)
    nearest, found = _equal(train, test)
    if distance > 0 and dataset.kind != "tokens" and len(test):
        if len(train) * len(test) > _MOST_PAIRS:
            warnings.warn(
                f"{len(train)} x {len(test)} pairs of points are too many to compare: only equal "
                "ones are looked for; take fewer points for near ones.",
                stacklevel=2,
            )
        else:
            scaled = dataset.standardized()
            a, b = _rows(scaled.train_inputs), _rows(scaled.test_inputs)
            missing = np.flatnonzero(found > 0)
            nearest[missing], found[missing] = _near(a, b[missing])
    chosen = np.flatnonzero(found <= distance)
    labels = np.asarray(dataset.train_labels)[nearest[chosen]]
    return Duplicates(
        test=jnp.asarray(chosen, jnp.int32),
        train=jnp.asarray(nearest[chosen], jnp.int32),
        distance=jnp.asarray(found[chosen], jnp.float32),
        exact=jnp.asarray((train[nearest[chosen]] == test[chosen]).all(axis=1)),
        same_label=jnp.asarray(labels == np.asarray(dataset.test_labels)[chosen]),
    )


def _rows(inputs: Array) -> np.ndarray:
    array = np.asarray(inputs)
    # -0.0 and 0.0 are one number and two patterns of bits.
    return np.ascontiguousarray(array.reshape(len(array), int(np.prod(array.shape[1:])))) + 0


def _equal(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each test row the first training row that equals it at distance 0, else 0 at infinity."""
    place = {row.tobytes(): i for i, row in reversed(list(enumerate(train)))}
    first = [place.get(row.tobytes(), -1) for row in test]
    nearest = np.array(first, np.int64)
    return np.maximum(nearest, 0), np.where(nearest >= 0, 0.0, np.inf)


def _near(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each test row the training row at the least relative distance, and that distance."""
    nearest, least = np.zeros(len(test), np.int64), np.full(len(test), np.inf)
    norms = np.linalg.norm(train, axis=1)
    for start in range(0, len(test), _BLOCK):
        part = test[start : start + _BLOCK]
        own = np.linalg.norm(part, axis=1)
        best = np.full(len(part), np.inf, np.float32)
        for first in range(0, len(train), _BLOCK):
            rows = train[first : first + _BLOCK]
            size = norms[first : first + _BLOCK] * own[:, None]
            squares = norms[first : first + _BLOCK] ** 2 + own[:, None] ** 2 - 2 * (part @ rows.T)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(size > 0, squares / size, np.inf)
            closest = ratio.argmin(axis=1)
            value = ratio[np.arange(len(part)), closest]
            better = value < best
            best = np.where(better, value, best)
            nearest[start : start + len(part)][better] = closest[better] + first
    # Again without the difference of large numbers.
    pairs = train[nearest].astype(np.float64), test.astype(np.float64)
    size = np.sqrt(np.linalg.norm(pairs[0], axis=1) * np.linalg.norm(pairs[1], axis=1))
    gap = np.linalg.norm(pairs[0] - pairs[1], axis=1)
    least = np.where(size > 0, gap / np.where(size > 0, size, 1.0), np.where(gap > 0, np.inf, 0.0))
    return nearest, least
