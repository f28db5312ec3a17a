"""Mixup: training on mixtures of two points."""

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
from ._methods import per_network
from ._record import baseline

# The step's key itself is the network's, for dropout.
_STREAM = 1


@method
class Mixup(Method):
    """Cross-entropy at w x + (1 - w) x', to w y + (1 - w) y', w from Beta(c, c) for each batch."""

    concentration: Any

    needs_key = True

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`."""
        assert batch.key is not None
        share, partner = draw(batch.key, self.concentration, batch.weights)
        inputs, wanted = (_mixed(share, x, x[partner]) for x in (batch.inputs, batch.observed))
        return self.data_loss(forward(params, inputs), wanted, batch.weights), memory


def _mixed(share: Array, values: Array, others: Array) -> Array:
    if not jnp.issubdtype(values.dtype, jnp.inexact):  # such as images of bytes
        values, others = values.astype(share.dtype), others.astype(share.dtype)
    share = share.astype(values.dtype)
    return share * values + (1 - share) * others


def draw(key: Array, concentration: Any, weights: Array) -> tuple[Array, Array]:
    """A mixing weight () and a partner of every row (b,); points get points, padding padding."""
    of_share, of_order = jax.random.split(jax.random.fold_in(key, _STREAM))
    share = jax.random.beta(of_share, concentration, concentration, dtype=weights.dtype)
    order = jax.random.uniform(of_order, weights.shape)
    # Padding is at the end of a batch, and stays there.
    return share, jnp.argsort(jnp.where(weights > 0, order, 2.0))


@baseline("mixup", source="arXiv:1710.09412 §2", numbers=("concentration",))
def mixup(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    concentration: Any = 1.0,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Cross-entropy on mixtures of the points of a batch, of inputs and of labels alike.

    Every batch is mixed with itself in another order, by one weight from Beta(c, c). Source: Zhang
    et al., arXiv:1710.09412, section 2; published for CIFAR-10 c = 1, for noisy labels (section
    3.4) also c = 8 and 32. Needs a ``key``.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        concentration: c > 0; towards 0 it is cross-entropy, large values mix halves. With
            ``replicas`` a number, or a list of one for each network.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`, with the cross-entropy at the points themselves as ``loss``.

    Raises:
        ValueError: see `cross_entropy`; a concentration that is not positive, or no key.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.mixup(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3, key=0)
        >>> print(result.history.loss.round(3))
        [0.693 0.685 0.676 0.665 ]
    """

    def make(concentration: float) -> Mixup:
        check_in_range("concentration", concentration, 0.0, low_open=True, high_open=True)
        return Mixup(float(concentration))

    methods = per_network(make, training.get("replicas"), concentration=concentration)
    return train(apply_fn, params, inputs, observed, methods, **training)
