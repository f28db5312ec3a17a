"""Forward correction: predictions go through the noise before they meet the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite, check_in_range, real_array
from ..._numerics import as_float
from ..._results import result
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from .._evaluation import evaluate
from .._transition import check_rows, check_yields
from ..training._history import DistillationResult, History
from ..training._method import Method, method
from ..training._options import Optimizer, TrainingOptions
from ..training._records import check_pair
from ..training._train import train
from ._cross_entropy import cross_entropy
from ._methods import weighted_mean
from ._record import NoisyRun, baseline

_PERCENTILE = 97.0


@method
class ForwardCorrection(Method):
    """Cross-entropy between the observed labels and probabilities x transition."""

    transition: Any

    def data_loss(self, outputs: Array, wanted: Array, weights: Array) -> Array:
        """See `Method`."""
        clean = jax.nn.log_softmax(outputs, axis=-1)[:, :, None]
        log_observed = jax.nn.logsumexp(clean, axis=1, b=self.transition[None])
        # A class that noise never yields has log 0, and no label.
        rows = -jnp.sum(jnp.where(wanted > 0, wanted * log_observed, 0), axis=-1)
        return weighted_mean(rows, weights)


@result
class ForwardCorrectionResult(DistillationResult):
    """Outcome of training by forward correction.

    Attributes:
        transition: (C, C), row c the probabilities of the observed classes given clean class c,
            as given or as estimated; (R, C, C) if one was given for each network.
        estimation: `History` of the training that it was estimated from, None if it was given.
    """

    transition: Array
    estimation: History | None


def _settle(run: NoisyRun, numbers: dict[str, Any]) -> dict[str, Any]:
    """The transition, estimated from a fifth of the epochs of cross-entropy."""

    def estimated() -> Array:
        each = [
            estimate_transition(jax.nn.softmax(outputs, axis=-1), **numbers)
            for outputs in run.early_outputs(1 / 5)
        ]
        return each[0] if len(each) == 1 else jnp.stack(each)

    return {"transition": run.kept("transition", estimated)}


@baseline(
    "forward correction",
    source="arXiv:1609.03683 §4",
    numbers=("percentile",),
    remark="`transition=None` (estimated), `estimation_steps=None`",
    settle=_settle,
)
def forward_correction(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    optimizer: Optimizer,
    num_steps: int,
    transition: Float[ArrayLike, "C C"] | None = None,
    percentile: float | None = None,
    estimation_steps: int | None = None,
    **options: Unpack[TrainingOptions],
) -> ForwardCorrectionResult:
    """Cross-entropy of the observed labels against probabilities x transition.

    With the true transition its population minimiser gives the clean probabilities. Without one a
    network is first trained by `cross_entropy`, the transition is estimated from its probabilities
    by `estimate_transition`, and a second one starts from the same parameters. Source: Patrini et
    al., arXiv:1609.03683, section 4 (theorem 2; the estimator and its percentile: section 4.3).

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        optimizer: see `cross_entropy`.
        num_steps: optimiser steps, of the second training.
        transition: (C, C), row c the probabilities of the observed classes given clean class c,
            such as ``NoisyLabels.transition``; None estimates it. With ``replicas`` also one for
            each network, (R, C, C).
        percentile: see `estimate_transition`; None is its 97. Not with a transition.
        estimation_steps: optimiser steps of the first training; None is ``num_steps``. A network
            that has fitted its labels gives an estimate near the identity: stop it before. Not with
            a transition.
        **options: `TrainingOptions`, for both trainings; ``record_outputs`` and ``on_record`` for
            the second only. A checkpoint gets a folder for each. Not ``replicas`` without a
            transition.

    Returns:
        Final parameters, `History` and transition, see `ForwardCorrectionResult`. Outputs stand
        for clean classes; ``loss`` is the corrected one.

    Raises:
        ValueError: see `cross_entropy`; a transition that is none, under which an observed class
            cannot come about, or that comes with settings of its estimation.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.forward_correction(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     transition=0.8 * np.eye(2) + 0.1)
        >>> print(result.history.loss.round(3))
        [0.693 0.685 0.677 0.67 ]
    """
    _check_estimation(transition, percentile, estimation_steps)
    percentile = _PERCENTILE if percentile is None else percentile
    for targets in np.asarray(observed) if np.ndim(observed) == 3 else [observed]:
        check_pair(targets, options.get("clean"), "cross_entropy")
    steps = num_steps if estimation_steps is None else estimation_steps
    estimation, checkpoint = None, options.get("checkpoint")
    if transition is None:
        if options.get("replicas") is not None:
            raise ValueError(
                "forward_correction estimates a transition from one network; with replicas give "
                "it one, or estimate by `estimate_transition` from networks trained before."
            )
        first = options | {"record_outputs": False, "on_record": None}
        every = options.get("record_every")
        if every is not None and np.ndim(every) == 1:  # of the second training
            first["record_every"] = [step for step in np.asarray(every).tolist() if step <= steps]
        if checkpoint is not None:
            first["checkpoint"] = Path(checkpoint) / "estimation"
            options["checkpoint"] = Path(checkpoint) / "correction"
        begun = cross_entropy(
            apply_fn, params, inputs, observed, optimizer=optimizer, num_steps=steps, **first
        )
        estimation = begun.history

        def outputs_of(params: PyTree) -> Array:
            return evaluate(
                apply_fn,
                params,
                jnp.asarray(inputs),
                batch_size=options.get("batch_size"),
                precision=options.get("precision"),
            )

        outputs = outputs_of(begun.params)
        if options.get("subtract_initial"):
            outputs = outputs - outputs_of(params)
        transition = estimate_transition(jax.nn.softmax(outputs, axis=-1), percentile=percentile)
    given = _check_transition(transition, observed, options.get("replicas"))
    methods = [ForwardCorrection(t) for t in given] if given.ndim == 3 else ForwardCorrection(given)
    outcome = train(
        apply_fn,
        params,
        inputs,
        observed,
        methods,
        optimizer=optimizer,
        num_steps=num_steps,
        **options,
    )
    return ForwardCorrectionResult(outcome.params, outcome.history, given, estimation)


def estimate_transition(
    probabilities: Float[ArrayLike, "n C"], *, percentile: float = _PERCENTILE
) -> Array:
    """The transition of class-conditional noise, read off points that are surely of one class.

    Row c is the predicted distribution at the point whose probability of class c is the given
    percentile of those of all points. Source: Patrini et al., arXiv:1609.03683, section 4.3; their
    97 guards against outliers, 100 is the most certain point, for classes of less than 3 % each.

    Args:
        probabilities: (n, C) of the observed classes, as predicted by a network trained on them.
        percentile: in [0, 100].

    Returns:
        (C, C), rows that sum to one.

    Raises:
        ValueError: rows that are no probabilities, masked or not finite, or a percentile out of
            range.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> probabilities = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
        >>> found = na.distillation.baselines.estimate_transition(probabilities, percentile=100)
        >>> print(found)
        [[0.9 0.1]
         [0.2 0.8]]
    """
    check_in_range("percentile", percentile, 0.0, 100.0)
    check_finite("probabilities", probabilities)
    rows = np.asarray(as_float(probabilities, "probabilities"))
    plain = rows.ndim == 2 and len(rows) > 0 and rows.min() >= 0
    if not plain or not np.allclose(rows.sum(-1), 1, atol=1e-3):
        raise ValueError(
            f"probabilities has shape {rows.shape}, expected rows (n, C) of numbers >= 0 that sum "
            "to one; pass the softmax of the outputs."
        )
    rank = int(np.ceil(percentile / 100 * (len(rows) - 1)))
    points = np.argsort(rows, axis=0, kind="stable")[rank]
    return jnp.asarray(rows[points] / rows[points].sum(1, keepdims=True))


def _check_estimation(transition: Any, percentile: Any, steps: Any) -> None:
    """Raises ValueError on settings of an estimation that are out of range or have no effect."""
    if percentile is not None:
        check_in_range("percentile", percentile, 0.0, 100.0)
    settings = {"percentile": percentile, "estimation_steps": steps}
    given = [name for name, value in settings.items() if value is not None]
    if transition is not None and given:
        raise ValueError(
            f"{' and '.join(given)} {'has' if len(given) == 1 else 'have'} no effect where the "
            "transition is given: nothing is estimated; leave out."
        )


def _check_transition(transition: ArrayLike, observed: Any, replicas: int | None) -> Array:
    """The transition (C, C) or (R, C, C), and that the labels can come of it."""
    targets = np.asarray(observed)
    matrix = real_array("transition", transition)
    classes = targets.shape[-1]
    stacked = replicas is not None and matrix.shape == (replicas, classes, classes)
    if matrix.shape != (classes, classes) and not stacked:
        raise ValueError(
            f"transition has shape {matrix.shape}, expected ({classes}, {classes}) for observed "
            f"targets with {classes} classes."
        )
    matrix = check_rows(matrix)
    check_yields(matrix, targets)
    return jnp.asarray(matrix)
