"""Flax modules in the trainer: running statistics, dropout, padding, precision, augmentation."""

from __future__ import annotations

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import ntk_air as na

d = na.distillation
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(10, 3)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[RNG.integers(0, 2, 10)]


class Normalised(nn.Module):
    """One hidden layer with BatchNorm that can be told which rows are padding."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, inputs, train=False, mask=None):
        hidden = nn.Dense(4)(inputs)
        rows = None if mask is None else mask[:, None]
        hidden = nn.BatchNorm(use_running_average=not train, momentum=0.9)(hidden, mask=rows)
        hidden = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(hidden))
        return nn.Dense(2)(hidden)


def train(module, variables, **changes):
    options = {
        "optimizer": 0.1, "num_steps": 6, "alpha": d.agreement(0.5), "loss": "cross_entropy",
        "batch_size": 4, "key": 3, "clean": CODES, "record_every": 1, "record_outputs": True,
        **changes,
    }  # fmt: skip
    return d.self_distill(module, variables, INPUTS, CODES, **options)


def by_hand(module, variables, orders, scale=0.5, rate=0.1):
    """The same algorithm as a Python loop over the points of each batch, without padding."""
    params, stats = variables["params"], variables["batch_stats"]
    for rows in orders:
        inputs, observed = INPUTS[rows], CODES[rows]

        def loss(params, stats=stats, inputs=inputs, observed=observed):
            outputs, new = module.apply(
                {"params": params, "batch_stats": stats}, inputs, train=True,
                mutable=["batch_stats"],
            )  # fmt: skip
            agree = jnp.mean(outputs.argmax(1) == observed.argmax(1))
            alpha = 1 - scale * agree
            target = alpha * observed + (1 - alpha) * jax.nn.one_hot(outputs.argmax(1), 2)
            return optax.softmax_cross_entropy(outputs, target).mean(), new["batch_stats"]

        gradient, stats = jax.grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
    return {"params": params, "batch_stats": stats}


def orders(key, steps=6, size=4):
    """The points of every batch: each epoch a permutation, its last batch shorter."""
    epochs = -(-len(INPUTS) // size)
    for step in range(steps):
        order = jax.random.permutation(jax.random.fold_in(key, step // epochs), len(INPUTS))
        yield np.asarray(order)[step % epochs * size : (step % epochs + 1) * size]


def test_batchnorm_equals_a_loop_without_padding():
    module = Normalised()
    variables = module.init(jax.random.key(0), INPUTS)
    result = train(module, variables)
    expected = by_hand(module, variables, orders(jax.random.key(3)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), result.params, expected)
    # Records are in evaluation mode, with the running statistics of their time.
    np.testing.assert_allclose(
        result.history.outputs[-1], module.apply(expected, INPUTS), atol=5e-6
    )
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), result.params, variables)
    assert min(jax.tree.leaves(moved["batch_stats"])) > 1e-3
    distance = np.sqrt(sum(
        np.sum((np.asarray(a) - b) ** 2)
        for a, b in zip(*map(jax.tree.leaves, (result.params["params"], variables["params"])),
                        strict=True)
    ))  # fmt: skip
    np.testing.assert_allclose(result.history.distance_from_init[-1], distance, rtol=1e-5)


def test_training_statistics_as_parameters_is_refused():
    module = Normalised()
    variables = module.init(jax.random.key(0), INPUTS)
    with pytest.raises(ValueError, match="pass the module itself"):
        train(module.apply, variables)
    with pytest.raises(ValueError, match='expected a dict with "params"'):
        train(module, variables["params"])
    with pytest.raises(ValueError, match="bound to variables"):
        train(module.bind(variables), variables)
    with pytest.raises(ValueError, match="apply_fn is a str"):
        train("resnet", variables)


class Unmasked(nn.Module):
    @nn.compact
    def __call__(self, inputs, train=False):
        return nn.Dense(2)(nn.BatchNorm(use_running_average=not train)(inputs))


def test_padding_that_would_be_normalised_with_is_refused():
    variables = Unmasked().init(jax.random.key(0), INPUTS)
    with pytest.raises(ValueError, match="leaves 2 of 10 points for the last batch"):
        train(Unmasked(), variables)
    assert np.isfinite(train(Unmasked(), variables, batch_size=5).history.loss).all()


def test_statistics_keep_their_precision(x64):
    module = Normalised()
    variables = jax.tree.map(lambda a: a.astype(np.float32), module.init(jax.random.key(0), INPUTS))
    result = train(module, variables)
    assert {a.dtype for a in jax.tree.leaves(result.params["batch_stats"])} == {
        jnp.dtype("float32")
    }


def test_dropout_is_on_in_training_only():
    module = Normalised(dropout=0.5)
    variables = module.init(jax.random.key(0), INPUTS)
    one, same, other = (train(module, variables, key=key) for key in (3, 3, 4))
    np.testing.assert_array_equal(one.history.outputs, same.history.outputs)
    assert np.abs(one.history.outputs[-1] - other.history.outputs[-1]).max() > 1e-3
    without = train(Normalised(), variables)
    np.testing.assert_array_equal(one.history.outputs[0], without.history.outputs[0])
    assert np.abs(one.history.outputs[1] - without.history.outputs[1]).max() > 1e-3


class NnxNormalised(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(0.0, rngs=rngs)
        self.last = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, inputs, mask=None):
        rows = None if mask is None else mask[:, None]
        return self.last(self.drop(nnx.relu(self.norm(self.first(inputs), mask=rows))))


def test_dropout_without_a_key_is_refused():
    module = Normalised(dropout=0.5)
    variables = module.init(jax.random.key(0), INPUTS)
    with pytest.raises(ValueError, match=r"Normalised draws random numbers in training.*key=0"):
        train(module, variables, key=None, batch_size=None)


def test_nnx_equals_linen(tmp_path):
    module = NnxNormalised(nnx.Rngs(0))
    linen = {
        "params": {
            "Dense_0": {"kernel": module.first.kernel[...], "bias": module.first.bias[...]},
            "BatchNorm_0": {"scale": module.norm.scale[...], "bias": module.norm.bias[...]},
            "Dense_1": {"kernel": module.last.kernel[...], "bias": module.last.bias[...]},
        },
        "batch_stats": {
            "BatchNorm_0": {"mean": module.norm.mean[...], "var": module.norm.var[...]}
        },
    }
    expected = train(Normalised(), linen)
    before = np.asarray(module.first.kernel[...])
    result = train(module, None, checkpoint=tmp_path / "run")
    np.testing.assert_allclose(
        result.history.outputs, expected.history.outputs, atol=2e-6, rtol=1e-5
    )
    np.testing.assert_array_equal(module.first.kernel[...], before)  # yours is left alone
    again = train(module, None, checkpoint=tmp_path / "run")  # random streams are restored too
    np.testing.assert_array_equal(again.history.outputs, result.history.outputs)
    nnx.update(module, result.params)
    module.eval()
    np.testing.assert_allclose(module(INPUTS), expected.history.outputs[-1], atol=5e-6)


def test_results_of_nnx_modules_are_saved(tmp_path):
    class Chain(nnx.Module):
        def __init__(self, rngs):
            self.layers = nnx.List([nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)])
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

        def __call__(self, inputs):
            return self.layers[1](self.dropout(nnx.relu(self.layers[0](inputs))))

    result = train(Chain(nnx.Rngs(0)), None)
    loaded = na.load(na.save(result, tmp_path / "run.ntkair"))
    np.testing.assert_array_equal(
        loaded.params["layers"]["1"]["kernel"], result.params["layers"][1]["kernel"][...]
    )
    np.testing.assert_array_equal(loaded.history.loss, result.history.loss)


def test_lower_precision_keeps_parameters_in_theirs():
    module = Normalised()
    variables = module.init(jax.random.key(0), INPUTS)
    full, low = train(module, variables), train(module, variables, precision="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(low.params)} == {jnp.dtype("float32")}
    difference = np.abs(full.history.outputs - low.history.outputs).max()
    assert 1e-4 < difference < 5e-2
    nnx_run = train(NnxNormalised(nnx.Rngs(0)), None, precision="bfloat16")
    assert np.isfinite(nnx_run.history.loss).all()


def test_outputs_of_lower_precision_are_measured_in_single():
    """A module may compute in bfloat16 by itself; losses, rates and times do not."""
    images = np.tile(INPUTS, (40, 1))
    codes = np.tile(CODES, (40, 1))
    module = nn.Dense(2, dtype=jnp.bfloat16)
    result = d.baselines.elr(
        module, module.init(jax.random.key(0), images), images, codes, optimizer=0.3, num_steps=3,
        test=(images[:301], codes[:301]), record_every=1, record_outputs=True,
    )  # fmt: skip
    history = result.history
    assert {getattr(history, n).dtype for n in ("loss", "time", "test_accuracy", "outputs")} == {
        jnp.dtype("float32")
    }
    np.testing.assert_allclose(history.time, [0, 0.3, 0.6, 0.9], rtol=1e-6)
    for record in range(4):
        right = history.test_outputs[record].argmax(1) == codes[:301].argmax(1)
        assert history.test_accuracy[record] == pytest.approx(float(right.mean()), abs=1e-6)


def test_frozen_variables():
    module = Normalised()
    variables = module.init(jax.random.key(0), INPUTS)
    plain, frozen = train(module, variables), train(module, flax.core.freeze(variables))
    jax.tree.map(np.testing.assert_array_equal, frozen.params, plain.params)


def test_nnx_modules_are_stacked_whole():
    states = [nnx.state(NnxNormalised(nnx.Rngs(seed))) for seed in (0, 1)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    module = NnxNormalised(nnx.Rngs(0))
    together = train(module, both, replicas=2, key=[3, 4])
    alone = train(module, states[1], key=4)
    np.testing.assert_allclose(together.history.loss[1], alone.history.loss, rtol=1e-5)
    with pytest.raises(ValueError, match=r"keeps beside its parameters.*nnx.state"):
        train(module, both.filter(nnx.Param), replicas=2)


def linear(params, inputs):
    return inputs @ params


def test_augmentation_is_drawn_anew_at_every_step():
    """Doubling the inputs of a linear network, in training only, doubles its gradients' inputs."""
    start = jnp.zeros((3, 2))
    doubled = train(linear, start, augment=lambda key, x: 2 * x, alpha=1.0, num_steps=1)
    rows = next(iter(orders(jax.random.key(3))))
    pull = (0.5 - CODES[rows]) / 4
    np.testing.assert_allclose(doubled.params, -0.1 * 2 * INPUTS[rows].T @ pull, atol=1e-6)
    np.testing.assert_allclose(
        doubled.history.outputs[-1], INPUTS @ np.asarray(doubled.params), atol=1e-6
    )
    shifted = lambda key, x: x + jax.random.normal(key, x.shape)  # noqa: E731
    runs = [train(linear, start, augment=shifted, key=key) for key in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0].params, runs[1].params)
    assert np.abs(runs[0].params - runs[2].params).max() > 1e-3
    with pytest.raises(ValueError, match="augment draws random numbers and needs a key"):
        train(linear, start, augment=shifted, key=None, batch_size=None)
