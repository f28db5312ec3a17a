"""Which labels are wrong, and what they should be, from the labels and a kernel alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_finite, check_in_range
from .._numerics import as_float
from .._results import result
from .._typing import Array, ArrayLike, Float, Int
from ..spectral import Eigensystem
from ._calibrate import (
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

# No estimate is sure enough to call a label certain, right or wrong.
_LEAST_RATE = 1e-3
_SHARPNESSES = (0.1, 100.0)
_GRID = 40
TRANSITIONS = ("symmetric", "estimated")


@result
class RefinedLabels:
    """Labels with the doubtful ones replaced, and how doubtful each was.

    Attributes:
        labels: (n,) int32, the most probable class of each point given its own label and what the
            others say of it.
        confidence: (n,), its probability.
        suspected: (n,) bool, where it is not the observed label.
        score: (n,), probability that the observed label is right; the lower, the likelier wrong.
        margin: (n,), output of the observed class minus the largest other one, both without the
            point's own label: a score that needs no noise rate.
        probabilities: (n, C) of each class, targets for training on soft labels.
        predicted: (n, C), the same without the point's own label: p(c | x). Times ``transition`` it
            predicts the observed label out of sample, which is what other tools ask for.
        transition: (C, C), the probability of each observed class (column) given the clean one.
        noise_rate: (), the ρ used: the one given, or that of maximum likelihood.
        time: (), the stopping time used (learning rate × step).
    """

    labels: Int[Array, " n"]
    confidence: Float[Array, " n"]
    suspected: Array
    score: Float[Array, " n"]
    margin: Float[Array, " n"]
    probabilities: Float[Array, "n C"]
    predicted: Float[Array, "n C"]
    transition: Float[Array, "C C"]
    noise_rate: Float[Array, ""]
    time: Float[Array, ""]


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
    softmax then becomes sensitive to classes and to the norm of f, by maximum posterior
    (see ``_calibrate.class_sensitive``), and Bayes' rule joins p(c | x) to the observed label.

    Noise that prefers some wrong classes needs its transition matrix. It is estimated by maximum
    likelihood where the labels call for one: where it beats symmetric noise by Schwarz's criterion,
    and most points are anchor points, without which the matrix is not identified.

    Args:
        eigensystem: of the training kernel.
        observed: observed class codes ỹ: centred one-hot (n, C), one-hot, or ±1 (n, 1). Classes
            that no label names get probability near zero.
        noise_rate: ρ of symmetric noise; default that of maximum likelihood.
        transition: ``"symmetric"``, ``"estimated"``, or a matrix (C, C) whose row c holds the
            probabilities of the observed classes given clean class c; default what the labels call
            for, or symmetric with ``noise_rate``.
        time: stopping time (learning rate × step); default what ``rule`` chooses.
        rule: a rule of `stopping_time`.

    Returns:
        `RefinedLabels`; for ±1, class 1 is +1 and the probabilities have two columns.

    Raises:
        ValueError: on shapes that do not match, targets that are no class codes, values out of
            range, or a ``noise_rate`` beside a transition matrix.

    Source: derived; the noise model as in forward correction (Patrini et al., arXiv:1609.03683).
    """
    matching(eigensystem, observed=observed)
    codes = _class_codes(observed)
    given = _given_transition(transition, codes.shape[1], noise_rate)
    rates = _rates(eigensystem, codes, noise_rate)
    if time is None:
        time = float(stopping_time(eigensystem, codes, rule=rule).time)
    outputs = leave_one_out(eigensystem, gradient_flow(time), codes)
    sharpness, rate, loss = _calibrate(outputs, codes, rates)
    labels = np.asarray(jnp.argmax(codes, axis=1))
    values = np.asarray(outputs, np.float64)
    matrix = uniform(1.0 - rate, codes.shape[1]) if given is None else given
    if transition == "estimated" or (transition is None and noise_rate is None):
        clean, estimated, own_loss = estimated_transition(values, labels, sharpness)
        if transition == "estimated" or supports(clean, own_loss, loss):
            given = matrix = estimated
    clean = class_sensitive(values, labels, matrix, sharpness)
    refined = posterior(clean, labels, matrix)
    if noise_rate is not None:
        rate = noise_rate
    elif given is not None:
        rate = 1.0 - float(refined.mean(axis=0) @ np.diag(matrix))
    return _result(codes, outputs, (clean, refined, matrix), rate, time)


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
    matrix = np.asarray(transition, np.float64)
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
    found: tuple[np.ndarray, np.ndarray, np.ndarray],
    rate: float,
    time: float,
) -> RefinedLabels:
    clean, refined, matrix = (jnp.asarray(part, codes.dtype) for part in found)
    labels = jnp.argmax(refined, axis=1).astype(jnp.int32)
    own = codes > 0
    best_other = jnp.max(jnp.where(own, -jnp.inf, outputs), axis=1)
    return RefinedLabels(
        labels=labels,
        confidence=jnp.max(refined, axis=1),
        suspected=labels != jnp.argmax(codes, axis=1),
        score=jnp.sum(jnp.where(own, refined, 0.0), axis=1),
        margin=jnp.sum(jnp.where(own, outputs, 0.0), axis=1) - best_other,
        probabilities=refined,
        predicted=clean,
        transition=matrix,
        noise_rate=jnp.asarray(rate, codes.dtype),
        time=jnp.asarray(time, codes.dtype),
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
