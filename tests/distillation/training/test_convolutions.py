"""Modules with convolutions of their own are trained step by step from the host on CPUs."""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
import pytest
from flax import nnx

import ntk_air as na
from ntk_air.distillation.training import _engine, _train
from ntk_air.distillation.training._network import as_network

d = na.distillation
RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(10, 6, 6, 1)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[RNG.integers(0, 2, 10)]


class Convolved(nn.Module):
    @nn.compact
    def __call__(self, images, train=False):
        hidden = nn.relu(nn.Conv(3, (3, 3))(images))
        return nn.Dense(2)(hidden.mean((1, 2)))


class ConvolvedNnx(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 3, (3, 3), rngs=rngs)
        self.dense = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, images):
        return self.dense(nnx.relu(self.conv(images)).mean((1, 2)))


def train(**changes):
    module = Convolved()
    variables = module.init(jax.random.key(0), IMAGES)
    if changes.get("replicas"):
        keys = jax.random.split(jax.random.key(0), changes["replicas"])
        variables = jax.vmap(module.init, in_axes=(0, None))(keys, IMAGES)
    options = {
        "optimizer": 0.1, "num_steps": 8, "alpha": d.agreement(0.5), "loss": "cross_entropy",
        "key": 3, "clean": CODES, "record_every": 2, "record_outputs": True, **changes,
    }  # fmt: skip
    return d.self_distill(module, variables, IMAGES, CODES, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch_size": 4},
        {"batch_size": 4, "teacher": "epoch"},
        {"batch_size": 5, "replicas": 2, "key": [1, 2]},
    ],
    ids=["full", "batches", "teacher of the epoch", "replicas"],
)
def test_the_steps_are_those_of_the_loop(options, monkeypatch):
    calls = []
    monkeypatch.setattr(_train, "share_count", lambda *given: 1)  # else a call for each share
    step = _engine._step
    monkeypatch.setattr(_engine, "_step", lambda *given: calls.append(1) or step(*given))
    stepped = train(**options)
    assert len(calls) == 8
    monkeypatch.setattr(_train, "is_slow_in_loops", lambda *given: False)
    looped = train(**options)
    assert len(calls) == 8
    for a, b in zip(jax.tree.leaves(stepped), jax.tree.leaves(looped), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6)


def test_an_interrupted_run_goes_on(tmp_path):
    class StopError(Exception):
        pass

    def stop(step, params):
        if step == 4:
            raise StopError

    options = {"batch_size": 4, "checkpoint": tmp_path / "run"}
    with pytest.raises(StopError):
        train(on_record=stop, **options)
    resumed, whole = train(**options), train(batch_size=4)
    jax.tree.map(np.testing.assert_array_equal, resumed, whole)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (Convolved(), True),
        (ConvolvedNnx(nnx.Rngs(0)), True),
        (na.networks.SmallCNN(num_outputs=2, features=(3,)), False),
        (na.networks.ResNet(num_outputs=2, blocks=(1,), stem_features=2), False),
        (na.networks.MLP(num_outputs=2, features=(3,), parameterization="ntk"), False),
    ],
    ids=["linen", "nnx", "small_cnn", "resnet", "mlp"],
)
def test_only_convolutions_of_xla_need_it(module, expected):
    is_nnx = isinstance(module, nnx.Module)
    variables = None if is_nnx else module.init(jax.random.key(0), IMAGES)
    network, params, state = as_network(module, variables)
    found = _train.is_slow_in_loops(network, (params, state), jax.numpy.asarray(IMAGES))
    assert found is expected
