"""Plain training on the observed labels."""

from __future__ import annotations

from typing import Any, Unpack

from ..._typing import ApplyFn, ArrayLike, Float, PyTree
from ..training._history import DistillationResult
from ..training._method import Method, method
from ..training._options import TrainingArguments
from ..training._train import train
from ._record import baseline


@method
class CrossEntropy(Method):
    """Mean cross-entropy between the softmax of the outputs and the observed labels."""


@baseline("cross-entropy")
def cross_entropy(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    **training: Unpack[TrainingArguments],
) -> DistillationResult:
    """Trains on the observed labels as they are: what every method for noisy labels is up against.

    All baselines take their arguments as `ntk_air.distillation.self_distill` does, with observed
    labels that are one-hot rows. Losses are means over the points of a batch, so time
    (learning rate x step) is n times that of a summed loss.

    Args:
        apply_fn: function or module, see `ntk_air.distillation.self_distill`.
        params: initial parameters.
        inputs: training inputs, the first axis over the n points.
        observed: one-hot observed labels (n, C).
        **training: ``optimizer``: a learning rate, a function of ``learning_rate``, or an optax
            transformation; ``num_steps``: optimiser steps; the rest are
            `ntk_air.distillation.TrainingOptions`.

    Returns:
        Final parameters and `History`, with ``alpha`` 1 and the cross-entropy as ``loss``.

    Raises:
        ValueError: shapes that do not fit, labels that are no probabilities, numbers out of range.
        DivergenceError: a loss that is NaN or infinite.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.cross_entropy(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3)
        >>> print(result.history.loss.round(3))
        [0.693 0.681 0.669 0.657 ]
    """
    return train(apply_fn, params, inputs, observed, CrossEntropy(), **training)
