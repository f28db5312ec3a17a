"""Many networks trained at once, each on soft targets of its own that do not move.

One compiled program: a scan over records, between them a loop over steps, vectorised over networks
and again over seeds. Numbers (data, parameters, learning rate, temperatures, seeds of the order,
steps to record at) are traced; functions and switches are compiled in.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from .._typing import ApplyFn, Array
from ._label_fn import LabelFn, bind, coding_of, softmax
from .training import _objective
from .training._batches import epoch_order, outputs_at
from .training._engine import distance
from .training._history import Reference, measure
from .training._optimizer import made
from .training._stepping import begun, stepped, used


class StudentSettings(NamedTuple):
    """What is compiled in; hashable."""

    apply_fn: ApplyFn
    optimizer: Any  # a GradientTransformation, or a function from learning rate to one
    objective: tuple[str, str]  # loss, reduction
    batch_size: int | None
    subtract_initial: bool
    keep_outputs: bool
    at_once: int | None

    def transformation(self, learning_rate: Array | float | None) -> optax.GradientTransformation:
        """The optimiser, with the traced learning rate where it takes one."""
        return self.optimizer if learning_rate is None else made(self.optimizer, learning_rate)


class Data(NamedTuple):
    """What all networks share."""

    inputs: Array
    clean: Array | None
    test_inputs: Array | None
    test_classes: Array | None
    label_fn: LabelFn
    learning_rate: Array | float | None
    steps: Array  # (R,) to record at, the first is 0


class Seed(NamedTuple):
    """What the networks of one seed share; with a leading axis over G seeds."""

    params: Any
    observed: Array  # (n, C)
    key: Array  # of the order of the points


class Lesson(NamedTuple):
    """What one network is taught; with leading axes over G seeds and P networks."""

    target: Array  # (n, C)
    temperature: Array  # ()
    alpha: Array  # (), weight of the observed labels


class _State(NamedTuple):
    step: Array
    params: Any
    optimizer: Any
    order: Array | None  # of the points in the current epoch, padded to whole batches


@functools.partial(jax.jit, static_argnums=0)
def train(settings: StudentSettings, data: Data, seeds: Seed, lessons: Lesson) -> tuple[Any, Any]:
    """Trains G x P networks.

    Returns:
        Their final parameters, leaves (G, P, ...), and the columns of a `History` but for its
        time, each (G, P, R, ...).
    """

    def of_seed(seed: Seed, lessons: Lesson) -> tuple[Any, Any]:
        one = functools.partial(_train_one, settings, data, seed)
        if settings.at_once is None:
            return jax.vmap(one)(lessons)
        return jax.lax.map(one, lessons, batch_size=settings.at_once)

    if settings.at_once is None:
        return jax.vmap(of_seed)(seeds, lessons)
    return jax.lax.map(lambda pair: of_seed(*pair), (seeds, lessons))


def _train_one(
    settings: StudentSettings, data: Data, seed: Seed, lesson: Lesson
) -> tuple[Any, Any]:
    offset = test_offset = None
    if settings.subtract_initial:
        offset = _evaluate(settings, seed.params, data.inputs)
        if data.test_inputs is not None:
            test_offset = _evaluate(settings, seed.params, data.test_inputs)

    def to_record(state: _State, until: Array) -> tuple[_State, dict[str, Any]]:
        state = jax.lax.while_loop(
            lambda s: s.step < until,
            lambda s: _step(settings, data, seed, lesson, offset, s),
            state,
        )
        return state, _record(settings, data, seed, lesson, (offset, test_offset), state)

    state, columns = jax.lax.scan(to_record, _initial(settings, data, seed), data.steps)
    return used(state.optimizer, state.params), columns


def _initial(settings: StudentSettings, data: Data, seed: Seed) -> _State:
    order = None
    if settings.batch_size is not None:
        batches = -(-len(data.inputs) // settings.batch_size)
        order = jnp.zeros(batches * settings.batch_size, jnp.int32)
    optimizer = begun(settings.transformation(data.learning_rate), seed.params)
    return _State(jnp.int32(0), seed.params, optimizer, order)


def _step(
    settings: StudentSettings,
    data: Data,
    seed: Seed,
    lesson: Lesson,
    offset: Array | None,
    state: _State,
) -> _State:
    size, count = settings.batch_size, len(data.inputs)
    if size is None:
        state = state._replace(step=state.step + 1)
        batch = data.inputs, seed.observed, lesson.target, offset
        return _update(settings, data, lesson, batch, jnp.ones(count, _dtype(seed)), state)
    assert state.order is not None
    epoch, position = jnp.divmod(state.step, len(state.order) // size)
    # By seed and epoch only: networks of one seed see the same batches.
    length = len(state.order)
    order = jax.lax.cond(
        position == 0, lambda: epoch_order(seed.key, epoch, count, length), lambda: state.order
    )
    rows = jax.lax.dynamic_slice_in_dim(order, position * size, size)
    weights = (position * size + jnp.arange(size) < count).astype(_dtype(seed))
    taken = None if offset is None else offset[rows]
    batch = data.inputs[rows], seed.observed[rows], lesson.target[rows], taken
    state = state._replace(step=state.step + 1, order=order)
    return _update(settings, data, lesson, batch, weights, state)


def _dtype(seed: Seed) -> Any:
    """The dtype of outputs and targets."""
    return seed.observed.dtype


def _update(
    settings: StudentSettings,
    data: Data,
    lesson: Lesson,
    batch: tuple[Array, Array, Array, Array | None],
    weights: Array,
    state: _State,
) -> _State:
    inputs, observed, target, offset = batch

    def objective(params: Any) -> Array:
        outputs = settings.apply_fn(params, inputs).astype(observed.dtype)
        outputs = outputs if offset is None else outputs - offset
        return _objective_of(settings, lesson, outputs, target, observed, weights)

    loss, gradient = jax.value_and_grad(objective)(state.params)
    params, optimizer = stepped(
        settings.transformation(data.learning_rate),
        state.params,
        state.optimizer,
        gradient,
        loss,
        objective,
    )
    return state._replace(params=params, optimizer=optimizer)


def _objective_of(
    settings: StudentSettings,
    lesson: Lesson,
    outputs: Array,
    target: Array,
    observed: Array,
    weights: Array,
) -> Array:
    """The loss of a student: ``alpha`` x on the observed labels, the rest on the soft ones."""
    kind, reduction = settings.objective
    given = _objective.loss(kind, reduction, outputs, observed, weights)
    if kind == "mse":
        soft = _objective.loss(kind, reduction, outputs, target, weights)
    else:
        # Gradients through outputs / T shrink like 1/T^2; the factor keeps them as large as those
        # of the observed labels (arXiv:1503.02531, section 2).
        temperature = lesson.temperature
        soft = _objective.loss(kind, reduction, outputs / temperature, target, weights)
        soft = temperature**2 * soft
    return lesson.alpha * given + (1 - lesson.alpha) * soft


def _evaluate(
    settings: StudentSettings, params: Any, inputs: Array, initial: Array | None = None
) -> Array:
    """Outputs at all inputs (n, C), less the initial ones if they are given."""

    def outputs(batch: Array) -> Array:
        return settings.apply_fn(params, batch)

    return outputs_at(outputs, inputs, settings.batch_size, initial)


def _record(
    settings: StudentSettings,
    data: Data,
    seed: Seed,
    lesson: Lesson,
    offsets: tuple[Array | None, Array | None],
    state: _State,
) -> dict[str, Any]:
    """One record of the history, but for its time."""
    offset, test_offset = offsets
    params = used(state.optimizer, state.params)
    outputs = _evaluate(settings, params, data.inputs, offset)
    test_outputs = None
    if data.test_inputs is not None:
        test_outputs = _evaluate(settings, params, data.test_inputs, test_offset)
    row = measure(
        Reference(data.clean, data.test_classes),
        seed.observed,
        data.label_fn,
        outputs,
        test_outputs,
        probabilities=settings.objective[0] == "cross_entropy",
    )
    row["step"] = state.step
    weights = jnp.ones(len(outputs), outputs.dtype)
    row["loss"] = _objective_of(settings, lesson, outputs, lesson.target, seed.observed, weights)
    row["alpha"] = lesson.alpha
    row["distance_from_init"] = distance(params, seed.params, outputs.dtype)
    row["outputs"] = outputs if settings.keep_outputs else None
    row["test_outputs"] = test_outputs if settings.keep_outputs else None
    return row


def plain_lesson(observed: Array) -> Lesson:
    """The teachers' lesson: one network for each seed on its observed labels."""
    ones = jnp.ones((len(observed), 1), observed.dtype)
    return Lesson(observed[:, None], ones, ones)


def soft_lessons(
    outputs: Array, observed: Array, levels: np.ndarray, alpha: float, uniform: np.ndarray
) -> Lesson:
    """S x K soft targets from the teachers' outputs (G, S, n, C), then E smoothed labels."""
    coding = coding_of(observed[0])
    soft = [_soft(outputs, level, observed[0]) for level in levels]
    targets = jnp.stack(soft, axis=2).reshape(len(outputs), -1, *outputs.shape[2:])
    temperatures = np.tile(np.where(np.isnan(levels), 1.0, levels), outputs.shape[1])
    if len(uniform):
        if coding is None:
            raise ValueError(
                "smoothing needs encoded labels: +-1 for a single output, one-hot or centred "
                "one-hot rows for several (ntk_air.datasets.encode)."
            )
        weight = jnp.asarray(uniform, observed.dtype)[:, None, None]
        centre = 1.0 / observed.shape[-1] if coding == "one_hot" else 0.0
        smoothed = (1 - weight) * observed[:, None] + weight * centre
        targets = jnp.concatenate([targets, smoothed], axis=1)
    weights = np.repeat([alpha, 0.0], [len(temperatures), len(uniform)])
    temperatures = np.concatenate([temperatures, np.ones(len(uniform))])
    rows = (len(outputs), len(weights))
    return Lesson(
        targets,
        jnp.broadcast_to(jnp.asarray(temperatures, targets.dtype), rows),
        jnp.broadcast_to(jnp.asarray(weights, targets.dtype), rows),
    )


def _soft(outputs: Array, temperature: float, observed: Array) -> Array:
    """What teacher outputs (G, S, n, C) teach at a temperature."""
    if np.isnan(temperature):
        return outputs
    return bind(softmax(temperature), observed)(outputs)
