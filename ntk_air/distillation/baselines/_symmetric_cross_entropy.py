"""Symmetric cross-entropy: cross-entropy both ways between labels and predictions."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from ..._checks import check_in_range
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ..training._history import DistillationResult
from ..training._method import Method, method
from ..training._options import TrainingArguments
from ..training._train import train
from ._methods import per_network, weighted_mean
from ._record import baseline


@method
class SymmetricCrossEntropy(Method):
    """alpha x cross-entropy + beta x the same with labels and probabilities exchanged."""

    alpha: Any
    beta: Any
    log_zero: Any

    def data_loss(self, outputs: Array, wanted: Array, weights: Array) -> Array:
        """See `Method`."""
        tiny = jnp.finfo(wanted.dtype).tiny
        log_labels = jnp.maximum(jnp.log(jnp.maximum(wanted, tiny)), self.log_zero)
        reverse = -jnp.sum(jax.nn.softmax(outputs, axis=-1) * log_labels, axis=-1)
        plain = super().data_loss(outputs, wanted, weights)
        return self.alpha * plain + self.beta * weighted_mean(reverse, weights)


@baseline(
    "symmetric cross-entropy",
    source="arXiv:1908.06112 §4",
    numbers=("alpha", "beta", "log_zero"),
)
def symmetric_cross_entropy(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    alpha: Any = 0.1,
    beta: Any = 1.0,
    log_zero: Any = -4.0,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Alpha x cross-entropy + beta x reverse cross-entropy, -sum_c p_c log(label_c).

    Source: Wang et al., arXiv:1908.06112, section 4; published for CIFAR-10 alpha 0.1, beta 1.
    For one-hot labels the reverse part is -log_zero (1 - p), p the probability of the observed
    label, so only beta x log_zero matters; the authors' code has log_zero = log(1e-4).

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        alpha: weight of cross-entropy, >= 0.
        beta: weight of the reverse cross-entropy, >= 0; with 0 and alpha 1 it is cross-entropy.
        log_zero: what stands for log(0), < 0. With ``replicas`` each of the three is a number, or
            a list of one for each network.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`, with the symmetric cross-entropy as ``loss``; its column
        ``alpha`` is 1, the weight of the observed labels, and not this ``alpha``.

    Raises:
        ValueError: see `cross_entropy`; a weight or ``log_zero`` out of range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.symmetric_cross_entropy(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     alpha=1.0, beta=0.1)
        >>> print(result.history.loss.round(3))
        [0.893 0.875 0.858 0.841]
    """

    def make(alpha: float, beta: float, log_zero: float) -> SymmetricCrossEntropy:
        check_in_range("alpha", alpha, 0.0, high_open=True)
        check_in_range("beta", beta, 0.0, high_open=True)
        check_in_range("log_zero", log_zero, -jnp.inf, 0.0, low_open=True, high_open=True)
        return SymmetricCrossEntropy(float(alpha), float(beta), float(log_zero))

    methods = per_network(make, training.get("replicas"), alpha=alpha, beta=beta, log_zero=log_zero)
    return train(apply_fn, params, inputs, observed, methods, **training)
