"""The training loop: steps of self-distillation beside the loops people write themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import ntk_air as na
from benchmarks import _torch
from benchmarks._harness import Case, Contestant, Run, Settings
from benchmarks._inputs import scaled, white
from benchmarks._plain_networks import ResNet, SmallCNN

_CLASSES = 10
_RATE, _MOMENTUM = 0.05, 0.9
_SEEDS = 8
_RECORDS = "ntk_air's time includes two records: two evaluations of all n points."


class _Inputs(NamedTuple):
    module: Any
    variables: Any
    points: jax.Array
    observed: jax.Array
    batch_size: int
    steps: int


def training_mlp(settings: Settings) -> Case:
    """Steps of an MLP 64-256-256-10 on batches of 128, as one call of the trainer."""
    steps = scaled(1000, settings.scale, 4)
    inputs = _mlp(steps)
    contestants = [
        Contestant("ntk_air", _ours, value=None),
        Contestant("jitted step, Python loop", _step_by_step, value=None),
    ]
    if _torch.installed():
        contestants.append(Contestant("PyTorch eager", _torch.training, value=None, repeats=3))
    return Case(
        "training_mlp",
        {"n": 4096, "batch": 128, "steps": steps},
        inputs,
        contestants,
        notes=[
            "The authors' rule in each: hard labels, weighted by the agreement of the batch. "
            "ntk_air's time includes its checks and two records of the history.",
        ],
    )


def training_seeds(settings: Settings) -> Case:
    """Eight seeds trained by one call, on one device or spread over several, and one seed alone."""
    steps = scaled(1000, settings.scale, 4)

    def together(inputs: _Inputs, **options: Any) -> Run:
        keys = jax.random.split(jax.random.key(1), _SEEDS)
        start = jax.vmap(lambda key: inputs.module.init(key, inputs.points[:1]))(keys)
        return lambda: _train(inputs, start, replicas=_SEEDS, **options).history.loss

    def spread(inputs: _Inputs) -> Run:
        devices = np.array(jax.devices()[: settings.devices])
        return together(inputs, mesh=jax.sharding.Mesh(devices, ("networks",)))

    contestants = [
        Contestant(f"ntk_air, {_SEEDS} seeds", together, value=None),
        Contestant("ntk_air, one seed", _ours, value=None),
    ]
    if settings.devices > 1 and _SEEDS % settings.devices == 0:
        name = f"ntk_air, {_SEEDS} seeds over {settings.devices} devices"
        contestants.insert(0, Contestant(name, spread, value=None))
    return Case(
        "training_seeds",
        {"n": 4096, "batch": 128, "steps": steps},
        _mlp(steps),
        contestants,
    )


def training_resnet18(settings: Settings) -> Case:
    """Steps of ResNet-18 on images of 32x32, against a minimal flax and optax loop."""
    steps, batch = scaled(16, settings.scale, 2), scaled(32, settings.scale, 2)
    side, blocks = (32, (2, 2, 2, 2)) if settings.scale >= 1 else (8, (1, 1))

    def prepare() -> _Inputs:
        module = na.networks.ResNet(num_outputs=_CLASSES, blocks=blocks)
        return _inputs(module, white(batch, side, side, 3), batch, steps)

    return Case(
        "training_resnet18",
        {"n": batch, "batch": batch, "steps": steps, "side": side},
        prepare,
        [
            Contestant("ntk_air", _ours, value=None, repeats=2),
            Contestant("jitted step, Python loop", _step_by_step, value=None, repeats=2),
            Contestant(
                "the same, flax's nn.Conv", _plain(ResNet, blocks=blocks), value=None, repeats=2
            ),
        ],
        notes=[_RECORDS],
    )


def training_small_cnn(settings: Settings) -> Case:
    """Steps of the small CNN on images of 32x32, batches of 128."""
    steps, batch = scaled(30, settings.scale, 2), scaled(128, settings.scale, 2)
    side = 32 if settings.scale >= 1 else 8

    def prepare() -> _Inputs:
        module = na.networks.create("small_cnn", num_outputs=_CLASSES)
        return _inputs(module, white(batch, side, side, 3), batch, steps)

    contestants = [
        Contestant("ntk_air", _ours, value=None, repeats=3),
        Contestant("jitted step, Python loop", _step_by_step, value=None, repeats=3),
        Contestant("the same, flax's nn.Conv", _plain(SmallCNN), value=None, repeats=3),
    ]
    if _torch.installed():
        torch = Contestant("PyTorch eager", _torch.training_small_cnn, value=None, repeats=3)
        contestants.append(torch)
    return Case(
        "training_small_cnn",
        {"n": batch, "batch": batch, "steps": steps, "side": side},
        prepare,
        contestants,
        notes=[_RECORDS],
    )


def _mlp(steps: int) -> Callable[[], _Inputs]:
    def prepare() -> _Inputs:
        module = na.networks.create("mlp", num_outputs=_CLASSES)
        return _inputs(module, white(4096, 64), 128, steps)

    return prepare


def _inputs(module: Any, points: jax.Array, batch_size: int, steps: int) -> _Inputs:
    labels = np.random.default_rng(1).integers(0, _CLASSES, len(points))
    observed = na.datasets.encode(labels, _CLASSES, coding="one_hot")
    variables = module.init(jax.random.key(0), points[:1])
    return _Inputs(module, variables, points, observed, batch_size, steps)


def _train(inputs: _Inputs, variables: Any, **options: Any) -> Any:
    return na.distillation.self_distill(
        inputs.module,
        variables,
        inputs.points,
        inputs.observed,
        optimizer=_optimizer,
        learning_rate=_RATE,
        num_steps=inputs.steps,
        alpha=na.distillation.agreement(),
        loss="cross_entropy",
        batch_size=inputs.batch_size,
        key=0,
        record_every=inputs.steps,
        **options,
    )


def _optimizer(learning_rate: Any) -> optax.GradientTransformation:
    return optax.sgd(learning_rate, momentum=_MOMENTUM)


def _ours(inputs: _Inputs) -> Run:
    return lambda: _train(inputs, inputs.variables).history.loss


def _plain(network: Any, **options: Any) -> Callable[[_Inputs], Run]:
    """The jitted step, with a network of XLA's convolutions."""

    def build(inputs: _Inputs) -> Run:
        module = network(_CLASSES, **options)
        variables = module.init(jax.random.key(0), inputs.points[:1])
        return _step_by_step(inputs._replace(module=module, variables=variables))

    return build


def _step_by_step(inputs: _Inputs) -> Run:
    """What one writes: a jitted step with donated state, called once per batch."""
    optimizer = optax.sgd(_RATE, momentum=_MOMENTUM)
    state = {name: value for name, value in inputs.variables.items() if name != "params"}

    @jax.jit
    def step(params: Any, state: Any, memory: Any, rows: jax.Array) -> tuple[Any, Any, Any]:
        points, observed = inputs.points[rows], inputs.observed[rows]

        def objective(params: Any) -> tuple[jax.Array, Any]:
            outputs, new = inputs.module.apply(
                {"params": params, **state}, points, train=True, mutable=list(state)
            )
            own = jax.nn.one_hot(jnp.argmax(outputs, 1), _CLASSES)
            alpha = 1 - jnp.mean(jnp.argmax(outputs, 1) == jnp.argmax(observed, 1))
            target = jax.lax.stop_gradient(alpha * observed + (1 - alpha) * own)
            return optax.softmax_cross_entropy(outputs, target).mean(), new

        gradient, new = jax.grad(objective, has_aux=True)(params)
        updates, memory = optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, updates), new, memory

    def run() -> Any:
        params, now = inputs.variables["params"], state
        memory = optimizer.init(params)
        rng, per_epoch = np.random.default_rng(0), len(inputs.points) // inputs.batch_size
        order: Any = None
        for index in range(inputs.steps):
            if index % per_epoch == 0:
                order = jnp.asarray(rng.permutation(len(inputs.points)))
            begin = index % per_epoch * inputs.batch_size
            rows = order[begin : begin + inputs.batch_size]
            params, now, memory = step(params, now, memory, rows)
        return params

    return run
