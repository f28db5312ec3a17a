"""From leave-one-out outputs to class probabilities, and the noise that links them to labels.

Whatever is fitted here is fitted to outputs that do not depend on the label they are judged by, and
has few parameters beside n, so that the likelihood does not reward overconfidence.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.optimize

from ..._typing import Float
from ._rate import TailEvidence

# Standard deviations of the priors, for outputs scaled to root mean square one.
_CLASSES, _TIMES, _NORM, _CONFUSION, _BIASES = 0.2, 0.5, 0.3, 3.0, 0.5
# Share of labels kept by the transition matrices that the search starts from.
_STARTS = (0.9, 0.7, 0.5)
_ANCHORED, _EMPTIED = 0.75, 0.5


def class_sensitive(
    outputs: Float[np.ndarray, "K n C"],
    labels: np.ndarray,
    transition: np.ndarray,
    sharpness: float,
) -> Float[np.ndarray, "n C"]:
    """Clean-class probabilities softmax(r^a Σ_k d_k (β_k + W_k) + b), of most likely parameters.

    d_1 = f_1 and d_k = f_k − f_1 for the outputs f_k at further stopping times: early ones hold
    what is smooth, late ones what is local, and classes differ in which of the two tells them
    apart. W_k mixes classes. r = ‖f_1‖ over its geometric mean: a < 0 where outputs of small norm
    say more than their size. All but β_1 have normal priors around zero, at which this is the
    softmax of one sharpness.

    Args:
        outputs: leave-one-out outputs f (K, n, C), float64, the first at the chosen time.
        labels: observed classes (n,).
        transition: (C, C), probability of each observed class (column) given the clean one.
        sharpness: β_1 to start from.

    Returns:
        (n, C) p(c | x).
    """
    times, n, classes = outputs.shape
    scaled = np.stack([one / _size(one) for one in outputs])
    norms = np.linalg.norm(scaled[0], axis=1)
    scaled[1:] -= scaled[0]
    log_norms = np.log(np.maximum(norms, 1e-3))
    log_norms -= log_norms.mean()
    after_bias = times + 1 + classes
    shape = times, classes, classes
    precision = np.full(after_bias + times * classes**2, _CLASSES**-2)
    precision[: times + 1] = 0.0, *[_TIMES**-2] * (times - 1), _NORM**-2

    def logits(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        weights = x[:times, None, None] * np.eye(classes) + x[after_bias:].reshape(shape)
        mixed = np.sum(scaled @ weights, axis=0)
        mixed *= np.exp(x[times] * log_norms)[:, None]
        return mixed + x[times + 1 : after_bias], mixed

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        values, mixed = logits(x)
        value, slope, _ = _likelihood(np.exp(_log_softmax(values)), labels, transition)
        by_norm = log_norms @ np.sum(slope * mixed, axis=1)
        by_weights = scaled.swapaxes(1, 2) @ (slope * np.exp(x[times] * log_norms)[:, None])
        by_betas = np.trace(by_weights, axis1=1, axis2=2)
        gradient = np.concatenate([by_betas, [by_norm], slope.sum(axis=0), by_weights.ravel()])
        return value + float(precision @ x**2) / (2 * n), gradient + precision * x / n

    start = np.zeros(len(precision))
    start[0] = sharpness * _size(outputs[0])
    return np.exp(_log_softmax(logits(_minimise(loss, start))[0]))


def estimated_transition(
    outputs: Float[np.ndarray, "n C"],
    labels: np.ndarray,
    sharpness: float,
    evidence: TailEvidence,
) -> tuple[Float[np.ndarray, "n C"], Float[np.ndarray, "C C"], Float[np.ndarray, " C"], float]:
    """Clean-class probabilities softmax(β (f + b)) and transition matrix of most likely labels.

    Likely with the energy of their tail, without which scale and sharpness are confounded. Noise
    that prefers classes shifts the outputs between which a class is certain, and the biases b with
    them. The likelihood has several maxima; the best of a few searches is taken, from matrices that
    keep more or fewer labels.

    Args:
        outputs: leave-one-out outputs f (n, C), float64.
        labels: observed classes (n,).
        sharpness: β to start from.
        evidence: of the tail.

    Returns:
        (n, C) p(c | x), the transition matrix (C, C), the biases (C,), and the mean negative
        log-likelihood.
    """
    n, classes = outputs.shape
    size = _size(outputs)
    scaled = outputs / size

    spread = np.repeat([_BIASES, _CONFUSION], [classes, classes**2])

    def transition(x: np.ndarray, keep: float) -> np.ndarray:
        free = x[1 + classes :].reshape(classes, -1)
        return np.exp(_log_softmax(np.log(uniform(keep, classes)) + free))

    def logits(x: np.ndarray) -> np.ndarray:
        return x[0] * (scaled + x[1 : 1 + classes])

    def told(x: np.ndarray, matrix: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        clean = np.exp(_log_softmax(logits(x)))
        value, slope, by_matrix = _likelihood(clean, labels, matrix)
        cost, more, by_more = _tail_cost(clean, matrix, evidence)
        return value + cost / n, slope + more / n, by_matrix + by_more / n

    def searched(keep: float) -> tuple[float, np.ndarray, np.ndarray, np.ndarray]:
        def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
            matrix = transition(x, keep)
            value, slope, by_matrix = told(x, matrix)
            by_logits = matrix * (by_matrix - np.sum(by_matrix * matrix, axis=1, keepdims=True))
            prior = x[1:] / (n * spread**2)
            by_sharpness = np.sum(slope * (scaled + x[1 : 1 + classes]))
            by_rest = np.concatenate([x[0] * slope.sum(axis=0), by_logits.ravel()])
            gradient = np.concatenate([[by_sharpness], by_rest + prior])
            return value + float(prior @ x[1:]) / 2, gradient

        start = np.zeros(1 + classes + classes**2)
        start[0] = 2 * sharpness * size
        x = _minimise(loss, start)
        matrix = transition(x, keep)
        return (
            told(x, matrix)[0],
            matrix,
            np.exp(_log_softmax(logits(x))),
            size * x[1 : 1 + classes],
        )

    found = min((searched(keep) for keep in _STARTS), key=lambda found: found[0])
    value, matrix, clean, biases = found
    return clean, matrix, biases, value


def equal_rate(
    shares: Float[np.ndarray, " C"], matrix: Float[np.ndarray, "C C"]
) -> tuple[float, np.ndarray, np.ndarray]:
    """The ρ of symmetric noise of the same energy, and its slopes in the shares and the matrix.

    Noise of matrix T has the energy Σ_c π_c v_c of the centred codes' own, where
    v_c = 1 − (Σ_j T_cj² − 1/C) / (1 − 1/C); that of symmetric noise is 1 − κ².
    """
    classes = len(matrix)
    spread = 1.0 - 1.0 / classes
    lost = 1.0 - (np.sum(matrix**2, axis=1) - 1.0 / classes) / spread
    kept = np.sqrt(max(1.0 - float(shares @ lost), 1e-9))
    by_energy = spread / (2 * kept)
    by_matrix = by_energy * shares[:, None] * (-2 * matrix / spread)
    return spread * (1 - kept), by_energy * lost, by_matrix


def _tail_cost(
    clean: np.ndarray, matrix: np.ndarray, evidence: TailEvidence
) -> tuple[float, np.ndarray, np.ndarray]:
    """The tail's cost of a matrix, its slope in the logits of the clean classes and the matrix."""
    rate, by_shares, by_matrix = equal_rate(clean.mean(axis=0), matrix)
    cost, slope = evidence.cost_and_slope(np.asarray(rate))
    by_logits = clean * (by_shares - clean @ by_shares[:, None]) / len(clean)
    return float(cost), float(slope) * by_logits, float(slope) * by_matrix


def supports(
    clean: Float[np.ndarray, "n C"], matrix: np.ndarray, labels: np.ndarray, gain: float
) -> bool:
    """Whether the labels call for an estimated transition matrix rather than a symmetric one.

    Three conditions: it gains more likelihood than its further parameters cost (Schwarz's
    criterion); at least half the points belong to one class with probability 0.75, without which
    the matrix is not identified and takes classes that look alike for noise; and classes keep their
    names: most labels of each are its own, and none gives most of its points to others.

    Args:
        clean: p(c | x) under the estimated matrix.
        matrix: the matrix.
        labels: observed classes.
        gain: log-likelihood of all labels over that under symmetric noise.

    Source: Schwarz, Ann. Statist. 6 (1978); anchor points as in Patrini et al. (arXiv:1609.03683).
    """
    n, classes = clean.shape
    gains = gain > further_parameters(classes) * np.log(n) / 2
    return bool(gains and anchored(clean) and keeps_names(clean, matrix, labels))


def keeps_names(clean: np.ndarray, matrix: np.ndarray, labels: np.ndarray) -> bool:
    """Whether each clean class is the one whose label it mostly bears, and has points."""
    observed = np.bincount(labels, minlength=len(matrix)) / len(labels)
    own = np.all(matrix.argmax(axis=1)[observed > 0] == np.flatnonzero(observed > 0))
    return bool(own and np.all(clean.mean(axis=0) >= _EMPTIED * observed))


def further_parameters(classes: int) -> int:
    """How many more an estimated matrix has, with the biases of its logits, than one rate."""
    return classes * (classes - 1) - 1 + classes - 1


def anchored(clean: Float[np.ndarray, "n C"]) -> bool:
    """Whether half the points belong to one class with probability 0.75, and so tell the noise."""
    return bool(np.median(clean.max(axis=1)) >= _ANCHORED)


def uniform(keep: float, classes: int) -> Float[np.ndarray, "C C"]:
    """Transition matrix of symmetric noise that keeps a share of the labels."""
    return np.where(np.eye(classes) > 0, keep, (1 - keep) / (classes - 1))


def posterior(
    clean: Float[np.ndarray, "n C"], labels: np.ndarray, transition: np.ndarray
) -> Float[np.ndarray, "n C"]:
    """p(c | x, ỹ) by Bayes' rule from p(c | x) and the observed label."""
    joint = clean * transition[:, labels].T
    return joint / joint.sum(axis=1, keepdims=True)


def _likelihood(
    clean: np.ndarray, labels: np.ndarray, transition: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray]:
    """Mean negative log-likelihood of the labels, its slope in the logits and in the matrix.

    The logits are those of the softmax ``clean``.
    """
    likelihood = transition[:, labels].T
    seen = np.maximum(np.sum(clean * likelihood, axis=1, keepdims=True), 1e-300)
    by_column = np.zeros((transition.shape[1], transition.shape[0]))
    np.add.at(by_column, labels, clean / seen)
    slope = clean * (1 - likelihood / seen) / len(labels)
    return -float(np.mean(np.log(seen))), slope, -by_column.T / len(labels)


def _minimise(loss: Callable[[np.ndarray], tuple[float, np.ndarray]], start: np.ndarray):
    return scipy.optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500}
    ).x


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _size(outputs: np.ndarray) -> float:
    return float(np.sqrt(np.mean(outputs**2))) or 1.0
