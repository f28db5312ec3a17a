"""Regularisation by the distance of the parameters to where they started."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_choice, check_in_range
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from .._label_fn import bind, coding_of, hard, identity
from ..training._history import DistillationResult
from ..training._method import Batch, Forward, Method, method, switch
from ..training._options import TrainingArguments
from ..training._records import check_targets
from ..training._train import train
from ._methods import per_network
from ._record import baseline


@method
class DistanceToInitialization(Method):
    """The chosen loss + strength^2 / 2 x ||theta - theta_0||^2."""

    strength: Any
    labels: Any
    loss: str = switch("cross_entropy")
    reduction: str = switch("mean")

    @property
    def label_fn(self) -> Any:
        """See `Method`."""
        return self.labels

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`."""
        loss = self.data_loss(forward(params, batch.inputs), batch.observed, batch.weights)
        moved = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), params, batch.initial_params)
        distance = sum(jax.tree.leaves(moved), jnp.zeros((), loss.dtype))
        return loss + 0.5 * self.strength**2 * distance, memory


@baseline(
    "distance to initialisation",
    source="arXiv:1905.11368 eq. (3), thm 4.1",
    numbers=("strength",),
    required={"strength": 0.05},
    remark="`loss='cross_entropy'`, `reduction=None`",
    benchmarked=("strength=0.2",),
)
def distance_to_initialization(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    strength: Any,
    loss: str = "cross_entropy",
    reduction: str | None = None,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """The observed labels' loss + strength^2 / 2 x ||theta - theta_0||^2 over all parameters.

    Source: Hu, Li and Yu, arXiv:1905.11368, section 3, equation (3): their RDI, ``strength`` is
    lambda. With the summed squared loss a wide network becomes kernel ridge regression with ridge
    strength^2 (theorem 4.1). The right size depends on the network, so there is no default.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: encoded observed targets (n, C): one-hot for "cross_entropy", any for "mse".
        strength: lambda >= 0; 0 is plain training. With ``replicas`` a number, or a list of one for
            each network.
        loss: "cross_entropy", or "mse" as in the paper's theory.
        reduction: "sum" or "mean" of the loss over the points of a batch; None is "sum" for "mse"
            and "mean" for "cross_entropy". The penalty is the same in both, and whole in every
            batch: for "sum", batches of b of n points have n/b times its weight.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`, with the loss without the penalty as ``loss``.

    Raises:
        ValueError: see `cross_entropy`; a negative strength, an unknown loss or reduction.
        TypeError: if what is handed on to the training loop is of another type.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.distance_to_initialization(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3, strength=0.1)
        >>> print(result.history.loss.round(3))
        [0.693 0.681 0.669 0.657 ]
    """
    check_choice("loss", loss, ("mse", "cross_entropy"))
    chosen = reduction or ("sum" if loss == "mse" else "mean")
    check_choice("reduction", chosen, ("sum", "mean"))
    coded = np.asarray(observed)[0] if np.ndim(observed) == 3 else observed
    check_targets("observed", coded)
    # Targets of no coding have no classes: labels are then the outputs.
    labels = identity if coding_of(coded) is None else bind(hard, coded)

    def make(strength: float) -> DistanceToInitialization:
        check_in_range("strength", strength, 0.0, high_open=True)
        return DistanceToInitialization(float(strength), labels, loss, chosen)

    methods = per_network(make, training.get("replicas"), strength=strength)
    return train(apply_fn, params, inputs, observed, methods, **training)
