"""Which noise the labels went through: given, or told by them and their tail energy."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from ..._checks import check_choice, check_finite, check_in_range, real_array
from ..._typing import Array, ArrayLike, Float
from ._calibrate import (
    anchored,
    equal_rate,
    estimated_transition,
    further_parameters,
    keeps_names,
    supports,
    uniform,
)
from ._rate import LEAST_RATE, TailEvidence, told_rate

TRANSITIONS = ("symmetric", "estimated")
_SCALES = 80
# An interval wider than this, from none to more than so many wrong labels, or up to this share of
# the rate at which labels say nothing, tells no rate; nor does one so far below confident learning.
_WIDEST, _FEW, _MOST, _APART = 0.1, 0.05, 0.9, 0.05


@dataclasses.dataclass(frozen=True)
class FoundNoise:
    """A noise, how sharply the outputs tell the classes under it, and how well it is told.

    Attributes:
        matrix: (C, C), rows are clean classes.
        sharpness: β of softmax(β f).
        rate: share of wrong labels.
        lower: lower end of its 95 % interval.
        upper: upper end.
        stated: whether the kind of noise was given.
        told: whether the rate was given, or its interval is narrow and uncontradicted.
    """

    matrix: Float[np.ndarray, "C C"]
    sharpness: float
    rate: float
    lower: float
    upper: float
    stated: bool
    told: bool

    def identified(self, clean: Float[np.ndarray, "n C"], confident_rate: float) -> bool:
        """Whether the noise is known, with p(c | x) of every point and confident learning's rate.

        Stated noise of a stated rate is, whatever they are.
        """
        if self.lower == self.upper:
            return True
        near = confident_rate <= self.upper + _APART
        return self.told and (self.stated or (near and anchored(clean)))


def given_noise(
    outputs: Float[Array, "n C"], labels: np.ndarray, matrix: np.ndarray, rate: float | None
) -> FoundNoise:
    """The noise of a matrix that was given, and its sharpness.

    Args:
        outputs: f of each point without its own label.
        labels: observed classes.
        matrix: (C, C).
        rate: share of wrong labels; default what the matrix implies for the observed classes.
    """
    found = told_rate(outputs, labels, matrix, TailEvidence.none(), (np.ones(1), np.zeros(1)))
    if rate is None:
        shares = np.bincount(labels, minlength=len(matrix)) / len(labels)
        rate = float(_clean_shares(shares, matrix) @ (1.0 - np.diag(matrix)))
    return FoundNoise(matrix, found.sharpness, rate, rate, rate, stated=True, told=True)


def found_noise(
    outputs: Float[Array, "n C"],
    labels: np.ndarray,
    evidence: TailEvidence,
    kind: str | None,
) -> FoundNoise:
    """The noise that is likeliest given the labels and their tail energy.

    Args:
        outputs: f of each point without its own label.
        labels: observed classes.
        evidence: of the tail.
        kind: one of ``TRANSITIONS``, or None for what the labels call for.
    """
    classes = outputs.shape[1]
    most = 1.0 - 1.0 / classes - LEAST_RATE
    ends = evidence.lower, evidence.upper
    rates = np.unique(np.concatenate([np.linspace(LEAST_RATE, most, _SCALES), ends]))
    flip = uniform(0.0, classes)
    found = told_rate(outputs, labels, flip, evidence, (rates, rates))
    stated = kind is not None
    told = _narrow(found.lower, found.upper, classes) and not found.contradicted
    if kind != "symmetric":
        values = np.asarray(outputs, np.float64)
        clean, matrix, biases, loss = estimated_transition(
            values, labels, found.sharpness, evidence
        )
        gain = len(labels) * (found.loss - loss)
        if kind == "estimated" or supports(clean, matrix, labels, gain):
            shifted = outputs + jnp.asarray(biases, outputs.dtype)
            return _of_matrix(shifted, labels, clean, matrix, evidence, stated)
        # A matrix that predicts new labels better (Akaike's criterion) may be the noise as well.
        rate = float(clean.mean(axis=0) @ (1.0 - np.diag(matrix)))
        if gain > further_parameters(classes) and not found.lower <= rate <= found.upper:
            told = False
    matrix = uniform(1.0 - found.scale, classes)
    return FoundNoise(
        matrix, found.sharpness, found.scale, found.lower, found.upper, stated=stated, told=told
    )


def _of_matrix(
    outputs: Array,
    labels: np.ndarray,
    clean: np.ndarray,
    matrix: np.ndarray,
    evidence: TailEvidence,
    stated: bool,
) -> FoundNoise:
    """An estimated matrix, its rate, and how far more or less of the same noise is as likely."""
    shares = clean.mean(axis=0)
    wrong = 1.0 - np.diag(matrix)
    rate = float(shares @ wrong)
    scales = np.linspace(0.0, min(3.0, 1.0 / max(wrong.max(), 1.0 / 3.0)), _SCALES)
    equal = [equal_rate(shares, (1 - s) * np.eye(len(matrix)) + s * matrix)[0] for s in scales]
    # What the class predicts of the errors is not in the tail: its limits hold for no such noise.
    free = dataclasses.replace(evidence, lower=0.0, upper=1.0)
    found = told_rate(outputs, labels, matrix, free, (scales, np.array(equal)))
    lower, upper = rate * min(found.lower, 1.0), rate * max(found.upper, 1.0)
    told = _narrow(lower, upper, len(matrix)) and keeps_names(clean, matrix, labels)
    return FoundNoise(matrix, found.sharpness, rate, lower, upper, stated=stated, told=told)


def _narrow(lower: float, upper: float, classes: int) -> bool:
    """Whether an interval tells the rate, and leaves out both none and nothing but noise."""
    ends = (lower > 2 * LEAST_RATE or upper <= _FEW) and upper <= _MOST * (1.0 - 1.0 / classes)
    return upper - lower <= _WIDEST and ends


def _clean_shares(observed: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Shares of the clean classes of largest likelihood, from those of the observed ones."""
    shares = np.full(len(matrix), 1.0 / len(matrix))
    for _ in range(200):
        shares = shares * (matrix @ (observed / np.maximum(shares @ matrix, 1e-12)))
    return shares / shares.sum()


def stated_matrix(
    transition: str | ArrayLike | None, classes: int, noise_rate: float | None
) -> np.ndarray | None:
    """The matrix that was given, with no label certain; None where it is to be found."""
    if noise_rate is not None:
        check_in_range("noise_rate", noise_rate, 0.0, 1.0 - 1.0 / classes, high_open=True)
        if transition is not None and not (
            isinstance(transition, str) and transition == "symmetric"
        ):
            raise ValueError(
                "noise_rate is for symmetric noise and transition says another one; pass one of "
                "them."
            )
        most = 1.0 - 1.0 / classes - LEAST_RATE
        return uniform(1.0 - float(np.clip(noise_rate, LEAST_RATE, most)), classes)
    if transition is None:
        return None
    if isinstance(transition, str):
        check_choice("transition", transition, TRANSITIONS)
        return None
    check_finite("transition", transition)
    matrix = real_array("transition", transition).astype(np.float64)
    if matrix.shape != (classes, classes):
        raise ValueError(
            f"transition has shape {matrix.shape}, expected {(classes, classes)}: a row for each "
            "clean class."
        )
    if matrix.min() < 0 or np.abs(matrix.sum(axis=1) - 1).max() > 1e-5:
        raise ValueError(
            f"transition has least entry {matrix.min():g} and row sums from "
            f"{matrix.sum(axis=1).min():g} to {matrix.sum(axis=1).max():g}; expected rows of "
            "probabilities that sum to 1."
        )
    matrix = np.maximum(matrix, LEAST_RATE / classes)
    return matrix / matrix.sum(axis=1, keepdims=True)
