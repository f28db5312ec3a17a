"""Label smoothing: the observed label mixed with the uniform distribution."""

from __future__ import annotations

from typing import Any, Unpack

from ..._checks import check_in_range
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ..training._history import DistillationResult
from ..training._method import Method, method
from ..training._options import TrainingArguments
from ..training._train import train
from ._methods import per_network
from ._record import baseline


@method
class LabelSmoothing(Method):
    """Cross-entropy to (1 - smoothing) x observed + smoothing / C."""

    smoothing: Any

    def data_loss(self, outputs: Array, wanted: Array, weights: Array) -> Array:
        """See `Method`."""
        smooth = (1 - self.smoothing) * wanted + self.smoothing / wanted.shape[-1]
        return super().data_loss(outputs, smooth, weights)


@baseline("label smoothing", source="arXiv:1512.00567 §7, 2003.02819", numbers=("smoothing",))
def label_smoothing(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    smoothing: Any = 0.1,
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Cross-entropy to the observed labels mixed with the uniform distribution.

    Source: Szegedy et al., Rethinking the Inception architecture, arXiv:1512.00567, section 7
    (smoothing 0.1); for noisy labels Lukasik et al., arXiv:2003.02819.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        smoothing: weight of the uniform distribution, in [0, 1); 0 is cross-entropy. With
            ``replicas`` a number, or a list of one for each network.
        **training: ``optimizer``, ``num_steps`` and `TrainingOptions`, see `cross_entropy`.

    Returns:
        Final parameters and `History`, with the distance to the smoothed labels as ``loss``.

    Raises:
        ValueError: see `cross_entropy`; a smoothing out of range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.label_smoothing(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     smoothing=0.2)
        >>> print(result.history.loss.round(3))
        [0.693 0.685 0.677 0.67 ]
    """

    def make(smoothing: float) -> LabelSmoothing:
        check_in_range("smoothing", smoothing, 0.0, 1.0, high_open=True)
        return LabelSmoothing(float(smoothing))

    methods = per_network(make, training.get("replicas"), smoothing=smoothing)
    return train(apply_fn, params, inputs, observed, methods, **training)
