"""Self-distillation of a real network, and, with alpha = 1, plain training of one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._checks import check_choice, check_finite, check_same_length
from .._numerics import as_float
from .._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from . import _checkpoint, _engine
from ._alpha import as_schedule, tabulate
from ._history import DistillationResult, History, Reference, check_finite_losses
from ._label_fn import bind, hard
from ._records import (
    check_label_fn,
    check_learning_rate,
    check_pair,
    check_probabilities,
    record_steps,
    test_classes,
    times,
)


def self_distill(
    apply_fn: ApplyFn,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    optimizer: float | optax.GradientTransformation | Callable[[Any], optax.GradientTransformation],
    num_steps: int,
    alpha: Any,
    label_fn: Any = hard,
    loss: str = "mse",
    reduction: str | None = None,
    batch_size: int | None = None,
    teacher: str = "step",
    clean: Float[ArrayLike, "n C"] | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    record_every: int | Sequence[int] | None = None,
    record_outputs: bool = False,
    on_record: Callable[[int, PyTree], Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    key: Array | int | None = None,
    learning_rate: float | Callable[[Any], Any] | None = None,
    progress: bool = False,
) -> DistillationResult:
    """Trains a network towards alpha_s observed + (1 - alpha_s) h(f_s): the paper's algorithm.

    f_s are the network's own outputs, h is ``label_fn``, and no gradient flows through the target.
    alpha = 1 is plain training on the observed labels. Source: arXiv:1910.01255, its algorithm
    for noisy labels.

    Args:
        apply_fn: ``(params, inputs) -> outputs (n, C)``, pure; a flax ``module.apply``, for one.
            Pass the same function object again and the training loop is not compiled again.
        params: initial parameters, any pytree of float arrays.
        inputs: training inputs, the first axis over the n points.
        observed: encoded observed targets (n, C): +-1 for one output, one-hot or centred one-hot.
        optimizer: a number is gradient descent with that learning rate; a function such as
            ``optax.adam`` is called with ``learning_rate``; a finished optax transformation is
            used as it is, and each new one compiles the loop anew.
        num_steps: optimiser steps; 0 measures the initial network only.
        alpha: weight of the observed labels: a number, a schedule of
            `ntk_air.distillation.alpha`, or any function from the step, such as an optax schedule.
        label_fn: `hard`, `sign`, `softmax(T)`, `tanh(slope)`, `identity`, `nearest(levels)`, bound
            to the coding of ``observed``; or a function of yours ``(n, C) -> (n, C)``, used as is.
        loss: "mse", half the squared distance summed over outputs, or "cross_entropy" between
            softmax of the outputs and the target, which needs one-hot targets and labels that are
            probabilities: `hard`, `softmax(T)` or a function of yours.
        reduction: "sum" or "mean" over the points of a batch; None is "sum" for "mse", the
            convention in which the kernel's eigenvalues are learning speeds, and "mean" for
            "cross_entropy". A mean divides the speeds by the number of points.
        batch_size: points per step; None takes all of them. Every epoch visits each point exactly
            once, in a new order drawn on the device; its last batch may hold fewer points (it is
            padded with points of weight zero).
        teacher: "step" distils from the outputs of the current network on the same batch; "epoch"
            from the outputs stored at the end of the previous epoch, in the first epoch those of
            the initial network. Without ``batch_size`` the two are the same.
        clean: clean targets (n, C) in the same coding; without them what needs them is NaN.
        test: ``(inputs, labels (m,) or encoded targets (m, C))`` for the test accuracy.
        record_every: record each so many steps (None: about 100 records), or at the steps of an
            increasing sequence. The first record is before any step, the last after the last one.
        record_outputs: keep the outputs of every record, (R, n, C), and those at test points.
        on_record: called with ``(step, params)`` at every record, such as an
            `ntk_air.analysis.Recorder`; not for records that a checkpoint already holds.
        checkpoint: a file to store the run in at records, at most one twentieth of the time; the
            same call goes on from it, to the same history. It is left there when the run is done.
        key: a JAX key or a seed for the order of the points; needed with ``batch_size`` only.
        learning_rate: for an optimiser function, a number or a function of the step that it is
            called with. For a finished transformation it only sets the ``time`` of the history
            (time = learning_rate x step), which is NaN without it.
        progress: show a progress bar over the steps on a terminal.

    Returns:
        Final parameters and the `History`, measured on all points whatever the batch size.

    Raises:
        ValueError: on shapes that do not fit, labels that are not encoded, numbers out of range,
            targets whose coding the loss or the label function cannot use, or a checkpoint of
            another run.
        DivergenceError: if the loss at a record is NaN or infinite; it names the step.
    """
    check_choice("loss", loss, ("mse", "cross_entropy"))
    reduction = reduction or ("sum" if loss == "mse" else "mean")
    check_choice("reduction", reduction, ("sum", "mean"))
    check_choice("teacher", teacher, ("step", "epoch"))
    check_pair(observed, clean, loss)
    check_same_length("inputs", inputs, "observed", observed)
    check_finite("inputs", inputs)
    _check_batch(batch_size, len(observed), key)
    steps = record_steps(record_every, num_steps)
    make, rate = _optimizer(optimizer, learning_rate, int(num_steps))
    schedule = as_schedule(alpha, int(num_steps))
    bound = bind(label_fn, observed)
    check_probabilities(bound, loss)
    params = jax.tree.map(as_float, params)
    inputs = jnp.asarray(inputs)
    dtype = _output_dtype(apply_fn, params, inputs, np.shape(observed))
    check_label_fn(bound, np.shape(observed), dtype)
    test_inputs, wanted = _test_part(apply_fn, params, test, np.shape(observed)[1])
    traced = None if rate is None or not callable(make) else jnp.asarray(rate, dtype)
    settings = _engine.Settings(
        _hashable(apply_fn), make, (loss, reduction), batch_size, teacher, bool(record_outputs)
    )
    problem = _engine.Problem(
        inputs=inputs,
        reference=Reference(
            jnp.asarray(observed, dtype),
            None if clean is None else jnp.asarray(clean, dtype),
            wanted,
        ),
        test_inputs=test_inputs,
        initial_params=params,
        learning_rate=traced,
        schedule=schedule,
        label_fn=bound,
        key=jax.random.key(key) if isinstance(key, int | np.integer) else key,
    )
    store = None
    if checkpoint is not None:
        digest = _checkpoint.fingerprint(settings, problem, steps)
        store = _checkpoint.Checkpoint(checkpoint, digest, int(num_steps))
    state, rows = _train(settings, problem, steps, progress, store, on_record)
    columns: dict[str, Any] = jax.tree.map(jnp.asarray, _checkpoint.stack(rows))
    return DistillationResult(state.params, History(time=times(steps, rate, dtype), **columns))


def _train(
    settings: _engine.Settings,
    problem: _engine.Problem,
    steps: np.ndarray,
    progress: bool,
    store: _checkpoint.Checkpoint | None,
    on_record: Callable[[int, PyTree], Any] | None,
) -> tuple[_engine.State, list[dict[str, Any]]]:
    """Runs from record to record; stops at the first one whose loss is not finite."""
    state, rows = _engine.initial_state(settings, problem), []
    if store is not None:
        state, rows = store.resume(state)
    with _progress_bar(int(steps[-1]), progress) as advance_bar:
        for until in steps[len(rows) :]:
            state = _engine.advance(settings, problem, state, jnp.int32(until))
            # Records wait on the host: the device holds one at a time, however many there are.
            rows.append(jax.device_get(_engine.record(settings, problem, state)))
            check_finite_losses([until], [rows[-1]["loss"]])
            if on_record is not None:
                on_record(int(until), state.params)
            if store is not None:
                store.write(state, rows)
            advance_bar(int(until))
    return state, rows


@contextlib.contextmanager
def _progress_bar(total: int, shown: bool) -> Iterator[Callable[[int], Any]]:
    """Yields a function that moves a bar to a step; no bar where stderr is not a terminal."""
    if not shown:
        yield lambda step: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="step", disable=None) as bar:
        yield lambda step: bar.update(step - bar.n)


def _check_batch(batch_size: int | None, count: int, key: Any) -> None:
    if batch_size is None:
        return
    if int(batch_size) != batch_size or not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size is {batch_size}, expected an integer in 1..{count}, the number of points; "
            "None takes all of them at every step."
        )
    if key is None:
        raise ValueError("batch_size needs a key for the order of the points; pass key=0, say.")


def _optimizer(optimizer: Any, learning_rate: Any, num_steps: int) -> tuple[Any, Any]:
    """The optimiser as compiled in, and the learning rate: None, a number or a table per step."""
    rate = learning_rate
    if callable(learning_rate):
        rate = tabulate("learning_rate", learning_rate, num_steps)
        check_finite("learning_rate", rate)
    elif learning_rate is not None:
        check_learning_rate(learning_rate)
    if isinstance(optimizer, optax.GradientTransformation):
        return optimizer, rate
    if callable(optimizer):
        if rate is None:
            raise ValueError(
                "optimizer is a function of the learning rate; pass learning_rate too, or a "
                "finished transformation such as optax.adam(1e-3)."
            )
        return optimizer, rate
    if learning_rate is not None:
        raise ValueError(
            "the learning rate was given twice: as optimizer, which as a number means gradient "
            "descent with that rate, and as learning_rate; drop one, or pass optimizer=optax.sgd."
        )
    check_learning_rate(optimizer)
    return optax.sgd, float(optimizer)


def _output_dtype(apply_fn: ApplyFn, params: Any, inputs: Array, shape: tuple[int, ...]) -> Any:
    """Checks the shape of the outputs without computing them and returns their dtype."""
    outputs = jax.eval_shape(apply_fn, params, inputs)
    if outputs.shape != shape:
        raise ValueError(
            f"apply_fn returns outputs of shape {outputs.shape} for observed targets of shape "
            f"{shape}; expected the same (n, C): give the network C outputs, and a single one a "
            "last axis of length 1."
        )
    return outputs.dtype


def _test_part(
    apply_fn: ApplyFn, params: Any, test: Any, num_outputs: int
) -> tuple[Array | None, Array | None]:
    if test is None:
        return None, None
    inputs, labels = test
    inputs = jnp.asarray(inputs)
    _output_dtype(apply_fn, params, inputs, (len(inputs), num_outputs))
    return inputs, test_classes(labels, len(inputs), num_outputs)


def _hashable(apply_fn: ApplyFn) -> ApplyFn:
    """The function itself, or a stand-in that compiles anew where it has no hash to be found by."""
    try:
        hash(apply_fn)
    except TypeError:
        return lambda params, inputs: apply_fn(params, inputs)
    return apply_fn
