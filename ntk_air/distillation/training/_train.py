"""Checks a training run, puts it together, and runs it from record to record."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..._checks import check_bool, check_finite, check_same_length
from ..._numerics import as_float, cast_floats
from ..._seeds import one_key
from ..._typing import Array, ArrayLike, PyTree
from . import _checkpoint, _engine
from ._call_checks import (
    check_augment,
    check_key,
    check_padding,
    check_params,
    check_subtraction,
    output_dtype,
    spread_over,
    targets_of_one,
    test_part,
)
from ._devices import placed
from ._history import DistillationResult, Reference, history_of
from ._listener import Listener, as_listener, numbers_of
from ._method import Method
from ._network import adapted_to, as_network, computing_dtype, in_double, is_slow_in_loops
from ._optimizer import Rate, resolve_optimizer
from ._options import Optimizer, training_call
from ._problem import LoopSettings, State, TrainingProblem
from ._records import checked_batch, record_steps, whole_number
from ._replicas import check_replicas, first, replica_keys, stack_methods
from ._run import run
from ._stepping import check_steps
from ._threads import Shares, share_count


@in_double
@training_call
def train(
    network: Any,
    params: PyTree,
    inputs: ArrayLike,
    observed: ArrayLike,
    method: Method | Sequence[Method],
    *,
    optimizer: Optimizer,
    num_steps: int,
    batch_size: int | None = None,
    clean: ArrayLike | None = None,
    test: tuple[ArrayLike, ArrayLike] | None = None,
    record_every: int | Sequence[int] | None = None,
    record_outputs: bool = False,
    on_record: Callable[..., Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    key: Any = None,
    learning_rate: Any = None,
    augment: Callable[[Array, Array], Array] | None = None,
    precision: Any = None,
    subtract_initial: bool = False,
    replicas: int | None = None,
    mesh: Mesh | None = None,
    progress: bool = False,
) -> DistillationResult:
    """Trains a network by a method of one's own.

    `self_distill` and the `baselines` are calls of it, each with a `Method` of theirs.

    Args:
        network: a function ``f(params, x)``, a module of flax.linen, of flax.nnx or of equinox.
        params: initial parameters, as for `self_distill`.
        inputs: (n, ...).
        observed: encoded observed targets (n, C).
        method: what pulls the outputs; with ``replicas`` one, or a list of one for each network.
        optimizer: see `baselines.cross_entropy`.
        num_steps: optimiser steps.
        batch_size: this and all that follow: see `TrainingOptions`.
        clean: see there.
        test: see there.
        record_every: see there.
        record_outputs: see there.
        on_record: see there.
        checkpoint: see there.
        key: see there.
        learning_rate: see there.
        augment: see there.
        precision: see there.
        subtract_initial: see there.
        replicas: see there.
        mesh: see there.
        progress: see there.

    Returns:
        Final parameters and `History`.

    Raises:
        ValueError: on arrays that do not match or are not finite, or an option out of range.
        DivergenceError: if the loss is no longer finite.

    Example:
        >>> import jax.numpy as jnp, numpy as np, ntk_air as na
        >>> d = na.distillation
        >>> @d.method
        ... class AbsoluteError(d.Method):
        ...     def data_loss(self, outputs, wanted, weights):
        ...         return jnp.sum(weights * jnp.abs(outputs - wanted).sum(1)) / weights.sum()
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.full((4, 2), 0.5)
        >>> result = d.train(
        ...     lambda w, x: x @ w, w, x, observed, AbsoluteError(), optimizer=0.4, num_steps=2)
        >>> print(result.history.loss)
        [1.  0.8 0.6]
    """
    one = method if isinstance(method, Method) else method[0]
    targets = targets_of_one(observed, clean, one.loss, replicas)
    check_same_length("inputs", inputs, "observed", targets)
    check_finite("inputs", inputs)
    check_finite("observed", observed)
    steps = record_steps(record_every, num_steps)
    if replicas is not None:
        replicas = whole_number("replicas", replicas, 1)
    listener = as_listener(on_record)
    make, rate = resolve_optimizer(optimizer, learning_rate, int(num_steps), replicas)
    check_params(params)
    adapted, params, state = adapted_to(precision, as_network(network, params))
    params = jax.tree.map(as_float, params)
    inputs, test = _widened(precision, jnp.asarray(inputs), test)
    check_replicas(replicas, params, state, observed)
    batch_size = checked_batch(batch_size, len(inputs))
    check_padding(adapted, batch_size, len(inputs))
    check_key(key, batch_size, augment, one)
    check_subtraction(subtract_initial, adapted)
    check_augment(augment, inputs, batch_size)
    sample = (params, state) if replicas is None else first((params, state))
    check_steps(make, sample[0])
    dtype = output_dtype(adapted, sample, inputs, np.shape(targets))
    test_inputs, wanted = test_part(adapted, sample, test, np.shape(targets)[1])
    traced = None
    if rate.values is not None and not hasattr(make, "update"):  # no finished transformation
        traced = jnp.asarray(rate.values, dtype)
    problem = TrainingProblem(
        inputs=inputs,
        observed=jnp.asarray(observed, dtype),
        reference=Reference(None if clean is None else jnp.asarray(clean, dtype), wanted),
        test_inputs=test_inputs,
        initial_params=params,
        initial_state=state,
        learning_rate=traced,
        method=method if isinstance(method, Method) else stack_methods(method),
        key=one_key(key) if replicas is None else replica_keys(key, replicas),
    )
    settings = LoopSettings(
        adapted,
        make,
        batch_size,
        augment,
        check_bool("record_outputs", record_outputs),
        None if mesh is None else spread_over(mesh, replicas, batch_size or len(inputs)),
        () if replicas is None else (_replicated(problem, method, rate, subtract_initial),),
        subtract_initial,
        is_slow_in_loops(adapted, sample, inputs),
    )
    problem = placed(settings, problem)
    if subtract_initial:
        problem = _engine.with_initial_outputs(settings, problem)
    store = None
    if checkpoint is not None:
        digest = _checkpoint.fingerprint(settings, problem, steps)
        store = _checkpoint.Checkpoint(checkpoint, digest, int(num_steps))
    shares = Shares(settings, problem, share_count(settings, problem))
    told = _telling(listener, settings, shares, rate, int(num_steps))
    rows = run(shares, steps, progress, store, told)
    return _outcome(settings, problem, shares.state, rows, rate.times(steps).astype(dtype))


def _outcome(
    settings: LoopSettings,
    problem: TrainingProblem,
    state: State,
    rows: list[dict[str, Any]],
    time: np.ndarray,
) -> DistillationResult:
    columns: dict[str, Any] = jax.tree.map(jnp.asarray, _checkpoint.stack(rows))
    if settings.replicated:
        step = columns.pop("step")
        columns = jax.tree.map(lambda column: jnp.moveaxis(column, 1, 0), columns)
        columns["step"] = step
    history = history_of({"time": jax.device_put(time), **columns})
    params = settings.network.join(*_engine.variables(settings, state))
    found = None if state.memory is None else _engine.refined(settings, problem, state.memory)
    weights, refined = (None, None) if found is None else found
    return DistillationResult(params, history, label_weights=weights, refined=refined)


def _telling(
    listener: Listener | None, settings: LoopSettings, shares: Shares, rate: Rate, num_steps: int
) -> Callable[[dict[str, Any]], Any] | None:
    """Calls a listener with a record, and parameters as they are then."""
    if listener is None:
        return None

    def tell(row: dict[str, Any]) -> None:
        state = shares.state
        epoch = 1 if state.order is None else state.order.shape[-1] // (settings.batch_size or 1)
        params = settings.network.join(*_engine.variables(settings, state))
        listener(int(row["step"]), params, numbers_of(row, rate, epoch, num_steps))

    return tell


def _widened(precision: Any, inputs: Array, test: Any) -> tuple[Array, Any]:
    """Inputs and test points, in float64 where the network is to be computed in it."""
    if precision is None or computing_dtype(precision) != np.float64:
        return inputs, test
    if jnp.issubdtype(inputs.dtype, jnp.floating):
        inputs = inputs.astype(np.float64)
    return inputs, None if test is None else cast_floats(tuple(test), "float64")


def _replicated(
    problem: TrainingProblem, method: Any, rate: Rate, subtract_initial: bool
) -> tuple[str, ...]:
    """The fields of the problem that have a first axis over the networks."""
    names = ["initial_params", "initial_state", "key"]
    if subtract_initial:
        names += ["initial_outputs", "test_initial_outputs"]
    if problem.observed.ndim == 3:
        names.append("observed")
    if not isinstance(method, Method):
        names.append("method")
    if rate.kind == "networks":
        names.append("learning_rate")
    return tuple(names)
