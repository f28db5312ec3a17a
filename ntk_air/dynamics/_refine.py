"""Which labels are wrong, and what they should be, from the labels and a kernel alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_finite, check_in_range, real_array
from .._numerics import as_float, in_precision
from .._results import result, static
from .._typing import Array, ArrayLike, Float, Int
from ..spectral import Eigensystem
from ._calibrate import (
    anchored,
    class_sensitive,
    estimated_transition,
    posterior,
    supports,
    uniform,
)
from ._filters import gradient_flow
from ._fit import matching
from ._leave_one_out import leave_one_out
from ._noise import estimate_noise
from ._stopping import stopping_time
from ._suspects import confident_joint, most_useful, pooled_posterior

# No estimate is sure enough to call a label certain, right or wrong.
_LEAST_RATE = 1e-3
_SHARPNESSES = (0.1, 100.0)
_GRID = 40
# Further times at which points are predicted, over the chosen one.
_EARLY_AND_LATE = (0.25, 4.0)
TRANSITIONS = ("symmetric", "estimated")


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
            That of ``probabilities`` if ``identified``, an average over noises if not.
        margin: (n,), output of the observed class minus the largest other one, both without the
            point's own label: a score that needs no noise rate.
        probabilities: (n, C) of each class, targets for training on soft labels.
        predicted: (n, C), the same without the point's own label: p(c | x). Times ``transition`` it
            predicts the observed label out of sample, which is what other tools ask for.
        transition: (C, C), the probability of each observed class (column) given the clean one:
            given or of maximum likelihood.
        noise_rate: (), the ρ of that: the one given, or that of maximum likelihood.
        confident_rate: (), share of wrong labels that confident learning implies. It takes points
            that the kernel cannot tell for errors, where ``noise_rate`` takes errors between
            classes that look alike for doubt; far apart they say that the rate is not known.
        time: (), the stopping time used (learning rate × step).
        identified: whether the noise is given, or told by points that belong to one class for sure.
            If not, ``score`` is an average over matrices from ``transition`` to that of confident
            learning.
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


@in_precision
def refine_labels(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    *,
    noise_rate: float | None = None,
    transition: str | Float[ArrayLike, "C C"] | None = None,
    time: float | None = None,
    rule: str = "leave_one_out",
) -> RefinedLabels:
    """Finds labels that are probably wrong and what they should be.

    Each point is predicted by kernel gradient flow without its own label (`leave_one_out`, at a
    time that ``rule`` chooses), f. Its clean class has probabilities p(c | x) = softmax(β f), and
    symmetric noise of rate ρ makes them those of the observed class; β and ρ have maximum
    likelihood of the observed labels, ρ up to the bound of `estimate_noise`. With ρ fixed, the
    softmax then takes in outputs at a quarter of and four times that time, and becomes sensitive to
    classes and to the norm of f, by maximum posterior (see ``_calibrate.class_sensitive``). Bayes'
    rule joins p(c | x) to the observed label.

    Noise that prefers some wrong classes needs its transition matrix. It is estimated by maximum
    likelihood where the labels call for one: where it beats symmetric noise by Schwarz's criterion,
    and most points are anchor points, without which the matrix is not identified. Without them and
    with no noise given, the score averages what Bayes' rule says under symmetric noise of maximum
    likelihood, under the noise that confident learning counts, and in between.

    Args:
        eigensystem: of the training kernel.
        observed: observed class codes ỹ: centred one-hot (n, C), one-hot, or ±1 (n, 1). Classes
            that no label names get probability near zero.
        noise_rate: ρ of symmetric noise; default that of maximum likelihood.
        transition: what the noise is known to be: ``"symmetric"``, ``"estimated"``, or a matrix
            (C, C) whose row c holds the probabilities of the observed classes given clean class c;
            default what the labels call for, or symmetric with ``noise_rate``.
        time: stopping time (learning rate × step); default what ``rule`` chooses.
        rule: a rule of `stopping_time`.

    Returns:
        `RefinedLabels`; for ±1, class 1 is +1 and the probabilities have two columns.

    Raises:
        ValueError: on shapes that do not match, targets that are no class codes, values out of
            range, or a ``noise_rate`` beside a transition matrix.

    Source: derived; the noise model as in forward correction (Patrini et al., arXiv:1609.03683),
        confident learning as in Northcutt et al. (arXiv:1911.00068).
    """
    matching(eigensystem, observed=observed)
    codes = _class_codes(observed)
    given = _given_transition(transition, codes.shape[1], noise_rate)
    rates = _rates(eigensystem, codes, noise_rate)
    if time is None:
        time = float(stopping_time(eigensystem, codes, rule=rule).time)
    filters = [gradient_flow(time * factor) for factor in (1.0, *_EARLY_AND_LATE)]
    several = leave_one_out(eigensystem, filters, codes)
    sharpness, rate, loss = _calibrate(several[0], codes, rates)
    labels = np.asarray(jnp.argmax(codes, axis=1))
    values = np.asarray(several, np.float64)
    matrix = uniform(1.0 - rate, codes.shape[1]) if given is None else given
    estimated_asked = isinstance(transition, str) and transition == "estimated"
    if estimated_asked or (transition is None and noise_rate is None):
        clean, estimated, own_loss = estimated_transition(values[0], labels, sharpness)
        if estimated_asked or supports(clean, own_loss, loss):
            given = matrix = estimated
    clean = class_sensitive(values, labels, matrix, sharpness)
    joint = confident_joint(clean @ matrix, labels)
    stated = noise_rate is not None or transition is not None or given is not None
    identified = stated or anchored(clean)
    refined = posterior(clean, labels, matrix)
    right = refined if identified else pooled_posterior(clean, labels, matrix, joint)
    if noise_rate is not None:
        rate = noise_rate
    elif given is not None:
        rate = 1.0 - float(refined.mean(axis=0) @ np.diag(matrix))
    rates = rate, 1.0 - float(np.trace(joint))
    return _result(codes, several[0], (clean, refined, matrix, right), rates, time, identified)


def _rates(
    eigensystem: Eigensystem, codes: Array, noise_rate: float | None
) -> Float[np.ndarray, " R"]:
    """The rates ρ to search."""
    classes = codes.shape[1]
    most = 1.0 - 1.0 / classes - _LEAST_RATE
    if noise_rate is None:
        highest = float(np.clip(estimate_noise(eigensystem, codes).upper, 2 * _LEAST_RATE, most))
        return np.linspace(_LEAST_RATE, highest, _GRID)
    check_in_range("noise_rate", noise_rate, 0.0, 1.0 - 1.0 / classes, high_open=True)
    return np.full(1, np.clip(noise_rate, _LEAST_RATE, most))


def _given_transition(
    transition: str | ArrayLike | None, classes: int, noise_rate: float | None
) -> np.ndarray | None:
    """The matrix that was given, with no label certain; None where it is to be found."""
    if transition is None:
        return None
    if noise_rate is not None and not (isinstance(transition, str) and transition == "symmetric"):
        raise ValueError(
            "noise_rate is for symmetric noise and transition says another one; pass one of them."
        )
    if isinstance(transition, str):
        check_choice("transition", transition, TRANSITIONS)
        return None
    matrix = real_array("transition", transition).astype(np.float64)
    if matrix.shape != (classes, classes):
        raise ValueError(
            f"transition has shape {matrix.shape}, expected {(classes, classes)}: a row for each "
            "clean class."
        )
    check_finite("transition", matrix)
    if matrix.min() < 0 or np.abs(matrix.sum(axis=1) - 1).max() > 1e-5:
        raise ValueError(
            f"transition has least entry {matrix.min():g} and row sums from "
            f"{matrix.sum(axis=1).min():g} to {matrix.sum(axis=1).max():g}; expected rows of "
            "probabilities that sum to 1."
        )
    matrix = np.maximum(matrix, _LEAST_RATE / classes)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _result(
    codes: Array,
    outputs: Array,
    found: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    rates: tuple[float, float],
    time: float,
    identified: bool,
) -> RefinedLabels:
    clean, refined, matrix, _ = (jnp.asarray(part, codes.dtype) for part in found)
    labels = jnp.argmax(refined, axis=1).astype(jnp.int32)
    own = codes > 0
    right = found[3][np.asarray(own)]
    best_other = jnp.max(jnp.where(own, -jnp.inf, outputs), axis=1)
    return RefinedLabels(
        labels=labels,
        confidence=jnp.max(refined, axis=1),
        alternative=jnp.argmax(jnp.where(own, -1.0, refined), axis=1).astype(jnp.int32),
        suspected=jnp.asarray(most_useful(1.0 - right)) | (labels != jnp.argmax(codes, axis=1)),
        score=jnp.asarray(right, codes.dtype),
        margin=jnp.sum(jnp.where(own, outputs, 0.0), axis=1) - best_other,
        probabilities=refined,
        predicted=clean,
        transition=matrix,
        noise_rate=jnp.asarray(rates[0], codes.dtype),
        confident_rate=jnp.asarray(rates[1], codes.dtype),
        time=jnp.asarray(time, codes.dtype),
        identified=identified,
    )


def _calibrate(outputs: Array, codes: Array, rates: np.ndarray) -> tuple[float, float, float]:
    """Sharpness β and noise rate ρ of maximum likelihood, by a grid and a finer one; and the loss.

    The outputs do not depend on the label they are judged by, so the likelihood does not reward
    overconfidence.
    """
    size = float(jnp.sqrt(jnp.mean(outputs**2)))
    best = 1.0, float(rates[-1]), float(np.log(codes.shape[1]))
    if size == 0.0:
        return best
    sharpnesses = np.geomspace(*_SHARPNESSES, _GRID) / size
    for _ in range(2):
        losses = np.asarray(_losses(outputs, codes, jnp.asarray(sharpnesses), jnp.asarray(rates)))
        i, j = np.unravel_index(int(np.argmin(losses)), losses.shape)
        best = float(sharpnesses[i]), float(rates[j]), float(losses[i, j])
        ends = sharpnesses[max(i - 1, 0)], sharpnesses[min(i + 1, _GRID - 1)]
        sharpnesses = np.geomspace(*ends, _GRID)
        if len(rates) > 1:
            rates = np.linspace(rates[max(j - 1, 0)], rates[min(j + 1, len(rates) - 1)], _GRID)
    return best


@jax.jit
def _losses(outputs: Array, codes: Array, sharpnesses: Array, rates: Array) -> Array:
    """Mean negative log-likelihood of the observed labels, (sharpnesses, rates)."""
    classes = codes.shape[1]

    def one(sharpness: Array) -> Array:
        clean = jax.nn.softmax(sharpness * outputs, axis=1)
        own = jnp.sum(jnp.where(codes > 0, clean, 0.0), axis=1)
        keep = 1.0 - rates * classes / (classes - 1)
        return -jnp.mean(jnp.log(keep[:, None] * own + rates[:, None] / (classes - 1)), axis=1)

    return jax.lax.map(one, sharpnesses)


def _class_codes(observed: ArrayLike) -> Array:
    """Centred one-hot codes of the classes that the targets name."""
    targets = as_float(observed)
    if targets.shape[1] == 1:
        targets = jnp.concatenate([-targets, targets], axis=1) / 2
    classes = jnp.argmax(targets, axis=1)
    codes = jax.nn.one_hot(classes, targets.shape[1], dtype=targets.dtype)
    codes = codes - 1.0 / targets.shape[1]
    centred = targets - jnp.mean(targets, axis=1, keepdims=True)
    off = float(jnp.max(jnp.abs(centred - codes), initial=0.0))
    if off > 1e-3:
        raise ValueError(
            f"observed differs from class codes by up to {off:.3g}; expected one-hot, centred "
            "one-hot, or ±1 in one column: encode integer labels with ntk_air.datasets.encode."
        )
    return codes
