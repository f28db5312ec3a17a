"""Kernel methods trained again without each of their points, in NumPy's float64."""

from __future__ import annotations

import numpy as np


def retrained(kernel, observed, fractions, zero=0.0):
    """n fits to n − 1 points each, eigenvalues of each reduced kernel descending."""
    n = len(kernel)
    outputs = np.zeros_like(observed)
    for i in range(n):
        keep = np.arange(n) != i
        values, vectors = np.linalg.eigh(kernel[np.ix_(keep, keep)])
        values, vectors = values[::-1], vectors[:, ::-1]
        values = np.where(values > zero, values, 0.0)
        ratio = np.zeros_like(values)
        np.divide(fractions(values), values, out=ratio, where=values > 0)
        outputs[i] = kernel[i, keep] @ vectors @ (ratio[:, None] * (vectors.T @ observed[keep]))
    return outputs


def flow(time):
    return lambda values: -np.expm1(-values * time) if np.isfinite(time) else 1.0 * (values > 0)
