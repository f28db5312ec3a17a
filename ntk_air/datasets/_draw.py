"""Which rows of a source are taken: classes, class-balanced draws, order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .._checks import check_size


def generator(seed: int, stream: str) -> np.random.Generator:
    """Random numbers for one purpose.

    The name keeps purposes apart: the order of the training set and the label noise, both at
    seed 0, must not come from the same bits.
    """
    return np.random.default_rng([check_size("seed", seed, 0), *stream.encode()])


def choose_classes(
    classes: Sequence[str | int] | None, class_names: tuple[str, ...], name: str
) -> np.ndarray:
    """Class numbers of names or numbers, in the order given; all of them for None."""
    if classes is None:
        return np.arange(len(class_names))
    if isinstance(classes, str | int):
        raise ValueError(f"classes is {classes!r}, expected a sequence such as (0, 1).")
    chosen = [_class_number(c, class_names, name) for c in classes]
    if len(chosen) < 2 or len(set(chosen)) != len(chosen):
        raise ValueError(f"classes is {tuple(classes)}, expected at least two different classes.")
    return np.asarray(chosen)


def _class_number(value: str | int, class_names: tuple[str, ...], name: str) -> int:
    if isinstance(value, str) and value in class_names:
        return class_names.index(value)
    if isinstance(value, int | np.integer) and 0 <= value < len(class_names):
        return int(value)
    shown = ", ".join(class_names[:10]) + (", ..." if len(class_names) > 10 else "")
    raise ValueError(
        f"classes holds {value!r}, expected names of {name} ({shown}) or numbers in "
        f"0..{len(class_names) - 1}."
    )


def draw_rows(
    labels: np.ndarray,
    classes: np.ndarray,
    size: int | None,
    rng: np.random.Generator,
    *,
    size_name: str,
    smallest: int,
) -> np.ndarray:
    """Rows of the chosen classes in random order, balanced over the classes.

    Counts per class differ by at most one, as long as no class runs out; then the others fill up.
    A smaller draw with the same seed is part of a larger one.

    Args:
        labels: (n,) of the whole source.
        classes: class numbers to draw from.
        size: how many rows; None for all of them.
        rng: where the order comes from.
        size_name: what an error calls ``size``.
        smallest: least value of ``size``.

    Returns:
        Rows (size,).
    """
    rows = rng.permutation(np.flatnonzero(np.isin(labels, classes)))
    turns = rng.permutation(len(classes))
    if size is None:
        return rows
    check_size(size_name, size, smallest, len(rows), "there are no more points of these classes")
    # The j-th row of a class has rank j: take all rows of rank 0, then of rank 1, ...
    ranks = np.empty(len(rows), np.int64)
    for turn, number in zip(turns, classes, strict=True):
        mine = np.flatnonzero(labels[rows] == number)
        ranks[mine] = np.arange(len(mine)) * len(classes) + turn
    return rows[np.sort(np.argsort(ranks)[:size])]
