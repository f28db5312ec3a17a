"""What training leaves behind: the recorded history, and the numbers measured at each record."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .._results import result
from .._typing import Array
from . import _objective


class DivergenceError(ValueError):
    """Training produced a loss that is NaN or infinite; the message names the step."""


@result
class History:
    """Training seen at R records, the first before any step and the last after the last one.

    Every number is over all n training points, whatever the batch size, with the network as it is
    at the record. y are the clean targets, and what needs them is NaN where they were not given.

    Attributes:
        step: (R,) int32, training steps done.
        time: (R,) learning_rate x step, or the sum of the learning rates of the steps done where
            they vary; NaN where the learning rate is not known. One unit of it is one unit of
            gradient flow on the loss as reduced: the summed one by default for "mse".
        loss: (R,) distance of the outputs to the target of that step, in the chosen reduction.
        alpha: (R,) weight of the observed labels in that target.
        agreement: (R,) fraction of points whose output and observed target name the same class.
        l2_to_clean: (R,) ||f - y||_2 / sqrt(n).
        label_to_clean: (R,) ||h(f) - y||_2 / sqrt(n): how wrong the labels are that the network
            teaches itself; 0 is the premise of the convergence theorem.
        error_to_clean: (R,) fraction of points whose class differs from the clean one.
        error_to_observed: (R,) fraction of points whose class differs from the observed one.
        margin: (R,) smallest y_i f(x_i) for a single output, else the smallest
            f_true - max over the other classes.
        distance_from_init: (R,) ||theta - theta_0||_2 over all parameters; in function space the
            same for the linearised network, sqrt(tr((f - f_0)^T kernel^{-1} (f - f_0))).
        test_accuracy: (R,) fraction of test points of the right class; NaN without test points.
        outputs: (R, n, C), or None unless asked for.
        test_outputs: (R, m, C), or None unless asked for and test points were given.
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


@result
class DistillationResult:
    """Outcome of training a network.

    Attributes:
        params: parameters after the last step, same structure as given.
        history: the records, see `History`.
    """

    params: Any
    history: History


class Reference(NamedTuple):
    """What outputs are compared with: observed (n, C), clean (n, C) or None, test classes (m,)."""

    observed: Array
    clean: Array | None
    test_classes: Array | None


def measure(
    reference: Reference,
    schedule: Any,
    label_fn: Any,
    objective: tuple[str, str],
    step: Array,
    outputs: Array,
    teacher: Array,
    test_outputs: Array | None,
) -> dict[str, Any]:
    """The scalars of one record, from the outputs at all points; ``objective`` is static."""
    observed, clean, test_classes = reference
    weights = jnp.ones(outputs.shape[0], outputs.dtype)
    weight, wanted = _objective.target(schedule, label_fn, step, teacher, observed, weights)
    error = _objective.disagreement(outputs, observed, weights)
    missing = jnp.full((), jnp.nan, outputs.dtype)
    accuracy = missing
    if test_outputs is not None:
        accuracy = jnp.mean(_objective.classes(test_outputs) == test_classes).astype(outputs.dtype)
    measured: dict[str, Any] = {
        "step": step,
        "loss": _objective.loss(*objective, outputs, wanted, weights),
        "alpha": jnp.asarray(weight).astype(outputs.dtype),
        "agreement": 1 - error,
        "error_to_observed": error,
        "test_accuracy": accuracy,
    }
    if clean is None:
        names = ("l2_to_clean", "label_to_clean", "error_to_clean", "margin")
        return measured | dict.fromkeys(names, missing)
    root = jnp.sqrt(jnp.asarray(outputs.shape[0], outputs.dtype))
    return measured | {
        "l2_to_clean": jnp.linalg.norm(outputs - clean) / root,
        "label_to_clean": jnp.linalg.norm(label_fn(outputs) - clean) / root,
        "error_to_clean": _objective.disagreement(outputs, clean, weights),
        "margin": jnp.min(_margins(outputs, clean)),
    }


def _margins(outputs: Array, clean: Array) -> Array:
    """Margin of every point under its clean label, (n,)."""
    if outputs.shape[-1] == 1:
        return (clean * outputs)[:, 0]
    true = _objective.classes(clean)[:, None] == jnp.arange(outputs.shape[-1])
    own = jnp.sum(jnp.where(true, outputs, 0), axis=-1)
    return own - jnp.max(jnp.where(true, -jnp.inf, outputs), axis=-1)


def check_finite_losses(steps: Any, losses: Any) -> None:
    """Raises DivergenceError at the first record whose loss is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(np.asarray(losses)))
    if bad.size:
        raise DivergenceError(
            f"the loss is {np.asarray(losses)[bad[0]]} at step {int(np.asarray(steps)[bad[0]])}; "
            "training diverged: lower the learning rate (gradient descent on the summed squared "
            "loss needs learning_rate <= 1 / largest eigenvalue of the kernel)."
        )
