"""The compiled training loop: advance to a step, measure there.

Both functions are compiled once for a network, an optimiser family and a set of switches. Numbers
(data, parameters, learning rate, schedule, seed, step to stop at) are traced. Of networks trained
together both are mapped over the leading axes of what differs between them.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from ..._typing import Array
from ._batches import epoch_order, in_batches
from ._history import measure
from ._method import Batch
from ._optimizer import stepped
from ._problem import NETWORKS, POINTS, LoopSettings, State, TrainingProblem, state_axes

# Streams of one key; epochs count up from zero, and draw the order of the points.
_STEP_STREAM = 2**31


@functools.partial(jax.jit, static_argnums=0)
def initial_state(settings: LoopSettings, problem: TrainingProblem) -> State:
    """The state before the first step."""
    return _mapped(settings, _initial_state, out_axes=state_axes)(problem)


def advance(settings: LoopSettings, problem: TrainingProblem, state: State, until: int) -> State:
    """Trains until ``until`` steps have been done; the state given is used up."""
    if not settings.from_host:
        return _loop(settings, problem, state, jnp.int32(until))
    for _ in range(int(state.step), until):
        state = _step(settings, problem, state)
    return state


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def _loop(settings: LoopSettings, problem: TrainingProblem, state: State, until: Array) -> State:
    run = _mapped(settings, _advance, state_axes, None, out_axes=state_axes)
    return run(problem, state, until)


def step(settings: LoopSettings, problem: TrainingProblem, state: State) -> State:
    """One step."""
    return _mapped(settings, _one_step, state_axes, out_axes=state_axes)(problem, state)


_step = jax.jit(step, static_argnums=0, donate_argnums=2)


@functools.partial(jax.jit, static_argnums=0)
def record(settings: LoopSettings, problem: TrainingProblem, state: State) -> dict[str, Any]:
    """One record of the history at the current step."""
    row = _mapped(settings, _record, state_axes, out_axes=0)(problem, state)
    return row | {"step": state.step}


def _mapped(settings: LoopSettings, function: Any, *axes: Any, out_axes: Any) -> Any:
    """``function(settings, problem, ...)`` of one network, or mapped over all that are replicated.

    Axes are those of `jax.vmap`, or functions to them from the fields that are replicated.
    """
    run = functools.partial(function, settings)

    def at(axis: Any, fields: tuple[str, ...]) -> Any:
        return axis(fields) if callable(axis) else axis

    in_axes, found_axes = (), None
    for fields in reversed(settings.replicated):
        in_axes = tuple(at(axis, fields) for axis in (_problem_axes, *axes))
        found_axes = at(out_axes, fields)
        run = jax.vmap(run, in_axes=in_axes, out_axes=found_axes)
    if not spreads_networks(settings):
        return run
    # Networks do not meet: every device runs the loop of its own, without communication.
    return jax.shard_map(
        run,
        mesh=settings.mesh,
        in_specs=_specs(in_axes),
        out_specs=_specs(found_axes),
        check_vma=False,
    )


def spreads_networks(settings: LoopSettings) -> bool:
    """Whether every device of a mesh trains networks of its own."""
    return settings.mesh is not None and settings.mesh.axis_names == (NETWORKS,)


def placed(settings: LoopSettings, problem: TrainingProblem) -> TrainingProblem:
    """The problem on the devices of the mesh, what differs between networks where they are."""
    mesh = settings.mesh
    if mesh is None:
        return problem
    apart = settings.replicated[0] if spreads_networks(settings) else ()

    def place(name: str) -> Any:
        spec = PartitionSpec(NETWORKS) if name in apart else PartitionSpec()
        return jax.device_put(getattr(problem, name), NamedSharding(mesh, spec))

    return TrainingProblem(**{name: place(name) for name in TrainingProblem._fields})


def _problem_axes(replicated: tuple[str, ...]) -> TrainingProblem:
    return TrainingProblem(*(0 if name in replicated else None for name in TrainingProblem._fields))  # pyright: ignore[reportArgumentType]


def _specs(axes: Any) -> Any:
    """Axes as `jax.vmap` takes them, as the specs of `jax.shard_map`."""
    spec = {0: PartitionSpec(NETWORKS), None: PartitionSpec()}
    return jax.tree.map(spec.__getitem__, axes, is_leaf=lambda axis: axis is None)


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
            jnp.copy, settings.transformation(problem.learning_rate).init(params)
        ),
        memory=jax.tree.map(jnp.copy, problem.method.start(problem.observed)),
        order=order,
        diverged=jnp.int32(-1),
    )


def evaluate(settings: LoopSettings, params: Any, network_state: Any, inputs: Array) -> Array:
    """Outputs at all inputs (n, C), in batches if training is: no more memory than a step takes."""

    def outputs(batch: Array) -> Array:
        found = settings.network.evaluate(params, network_state, _spread(settings, batch))
        return found.astype(wide(found.dtype))

    return in_batches(outputs, inputs, settings.batch_size)


def wide(dtype: Any) -> Any:
    """The dtype of losses and of all that is measured: at least single precision."""
    return jnp.promote_types(dtype, jnp.float32)


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
    outputs = _outputs(settings, problem, state)
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
    memory, offset = state.memory, problem.offset
    if rows is not None:
        memory, offset = jax.tree.map(lambda array: array[rows], (memory, offset))

    def objective(params: Any) -> tuple[Array, Any]:
        states = [state.network]

        def forward(params: Any, inputs: Array) -> Array:
            outputs, new = settings.network.train(
                params, states[-1], inputs, batch.key, weights > 0
            )
            states.append(new)
            outputs = outputs.astype(wide(outputs.dtype))
            return outputs if offset is None else outputs - offset

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
    inputs = _spread(settings, inputs)
    key = problem.key
    if key is not None:
        key = jax.random.fold_in(jax.random.fold_in(key, _STEP_STREAM), state.step)
    if settings.augment is not None:
        assert key is not None
        key, drawn = jax.random.split(key)
        inputs = settings.augment(drawn, inputs)
    return Batch(inputs, observed, weights, state.step, epoch, key, problem.initial_params)


def _spread(settings: LoopSettings, inputs: Array) -> Array:
    """Points spread over the devices of the mesh, where they divide evenly."""
    mesh = settings.mesh
    if mesh is None or spreads_networks(settings) or len(inputs) % mesh.size:
        return inputs
    spec = PartitionSpec(POINTS)
    return jax.lax.with_sharding_constraint(inputs, NamedSharding(mesh, spec))


def _outputs(settings: LoopSettings, problem: TrainingProblem, state: State) -> Array:
    """Outputs at all training points."""
    outputs = evaluate(settings, state.params, state.network, problem.inputs)
    return outputs if problem.offset is None else outputs - problem.offset


def _record(settings: LoopSettings, problem: TrainingProblem, state: State) -> dict[str, Any]:
    outputs = _outputs(settings, problem, state)
    test_outputs = None
    if problem.test_inputs is not None:
        test_outputs = evaluate(settings, state.params, state.network, problem.test_inputs)
        if problem.test_offset is not None:
            test_outputs = test_outputs - problem.test_offset
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
    row["distance_from_init"] = distance(state.params, problem.initial_params, outputs.dtype)
    row["outputs"] = outputs if settings.keep_outputs else None
    row["test_outputs"] = test_outputs if settings.keep_outputs else None
    return row


def distance(params: Any, initial: Any, dtype: Any) -> Array:
    """||theta - theta_0||_2 over all parameters."""
    squares = jax.tree.map(lambda a, b: jnp.sum(jnp.abs(a - b).astype(dtype) ** 2), params, initial)
    return jnp.sqrt(sum(jax.tree.leaves(squares), jnp.zeros((), dtype)))
