"""The first steps of a self-distilling network, held against the algorithm written out by hand."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy import special

from .... import distillation
from ...._numerics import double_precision
from ...model._two_layer import two_layer_apply

PROBE = (0.25, 0.6, 0.9)
"""Weights of the observed labels in the steps."""


def first_steps_deviation(data: Any, label_fn: Any, weights: Any, learning_rate: float) -> float:
    """Largest deviation of the first outputs from those of the algorithm, relative to |f| or 1.

    Its gradient is written out here, in NumPy float64; the training code differentiates the loss.
    """
    inputs = np.asarray(data.inputs, np.float64)
    clean, observed = np.asarray(data.clean, np.float64), np.asarray(data.observed, np.float64)
    weights = np.asarray(weights, np.float64)
    with double_precision():
        history = distillation.self_distill(
            two_layer_apply,
            jnp.asarray(weights),
            jnp.asarray(inputs),
            observed,
            optimizer=learning_rate,
            num_steps=len(PROBE),
            alpha=np.asarray(PROBE),
            label_fn=label_fn,
            clean=clean,
            record_every=1,
            record_outputs=True,
        ).history
        worst = 0.0
        signs = np.repeat([1.0, -1.0], len(weights) // 2) / np.sqrt(len(weights))
        for index in range(len(PROBE) + 1):
            hidden = inputs @ weights.T
            outputs = np.logaddexp(0.0, hidden) @ signs[:, None]
            off = np.abs(np.asarray(history.outputs)[index] - outputs).max()
            worst = np.maximum(worst, off / max(1.0, np.abs(outputs).max()))
            if index < len(PROBE):
                labels = np.asarray(label_fn(jnp.asarray(outputs)), np.float64)
                pull = outputs - PROBE[index] * observed - (1 - PROBE[index]) * labels
                slope = pull * special.expit(hidden) * signs
                weights = weights - learning_rate * slope.T @ inputs
    return float(worst)
