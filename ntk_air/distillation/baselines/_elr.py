"""Early-learning regularisation: outputs are held near their own running mean."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from ..._checks import check_in_range
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ..training._history import DistillationResult
from ..training._method import Batch, Forward, Method, method
from ..training._options import TrainingArguments
from ..training._train import train
from ._methods import per_network, weighted_mean
from ._record import baseline

_CLIP = 1e-4


@method
class EarlyLearningRegularization(Method):
    """Cross-entropy + strength x log(1 - <running mean, probabilities>)."""

    momentum: Any
    strength: Any

    def start(self, observed: Array) -> PyTree:
        """No mean yet, zeros (n, C)."""
        return jnp.zeros_like(observed)

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`; the means of the batch are moved before they are used."""
        outputs = forward(params, batch.inputs)
        own = jax.lax.stop_gradient(_probabilities(outputs))
        own = own / jnp.sum(own, axis=-1, keepdims=True)
        means = self.momentum * memory + (1 - self.momentum) * own
        return self._total(outputs, batch.observed, batch.weights, means), means.astype(
            memory.dtype
        )

    def status(
        self, step: Array, outputs: Array, observed: Array, memory: PyTree
    ) -> tuple[Array, Array]:
        """See `Method`; with the means as they are."""
        weight, _ = super().status(step, outputs, observed, None)
        weights = jnp.ones(len(observed), outputs.dtype)
        return weight, self._total(outputs, observed, weights, memory)

    def _total(self, outputs: Array, observed: Array, weights: Array, means: Array) -> Array:
        near = jnp.log1p(-jnp.sum(means * _probabilities(outputs), axis=-1))
        plain = self.data_loss(outputs, observed, weights)
        return plain + self.strength * weighted_mean(near, weights)


def _probabilities(outputs: Array) -> Array:
    return jnp.clip(jax.nn.softmax(outputs, axis=-1), _CLIP, 1 - _CLIP)


@baseline(
    "early-learning regularisation (ELR)",
    source="arXiv:2007.00151 §4.2, eq. (7), §4.3",
    numbers=("momentum", "strength"),
)
def elr(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    momentum: Any = 0.7,
    strength: Any = 3.0,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Cross-entropy + strength x mean log(1 - <t_i, p_i>), t_i a running mean of p_i.

    Every point keeps t_i, zero at first; a step on it does t_i <- momentum t_i +
    (1 - momentum) p_i, with the probabilities p_i clipped to [1e-4, 1 - 1e-4] and normalised, and
    no gradient flows through t_i. Source: Liu et al., arXiv:2007.00151, sections 4.2, equation
    (7), and 4.3: their ELR, not ELR+. Published for CIFAR-10: momentum 0.7, strength 3.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        momentum: share of the old mean that a step keeps, in [0, 1).
        strength: weight of the regulariser, >= 0; 0 is cross-entropy. With ``replicas`` both are
            numbers, or lists of one for each network.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`; ``loss`` has the regulariser in it.

    Raises:
        ValueError: see `cross_entropy`; a momentum or strength out of range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.elr(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     strength=1.0)
        >>> print(result.history.loss.round(3))
        [0.693 0.518 0.374 0.258]
    """

    def make(momentum: float, strength: float) -> EarlyLearningRegularization:
        check_in_range("momentum", momentum, 0.0, 1.0, high_open=True)
        check_in_range("strength", strength, 0.0, high_open=True)
        return EarlyLearningRegularization(float(momentum), float(strength))

    methods = per_network(make, training.get("replicas"), momentum=momentum, strength=strength)
    return train(apply_fn, params, inputs, observed, methods, **training)
