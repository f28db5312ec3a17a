"""The target of a self-distillation step and the losses that pull the outputs towards it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from ..._classes import class_of, threshold_of
from ..._typing import Array
from .._alpha import AlphaSchedule


def mix(alpha: Array, observed: Array, labels: Array) -> Array:
    """The target alpha x observed + (1 - alpha) x labels, (n, C); no gradient flows through it."""
    # Labels may be of whole numbers or booleans, which would round the weight.
    alpha, labels = (jnp.asarray(x).astype(observed.dtype) for x in (alpha, labels))
    return jax.lax.stop_gradient(alpha * observed + (1 - alpha) * labels)


def agreement(outputs: Array, observed: Array, weights: Array, threshold: Any = None) -> Array:
    """Weighted fraction of rows on which outputs and observed targets name the same class."""
    # Counting the differing rows makes both 0 and 1 exact, whatever the compiler does to the ratio.
    return 1 - disagreement(outputs, observed, weights, threshold)


def disagreement(outputs: Array, targets: Array, weights: Array, threshold: Any = None) -> Array:
    """Weighted fraction of rows on which outputs and targets name different classes.

    ``threshold`` splits a single column; default what the targets, all of them, say.
    """
    threshold = threshold_of(targets) if threshold is None else threshold
    differ = (class_of(outputs, threshold) != class_of(targets, threshold)).astype(weights.dtype)
    return jnp.sum(weights * differ) / jnp.sum(weights)


def target(
    schedule: AlphaSchedule,
    label_fn: Any,
    step: Array,
    teacher: Array,
    observed: Array,
    weights: Array,
    threshold: Any = None,
) -> tuple[Array, Array]:
    """The weight alpha_s and the target (n, C) that the outputs ``teacher`` make at a step."""
    weight = schedule(step, agreement(teacher, observed, weights, threshold))
    return weight, mix(weight, observed, label_fn(teacher))


def loss(kind: str, reduction: str, outputs: Array, wanted: Array, weights: Array) -> Array:
    """Half the squared distance, or cross-entropy, over rows of positive weight."""
    if kind == "mse":
        rows = 0.5 * jnp.sum((outputs - wanted) ** 2, axis=-1)
    else:
        rows = -jnp.sum(wanted * jax.nn.log_softmax(outputs, axis=-1), axis=-1)
    total = jnp.sum(weights * rows)
    return total / jnp.sum(weights) if reduction == "mean" else total
