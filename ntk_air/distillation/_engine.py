"""The compiled training loop: advance to a step, measure there.

Both functions are compiled once for a network, an optimiser family and a set of switches. Numbers
(data, parameters, learning rate, schedule, seed, step to stop at) are traced.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from .._typing import ApplyFn, Array
from . import _objective
from ._history import Reference, measure


class Settings(NamedTuple):
    """What is compiled in; hashable."""

    apply_fn: ApplyFn
    optimizer: Any  # a GradientTransformation, or a function from learning rate to one
    objective: tuple[str, str]  # loss, reduction
    batch_size: int | None
    teacher: str
    keep_outputs: bool

    def transformation(self, learning_rate: Array | None) -> optax.GradientTransformation:
        """The optimiser with a traced learning rate: a number, or a table with one per step."""
        if learning_rate is None:
            return self.optimizer
        if learning_rate.ndim == 0:
            return self.optimizer(learning_rate)
        return self.optimizer(lambda count: learning_rate[count])


class Problem(NamedTuple):
    """Data and traced numbers of one run."""

    inputs: Array
    reference: Reference
    test_inputs: Array | None
    initial_params: Any
    learning_rate: Array | None
    schedule: Any
    label_fn: Any
    key: Array | None


class State(NamedTuple):
    """What a step changes; with the problem it is all that is needed to go on."""

    step: Array
    params: Any
    optimizer: Any
    teacher: Array | None  # outputs (n, C) at the end of the previous epoch, teacher="epoch" only
    order: Array | None  # order of the points in the current epoch, padded to whole batches


def initial_state(settings: Settings, problem: Problem) -> State:
    """The state before the first step."""
    observed = problem.reference.observed
    order = teacher = None
    if settings.batch_size is not None:
        count = -(-len(observed) // settings.batch_size) * settings.batch_size
        order = jnp.zeros(count, jnp.int32)
        teacher = jnp.zeros_like(observed) if settings.teacher == "epoch" else None
    optimizer = settings.transformation(problem.learning_rate).init(problem.initial_params)
    return State(jnp.int32(0), problem.initial_params, optimizer, teacher, order)


def evaluate(settings: Settings, params: Any, inputs: Array) -> Array:
    """Outputs at all inputs (n, C), in batches if training is: no more memory than a step takes."""
    size, count = settings.batch_size, len(inputs)
    if size is None or size >= count:
        return settings.apply_fn(params, inputs)
    whole = count // size * size
    batches = inputs[:whole].reshape(-1, size, *inputs.shape[1:])
    outputs = jax.lax.map(lambda batch: settings.apply_fn(params, batch), batches)
    outputs = outputs.reshape(whole, -1)
    if whole == count:
        return outputs
    return jnp.concatenate([outputs, settings.apply_fn(params, inputs[whole:])])


@functools.partial(jax.jit, static_argnums=0)
def advance(settings: Settings, problem: Problem, state: State, until: Array) -> State:
    """Trains until ``until`` steps have been done."""
    step = _batch_step if settings.batch_size is not None else _full_step
    return jax.lax.while_loop(
        lambda s: s.step < until, functools.partial(step, settings, problem), state
    )


def _full_step(settings: Settings, problem: Problem, state: State) -> State:
    observed = problem.reference.observed
    weights = jnp.ones(len(observed), observed.dtype)
    return _update(settings, problem, state, problem.inputs, observed, weights, None)


def _batch_step(settings: Settings, problem: Problem, state: State) -> State:
    size = settings.batch_size
    assert size is not None
    assert state.order is not None
    count = len(problem.inputs)
    position = state.step % (len(state.order) // size)
    state = jax.lax.cond(
        position == 0, functools.partial(_start_epoch, settings, problem), lambda s: s, state
    )
    assert state.order is not None
    rows = jax.lax.dynamic_slice_in_dim(state.order, position * size, size)
    weights = (position * size + jnp.arange(size) < count).astype(problem.reference.observed.dtype)
    teacher = None if state.teacher is None else state.teacher[rows]
    batch = problem.inputs[rows], problem.reference.observed[rows]
    return _update(settings, problem, state, *batch, weights, teacher)


def _start_epoch(settings: Settings, problem: Problem, state: State) -> State:
    """A fresh order of all points; the padding repeats the first point with weight zero."""
    assert settings.batch_size is not None
    assert state.order is not None
    assert problem.key is not None
    batches = len(state.order) // settings.batch_size
    key = jax.random.fold_in(problem.key, state.step // batches)
    order = jax.random.permutation(key, len(problem.inputs)).astype(jnp.int32)
    padding = jnp.full(len(state.order) - len(order), order[0])
    teacher = state.teacher
    if teacher is not None:
        teacher = evaluate(settings, state.params, problem.inputs)
    return state._replace(order=jnp.concatenate([order, padding]), teacher=teacher)


def _update(
    settings: Settings,
    problem: Problem,
    state: State,
    inputs: Array,
    observed: Array,
    weights: Array,
    teacher: Array | None,
) -> State:
    """One optimiser step on the distance of a batch to its self-distillation target."""

    def objective(params: Any) -> Array:
        outputs = settings.apply_fn(params, inputs)
        source = outputs if teacher is None else teacher
        _, wanted = _objective.target(
            problem.schedule, problem.label_fn, state.step, source, observed, weights
        )
        return _objective.loss(*settings.objective, outputs, wanted, weights)

    gradient = jax.grad(objective)(state.params)
    transformation = settings.transformation(problem.learning_rate)
    updates, optimizer = transformation.update(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    return state._replace(step=state.step + 1, params=params, optimizer=optimizer)


@functools.partial(jax.jit, static_argnums=0)
def record(settings: Settings, problem: Problem, state: State) -> dict[str, Any]:
    """One record of the history at the current step."""
    outputs = evaluate(settings, state.params, problem.inputs)
    test_outputs = None
    if problem.test_inputs is not None:
        test_outputs = evaluate(settings, state.params, problem.test_inputs)
    teacher = outputs
    if state.teacher is not None:
        assert settings.batch_size is not None
        assert state.order is not None
        # At the start of an epoch the stored outputs are about to be replaced by these.
        starts = state.step % (len(state.order) // settings.batch_size) == 0
        teacher = jnp.where(starts, outputs, state.teacher)
    row: dict[str, Any] = measure(
        problem.reference,
        problem.schedule,
        problem.label_fn,
        settings.objective,
        state.step,
        outputs,
        teacher,
        test_outputs,
    )
    row["distance_from_init"] = _distance(state.params, problem.initial_params, outputs.dtype)
    row["outputs"] = outputs if settings.keep_outputs else None
    row["test_outputs"] = test_outputs if settings.keep_outputs else None
    return row


def _distance(params: Any, initial: Any, dtype: Any) -> Array:
    squares = jax.tree.map(lambda a, b: jnp.sum(jnp.abs(a - b).astype(dtype) ** 2), params, initial)
    return jnp.sqrt(sum(jax.tree.leaves(squares), jnp.zeros((), dtype)))
