"""Self-adaptive training: labels that move towards the predictions, weighted by confidence."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp

from ..._checks import check_in_range, check_size
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ..training._history import DistillationResult
from ..training._method import Batch, Forward, Method, method
from ..training._options import TrainingArguments
from ..training._train import train
from ._methods import per_network
from ._record import NoisyRun, baseline


@method
class SelfAdaptiveTraining(Method):
    """Cross-entropy to targets that start as the observed labels, weighted by their maximum."""

    momentum: Any
    start_epoch: Any

    def start(self, observed: Array) -> PyTree:
        """The targets, (n, C)."""
        return observed

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`; the targets of the batch are moved before they are used."""
        outputs = forward(params, batch.inputs)
        own = jax.lax.stop_gradient(jax.nn.softmax(outputs, axis=-1))
        moved = self.momentum * memory + (1 - self.momentum) * own
        targets = jnp.where(batch.epoch >= self.start_epoch, moved, memory).astype(memory.dtype)
        return self._weighted(outputs, targets, batch.weights), targets

    def status(
        self, step: Array, outputs: Array, observed: Array, memory: PyTree
    ) -> tuple[Array, Array]:
        """See `Method`; with the targets as they are."""
        weight, _ = super().status(step, outputs, observed, None)
        return weight, self._weighted(outputs, memory, jnp.ones(len(observed), outputs.dtype))

    def _weighted(self, outputs: Array, targets: Array, weights: Array) -> Array:
        # Divided by the sum of the weights over the batch: no point for sure, none is loud.
        return self.data_loss(outputs, targets, weights * jnp.max(targets, axis=-1))


def _settle(run: NoisyRun, numbers: dict[str, Any]) -> dict[str, Any]:
    """Published: from epoch 60 of 200 on."""
    return {"start_epoch": max(1, round(0.3 * run.epochs))} | numbers


@baseline(
    "self-adaptive training",
    source="arXiv:2002.10319 alg. 1",
    numbers=("momentum", "start_epoch"),
    settle=_settle,
    benchmarked=("", "start_epoch=1"),
)
def self_adaptive_training(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    momentum: Any = 0.9,
    start_epoch: int = 60,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Cross-entropy to targets t_i that move towards the predictions, weighted by max_c t_ic.

    Every point keeps t_i, its observed label at first; from ``start_epoch`` on a step on it does
    t_i <- momentum t_i + (1 - momentum) p_i. The weights are divided by their sum over the batch.
    Source: Huang, Zhang and Zhang, arXiv:2002.10319, algorithm 1; published momentum 0.9 and
    start_epoch 60.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        momentum: share of the old target that a step keeps, in [0, 1]. With ``replicas`` a number,
            or a list of one for each network.
        start_epoch: epochs of plain cross-entropy before; without ``batch_size`` a step is an
            epoch.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`, with the weighted distance to the targets as ``loss``.

    Raises:
        ValueError: see `cross_entropy`; a momentum or an epoch out of range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.self_adaptive_training(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     start_epoch=1)
        >>> print(result.history.loss.round(3))
        [0.693 0.681 0.672 0.666]
    """
    begin = check_size("start_epoch", start_epoch, 0)

    def make(momentum: float) -> SelfAdaptiveTraining:
        check_in_range("momentum", momentum, 0.0, 1.0)
        return SelfAdaptiveTraining(float(momentum), begin)

    methods = per_network(make, training.get("replicas"), momentum=momentum)
    return train(apply_fn, params, inputs, observed, methods, **training)
