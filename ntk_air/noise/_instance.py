"""Instance-dependent noise: the probability of an error depends on the input."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr, ndtri

from .._checks import check_finite, check_in_range, check_labels, check_same_length, check_size
from .._typing import ArrayLike
from ._labels import NoisyLabels, draw, generator, make

_SPREAD = 0.1  # standard deviation of the flip rate over points, as in the source


def instance_dependent(
    inputs: ArrayLike, labels: ArrayLike, rate: float, *, num_classes: int, seed: int
) -> NoisyLabels:
    """Flips labels with probabilities that depend on the input.

    After Xia et al. 2020, "Part-dependent label noise" (arXiv:2006.07836), algorithm 2: point i has
    its own flip rate q_i from a normal distribution around ``rate`` of deviation 0.1, truncated,
    and the wrong class is drawn from q_i softmax(x_i W_y) over the other classes, W_y (d, C) a
    Gaussian matrix for each clean class y. There q_i is truncated to [0, 1], here to the widest
    interval symmetric about ``rate`` within it, which keeps the mean flip rate at ``rate`` where
    rates are small.

    Args:
        inputs: (n, ...) finite numbers. Their scale sets how much of the choice of the wrong class
            the input decides: centre and scale images first, for example
            ``data.standardized()``, since the common mean of raw images acts like a class.
        labels: clean integer labels (n,).
        rate: mean probability of a flip, in [0, 1).
        num_classes: number of classes C, at least 2.
        seed: of the draw, from 0 up.

    Returns:
        The observed labels; ``transition`` is the average over the points of each class.

    Raises:
        ValueError: for labels or a rate out of range, lengths that differ, or inputs that are not
            finite.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> inputs = np.random.default_rng(0).normal(size=(200, 3))
        >>> labels = np.arange(200) % 2
        >>> noisy = na.noise.instance_dependent(inputs, labels, 0.3, num_classes=2, seed=0)
        >>> abs(noisy.empirical_rate - 0.3) < 0.1
        True
    """
    num_classes = check_size("num_classes", num_classes, 2)
    clean = check_labels("labels", labels, num_classes)
    check_same_length("inputs", inputs, "labels", clean)
    check_finite("inputs", inputs)
    check_in_range("rate", rate, 0.0, 1.0, high_open=True)
    array = np.asarray(inputs)
    rows = array.reshape(len(array), int(np.prod(array.shape[1:])))
    rng = generator(seed, "instance_dependent")
    flip = _flip_rates(rate, len(clean), rng)
    probabilities = np.zeros((len(clean), num_classes))
    transition = np.eye(num_classes)
    for label in range(num_classes):
        weights = rng.standard_normal((rows.shape[1], num_classes))
        members = np.flatnonzero(clean == label)
        if not len(members):
            continue
        with np.errstate(over="ignore", invalid="ignore"):  # reported in words by the next line
            logits = rows[members] @ weights
        check_finite("inputs, times random weights,", logits)
        logits[:, label] = -np.inf
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        q = flip[members, None]
        probabilities[members] = q * share / share.sum(axis=1, keepdims=True)
        probabilities[members, label] = 1.0 - q[:, 0]
        transition[label] = probabilities[members].mean(axis=0)
    return make(clean, draw(probabilities, rng), transition, rate, "instance_dependent")


def _flip_rates(rate: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """(size,) truncated normal by inversion of its distribution function."""
    reach = min(rate, 1.0 - rate) / _SPREAD
    low = ndtr(-reach)
    uniform = low + (1.0 - 2.0 * low) * rng.random(size)
    return np.clip(rate + _SPREAD * np.clip(ndtri(uniform), -reach, reach), 0.0, 1.0)
