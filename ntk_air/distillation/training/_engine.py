"""The compiled training loop: advance to a step, measure there.

Both functions are compiled once for a network, an optimiser family and a set of switches. Numbers
(data, parameters, learning rate, schedule, seed, step to stop at) are traced. With replicas both
are mapped over a leading axis of what differs between the networks trained together.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from ..._typing import Array
from ._batches import epoch_order, outputs_at, wide
from ._devices import mapped, spread
from ._history import measure
from ._method import Batch
from ._problem import LoopSettings, State, TrainingProblem, state_axes
from ._stepping import begun, stepped, used

# Streams of one key; epochs count up from zero, and draw the order of the points.
_STEP_STREAM = 2**31


@functools.partial(jax.jit, static_argnums=0)
def initial_state(settings: LoopSettings, problem: TrainingProblem) -> State:
    """The state before the first step."""
    return mapped(settings, _initial_state, out_axes=state_axes)(problem)


def advance(settings: LoopSettings, problem: TrainingProblem, state: State, until: int) -> State:
    """Trains until ``until`` steps have been done; the state given is used up."""
    if not settings.from_host:
        return _loop(settings, problem, state, jnp.int32(until))
    for _ in range(int(state.step), until):
        state = _step(settings, problem, state)
    return state


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _loop(settings: LoopSettings, problem: TrainingProblem, state: State, until: Array) -> State:
    run = mapped(settings, _advance, state_axes, None, out_axes=state_axes)
    return run(problem, state, until)


def step(settings: LoopSettings, problem: TrainingProblem, state: State) -> State:
    """One step."""
    return mapped(settings, _one_step, state_axes, out_axes=state_axes)(problem, state)


_step = jax.jit(step, static_argnums=0, donate_argnums=2)


@functools.partial(jax.jit, static_argnums=0)
def record(settings: LoopSettings, problem: TrainingProblem, state: State) -> dict[str, Any]:
    """One record of the history at the current step."""
    row = mapped(settings, _record, state_axes, out_axes=0)(problem, state)
    return row | {"step": state.step}


def _initial_state(settings: LoopSettings, problem: TrainingProblem) -> State:
    order = None
    if settings.batch_size is not None:
        count = -(-len(problem.inputs) // settings.batch_size) * settings.batch_size
        order = jnp.zeros(count, jnp.int32)
    params = problem.initial_params
    return State(
        step=jnp.int32(0),
        # Copies, since a state is used up by training and the problem is not.
        params=jax.tree.map(jnp.copy, params),
        network=jax.tree.map(jnp.copy, problem.initial_state),
        optimizer=jax.tree.map(
            jnp.copy, begun(settings.transformation(problem.learning_rate), params)
        ),
        memory=jax.tree.map(jnp.copy, problem.method.start(problem.observed)),
        order=order,
        diverged=jnp.int32(-1),
    )


def evaluate(
    settings: LoopSettings,
    params: Any,
    network_state: Any,
    inputs: Array,
    initial: Array | None = None,
) -> Array:
    """Outputs at all inputs (n, C), less the initial ones if they are given."""

    def outputs(batch: Array) -> Array:
        return settings.network.evaluate(params, network_state, spread(settings, batch))

    return outputs_at(outputs, inputs, settings.batch_size, initial)


@functools.partial(jax.jit, static_argnums=0)
def variables(settings: LoopSettings, state: State) -> tuple[Any, Any]:
    """Copies of the parameters to use the network with, and of its state."""
    run = used
    for _ in settings.replicated:
        run = jax.vmap(run)
    return jax.tree.map(jnp.copy, (run(state.optimizer, state.params), state.network))


@functools.partial(jax.jit, static_argnums=0)
def refined(
    settings: LoopSettings, problem: TrainingProblem, memory: Any
) -> tuple[Array, Array] | None:
    """What the method's memory says of the labels, see `Method.refined`."""

    def one(settings: LoopSettings, problem: TrainingProblem, memory: Any) -> Any:
        return problem.method.refined(problem.observed, memory)

    return mapped(settings, one, 0, out_axes=0)(problem, memory)


@functools.partial(jax.jit, static_argnums=0)
def with_initial_outputs(settings: LoopSettings, problem: TrainingProblem) -> TrainingProblem:
    """The problem with the outputs that are to be subtracted from those of the trained network."""
    train, test = mapped(settings, _initial_outputs, out_axes=0)(problem)
    return problem._replace(initial_outputs=train, test_initial_outputs=test)


def _initial_outputs(
    settings: LoopSettings, problem: TrainingProblem
) -> tuple[Array, Array | None]:
    def at(inputs: Array) -> Array:
        return _untrained(settings, problem, spread(settings, inputs))

    train = outputs_at(at, problem.inputs, settings.batch_size)
    if problem.test_inputs is None:
        return train, None
    return train, outputs_at(at, problem.test_inputs, settings.batch_size)


def _untrained(settings: LoopSettings, problem: TrainingProblem, inputs: Array) -> Array:
    return settings.network.initial(problem.initial_params, problem.initial_state, inputs)


def _advance(settings: LoopSettings, problem: TrainingProblem, state: State, until: Array) -> State:
    step = functools.partial(_one_step, settings, problem)
    return jax.lax.while_loop(lambda s: s.step < until, step, state)


def _one_step(settings: LoopSettings, problem: TrainingProblem, state: State) -> State:
    size, order = settings.batch_size, state.order
    if size is None:
        weights = jnp.ones(len(problem.observed), problem.observed.dtype)
        return _update(settings, problem, state, None, weights, state.step)
    assert order is not None
    epoch, position = jnp.divmod(state.step, len(order) // size)
    # Only what a new epoch changes goes through the condition: XLA copies what does.
    refreshed = problem.method.needs_outputs
    order, memory = jax.lax.cond(
        position == 0,
        lambda: _start_epoch(settings, problem, epoch, state),
        lambda: (state.order, state.memory if refreshed else None),
    )
    state = state._replace(order=order, memory=memory if refreshed else state.memory)
    assert state.order is not None
    rows = jax.lax.dynamic_slice_in_dim(state.order, position * size, size)
    present = position * size + jnp.arange(size) < len(problem.inputs)
    weights = present.astype(problem.observed.dtype)
    return _update(settings, problem, state, rows, weights, epoch)


def _start_epoch(
    settings: LoopSettings, problem: TrainingProblem, epoch: Array, state: State
) -> tuple[Array, Any]:
    """A fresh order of all points, and the method's memory if it follows the outputs."""
    assert state.order is not None
    assert problem.key is not None
    order = epoch_order(problem.key, epoch, len(problem.inputs), len(state.order))
    if not problem.method.needs_outputs:
        return order, None
    variables = used(state.optimizer, state.params), state.network
    outputs = evaluate(settings, *variables, problem.inputs, problem.initial_outputs)
    return order, problem.method.refresh(state.memory, outputs)


def _update(
    settings: LoopSettings,
    problem: TrainingProblem,
    state: State,
    rows: Array | None,
    weights: Array,
    epoch: Array,
) -> State:
    """One optimiser step on a batch: the points of ``rows``, None for all of them."""
    batch = _batch(settings, problem, state, rows, weights, epoch)
    memory = state.memory if rows is None else jax.tree.map(lambda m: m[rows], state.memory)
    initial = problem.initial_outputs if settings.augment is None else None
    if initial is not None and rows is not None:
        initial = initial[rows]

    def objective(params: Any) -> tuple[Array, Any]:
        states = [state.network]

        def forward(params: Any, inputs: Array) -> Array:
            outputs, new = settings.network.train(
                params, states[-1], inputs, batch.key, weights > 0
            )
            states.append(new)
            outputs = outputs.astype(wide(outputs.dtype))
            if not settings.subtract_initial:
                return outputs
            if initial is None or inputs is not batch.inputs:  # augmented, or mixed by the method
                return outputs - jnp.moveaxis(_untrained(settings, problem, inputs), 0, -2)
            return outputs - jnp.moveaxis(initial, 0, -2)

        loss, kept = problem.method.objective(forward, params, batch, memory)
        # A memory that comes back as it was is not written: rows of it are slow to write.
        return loss, (states[-1], None if kept is memory else kept)

    (loss, (network, kept)), gradient = jax.value_and_grad(objective, has_aux=True)(state.params)
    params, optimizer = stepped(
        settings.transformation(problem.learning_rate),
        state.params,
        state.optimizer,
        gradient,
        loss,
        lambda params: objective(params)[0],
    )
    if kept is None:
        kept = state.memory
    elif rows is not None:
        # The padding repeats a point: it writes nothing.
        targets = jnp.where(weights > 0, rows, len(problem.inputs))
        kept = jax.tree.map(lambda m, new: m.at[targets].set(new, mode="drop"), state.memory, kept)
    first = (state.diverged < 0) & ~jnp.isfinite(loss)
    return State(
        step=state.step + 1,
        params=params,
        network=network,
        optimizer=optimizer,
        memory=kept,
        order=state.order,
        diverged=jnp.where(first, state.step, state.diverged),
    )


def _batch(
    settings: LoopSettings,
    problem: TrainingProblem,
    state: State,
    rows: Array | None,
    weights: Array,
    epoch: Array,
) -> Batch:
    inputs = problem.inputs if rows is None else problem.inputs[rows]
    observed = problem.observed if rows is None else problem.observed[rows]
    inputs = spread(settings, inputs)
    key = problem.key
    if key is not None:
        key = jax.random.fold_in(jax.random.fold_in(key, _STEP_STREAM), state.step)
    if settings.augment is not None:
        assert key is not None
        key, drawn = jax.random.split(key)
        inputs = settings.augment(drawn, inputs)
    return Batch(inputs, observed, weights, state.step, epoch, key, problem.initial_params)


def _record(settings: LoopSettings, problem: TrainingProblem, state: State) -> dict[str, Any]:
    variables = used(state.optimizer, state.params), state.network
    outputs = evaluate(settings, *variables, problem.inputs, problem.initial_outputs)
    test_outputs = None
    if problem.test_inputs is not None:
        test_outputs = evaluate(
            settings, *variables, problem.test_inputs, problem.test_initial_outputs
        )
    memory = state.memory
    if problem.method.needs_outputs:
        # At the start of an epoch the memory is about to be replaced.
        assert state.order is not None
        assert settings.batch_size is not None
        starts = state.step % (len(state.order) // settings.batch_size) == 0
        fresh = problem.method.refresh(memory, outputs)
        memory = jax.tree.map(lambda new, old: jnp.where(starts, new, old), fresh, memory)
    alpha, loss = problem.method.status(state.step, outputs, problem.observed, memory)
    row: dict[str, Any] = measure(
        problem.reference,
        problem.observed,
        problem.method.label_fn,
        outputs,
        test_outputs,
        probabilities=problem.method.loss == "cross_entropy",
    )
    row |= {"alpha": jnp.asarray(alpha).astype(outputs.dtype), "loss": loss}
    row |= problem.method.judged(problem.observed, problem.reference.clean, memory)
    row["distance_from_init"] = distance(variables[0], problem.initial_params, outputs.dtype)
    row["outputs"] = outputs if settings.keep_outputs else None
    row["test_outputs"] = test_outputs if settings.keep_outputs else None
    return row


def distance(params: Any, initial: Any, dtype: Any) -> Array:
    """||theta - theta_0||_2 over all parameters."""
    squares = jax.tree.map(lambda a, b: jnp.sum(jnp.abs(a - b).astype(dtype) ** 2), params, initial)
    return jnp.sqrt(sum(jax.tree.leaves(squares), jnp.zeros((), dtype)))
