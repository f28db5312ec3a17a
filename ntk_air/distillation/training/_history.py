"""What training leaves behind: the recorded history, and the numbers measured at each record."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._classes import class_of, threshold_of
from ..._results import result
from ..._typing import Array
from . import _objective


class DivergenceError(ValueError):
    """Training produced a loss that is NaN or infinite; the message names the step.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> try:
        ...     na.distillation.kernel_self_distill(
        ...         np.eye(2), np.eye(2), learning_rate=1e6, num_steps=50, alpha=1.0)
        ... except na.distillation.DivergenceError as error:
        ...     print(str(error)[:8])
        the loss
    """


@result
class History:
    """Training seen at R records, the first before any step and the last after the last one.

    Every number is over all n training points, whatever the batch size, with the network as it is
    at the record. y are the clean targets, and what needs them is NaN where they were not given.
    Where networks were trained together, all columns but ``step`` have a first axis over them
    (``time`` only if their learning rates differ).

    Attributes:
        step: (R,) int32, training steps done.
        time: (R,) learning_rate x step, or the sum of the learning rates of the steps done where
            they vary; NaN where the learning rate is not known. One unit of it is one unit of
            gradient flow on the loss as reduced: the summed one by default for "mse".
        loss: (R,) distance of the outputs to the target of that step, in the chosen reduction.
        alpha: (R,) weight of the observed labels in that target; for `posterior` the mean over
            the points.
        agreement: (R,) fraction of points whose output and observed target name the same class.
        l2_to_clean: (R,) ||f - y||_2 / sqrt(n); for cross-entropy of the probabilities, the
            softmax of the outputs, since only those are meant to be the targets.
        label_to_clean: (R,) ||h(f) - y||_2 / sqrt(n): how wrong the labels are that the network
            teaches itself; 0 is the premise of the convergence theorem. For `posterior` those
            of `hard`.
        error_to_clean: (R,) fraction of points whose class differs from the clean one.
        error_to_observed: (R,) fraction of points whose class differs from the observed one.
        margin: (R,) smallest (y_i - c) (f(x_i) - c) for a single output, c halfway between the two
            values of its targets: 0 for +-1, 1/2 for 0 and 1; else the smallest
            f_true - max over the other classes.
        distance_from_init: (R,) ||theta - theta_0||_2 over all parameters; in function space the
            same for the linearised network, sqrt(tr((f - f_0)^T kernel^{-1} (f - f_0))).
        test_accuracy: (R,) fraction of test points of the right class; NaN without test points.
        outputs: (R, n, C), or None unless asked for.
        test_outputs: (R, m, C), or None unless asked for and test points were given.
        alpha_right: (R,) for `posterior` with clean targets, the mean weight of the observed labels
            that are right, NaN where there are none; None otherwise.
        alpha_wrong: (R,) the same of those that are wrong.
    """

    step: Array
    time: Array
    loss: Array
    alpha: Array
    agreement: Array
    l2_to_clean: Array
    label_to_clean: Array
    error_to_clean: Array
    error_to_observed: Array
    margin: Array
    distance_from_init: Array
    test_accuracy: Array
    outputs: Array | None = None
    test_outputs: Array | None = None
    alpha_right: Array | None = None
    alpha_wrong: Array | None = None


@result
class DistillationResult:
    """Outcome of training a network, or several together.

    Attributes:
        params: parameters after the last step, in the form in which they were given: of a linen
            module with its other collections, of an nnx module its whole state. A first axis over
            the networks where several were trained together.
        history: the records, see `History`.
        label_weights: (n,) for `posterior`, the weight of each observed label after the last step:
            the probability that it is right. (R, n) of networks trained together.
        refined: (n, C) for `posterior`, the probability of each class after the last step; of a
            single output two columns, those of -1 and of +1. (R, n, C) of networks trained
            together.
    """

    params: Any
    history: History
    label_weights: Array | None = dataclasses.field(default=None, kw_only=True)
    refined: Array | None = dataclasses.field(default=None, kw_only=True)

    def replica(self, index: int) -> DistillationResult:
        """The outcome of one of the networks that were trained together.

        Raises:
            ValueError: if it was a single one, or there is none of that index.
        """
        loss = self.history.loss
        if loss.ndim == 1:
            raise ValueError("a single network was trained, and this is its result.")
        if not -len(loss) <= index < len(loss):
            raise ValueError(f"index is {index}, expected one of {len(loss)} networks from 0 on.")
        of_all = self.params, self.history, self.label_weights, self.refined
        params, history, weights, refined = jax.tree.map(lambda leaf: leaf[index], of_all)
        shared = {"step": self.history.step}
        if self.history.time.ndim == 1:
            shared["time"] = self.history.time
        history = dataclasses.replace(history, **shared)
        return DistillationResult(params, history, label_weights=weights, refined=refined)


def history_of(columns: dict[str, Any]) -> History:
    """A history; NaN in columns that could not be measured."""
    loss = columns["loss"]
    unknown = jax.device_put(np.full(loss.shape, np.nan, loss.dtype))
    kept = ("outputs", "test_outputs")
    filled = {n: unknown for n, c in columns.items() if c is None and n not in kept}
    return History(**columns | filled)


class Reference(NamedTuple):
    """What outputs are judged by: clean targets (n, C) or None, classes of test points (m,)."""

    clean: Array | None
    test_classes: Array | None


def measure(
    reference: Reference,
    observed: Array,
    label_fn: Any,
    outputs: Array,
    test_outputs: Array | None,
    *,
    probabilities: bool = False,
) -> dict[str, Any]:
    """How far the outputs at all points are from the observed and from the clean targets.

    What needs clean targets or test points that there are not is None, and NaN in the end by
    `history_of`: a compiled NaN would stop a run that searches for them (``jax_debug_nans``).
    With ``probabilities`` the targets are those of the softmax of the outputs.
    """
    clean, test_classes = reference
    weights = jnp.ones(outputs.shape[0], outputs.dtype)
    split = threshold_of(observed, clean)
    error = _objective.disagreement(outputs, observed, weights, split)
    accuracy = None
    if test_outputs is not None:
        right = class_of(test_outputs, split) == test_classes
        accuracy = jnp.mean(right).astype(outputs.dtype)
    measured: dict[str, Any] = {
        "agreement": 1 - error,
        "error_to_observed": error,
        "test_accuracy": accuracy,
    }
    if clean is None:
        names = ("l2_to_clean", "label_to_clean", "error_to_clean", "margin")
        return measured | dict.fromkeys(names)
    split = threshold_of(clean, observed)
    root = jnp.sqrt(jnp.asarray(outputs.shape[0], outputs.dtype))
    compared = jax.nn.softmax(outputs, axis=-1) if probabilities else outputs
    return measured | {
        "l2_to_clean": jnp.linalg.norm(compared - clean) / root,
        "label_to_clean": jnp.linalg.norm(label_fn(outputs) - clean) / root,
        "error_to_clean": _objective.disagreement(outputs, clean, weights, split),
        "margin": jnp.min(_margins(outputs, clean, split)),
    }


def _margins(outputs: Array, clean: Array, threshold: Array) -> Array:
    """Margin of every point under its clean label, (n,)."""
    if outputs.shape[-1] == 1:
        return ((clean - threshold) * (outputs - threshold))[:, 0].astype(outputs.dtype)
    true = class_of(clean)[:, None] == jnp.arange(outputs.shape[-1])
    own = jnp.sum(jnp.where(true, outputs, 0), axis=-1)
    return own - jnp.max(jnp.where(true, -jnp.inf, outputs), axis=-1)


def check_finite_losses(steps: Any, losses: Any) -> None:
    """Raises DivergenceError at the first record whose loss is NaN or infinite.

    Args:
        steps: (R,).
        losses: (R,), or (R, networks).
    """
    values = np.asarray(losses)
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        which = f" of network {bad[0][1]}" if values.ndim > 1 else ""
        if np.asarray(steps)[bad[0][0]] == 0:
            raise DivergenceError(
                f"the loss{which} is {values[tuple(bad[0])]} at step 0, before any training: the "
                f"targets or outputs are too large for {values.dtype}; rescale the targets, or "
                "compute in float64 (precision='float64')."
            )
        raise DivergenceError(
            f"the loss{which} is {values[tuple(bad[0])]} at step "
            f"{int(np.asarray(steps)[bad[0][0]])}; training diverged: lower the learning rate "
            "(gradient descent on the summed squared loss needs learning_rate <= 1 / largest "
            "eigenvalue of the kernel)."
        )
