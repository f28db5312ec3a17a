"""Bootstrapping: the observed label mixed with the network's own prediction."""

from __future__ import annotations

from typing import Any, Unpack

import jax

from ..._checks import check_choice, check_in_range
from ..._classes import class_of
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ..training._history import DistillationResult
from ..training._method import Method, method, switch
from ..training._options import TrainingArguments
from ..training._train import train
from ._methods import per_network
from ._record import baseline

WEIGHTS = {"soft": 0.95, "hard": 0.8}
"""The published weight of the observed label."""


@method
class Bootstrapping(Method):
    """Cross-entropy to weight x observed + (1 - weight) x prediction."""

    weight: Any
    kind: str = switch("soft")

    def data_loss(self, outputs: Array, wanted: Array, weights: Array) -> Array:
        """See `Method`; the gradient flows through the soft prediction too."""
        if self.kind == "soft":
            own = jax.nn.softmax(outputs, axis=-1)
        else:
            own = jax.nn.one_hot(class_of(outputs), wanted.shape[-1], dtype=outputs.dtype)
        mixed = self.weight * wanted + (1 - self.weight) * own
        return super().data_loss(outputs, mixed, weights)


@baseline(
    "bootstrapping, soft and hard",
    variants={"bootstrapping_soft": {"kind": "soft"}, "bootstrapping_hard": {"kind": "hard"}},
    source="arXiv:1412.6596 §3.2",
    numbers=("weight",),
    remark="0.95 soft, 0.8 hard",
)
def bootstrapping(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    kind: str = "soft",
    weight: Any = None,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Cross-entropy to weight x observed + (1 - weight) x the network's own prediction.

    Source: Reed et al., arXiv:1412.6596, section 3.2 (their beta is ``weight``). The soft kind is
    cross-entropy with an entropy penalty, so its gradient flows through the prediction in the
    target; the hard one equals `ntk_air.distillation.self_distill` with a constant ``alpha``,
    ``label_fn=hard`` and ``loss="cross_entropy"``.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        kind: "soft", the prediction is the softmax of the outputs, or "hard", its largest class.
        weight: weight of the observed label, in [0, 1]; 1 is cross-entropy. None is the published
            one, 0.95 for "soft" and 0.8 for "hard". With ``replicas`` a number, or a list of one
            for each network.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`, with the distance to the mixed labels as ``loss``.

    Raises:
        ValueError: see `cross_entropy`; a weight out of range or an unknown kind.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.bootstrapping(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     kind="hard")
        >>> print(result.history.loss.round(3))
        [0.693 0.683 0.671 0.659]
    """
    check_choice("kind", kind, tuple(WEIGHTS))

    def make(weight: float) -> Bootstrapping:
        check_in_range("weight", weight, 0.0, 1.0)
        return Bootstrapping(float(weight), kind)

    chosen = WEIGHTS[kind] if weight is None else weight
    methods = per_network(make, training.get("replicas"), weight=chosen)
    return train(apply_fn, params, inputs, observed, methods, **training)
