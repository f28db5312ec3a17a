"""Points to choose settings on, apart from the points that results are reported on."""

from __future__ import annotations

import dataclasses

import numpy as np

from .._checks import check_choice, check_size
from ._source import Source, Split

PURPOSES = ("selection", "reporting")
# One row in so many is for selection.
_SHARE = 6


def selection_rows(num_rows: int) -> np.ndarray:
    """Which rows of a training set are kept for choosing settings, about one in six.

    The rule is a hash of the row number alone: it depends on no seed, no size and no label, and
    rows that are added leave the others where they are. `load` with ``purpose=`` applies it; use
    this to cut data that does not come from `load`.

    Args:
        num_rows: rows of the training set, in the order of its files.

    Returns:
        (num_rows,) bool, True for selection.

    Raises:
        ValueError: if ``num_rows`` is no whole number from 0 up.

    Example:
        >>> import ntk_air as na
        >>> [int(row) for row in na.datasets.selection_rows(40).nonzero()[0]]
        [19, 20, 24, 31, 33, 38]
    """
    rows = np.arange(check_size("num_rows", num_rows, 0), dtype=np.uint64)
    return np.asarray(_mixed(rows) % np.uint64(_SHARE) == 0)


def _mixed(words: np.ndarray) -> np.ndarray:
    """Each word's image under splitmix64 (Steele, Lea, Flood 2014), which is what it will stay.

    NumPy's generators may change their streams between versions; the cut must not.
    """
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def cut(
    source: Source, purpose: str | None, *, judged: bool = False
) -> tuple[Source, np.ndarray, np.ndarray]:
    """A source as a purpose sees it.

    Args:
        source: with the sets as its files have them.
        purpose: one of ``PURPOSES``, or None for the sets as they are.
        judged: whether the labels of the training points are what is judged. For selection those
            are then the points kept apart, and the test set is as many of the others.

    Returns:
        The source; the rows of its training points, and of its test points, in the files.
    """
    test_count = 0 if source.test is None else len(source.test.labels)
    everything, test_rows = np.arange(len(source.train.labels)), np.arange(test_count)
    if purpose is None:
        return source, everything, test_rows
    check_choice("purpose", purpose, PURPOSES)
    chosen = selection_rows(len(everything))
    if source.train.groups is not None:  # a group goes where its first row goes
        _, first, number = np.unique(source.train.groups, return_index=True, return_inverse=True)
        chosen = chosen[first[number]]
    train_rows = np.flatnonzero(~chosen)
    train = _part(source.train, train_rows)
    if purpose == "reporting":
        return dataclasses.replace(source, train=train), train_rows, test_rows
    test_rows = np.flatnonzero(chosen)
    if judged:
        # Of rows that files may hold sorted by class.
        train_rows, test_rows = test_rows, train_rows[:: _SHARE - 1]
        train = _part(source.train, train_rows)
    test = _part(source.train, test_rows)
    return dataclasses.replace(source, train=train, test=test), train_rows, test_rows


def _part(split: Split, rows: np.ndarray) -> Split:
    def of(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else np.asarray(values)[rows]

    return Split(
        split.labels[rows],
        lambda chosen: split.read(rows[chosen]),
        {name: np.asarray(values)[rows] for name, values in split.extra_labels.items()},
        of(split.identifiers),
        of(split.groups),
        of(split.targets),
        of(split.rows),
    )
