"""Labels with the doubtful ones replaced: what is known of each, and of the noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ..._classes import class_of
from ..._results import result, static
from ..._typing import Array, ArrayLike, Float, Int
from ._found_noise import FoundNoise
from ._suspects import most_useful


@result
class RefinedLabels:
    """Labels with the doubtful ones replaced, and how doubtful each was.

    ``labels`` and ``score`` are two questions. ``labels``, ``confidence`` and ``probabilities``
    P(c | x, ỹ) are for training on: they follow the most likely noise, which replaces few labels
    where the kernel tells classes apart badly. ``score`` and ``suspected`` are for checking by
    hand: where the labels do not tell the noise they average over what it may be, so that a
    suspected label can still be the most probable class. Every label that ``labels`` replaces is
    suspected; ``alternative`` is what a suspected one would be if it is wrong.

    Attributes:
        labels: (n,) int32, the most probable class of each point given its own label and what the
            others say of it.
        confidence: (n,), its probability.
        alternative: (n,) int32, the most probable class other than the observed one.
        suspected: (n,) bool, labels worth checking: by ``score``, the set of largest expected F1
            (of precision and recall), and those that ``labels`` replaces.
        score: (n,), probability that the observed label is right; the lower, the likelier wrong.
            That of ``probabilities`` if the noise is given or ``identified``, an average over
            noises if not.
        margin: (n,), output of the observed class minus the largest other one, both without the
            point's own label: a score that needs no noise rate.
        probabilities: (n, C) of each class, targets for training on soft labels.
        predicted: (n, C), the same without the point's own label: p(c | x). Times ``transition`` it
            predicts the observed label out of sample, which is what other tools ask for.
        transition: (C, C), the probability of each observed class (column) given the clean one:
            given or of largest likelihood.
        noise_rate: (), the share of wrong labels to use, whatever for: the one given, or the mean
            over its interval weighted by the likelihood of the labels and of their tail energy
            together. For symmetric noise it lies within ``lower`` and ``upper`` of
            `estimate_noise`.
        confident_rate: (), share of wrong labels that confident learning implies, not one to use.
            It takes points that the kernel cannot tell for errors, where ``noise_rate`` takes
            errors between classes that look alike for doubt; far apart they say that the kernel
            tells the classes apart badly.
        time: (), the stopping time used (learning rate × step).
        identified: whether the noise is given, or told by the labels: the interval of
            ``noise_rate`` is at most 0.1 wide and leaves out zero (or ends below 0.05), the tail
            does not contradict the labels, and half the points belong to one class for sure. If
            not, ``score`` is an average over matrices from ``transition`` to that of confident
            learning.
        lower: (), lower end of the 95 % interval of ``noise_rate``, for the kind of noise found.
        upper: (), its upper end.
    """

    labels: Int[Array, " n"]
    confidence: Float[Array, " n"]
    alternative: Int[Array, " n"]
    suspected: Array
    score: Float[Array, " n"]
    margin: Float[Array, " n"]
    probabilities: Float[Array, "n C"]
    predicted: Float[Array, "n C"]
    transition: Float[Array, "C C"]
    noise_rate: Float[Array, ""]
    confident_rate: Float[Array, ""]
    time: Float[Array, ""]
    identified: bool = static()
    lower: Float[ArrayLike, ""] | float = np.nan
    upper: Float[ArrayLike, ""] | float = np.nan


def refined_labels(
    codes: Float[Array, "n C"],
    outputs: Float[Array, "n C"],
    parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    noise: FoundNoise,
    confident_rate: float,
    time: float,
    identified: bool,
) -> RefinedLabels:
    """Puts a result together.

    Args:
        codes: centred one-hot.
        outputs: f of each point without its own label.
        parts: p(c | x), p(c | x, ỹ) and the latter averaged over noises, each (n, C).
        noise: the most likely one.
        confident_rate: of confident learning.
        time: stopping time.
        identified: whether the noise is known.
    """
    clean, refined = (jnp.asarray(part, codes.dtype) for part in parts[:2])

    def number(value: float) -> Array:
        return jnp.asarray(value, codes.dtype)

    observed = class_of(codes)
    labels = class_of(refined)
    own = codes > 0
    right = parts[2][np.asarray(own)]
    best_other = jnp.max(jnp.where(own, -jnp.inf, outputs), axis=1)
    return RefinedLabels(
        labels=labels,
        confidence=jnp.max(refined, axis=1),
        alternative=class_of(jnp.where(own, -1.0, refined)),
        suspected=jnp.asarray(most_useful(1.0 - right)) | (labels != observed),
        score=jnp.asarray(right, codes.dtype),
        margin=jnp.sum(jnp.where(own, outputs, 0.0), axis=1) - best_other,
        probabilities=refined,
        predicted=clean,
        transition=jnp.asarray(noise.matrix, codes.dtype),
        noise_rate=number(noise.rate),
        confident_rate=number(confident_rate),
        time=number(time),
        identified=identified,
        lower=number(noise.lower),
        upper=number(noise.upper),
    )
