"""Generalised cross-entropy: between cross-entropy and the mean absolute error."""

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
from ._methods import per_network, weighted_mean
from ._record import NoisyRun, baseline


@method
class GeneralizedCrossEntropy(Method):
    """(1 - p^q) / q of the probability p of the observed label, constant where p <= threshold."""

    q: Any
    threshold: Any
    start_epoch: Any

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`."""
        rows = self._rows(forward(params, batch.inputs), batch.observed)
        if self.threshold is not None:
            most = -jnp.expm1(self.q * jnp.log(self.threshold)) / self.q
            cut = jnp.minimum(rows, most)
            rows = jnp.where(batch.epoch >= self.start_epoch, cut, rows)
        return weighted_mean(rows, batch.weights), memory

    def data_loss(self, outputs: Array, wanted: Array, weights: Array) -> Array:
        """See `Method`; not truncated."""
        return weighted_mean(self._rows(outputs, wanted), weights)

    def _rows(self, outputs: Array, wanted: Array) -> Array:
        powers = -jnp.expm1(self.q * jax.nn.log_softmax(outputs, axis=-1)) / self.q
        return jnp.sum(wanted * powers, axis=-1)


def _settle(run: NoisyRun, numbers: dict[str, Any]) -> dict[str, Any]:
    """Published: truncated from epoch 40 of 120 on."""
    begin = {"start_epoch": round(run.epochs / 3)} if "threshold" in numbers else {}
    return begin | numbers


@baseline(
    "generalised cross-entropy",
    source="arXiv:1805.07836 §3.2, §3.3",
    numbers=("q", "threshold", "start_epoch"),
    remark="truncated: `threshold=0.5`",
    settle=_settle,
)
def gce(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    q: Any = 0.7,
    threshold: Any = None,
    start_epoch: int = 40,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Generalised cross-entropy (1 - p^q) / q, p the probability of the observed label.

    Source: Zhang and Sabuncu, arXiv:1805.07836, section 3.2; published q = 0.7, and for the
    truncated loss of section 3.3 a threshold of 0.5 from epoch 40 on. They choose the points that
    the truncation leaves out every ten epochs; here it is done at every step.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        q: in (0, 1]: towards 0 cross-entropy, at 1 half the absolute error of the probabilities.
            With ``replicas`` a number, or a list of one for each network.
        threshold: points with p at most this, in (0, 1), pull no longer; None truncates nothing.
            A network at its start, with p near 1/C, needs epochs without.
        start_epoch: epochs before the truncation begins; without ``batch_size`` a step is an epoch.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`, with the loss before truncation as ``loss``.

    Raises:
        ValueError: see `cross_entropy`; a ``q``, threshold or epoch out of range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.gce(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     q=0.5)
        >>> print(result.history.loss.round(3))
        [0.586 0.58 0.573 0.567]
    """
    begin = check_size("start_epoch", start_epoch, 0)

    def make(q: float, threshold: float | None) -> GeneralizedCrossEntropy:
        check_in_range("q", q, 0.0, 1.0, low_open=True)
        if threshold is None:
            return GeneralizedCrossEntropy(float(q), None, begin)
        check_in_range("threshold", threshold, 0.0, 1.0, low_open=True, high_open=True)
        return GeneralizedCrossEntropy(float(q), float(threshold), begin)

    methods = per_network(make, training.get("replicas"), q=q, threshold=threshold)
    return train(apply_fn, params, inputs, observed, methods, **training)
