"""Which labels are wrong, and what they should be, from the labels and a kernel alone."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_in_range
from .._numerics import as_float
from .._results import result
from .._typing import Array, ArrayLike, Float, Int
from ..spectral import Eigensystem
from ._filters import gradient_flow
from ._fit import matching
from ._leave_one_out import leave_one_out
from ._noise import estimate_noise
from ._stopping import stopping_time

# No estimate is sure enough to call a label certain, right or wrong.
_LEAST_RATE = 1e-3
_SHARPNESSES = (0.1, 100.0)
_GRID = 40


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
        noise_rate: (), the ρ used: the one given, or that of maximum likelihood.
        time: (), the stopping time used (learning rate × step).
    """

    labels: Int[Array, " n"]
    confidence: Float[Array, " n"]
    suspected: Array
    score: Float[Array, " n"]
    margin: Float[Array, " n"]
    probabilities: Float[Array, "n C"]
    noise_rate: Float[Array, ""]
    time: Float[Array, ""]


def refine_labels(
    eigensystem: Eigensystem,
    observed: Float[ArrayLike, "n C"],
    *,
    noise_rate: float | None = None,
    time: float | None = None,
    rule: str = "leave_one_out",
) -> RefinedLabels:
    """Finds labels that are probably wrong and what they should be.

    Each point is predicted by kernel gradient flow without its own label (`leave_one_out`, at a
    time that ``rule`` chooses). A softmax of these outputs, of one sharpness β for all points, is
    the probability p(c | x) of the clean class; symmetric noise of rate ρ makes it that of the
    observed class. β and ρ have maximum likelihood of the observed labels, ρ up to the bound of
    `estimate_noise`, and Bayes' rule joins p(c | x) to the observed label.

    Args:
        eigensystem: of the training kernel.
        observed: observed class codes ỹ: centred one-hot (n, C), one-hot, or ±1 (n, 1). Classes
            that no label names get probability near zero.
        noise_rate: ρ; default that of maximum likelihood.
        time: stopping time (learning rate × step); default what ``rule`` chooses.
        rule: a rule of `stopping_time`.

    Returns:
        `RefinedLabels`; for ±1, class 1 is +1 and the probabilities have two columns.

    Raises:
        ValueError: on shapes that do not match, targets that are no class codes, or values out of
            range.

    Source: derived; the noise model as in forward correction (Patrini et al., arXiv:1609.03683).
    """
    matching(eigensystem, observed=observed)
    codes = _class_codes(observed)
    classes = codes.shape[1]
    most = 1.0 - 1.0 / classes - _LEAST_RATE
    if noise_rate is None:
        highest = float(np.clip(estimate_noise(eigensystem, codes).upper, 2 * _LEAST_RATE, most))
        rates = np.linspace(_LEAST_RATE, highest, _GRID)
    else:
        check_in_range("noise_rate", noise_rate, 0.0, 1.0 - 1.0 / classes, high_open=True)
        rates = np.full(1, np.clip(noise_rate, _LEAST_RATE, most))
    if time is None:
        time = float(stopping_time(eigensystem, codes, rule=rule).time)
    outputs = leave_one_out(eigensystem, gradient_flow(time), codes)
    sharpness, rate = _calibrate(outputs, codes, rates)
    probabilities, margin = _posterior(outputs, codes, sharpness, rate)
    labels = jnp.argmax(probabilities, axis=1).astype(jnp.int32)
    return RefinedLabels(
        labels=labels,
        confidence=jnp.max(probabilities, axis=1),
        suspected=labels != jnp.argmax(codes, axis=1),
        score=jnp.sum(jnp.where(codes > 0, probabilities, 0.0), axis=1),
        margin=margin,
        probabilities=probabilities,
        noise_rate=jnp.asarray(rate if noise_rate is None else noise_rate, codes.dtype),
        time=jnp.asarray(time, codes.dtype),
    )


def _calibrate(outputs: Array, codes: Array, rates: np.ndarray) -> tuple[float, float]:
    """Sharpness β and noise rate ρ of maximum likelihood of the labels, by a grid and a finer one.

    The outputs do not depend on the label they are judged by, so the likelihood does not reward
    overconfidence.
    """
    size = float(jnp.sqrt(jnp.mean(outputs**2)))
    best = 1.0, float(rates[-1])
    if size == 0.0:
        return best
    sharpnesses = np.geomspace(*_SHARPNESSES, _GRID) / size
    for _ in range(2):
        losses = np.asarray(_losses(outputs, codes, jnp.asarray(sharpnesses), jnp.asarray(rates)))
        i, j = np.unravel_index(int(np.argmin(losses)), losses.shape)
        best = float(sharpnesses[i]), float(rates[j])
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


@jax.jit
def _posterior(outputs: Array, codes: Array, sharpness: float, rate: float) -> tuple[Array, Array]:
    """Probabilities of the clean class (n, C) and leave-one-out margins (n,)."""
    own = codes > 0
    likelihood = jnp.where(own, jnp.log(1.0 - rate), jnp.log(rate / (codes.shape[1] - 1)))
    probabilities = jax.nn.softmax(sharpness * outputs + likelihood, axis=1)
    best_other = jnp.max(jnp.where(own, -jnp.inf, outputs), axis=1)
    return probabilities, jnp.sum(jnp.where(own, outputs, 0.0), axis=1) - best_other
