"""Checks a training run, puts it together, and runs it from record to record."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from .._checks import check_finite, check_same_length
from .._numerics import as_float
from .._typing import Array, ArrayLike, PyTree
from . import _checkpoint, _engine
from ._history import DistillationResult, DivergenceError, History, Reference, check_finite_losses
from ._method import Method
from ._network import InPrecision, Network, as_network, computing_dtype
from ._optimizer import Rate, resolve_optimizer
from ._options import Optimizer
from ._records import check_pair, check_same_coding, record_steps, test_classes
from ._replicas import check_replicas, first, one_key, replica_keys, stack_methods
from ._shares import Shares, share_count


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
    """Trains by a method, or R networks by one each; see `TrainingOptions`."""
    one = method if isinstance(method, Method) else method[0]
    each = list(np.asarray(observed)) if np.ndim(observed) == 3 and replicas else [observed]
    for targets in each:
        check_pair(targets, clean, one.loss)
    check_same_coding(each)
    targets = each[0]
    check_same_length("inputs", inputs, "observed", targets)
    check_finite("inputs", inputs)
    check_finite("observed", observed)
    steps = record_steps(record_every, num_steps)
    make, rate = resolve_optimizer(optimizer, learning_rate, int(num_steps), replicas)
    adapted, params, state = as_network(network, params)
    if precision is not None:
        adapted = InPrecision(adapted, computing_dtype(precision))
    params = jax.tree.map(as_float, params)
    inputs = jnp.asarray(inputs)
    if replicas is not None:
        check_replicas(replicas, params, state, observed)
    batch_size = _checked_batch(batch_size, len(inputs), key)
    _check_padding(adapted, batch_size, len(inputs))
    _check_key(key, augment, one)
    shape = np.shape(targets)
    sample = (params, state) if replicas is None else first((params, state))
    dtype = _output_dtype(adapted, sample, inputs, shape)
    test_inputs, wanted = _test_part(adapted, sample, test, shape[1])
    traced = None
    if rate.values is not None and not hasattr(make, "update"):  # no finished transformation
        traced = jnp.asarray(rate.values, dtype)
    problem = _engine.Problem(
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
    settings = _engine.Settings(
        adapted,
        make,
        batch_size,
        augment,
        bool(record_outputs),
        None if mesh is None else _spread_over(mesh, replicas, batch_size or len(inputs)),
        None if replicas is None else _replicated(problem, method, rate),
        _is_slow_in_loops(adapted, sample, inputs),
    )
    problem = _engine.placed(settings, problem)
    store = None
    if checkpoint is not None:
        digest = _checkpoint.fingerprint(settings, problem, steps)
        store = _checkpoint.Checkpoint(checkpoint, digest, int(num_steps))
    shares = Shares(settings, problem, share_count(settings, problem))
    rows = _run(settings, shares, steps, progress, store, on_record)
    return _outcome(settings, shares.state, rows, jnp.asarray(rate.times(steps), dtype))


def _run(
    settings: _engine.Settings,
    shares: Shares,
    steps: np.ndarray,
    progress: bool,
    store: _checkpoint.Checkpoint | None,
    on_record: Callable[[int, PyTree], Any] | None,
) -> list[dict[str, Any]]:
    """Runs from record to record; stops at the first one at which a loss has not been finite."""
    rows = []
    if store is not None:
        shares.state, rows = store.resume(shares.state)
    with shares.side_by_side(), _progress_bar(int(steps[-1]), progress) as show:
        for until in steps[len(rows) :]:
            shares.advance(int(until))
            _check_diverged(shares.diverged)
            # Records wait on the host: the device holds one at a time, however many there are.
            rows.append(shares.record())
            check_finite_losses([until], [rows[-1]["loss"]])
            if on_record is not None:
                state = shares.state
                # Copies, since the next steps use up the state's own.
                copied = jax.tree.map(jnp.copy, (state.params, state.network))
                on_record(int(until), settings.network.join(*copied))
            if store is not None and store.is_due(int(until)):
                store.write(shares.state, rows)
            show(int(until), rows[-1])
    return rows


def _outcome(
    settings: _engine.Settings, state: _engine.State, rows: list[dict[str, Any]], time: Array
) -> DistillationResult:
    columns: dict[str, Any] = jax.tree.map(jnp.asarray, _checkpoint.stack(rows))
    if settings.replicated is not None:
        step = columns.pop("step")
        columns = jax.tree.map(lambda column: jnp.moveaxis(column, 1, 0), columns)
        columns["step"] = step
    history = History(time=time, **columns)
    return DistillationResult(settings.network.join(state.params, state.network), history)


@contextlib.contextmanager
def _progress_bar(total: int, shown: bool) -> Iterator[Callable[[int, dict[str, Any]], Any]]:
    """Yields a function that moves a bar to a step; no bar where stderr is not a terminal."""
    if not shown:
        yield lambda step, row: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="step", disable=None) as bar:

        def show(step: int, row: dict[str, Any]) -> None:
            tested = not np.isnan(row["test_accuracy"]).any()
            name, value = ("test", "test_accuracy") if tested else ("observed", "agreement")
            bar.set_postfix_str(f"{name} accuracy {np.mean(row[value]):.2%}", refresh=False)
            bar.update(step - bar.n)

        yield show


def _check_diverged(diverged: np.ndarray) -> None:
    if (diverged < 0).all():
        return
    index = int(np.argmin(np.where(diverged < 0, np.iinfo(np.int32).max, diverged)))
    which = f" of network {index}" if len(diverged) > 1 else ""
    raise DivergenceError(
        f"the loss{which} is not finite at step {diverged[index]}; training diverged: lower the "
        "learning rate (gradient descent on the summed squared loss needs learning_rate <= "
        "1 / largest eigenvalue of the kernel)."
    )


def _checked_batch(batch_size: int | None, count: int, key: Any) -> int | None:
    if batch_size is None:
        return None
    if int(batch_size) != batch_size or not 1 <= batch_size <= count:
        raise ValueError(
            f"batch_size is {batch_size}, expected an integer in 1..{count}, the number of points; "
            "None takes all of them at every step."
        )
    if key is None:
        raise ValueError("batch_size needs a key for the order of the points; pass key=0, say.")
    return int(batch_size)


def _check_padding(network: Network, batch_size: int | None, count: int) -> None:
    if batch_size is not None and count % batch_size and network.mixes_batch:
        raise ValueError(
            f"batch_size {batch_size} leaves {count % batch_size} of {count} points for the last "
            "batch, which is padded, and the network's BatchNorm would count the padding; take a "
            "batch_size that divides the number of points, or let the module's __call__ take "
            "mask (b,) and hand mask[:, None, ...] to BatchNorm, as those of ntk_air.networks do."
        )


def _check_key(key: Any, augment: Any, method: Method) -> None:
    if key is None and (augment is not None or method.needs_key):
        what = "augment" if augment is not None else type(method).__name__
        raise ValueError(f"{what} draws random numbers and needs a key; pass key=0, say.")


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


def _replicated(problem: _engine.Problem, method: Any, rate: Rate) -> tuple[str, ...]:
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
    network: Network, variables: tuple[PyTree, PyTree], inputs: Array, shape: tuple[int, ...]
) -> Any:
    """Checks the shape of the outputs without computing them; the dtype of all that is of them."""
    outputs = jax.eval_shape(_evaluation(network), *variables, inputs)
    if outputs.shape != shape:
        raise ValueError(
            f"apply_fn returns outputs of shape {outputs.shape} for observed targets of shape "
            f"{shape}; expected the same (n, C): give the network C outputs, and a single one a "
            "last axis of length 1."
        )
    return _engine.wide(outputs.dtype)


def _is_slow_in_loops(network: Network, variables: tuple[PyTree, PyTree], inputs: Array) -> bool:
    """Whether the gradient holds convolutions and runs on a CPU.

    XLA takes about a hundred times longer there for the gradient of a convolution's weights inside
    a loop than outside (jax#12868). Looked for in the program of this platform, since the networks
    of `ntk_air.networks` have other forms for CPUs.
    """
    if any(device.platform != "cpu" for device in inputs.devices()):
        return False
    one = jax.ShapeDtypeStruct((1, *inputs.shape[1:]), inputs.dtype)
    traced = jax.jit(_gradient(network)).trace(*variables, one)
    if "conv_general_dilated" not in str(traced.jaxpr):
        return False
    return "stablehlo.convolution" in traced.lower().as_text()


@functools.lru_cache(maxsize=128)
def _evaluation(network: Network) -> Any:
    """The same bound method for equal networks, so that JAX finds the trace it has of it."""
    return network.evaluate


@functools.lru_cache(maxsize=128)
def _gradient(network: Network) -> Any:
    return jax.grad(lambda *arguments: jnp.sum(network.evaluate(*arguments)))


def _test_part(
    network: Network, variables: tuple[PyTree, PyTree], test: Any, num_outputs: int
) -> tuple[Array | None, Array | None]:
    if test is None:
        return None, None
    inputs, labels = test
    check_finite("test inputs", inputs)
    inputs = jnp.asarray(inputs)
    _output_dtype(network, variables, inputs, (len(inputs), num_outputs))
    return inputs, test_classes(labels, len(inputs), num_outputs)
