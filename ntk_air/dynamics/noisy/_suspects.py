"""Which labels to suspect: the noise when the likelihood cannot tell it, and where to cut."""

from __future__ import annotations

import numpy as np

from ..._typing import Float
from ._calibrate import posterior

# No entry of a counted matrix is surer than this, and nobody checks ten labels for one error.
_LEAST = 1e-3
_LEAST_DOUBT = 0.1
_POOLED = 9


def confident_joint(
    predicted: Float[np.ndarray, "n C"], labels: np.ndarray
) -> Float[np.ndarray, "C C"]:
    """Share of points of each observed (row) and clean class (column), by confident learning.

    Point i counts as class c if p_c(x_i) ≥ t_c and no class over its own threshold is more
    probable, where t_j is the mean of p_j over the points labelled j. Each row is then scaled to
    the number of points with that label. A threshold makes up for classes that are predicted with
    less confidence than others; nothing makes up for classes that look alike.

    Args:
        predicted: probabilities (n, C) of the observed label from models that did not see it.
        labels: observed classes (n,).

    Returns:
        (C, C), sums to 1; 1 minus its trace is the share of wrong labels that it implies.

    Source: Northcutt, Jiang, Chuang, arXiv:1911.00068, equations 1 to 3.
    """
    n, classes = predicted.shape
    counts = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, predicted[np.arange(n), labels], minlength=classes)
    thresholds = np.where(counts > 0, own / np.maximum(counts, 1), np.inf)
    over = np.where(predicted >= thresholds, predicted, -1.0)
    sure = over.max(axis=1) >= 0
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[sure], over.argmax(axis=1)[sure]), 1.0)
    empty = joint.sum(axis=1) == 0
    joint[empty, empty.nonzero()[0]] = 1.0
    return joint / joint.sum(axis=1, keepdims=True) * counts[:, None] / n


def pooled_posterior(
    clean: Float[np.ndarray, "n C"],
    labels: np.ndarray,
    transition: Float[np.ndarray, "C C"],
    joint: Float[np.ndarray, "C C"],
) -> Float[np.ndarray, "n C"]:
    """p(c | x, ỹ), averaged over the matrices from one to another that the labels do not rule out.

    From the most likely ``transition``, which puts errors between classes that look alike down to
    doubt about the class, to that of the ``joint``, which puts doubt down to errors.
    """
    counted = joint.T + _LEAST / len(joint) * np.eye(len(joint))
    counted = counted / counted.sum(axis=1, keepdims=True)
    counted = (1 - _LEAST) * counted + _LEAST / len(joint)
    parts = np.linspace(0.0, 1.0, _POOLED)
    total = sum(posterior(clean, labels, (1 - a) * transition + a * counted) for a in parts)
    return np.asarray(total) / _POOLED


def most_useful(doubt: Float[np.ndarray, " n"]) -> np.ndarray:
    """The set of labels whose F1, of precision and recall, is expected to be largest.

    That set holds the labels whose probability of being wrong exceeds F1/2, half of its own value;
    and none below 0.1. F1 is taken as 2 E|hits| / (E|wrong| + |set|).

    Args:
        doubt: probability (n,) that each label is wrong.

    Returns:
        (n,) bool.

    Source: Lipton, Elkan, Naryanaswamy, arXiv:1402.1892, theorem 1.
    """
    ordered = np.sort(doubt)[::-1]
    sizes = np.arange(1, len(doubt) + 1)
    best = np.max(2 * np.cumsum(ordered) / (sizes + ordered.sum()), initial=0.0)
    return doubt > max(best / 2, _LEAST_DOUBT)
