"""Self-distillation in function space: what a network in the kernel regime does to its outputs."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .._checks import (
    check_bool,
    check_finite,
    check_learning_rate,
    check_same_length,
    check_same_shape,
    check_square,
    check_symmetric,
)
from .._classes import classes_given
from .._numerics import as_float, in_precision
from .._typing import Array, ArrayLike, Float
from ._alpha_given import as_schedule
from ._label_fn import bind, hard
from ._posterior import Posterior
from ._posterior_training import PosteriorDistillation, posterior_method
from .training import _objective
from .training._history import History, Reference, check_finite_losses, history_of, measure
from .training._options import training_call
from .training._records import (
    check_label_fn,
    check_pair,
    record_steps,
)


class _Problem(NamedTuple):
    kernel: Array
    initial: Array
    learning_rate: Array
    observed: Array
    reference: Reference
    test_kernel: Array | None
    test_initial: Array | None


class _State(NamedTuple):
    number: Array  # of steps done
    outputs: Array
    coefficients: Array  # outputs - initial = kernel coefficients
    memory: Any  # of `posterior`, or None


@training_call
@in_precision
def kernel_self_distill(
    kernel: Float[ArrayLike, "n n"],
    observed: Float[ArrayLike, "n C"],
    *,
    learning_rate: float,
    num_steps: int,
    alpha: Any,
    label_fn: Any = hard,
    clean: Float[ArrayLike, "n C"] | None = None,
    initial: Float[ArrayLike, "n C"] | None = None,
    record_every: int | Sequence[int] = 1,
    record_outputs: bool = False,
    test_train_kernel: Float[ArrayLike, "m n"] | None = None,
    test: ArrayLike | None = None,
    test_initial: Float[ArrayLike, "m C"] | None = None,
    precision: str | None = None,
) -> History:
    """Gradient descent on the outputs themselves, with a fixed kernel shared by all outputs.

    f_{s+1} = f_s - learning_rate x kernel (f_s - alpha_s observed - (1 - alpha_s) h(f_s)), the
    function-space form of `self_distill` for the loss half the squared distance, SUMMED over points
    and outputs (algorithm: arXiv:1910.01255; this form: derived). For a linear model on features X
    it is exactly what the network does, with kernel = X X^T.

    Args:
        kernel: (n, n), symmetric and positive semi-definite.
        observed: encoded targets (n, C).
        learning_rate: of the summed loss; time = learning_rate x step. Divide it by n for the step
            that gradient descent on a mean over points takes.
        num_steps: steps to take.
        alpha: weight of the observed labels: a number, a schedule, a function of the step, or
            `posterior`, whose memory every step moves.
        label_fn: outputs to labels, bound to the coding of ``observed``.
        clean: clean targets (n, C) in the same coding, if they are known.
        initial: outputs before the first step (n, C); zero if None.
        record_every: record each so many steps, or at the steps of an increasing sequence; the
            first and the last step are always recorded.
        record_outputs: keep the outputs of every record.
        test_train_kernel: (m, n) kernel between test and training points.
        test: test labels (m,) or encoded targets (m, C), needed for the test accuracy.
        test_initial: outputs at the test points before the first step (m, C); zero if None.
        precision: ``"float64"`` casts the arrays given and computes in float64 whatever JAX's
            default is; ``"float32"`` likewise.

    Returns:
        The records; ``distance_from_init`` is that of the parameters of the linearised network.

    Raises:
        ValueError: on shapes that do not fit, a kernel that is not symmetric, targets that are not
            finite encoded floats, or numbers out of range.
        DivergenceError: if the loss becomes NaN or infinite, naming the step.
        TypeError: if ``alpha`` is no number, array or schedule, or ``label_fn`` no function.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> clean = np.array([[1.0], [1.0], [1.0], [-1.0]])
        >>> observed = np.array([[1.0], [-1.0], [1.0], [-1.0]])
        >>> run = na.distillation.kernel_self_distill(
        ...     0.1 * np.eye(4) + clean @ clean.T, observed, learning_rate=0.2, num_steps=50,
        ...     alpha=lambda step: step < 5, clean=clean)
        >>> print(run.error_to_observed[-1], run.error_to_clean[-1])
        0.25 0.0
    """
    check_pair(observed, clean, "mse")
    check_square("kernel", kernel)
    check_same_length("kernel", kernel, "observed", observed)
    check_finite("kernel", kernel)
    check_learning_rate(learning_rate)
    steps = record_steps(record_every, num_steps)
    check_bool("record_outputs", record_outputs)
    if isinstance(alpha, Posterior):
        form = {"loss": "mse", "reduction": "sum"}
        schedule = posterior_method(alpha, observed, label_fn=label_fn, **form)
    else:
        schedule = as_schedule(alpha, int(steps[-1]))
    bound = bind(label_fn, observed)
    kernel = as_float(kernel, "kernel")
    asymmetry, largest = map(float, _asymmetry(kernel))
    check_symmetric("kernel", asymmetry, largest, kernel.dtype)
    targets = jnp.asarray(observed, kernel.dtype)
    check_label_fn(bound, targets.shape, kernel.dtype)
    if initial is None:
        initial = jnp.zeros_like(targets)
    check_same_shape("initial", initial, "observed", observed)
    check_finite("initial", initial)
    test_kernel, test_start, wanted = _test_part(test_train_kernel, test, test_initial, targets)
    problem = _Problem(
        kernel=kernel,
        initial=jnp.asarray(initial, kernel.dtype),
        learning_rate=jnp.asarray(learning_rate, kernel.dtype),
        observed=targets,
        reference=Reference(None if clean is None else jnp.asarray(clean, kernel.dtype), wanted),
        test_kernel=test_kernel,
        test_initial=test_start,
    )
    records = _run(problem, schedule, bound, jnp.asarray(steps), record_outputs)
    check_finite_losses(steps, records["loss"])
    return history_of({"time": jnp.asarray(learning_rate * steps, kernel.dtype), **records})


@jax.jit
def _asymmetry(kernel: Array) -> tuple[Array, Array]:
    """Largest |K - Kᵀ|, and largest |K|."""
    return jnp.max(jnp.abs(kernel - kernel.T)), jnp.max(jnp.abs(kernel))


def _test_part(
    test_train_kernel: ArrayLike | None,
    test: ArrayLike | None,
    test_initial: ArrayLike | None,
    targets: Array,
) -> tuple[Array | None, Array | None, Array | None]:
    """Kernel, initial outputs and classes of the test points, checked."""
    if test_train_kernel is None:
        if test is not None or test_initial is not None:
            raise ValueError(
                "test points were given without test_train_kernel; pass the (m, n) kernel between "
                "test and training points."
            )
        return None, None, None
    if test is None:
        raise ValueError("test_train_kernel was given without test; pass the test labels (m,).")
    check_finite("test_train_kernel", test_train_kernel)
    cross = jnp.asarray(test_train_kernel, targets.dtype)
    if cross.ndim != 2 or cross.shape[1] != targets.shape[0]:
        raise ValueError(
            f"test_train_kernel has shape {cross.shape}, expected (m, {targets.shape[0]})."
        )
    start = jnp.zeros((cross.shape[0], targets.shape[1]), targets.dtype)
    if test_initial is not None:
        check_same_shape("test_initial", test_initial, "test outputs", start)
        check_finite("test_initial", test_initial)
        start = jnp.asarray(test_initial, targets.dtype)
    return cross, start, classes_given(test, cross.shape[0], targets.shape[1])


@functools.partial(jax.jit, static_argnames="keep_outputs")
def _run(
    problem: _Problem, schedule: Any, label_fn: Any, record_steps: Array, keep_outputs: bool
) -> dict[str, Any]:
    """All records, stacked; the number of steps between two records is traced."""
    observed = problem.observed
    weights = jnp.ones(observed.shape[0], problem.kernel.dtype)
    found = schedule if isinstance(schedule, PosteriorDistillation) else None

    def target(number: Array, outputs: Array, memory: Any) -> tuple[Array, Array]:
        if found is None:
            return _objective.target(schedule, label_fn, number, outputs, observed, weights)
        each, wanted = found.target(observed, memory)
        return jnp.mean(each), wanted

    def step(state: _State) -> _State:
        number, outputs, coefficients, memory = state
        memory = memory if found is None else found.visited(memory, outputs)
        _, wanted = target(number, outputs, memory)
        pull = problem.learning_rate * (outputs - wanted)
        return _State(number + 1, outputs - problem.kernel @ pull, coefficients - pull, memory)

    def record(state: _State, until: Array) -> tuple[Any, Any]:
        state = jax.lax.while_loop(lambda s: s.number < until, step, state)
        number, outputs, coefficients, memory = state
        test_outputs = None
        if problem.test_kernel is not None and problem.test_initial is not None:
            test_outputs = problem.test_initial + problem.test_kernel @ coefficients
        weight, wanted = target(number, outputs, memory)
        row = measure(problem.reference, observed, label_fn, outputs, test_outputs)
        row["step"], row["alpha"] = number, jnp.asarray(weight).astype(outputs.dtype)
        if found is not None:
            row |= found.judged(observed, problem.reference.clean, memory)
        row["loss"] = _objective.loss("mse", "sum", outputs, wanted, weights)
        # f - f_0 = kernel a with a the coefficients: the squared distance is tr(a^T kernel a).
        moved = jnp.sum(coefficients * (outputs - problem.initial))
        row["distance_from_init"] = jnp.sqrt(jnp.maximum(moved, 0))
        row["outputs"] = outputs if keep_outputs else None
        row["test_outputs"] = test_outputs if keep_outputs else None
        return state, row

    memory = None if found is None else found.start(observed)
    start = _State(jnp.int32(0), problem.initial, jnp.zeros_like(problem.initial), memory)
    return jax.lax.scan(record, start, record_steps)[1]
