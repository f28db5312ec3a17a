"""Checks a training run, puts it together, and runs it from record to record."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..._checks import check_bool, check_finite, check_same_length
from ..._classes import classes_given
from ..._numerics import as_float, cast_floats
from ..._seeds import one_key
from ..._typing import Array, ArrayLike, PyTree
from . import _checkpoint, _engine
from ._history import (
    DistillationResult,
    Reference,
    history_of,
)
from ._method import Method
from ._network import (
    TrainableNetwork,
    adapted_to,
    as_network,
    computing_dtype,
    in_double,
    is_slow_in_loops,
)
from ._optimizer import Rate, resolve_optimizer
from ._options import Optimizer, training_call
from ._records import (
    check_pair,
    check_same_coding,
    check_test,
    checked_batch,
    record_steps,
    shape_of_outputs,
    whole_number,
)
from ._replicas import check_replicas, first, replica_keys, stack_methods
from ._run import run
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
    on_record: Callable[[int, PyTree], Any] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    key: Any = None,
    learning_rate: Any = None,
    augment: Callable[[Array, Array], Array] | None = None,
    precision: Any = None,
    replicas: int | None = None,
    mesh: Mesh | None = None,
    progress: bool = False,
) -> DistillationResult:
    """Trains a network by a method of one's own.

    `self_distill` and the `baselines` are calls of it, each with a `Method` of theirs.

    Args:
        network: a function ``f(params, x)``, a module of flax.linen or of flax.nnx.
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
    targets = _targets_of_one(observed, clean, one.loss, replicas)
    check_same_length("inputs", inputs, "observed", targets)
    check_finite("inputs", inputs)
    check_finite("observed", observed)
    steps = record_steps(record_every, num_steps)
    if replicas is not None:
        replicas = whole_number("replicas", replicas, 1)
    if mesh is not None and not isinstance(mesh, Mesh):
        raise ValueError(f"mesh is {mesh!r}, expected a jax.sharding.Mesh of devices.")
    if on_record is not None and not callable(on_record):
        raise ValueError(f"on_record is {on_record!r}, expected a function (step, params).")
    make, rate = resolve_optimizer(optimizer, learning_rate, int(num_steps), replicas)
    _check_params(params)
    adapted, params, state = adapted_to(precision, as_network(network, params))
    params = jax.tree.map(as_float, params)
    inputs, test = _widened(precision, jnp.asarray(inputs), test)
    if replicas is not None:
        check_replicas(replicas, params, state, observed)
    batch_size = checked_batch(batch_size, len(inputs))
    _check_padding(adapted, batch_size, len(inputs))
    _check_key(key, batch_size, augment, one)
    if augment is not None:
        _check_augment(augment, inputs, batch_size)
    shape = np.shape(targets)
    sample = (params, state) if replicas is None else first((params, state))
    dtype = _output_dtype(adapted, sample, inputs, shape)
    test_inputs, wanted = _test_part(adapted, sample, test, shape[1])
    traced = None
    if rate.values is not None and not hasattr(make, "update"):  # no finished transformation
        traced = jnp.asarray(rate.values, dtype)
    problem = _engine.TrainingProblem(
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
    settings = _engine.LoopSettings(
        adapted,
        make,
        batch_size,
        augment,
        check_bool("record_outputs", record_outputs),
        None if mesh is None else _spread_over(mesh, replicas, batch_size or len(inputs)),
        () if replicas is None else (_replicated(problem, method, rate),),
        is_slow_in_loops(adapted, sample, inputs),
    )
    problem = _engine.placed(settings, problem)
    store = None
    if checkpoint is not None:
        digest = _checkpoint.fingerprint(settings, problem, steps)
        store = _checkpoint.Checkpoint(checkpoint, digest, int(num_steps))
    shares = Shares(settings, problem, share_count(settings, problem))
    rows = run(settings, shares, steps, progress, store, on_record)
    return _outcome(settings, shares.state, rows, jax.device_put(rate.times(steps).astype(dtype)))


def _outcome(
    settings: _engine.LoopSettings, state: _engine.State, rows: list[dict[str, Any]], time: Array
) -> DistillationResult:
    columns: dict[str, Any] = jax.tree.map(jnp.asarray, _checkpoint.stack(rows))
    if settings.replicated:
        step = columns.pop("step")
        columns = jax.tree.map(lambda column: jnp.moveaxis(column, 1, 0), columns)
        columns["step"] = step
    history = history_of({"time": time, **columns})
    return DistillationResult(settings.network.join(state.params, state.network), history)


def _targets_of_one(
    observed: ArrayLike, clean: ArrayLike | None, loss: str, replicas: int | None
) -> ArrayLike:
    """Targets (n, C) of the first network, once those of all have been checked."""
    each = list(np.asarray(observed)) if np.ndim(observed) == 3 and replicas else [observed]
    for targets in each:
        check_pair(targets, clean, loss)
    check_same_coding(each)
    return each[0]


def _widened(precision: Any, inputs: Array, test: Any) -> tuple[Array, Any]:
    """Inputs and test points, in float64 where the network is to be computed in it."""
    if precision is None or computing_dtype(precision) != np.float64:
        return inputs, test
    if jnp.issubdtype(inputs.dtype, jnp.floating):
        inputs = inputs.astype(np.float64)
    return inputs, None if test is None else cast_floats(tuple(test), "float64")


def _check_params(params: PyTree) -> None:
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        # Counters and random keys are as they are.
        if isinstance(leaf, np.ndarray) or (
            isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jnp.inexact)
        ):
            check_finite(f"params{jax.tree_util.keystr(path)}", leaf)


def _check_padding(network: TrainableNetwork, batch_size: int | None, count: int) -> None:
    if batch_size is not None and count % batch_size and network.mixes_batch:
        raise ValueError(
            f"batch_size {batch_size} leaves {count % batch_size} of {count} points for the last "
            "batch, which is padded, and the network's BatchNorm would count the padding; take a "
            "batch_size that divides the number of points, or let the module's __call__ take "
            "mask (b,) and hand mask[:, None, ...] to BatchNorm, as those of ntk_air.networks do."
        )


def _check_key(key: Any, batch_size: int | None, augment: Any, method: Method) -> None:
    if key is None and batch_size is not None:
        raise ValueError("batch_size needs a key for the order of the points; pass key=0, say.")
    if key is None and (augment is not None or method.needs_key):
        what = "augment" if augment is not None else type(method).__name__
        raise ValueError(f"{what} draws random numbers and needs a key; pass key=0, say.")


def _check_augment(augment: Any, inputs: Array, batch_size: int | None) -> None:
    size = len(inputs) if batch_size is None else batch_size
    batch = jax.ShapeDtypeStruct((size, *inputs.shape[1:]), inputs.dtype)
    returned = jax.eval_shape(augment, jax.random.key(0), batch)
    if getattr(returned, "shape", None) != batch.shape:
        raise ValueError(
            f"augment turns inputs of shape {batch.shape} into "
            f"{getattr(returned, 'shape', returned)}, expected inputs of the same shape."
        )


def _spread_over(mesh: Mesh, replicas: int | None, size: int) -> Mesh:
    """The devices in a row, each for networks of its own where their number divides, or points."""
    devices = mesh.devices.ravel()
    if replicas is not None and replicas % mesh.size == 0:
        return Mesh(devices, (_engine.NETWORKS,))
    if size % mesh.size:
        networks = "" if replicas is None else f", nor do {replicas} networks (replicas)"
        raise ValueError(
            f"a batch of {size} points does not divide over the {mesh.size} devices of the mesh"
            f"{networks}; take a batch_size that is a multiple of {mesh.size}."
        )
    return Mesh(devices, (_engine.POINTS,))


def _replicated(problem: _engine.TrainingProblem, method: Any, rate: Rate) -> tuple[str, ...]:
    """The fields of the problem that have a first axis over the networks."""
    names = ["initial_params", "initial_state", "key"]
    if problem.observed.ndim == 3:
        names.append("observed")
    if not isinstance(method, Method):
        names.append("method")
    if rate.kind == "networks":
        names.append("learning_rate")
    return tuple(names)


def _output_dtype(
    network: TrainableNetwork,
    variables: tuple[PyTree, PyTree],
    inputs: Array,
    shape: tuple[int, ...],
) -> Any:
    """Checks the shape of the outputs without computing them; the dtype of all that is of them."""
    outputs = shape_of_outputs("apply_fn", _evaluation(network), variables, inputs)
    if outputs.shape != shape:
        raise ValueError(
            f"apply_fn returns outputs of shape {outputs.shape} for observed targets of shape "
            f"{shape}; expected the same (n, C): give the network C outputs, and a single one a "
            "last axis of length 1."
        )
    return _engine.wide(outputs.dtype)


@functools.lru_cache(maxsize=128)
def _evaluation(network: TrainableNetwork) -> Any:
    """The same bound method for equal networks, so that JAX finds the trace it has of it."""
    return network.evaluate


def _test_part(
    network: TrainableNetwork, variables: tuple[PyTree, PyTree], test: Any, num_outputs: int
) -> tuple[Array | None, Array | None]:
    if test is None:
        return None, None
    inputs, labels = check_test(test)
    inputs = jnp.asarray(inputs)
    _output_dtype(network, variables, inputs, (len(inputs), num_outputs))
    return inputs, classes_given(labels, len(inputs), num_outputs)
