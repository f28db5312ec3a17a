"""Class-conditional noise: the wrong label depends on the clean class only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .._checks import (
    check_finite,
    check_in_range,
    check_labels,
    check_size,
    check_square,
    real_array,
)
from .._numerics import eps_of
from .._typing import ArrayLike
from ._labels import NoisyLabels, draw, generator, make

# truck -> automobile, bird -> airplane, cat <-> dog, deer -> horse (Patrini et al.,
# arXiv:1609.03683).
CIFAR10_MAPPING = {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}


def from_transition(labels: ArrayLike, transition: ArrayLike, *, seed: int) -> NoisyLabels:
    """Draws each observed label from the row of its clean class.

    Args:
        labels: clean integer labels (n,).
        transition: (C, C); row c holds the probabilities of the observed classes given clean
            class c and sums to 1.
        seed: of the draw, from 0 up.

    Returns:
        The observed labels; ``rate`` is the expected error rate at these labels.

    Raises:
        ValueError: for labels out of range, or rows that are no probabilities.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> swap = np.array([[0.0, 1.0], [1.0, 0.0]])
        >>> na.noise.from_transition(np.array([0, 0, 1]), swap, seed=0).labels.tolist()
        [1, 1, 0]
    """
    matrix = _check_transition(transition)
    clean = check_labels("labels", labels, len(matrix))
    return _draw_from(clean, matrix, None, "transition", seed)


def asymmetric(
    labels: ArrayLike,
    rate: float,
    *,
    num_classes: int = 10,
    seed: int,
    mapping: Mapping[int, int] | Sequence[int] | None = None,
) -> NoisyLabels:
    """Flips classes, with probability ``rate``, to the one they are easily taken for.

    Args:
        labels: clean integer labels (n,).
        rate: probability of a flip in the classes that ``mapping`` moves, in [0, 1). With the
            default mapping these are half of CIFAR-10: rate 0.4 makes 20 % of labels wrong.
        num_classes: number of classes C.
        seed: of the draw, from 0 up.
        mapping: clean class to wrong class, a dict or one entry per class; classes left out, or
            mapped to themselves, keep their labels. By default CIFAR-10's of Patrini et al.
            (arXiv:1609.03683): truck to automobile, bird to airplane, cat to dog, dog to cat,
            deer to horse.

    Returns:
        The observed labels.

    Raises:
        ValueError: for labels, a rate or a mapping out of range, or no mapping where num_classes
            is not 10.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> noisy = na.noise.asymmetric(np.arange(3), 0.999, num_classes=3, seed=0, mapping={0: 2})
        >>> print(noisy.labels, noisy.transition[0].round(3))
        [2 1 2] [0.001     0.        0.9990001]
    """
    num_classes = check_size("num_classes", num_classes, 2)
    if mapping is None and num_classes != 10:
        raise ValueError(
            f"num_classes is {num_classes} and the default mapping is CIFAR-10's; pass mapping, "
            "for example {0: 1}, or use pair_flip."
        )
    pairs = CIFAR10_MAPPING if mapping is None else _pairs(mapping, num_classes)
    clean = check_labels("labels", labels, num_classes)
    return _draw_from(clean, _flip_matrix(pairs, rate, num_classes), rate, "asymmetric", seed)


def pair_flip(labels: ArrayLike, rate: float, *, num_classes: int, seed: int) -> NoisyLabels:
    """Moves each label, with probability ``rate``, to the next class (the last to the first).

    The pair flipping of Co-teaching (arXiv:1804.06872).

    Args:
        labels: clean integer labels (n,).
        rate: probability of a flip, in [0, 1).
        num_classes: number of classes C, at least 2.
        seed: of the draw, from 0 up.

    Returns:
        The observed labels.

    Raises:
        ValueError: for labels or a rate out of range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> noisy = na.noise.pair_flip(np.arange(3), 0.4, num_classes=3, seed=0)
        >>> print(noisy.transition)
        [[0.6 0.4 0. ]
         [0.  0.6 0.4]
         [0.4 0.  0.6]]
    """
    num_classes = check_size("num_classes", num_classes, 2)
    pairs = {c: (c + 1) % num_classes for c in range(num_classes)}
    clean = check_labels("labels", labels, num_classes)
    return _draw_from(clean, _flip_matrix(pairs, rate, num_classes), rate, "pair_flip", seed)


def _draw_from(
    clean: np.ndarray, matrix: np.ndarray, rate: float | None, model: str, seed: int
) -> NoisyLabels:
    observed = draw(matrix[clean], generator(seed, model))
    if rate is None:
        rate = float(np.mean(1.0 - np.diag(matrix)[clean])) if len(clean) else 0.0
    return make(clean, observed, matrix, rate, model)


def _flip_matrix(pairs: Mapping[int, int], rate: float, num_classes: int) -> np.ndarray:
    check_in_range("rate", rate, 0.0, 1.0, high_open=True)
    matrix = np.eye(num_classes)
    for clean, wrong in pairs.items():
        if clean != wrong:
            matrix[clean, clean], matrix[clean, wrong] = 1.0 - rate, rate
    return matrix


def _pairs(mapping: Mapping[int, int] | Sequence[int], num_classes: int) -> dict[int, int]:
    if not isinstance(mapping, Mapping):
        if len(mapping) != num_classes:
            raise ValueError(
                f"mapping has {len(mapping)} entries, expected one per class ({num_classes}), or a "
                "dict of those that move."
            )
        mapping = dict(enumerate(mapping))
    last = num_classes - 1
    return {
        check_size("a class in mapping", k, 0, last): check_size("a class in mapping", v, 0, last)
        for k, v in mapping.items()
    }


def _check_transition(transition: ArrayLike) -> np.ndarray:
    check_square("transition", transition)
    given = real_array("transition", transition)
    matrix = given.astype(np.float64)
    check_size("the number of classes in transition", len(matrix), 2)
    check_finite("transition", matrix)
    sums = matrix.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    # Entries of half precision do not add up to one any better than they are rounded.
    if matrix.min() < 0 or abs(sums[worst] - 1) > max(1e-5, eps_of(given.dtype)):
        raise ValueError(
            f"transition has least entry {matrix.min():g} and row {worst} sums to "
            f"{sums[worst]:g}; expected rows of probabilities that sum to 1 (clean class by row)."
        )
    return matrix / sums[:, None]
