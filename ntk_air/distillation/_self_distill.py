"""Self-distillation of a real network, and, with alpha = 1, plain training of one."""

from __future__ import annotations

from itertools import repeat
from typing import Any, Unpack

import jax.numpy as jnp
import numpy as np

from .._checks import check_choice
from .._classes import threshold_of
from .._typing import ApplyFn, ArrayLike, Float, PyTree
from ._alpha_given import as_schedule
from ._label_fn import bind, hard
from ._posterior import Posterior
from ._posterior_training import posterior_method
from .training._history import DistillationResult
from .training._method import Method, SelfDistillation
from .training._options import Optimizer, TrainingOptions, training_call
from .training._records import (
    check_label_fn,
    check_probabilities,
    check_targets,
    checked_batch,
    whole_number,
)
from .training._replicas import for_each
from .training._train import train


@training_call
def self_distill(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    optimizer: Optimizer,
    num_steps: int,
    alpha: Any,
    label_fn: Any = hard,
    loss: str = "mse",
    reduction: str | None = None,
    teacher: str = "step",
    **options: Unpack[TrainingOptions],
) -> DistillationResult:
    """Trains a network towards alpha_s observed + (1 - alpha_s) h(f_s): the paper's algorithm.

    f_s are the network's own outputs, h is ``label_fn``, and no gradient flows through the target.
    alpha = 1 is plain training on the observed labels. Source: arXiv:1910.01255, its algorithm
    for noisy labels.

    Args:
        apply_fn: ``(params, inputs) -> outputs (n, C)``, pure; or an unbound flax linen module, an
            nnx module or an equinox module (of single points), whose BatchNorm is then trained on
            the batches and evaluated with its running statistics, and whose dropout is on in
            training only. Pass the same function again and the training loop is not compiled again.
        params: initial parameters, any pytree of float arrays; of a linen module all that ``init``
            returned; None for the own ones of an nnx or equinox module; of one of equinox with
            state its ``State``, or the module and its ``State``, which the result has too.
        inputs: training inputs, the first axis over the n points; integers stay integers.
        observed: encoded observed targets (n, C): +-1 for one output, one-hot or centred one-hot.
        optimizer: a number is gradient descent with that learning rate; a function such as
            ``optax.adam`` is called with ``learning_rate``; a finished optax transformation is
            used as it is, and each new one compiles the loop anew.
        num_steps: optimiser steps; 0 measures the initial network only.
        alpha: weight of the observed labels: a number, a schedule of
            `ntk_air.distillation.alpha`, any function from the step, such as an optax schedule, or
            an array of one weight for each step; or `posterior`, which finds a weight for each
            label. With ``replicas`` a list is one of these for each network, all of one kind.
        label_fn: `hard`, `sign`, `softmax(T)`, `tanh(slope)`, `identity`, `nearest(levels)`, bound
            to the coding of ``observed``; or a function of yours ``(n, C) -> (n, C)``, used as is.
            With ``replicas`` a list of one for each network, all of one kind.
        loss: "mse", half the squared distance summed over outputs, or "cross_entropy" between
            softmax of the outputs and the target, which needs one-hot targets and labels that are
            probabilities: `hard`, `softmax(T)` or a function of yours.
        reduction: "sum" or "mean" over the points of a batch; None is "sum" for "mse", the
            convention in which the kernel's eigenvalues are learning speeds, and "mean" for
            "cross_entropy". A mean divides the speeds by the number of points.
        teacher: "step" distils from the outputs of the current network on the same batch; "epoch"
            from the outputs stored at the end of the previous epoch, in the first epoch those of
            the initial network. Without ``batch_size`` every step is an epoch, and the teacher is
            the current network on the same points, as for "step".
        **options: `TrainingOptions`.

    Returns:
        Final parameters and the `History`, measured on all points whatever the batch size; with
        `posterior` also ``label_weights`` and ``refined``, see `DistillationResult`.

    Raises:
        ValueError: on shapes that do not fit, labels that are not encoded, numbers out of range,
            targets whose coding the loss or the label function cannot use, or a checkpoint of
            another run.
        DivergenceError: if a loss is NaN or infinite; it names the first such step, at the next
            record.
        TypeError: if ``alpha`` is no number, array or schedule, or ``label_fn`` no function.

    Example:
        >>> import jax.numpy as jnp, optax, ntk_air as na
        >>> x, observed = jnp.eye(3), jnp.array([[1.0], [-1.0], [1.0]])
        >>> result = na.distillation.self_distill(
        ...     lambda w, x: x @ w, jnp.zeros((3, 1)), x, observed,
        ...     optimizer=optax.sgd, learning_rate=0.5, num_steps=2, alpha=1.0)
        >>> print(result.params.T, result.history.loss)
        [[ 0.75 -0.75 0.75]] [1.5 0.375 0.09375]
    """
    check_choice("loss", loss, ("mse", "cross_entropy"))
    reduction = reduction or ("sum" if loss == "mse" else "mean")
    check_choice("reduction", reduction, ("sum", "mean"))
    check_choice("teacher", teacher, ("step", "epoch"))
    coded = np.asarray(observed)[0] if np.ndim(observed) == 3 else observed
    check_targets("observed", coded)
    num_steps = whole_number("num_steps", num_steps, 0)
    size, replicas = checked_batch(options.get("batch_size"), len(coded)), options.get("replicas")
    threshold = float(threshold_of(np.asarray(observed)))
    stored = teacher == "epoch" and size is not None
    # Rows that a label function is given: of a batch, and of all points.
    rows = {len(coded), len(coded) if size is None else size}

    def method(weight: Any, function: Any) -> Method:
        if isinstance(weight, Posterior):
            chosen = {"loss": loss, "reduction": reduction, "teacher": teacher}
            return posterior_method(weight, observed, label_fn=function, **chosen)
        schedule, bound = as_schedule(weight, num_steps), bind(function, coded)
        check_probabilities(bound, loss)
        for count in rows:
            check_label_fn(bound, (count, np.shape(coded)[1]), jnp.result_type(float))
        return SelfDistillation(schedule, bound, loss, reduction, stored, threshold)

    alphas = for_each("alpha", alpha, replicas)
    functions = for_each("label_fn", label_fn, replicas)
    if alphas is None and functions is None:
        methods = method(alpha, label_fn)
    else:
        pairs = zip(alphas or repeat(alpha), functions or repeat(label_fn), strict=False)
        methods = [method(*pair) for pair in pairs]
    return train(
        apply_fn,
        params,
        inputs,
        observed,
        methods,
        optimizer=optimizer,
        num_steps=num_steps,
        **options,
    )
