"""Human label noise: drawn from published frequencies, or the recorded labels themselves."""

from __future__ import annotations

import numpy as np

from .._checks import check_choice, check_labels, check_same_length, check_size
from .._typing import ArrayLike
from ._cifar10n import COUNTS
from ._conditional import from_transition
from ._labels import NoisyLabels, make


def human_cifar10(labels: ArrayLike, which: str = "worst", seed: int = 0) -> NoisyLabels:
    """Draws labels with the class confusions that human annotators made on CIFAR-10.

    Only the published 10 x 10 frequencies are used: unlike the recorded labels (see `recorded`),
    errors are independent of the image given its class.

    Args:
        labels: clean CIFAR-10 labels (n,) in 0..9, in its order of classes.
        which: ``"worst"`` (40.2 % wrong), ``"random1"`` (17.2 %), ``"random2"``, ``"random3"`` or
            ``"aggregate"`` (9.0 %).
        seed: of the draw, from 0 up.

    Returns:
        The observed labels; ``rate`` is the published error rate.

    Raises:
        ValueError: for labels out of range or an unknown ``which``.

    Source:
        CIFAR-10N: Wei et al., ICLR 2022 (arXiv:2110.12088).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> noisy = na.noise.human_cifar10(np.arange(10), "worst", seed=0)
        >>> round(noisy.true_rate, 3), noisy.model
        (0.402, 'human_transition:worst')
    """
    check_choice("which", which, tuple(COUNTS))
    counts = np.asarray(COUNTS[which], np.float64)
    transition = counts / counts.sum(axis=1, keepdims=True)
    drawn = from_transition(labels, transition, seed=seed)
    rate = 1.0 - np.trace(counts) / counts.sum()
    model = f"human_transition:{which}"
    return make(np.asarray(drawn.clean), np.asarray(drawn.labels), transition, rate, model)


def recorded(
    clean: ArrayLike, observed: ArrayLike, num_classes: int, *, model: str = "recorded"
) -> NoisyLabels:
    """Describes observed labels that were recorded, not drawn, such as human ones.

    Args:
        clean: clean integer labels (n,).
        observed: observed integer labels (n,).
        num_classes: number of classes C, at least 2.
        model: what to call their origin.

    Returns:
        The labels, with the transition frequencies and the rate measured on them.

    Raises:
        ValueError: for lengths that differ or labels out of range; points without a recorded
            label (-1) must be left out first.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> noisy = na.noise.recorded(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1]), 2)
        >>> noisy.flipped.tolist(), noisy.transition.tolist()
        ([False, True, False, False], [[0.5, 0.5], [0.0, 1.0]])
    """
    num_classes = check_size("num_classes", num_classes, 2)
    clean = check_labels("clean", clean, num_classes)
    check_same_length("clean", clean, "observed", observed)
    missing = int(np.sum(np.asarray(observed) == -1))
    if missing:
        raise ValueError(
            f"observed holds -1 for {missing} of {len(clean)} points: no label, or one outside the "
            "chosen classes; leave them out, for example with data.take(observed >= 0)."
        )
    labels = check_labels("observed", observed, num_classes)
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (clean, labels), 1)
    sizes = counts.sum(axis=1, keepdims=True)
    transition = np.where(sizes > 0, counts / np.maximum(sizes, 1), np.eye(num_classes))
    rate = float(np.mean(clean != labels)) if len(clean) else 0.0
    return make(clean, labels, transition, rate, model)
