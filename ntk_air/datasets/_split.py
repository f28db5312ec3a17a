"""Which points of one set become test points."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from .._checks import check_in_range, is_number
from ._draw import generator


def check_fraction(name: str, value: Any) -> float:
    """A fraction of the points as a float; ValueError unless it lies between 0 and 1."""
    if isinstance(value, str) or not is_number(value):
        raise ValueError(f"{name} is {value!r}, expected a fraction such as 0.2.")
    check_in_range(name, value, 0.0, 1.0, low_open=True, high_open=True)
    return float(value)


def split_rows(
    num_rows: int,
    fraction: float,
    *,
    labels: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Which rows are test points: drawn within each class, and groups whole.

    Args:
        num_rows: n.
        fraction: of test points, one at least; each class gives its share up to one point, and
            keeps one at least.
        labels: (n,) classes; None draws from all rows alike.
        groups: (n,) what must not be cut apart; the fraction of rows is then met as well as whole
            groups allow, over all and within the classes.
        seed: of the draw.

    Returns:
        (n,) bool, True for test points.

    Raises:
        ValueError: if no point would be left in one of the sets.

    Warns:
        UserWarning: of classes that have no test point, since they have one row only.
    """
    classes = np.zeros(num_rows, np.int64) if labels is None else labels
    rng = generator(seed, "datasets.split")
    chosen = np.zeros(num_rows, bool)
    if groups is None:
        for number, count in zip(*_counts(classes, fraction, rng), strict=True):
            chosen[rng.permutation(np.flatnonzero(classes == number))[:count]] = True
    else:
        chosen = _whole_groups(classes, groups, fraction, rng)
    if not chosen.any() or chosen.all():
        units = "groups" if groups is not None else "rows"
        raise ValueError(
            f"a fraction of {fraction:g} of {num_rows} rows leaves no point in one of the sets; "
            f"choose another fraction, or bring more {units}."
        )
    if labels is not None:
        lonely = [int(c) for c in np.unique(labels) if (labels == c).sum() == 1]
        if lonely and groups is None:
            warnings.warn(
                f"{len(lonely)} class(es) have one row only, which is a training point, so that no "
                f"test point is of class {', '.join(map(str, lonely[:5]))}.",
                stacklevel=3,
            )
    return chosen


def _counts(
    classes: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The classes, and how many test points each gives: by largest remainders, one is kept."""
    numbers, sizes = np.unique(classes, return_counts=True)
    shares = np.minimum(fraction * sizes, sizes - 1)
    counts = np.floor(shares).astype(np.int64)
    left = max(1, round(float(fraction * len(classes)))) - counts.sum()
    order = rng.permutation(len(numbers))
    order = order[np.argsort(-(shares - counts)[order], kind="stable")]
    order = [i for i in order if counts[i] < sizes[i] - 1]
    counts[order[: max(left, 0)]] += 1
    return numbers, counts


def _whole_groups(
    classes: np.ndarray, groups: np.ndarray, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Groups in random order, each to the set that it brings nearer to its share of each class."""
    _, group = np.unique(groups, return_inverse=True)
    _, label = np.unique(classes, return_inverse=True)
    counts = np.zeros((group.max() + 1, label.max() + 1))
    np.add.at(counts, (group, label), 1)
    wanted = fraction * counts.sum(axis=0)
    taken = np.zeros_like(wanted)
    is_test = np.zeros(len(counts), bool)
    # Large groups first, while others are left that make up for them.
    order = rng.permutation(len(counts))
    for number in order[np.argsort(-counts[order].sum(axis=1), kind="stable")]:
        after = taken + counts[number]
        scale = np.maximum(wanted, 1e-12)
        if (((after - wanted) / scale) ** 2).sum() < (((taken - wanted) / scale) ** 2).sum():
            taken, is_test[number] = after, True
    return is_test[group]
