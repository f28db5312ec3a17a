"""Symmetric noise: a wrong label is uniform over classes."""

from __future__ import annotations

import numpy as np

from .._checks import check_in_range, check_labels, check_size
from .._typing import ArrayLike
from ._labels import NoisyLabels, generator, make


def symmetric(
    labels: ArrayLike,
    rate: float,
    *,
    num_classes: int,
    seed: int,
    include_true_class: bool = False,
) -> NoisyLabels:
    """Replaces each label, with probability ``rate``, by a uniformly drawn class.

    Args:
        labels: clean integer labels (n,).
        rate: probability of a replacement, in [0, 1).
        num_classes: number of classes C, at least 2.
        seed: of the draw, from 0 up.
        include_true_class: False draws from the other C - 1 classes, as Co-teaching
            (arXiv:1804.06872) does, and ``rate`` is the probability of an error. True draws from
            all C, as ELR (arXiv:2007.00151), self-adaptive training (arXiv:2002.10319) and
            DivideMix (arXiv:2002.07394) do, and the probability of an error is rate (C - 1) / C.

    Returns:
        The observed labels.

    Raises:
        ValueError: for labels or a rate out of range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> noisy = na.noise.symmetric(np.zeros(10, int), 0.2, num_classes=10, seed=0)
        >>> round(noisy.true_rate, 6), round(noisy.retention, 6)
        (0.2, 0.777778)
    """
    num_classes = check_size("num_classes", num_classes, 2)
    clean = check_labels("labels", labels, num_classes)
    check_in_range("rate", rate, 0.0, 1.0, high_open=True)
    rng = generator(seed, "symmetric")
    replaced = rng.random(len(clean)) < rate
    # A shift by 1..C-1 reaches every other class once; a shift of 0 keeps the true one.
    shift = rng.integers(0 if include_true_class else 1, num_classes, len(clean))
    observed = np.where(replaced, (clean + shift) % num_classes, clean)
    error = rate * (num_classes - 1) / num_classes if include_true_class else rate
    transition = np.full((num_classes, num_classes), error / (num_classes - 1))
    np.fill_diagonal(transition, 1.0 - error)
    return make(clean, observed, transition, rate, "uniform" if include_true_class else "symmetric")
