"""The training loop: steps of self-distillation beside the loops people write themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

import ntk_air as na
from benchmarks import _torch, _torch_training
from benchmarks._harness import Case, Contestant, Run, Settings
from benchmarks._inputs import scaled, white
from benchmarks._jax_training import MOMENTUM, Inputs, batch_order, scanned, step_by_step
from benchmarks._plain_networks import ResNet, SmallCNN

_CLASSES = 10
_SEEDS = 8
_KEY = 0
# A smaller rate where BatchNorm's running statistics have to follow.
_RATES = {"mlp": 0.05, "convolutional": 0.005}
# After two epochs of the MLP, and after a few steps of the networks that amplify round-off faster:
# by the fourth step of ResNet-18 round-off has changed a hard label of some contestants.
_COMPARED = {"mlp": 64, "convolutional": 4, "resnet18": 2}
_NOTES = (
    "The authors' rule in each: hard labels, weighted by the agreement of the batch. All begin "
    "with the same parameters and take the same batches. Compared is the loss on all points after "
    "some steps; hard labels amplify round-off, so losses at the end differ more.",
    "ntk_air's time includes its checks, drawing the batches, and three records of the history: "
    "evaluations of all n points, of which the others do two.",
    "PyTorch's variances are turned from those of a sample into those of the rows before the "
    "evaluation, as flax has them.",
)


def training_mlp(settings: Settings) -> Case:
    """Steps of an MLP 64-256-256-10 on batches of 128, as one call of the trainer."""
    steps = scaled(1000, settings.scale, 4)
    contestants = [
        _contestant("ntk_air", _ours),
        _contestant("jitted step, Python loop", _undonated),
        _contestant("donated step, Python loop", step_by_step),
        _contestant("donated scan over an epoch", scanned),
        *_in_torch("mlp", repeats=3),
    ]
    sizes = {"n": 4096, "batch": 128, "steps": steps}
    return Case("training_mlp", sizes, _mlp(steps), contestants, _NOTES[:2])


def training_seeds(settings: Settings) -> Case:
    """Eight seeds trained by one call, on one device or spread over several, and one seed alone."""
    steps = scaled(1000, settings.scale, 4)

    def spread(inputs: Inputs) -> Run:
        devices = np.array(jax.devices()[: settings.devices])
        return _ours(inputs, mesh=jax.sharding.Mesh(devices, ("networks",)))

    def alone(inputs: Inputs) -> Run:
        variables, order = jax.tree.map(lambda a: a[0], inputs.variables), inputs.order[:, 0]
        return _ours(inputs._replace(variables=variables, order=order, seeds=None))

    contestants = [
        _contestant(f"ntk_air, {_SEEDS} seeds", _ours),
        Contestant("ntk_air, one seed", alone, value=None),
        _contestant("donated step of jax.vmap, Python loop", step_by_step),
        _contestant("donated scan of jax.vmap over an epoch", scanned),
    ]
    if settings.devices > 1 and _SEEDS % settings.devices == 0:
        name = f"ntk_air, {_SEEDS} seeds over {settings.devices} devices"
        contestants.insert(0, _contestant(name, spread))
    if _torch.installed():
        contestants += [
            _contestant("PyTorch vmap", _torch_training.seeds(), repeats=2),
            _contestant("PyTorch baddbmm", _torch_training.seeds(by_hand=True), repeats=2),
            _contestant(
                "PyTorch baddbmm, compiled",
                _torch_training.seeds(by_hand=True, compiled=True),
                repeats=2,
            ),
        ]
    sizes = {"n": 4096, "batch": 128, "steps": steps}
    return Case("training_seeds", sizes, _mlp(steps, _SEEDS), contestants, _NOTES[:2])


def training_resnet18(settings: Settings) -> Case:
    """Steps of ResNet-18 on images of 32x32."""
    steps, batch = scaled(16, settings.scale, 2), scaled(32, settings.scale, 2)
    side, blocks = (32, (2, 2, 2, 2)) if settings.scale >= 1 else (4, (1,))

    def prepare() -> Inputs:
        module = na.networks.ResNet(num_outputs=_CLASSES, blocks=blocks)
        made = _inputs(module, white(batch, side, side, 3), batch, steps)
        return made._replace(compared=min(_COMPARED["resnet18"], steps))

    sizes = {"n": batch, "batch": batch, "steps": steps, "side": side}
    plain = ResNet(_CLASSES, blocks)
    return _convolutional("training_resnet18", sizes, prepare, plain, "ResNet", repeats=2)


def training_small_cnn(settings: Settings) -> Case:
    """Steps of the small CNN on images of 32x32, batches of 128."""
    steps, batch = scaled(30, settings.scale, 2), scaled(128, settings.scale, 2)
    side = 32 if settings.scale >= 1 else 8

    def prepare() -> Inputs:
        module = na.networks.create("small_cnn", num_outputs=_CLASSES)
        return _inputs(module, white(batch, side, side, 3), batch, steps)

    sizes = {"n": batch, "batch": batch, "steps": steps, "side": side}
    plain = SmallCNN(_CLASSES)
    return _convolutional("training_small_cnn", sizes, prepare, plain, "small_cnn", repeats=3)


def _convolutional(
    name: str,
    sizes: dict[str, int],
    prepare: Callable[[], Inputs],
    plain: Any,
    in_torch: str,
    *,
    repeats: int,
) -> Case:
    contestants = [
        _contestant("ntk_air", _ours, repeats),
        _contestant("donated step, Python loop", step_by_step, repeats),
        _contestant(
            "the same, flax's nn.Conv", lambda inputs: step_by_step(inputs, plain), repeats
        ),
        *_in_torch(in_torch, repeats=repeats, channels_last=True),
    ]
    return Case(name, sizes, prepare, contestants, _NOTES)


def _in_torch(network: str, *, repeats: int, **options: Any) -> list[Contestant]:
    """As people write it, and with what makes torch faster, where torch is installed."""
    if not _torch.installed():
        return []
    better = "PyTorch channels_last, fused" if options else "PyTorch fused"
    made = {
        "PyTorch eager": {},
        f"{better}, one thread": {"threads": 1, "fused": True, **options},
        f"{better}, two threads": {"threads": 2, "fused": True, **options},
        f"{better}, compiled": {"compiled": True, "fused": True, **options},
    }
    return [
        _contestant(name, _torch_training.training(network, **chosen), repeats)
        for name, chosen in made.items()
    ]


def _mlp(steps: int, seeds: int | None = None) -> Callable[[], Inputs]:
    def prepare() -> Inputs:
        module = na.networks.create("mlp", num_outputs=_CLASSES)
        return _inputs(module, white(4096, 64), 128, steps, seeds)

    return prepare


def _inputs(
    module: Any, points: jax.Array, size: int, steps: int, seeds: int | None = None
) -> Inputs:
    labels = np.random.default_rng(1).integers(0, _CLASSES, len(points))
    observed = na.datasets.encode(labels, _CLASSES, coding="one_hot")
    key, start = jax.random.key(_KEY), jax.random.key(1)
    if seeds is None:
        variables = jax.jit(module.init)(start, points[:1])
        order = batch_order(key, len(points), size, steps)
    else:
        variables = jax.vmap(lambda key: module.init(key, points[:1]))(
            jax.random.split(start, seeds)
        )
        orders = [batch_order(k, len(points), size, steps) for k in jax.random.split(key, seeds)]
        order = np.stack(orders, axis=1)
    kind = "mlp" if points.ndim == 2 else "convolutional"
    rate, compared = _RATES[kind], min(_COMPARED[kind], steps)
    return Inputs(module, variables, points, observed, np.asarray(order), rate, compared, seeds)


def _contestant(
    name: str, build: Callable[[Inputs], Run], repeats: int | None = None
) -> Contestant:
    return Contestant(
        name,
        build,
        repeats,
        value=lambda losses: losses[0],
        quality=lambda _, losses: {"loss at the end": float(np.mean(losses[1]))},
    )


def _optimizer(learning_rate: Any) -> optax.GradientTransformation:
    return optax.sgd(learning_rate, momentum=MOMENTUM)


def _ours(inputs: Inputs, **options: Any) -> Run:
    steps = len(inputs.order)
    records = sorted({inputs.compared, steps})
    if inputs.seeds is not None:
        options["replicas"] = inputs.seeds

    def run() -> np.ndarray:
        result = na.distillation.self_distill(
            inputs.module,
            inputs.variables,
            inputs.points,
            inputs.observed,
            optimizer=_optimizer,
            learning_rate=inputs.rate,
            num_steps=steps,
            alpha=na.distillation.agreement(),
            loss="cross_entropy",
            batch_size=inputs.batch_size,
            key=_KEY,
            record_every=records,
            **options,
        )
        # The first record is before any step.
        loss = np.asarray(result.history.loss)
        return np.stack([loss[..., 1], loss[..., -1]])

    return run


def _undonated(inputs: Inputs) -> Run:
    return step_by_step(inputs, donate=False)
