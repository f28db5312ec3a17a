"""Baselines that change training itself, and what all of them take and refuse."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import ntk_air as na
from ntk_air.distillation.baselines import _co_teaching, _mixup

b = na.distillation.baselines
N, P, C, SIZE, EPOCHS, RATE, KEY = 12, 4, 3, 5, 3, 0.7, 3
BATCHES = -(-N // SIZE)
STEPS = EPOCHS * BATCHES
TRANSITION = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.25, 0.15, 0.6]])


def linear_model(params, inputs):
    return inputs @ params


def problem(seed=0):
    rng = np.random.default_rng(seed)
    observed = np.eye(C)[rng.permutation(np.arange(N) % C)]
    return rng.normal(size=(N, P)), rng.normal(size=(P, C)) * 0.8, observed


PEER = np.random.default_rng(9).normal(size=(P, C)) * 0.8


def softmax(outputs):
    shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def entropy(outputs, targets):
    return -np.sum(targets * np.log(softmax(outputs)), -1)


def batches(epoch):
    key = jax.random.fold_in(jax.random.key(KEY), epoch)
    order = np.asarray(jax.random.permutation(key, N))
    return [order[i : i + SIZE] for i in range(0, N, SIZE)]


def run(function, network=linear_model, params=None, **numbers):
    inputs, start, observed = problem()
    common = {"optimizer": RATE, "num_steps": STEPS, "batch_size": SIZE, "key": KEY}
    common |= {"record_every": 1, "record_outputs": True} | numbers
    return function(network, start if params is None else params, inputs, observed, **common)


def test_co_teaching_against_numpy(x64):
    """Selection, exchange and ramp: 1, 0.7, 0.4 of the points in epochs 0, 1, 2."""
    inputs, start, observed = problem()
    weights, outputs = [start.copy(), PEER.copy()], []
    for epoch in range(EPOCHS):
        for rows in batches(epoch):
            outputs.append(inputs @ weights[0])
            x, y = inputs[rows], observed[rows]
            kept = max(1, int(len(rows) * (1 - 0.6 * min(epoch / 2, 1)) + 1e-9))
            easy = [np.argsort(entropy(x @ w, y))[:kept] for w in weights]
            weights = [
                w - RATE * x[e].T @ (softmax(x[e] @ w) - y[e]) / kept
                for w, e in zip(weights, easy[::-1], strict=True)
            ]
    seen = []
    result = run(
        b.co_teaching, peer_params=PEER, forget_rate=0.6, ramp_epochs=2,
        on_record=lambda step, params: seen.append(np.asarray(params)),
    )  # fmt: skip
    np.testing.assert_allclose(result.history.outputs[:-1], outputs, atol=1e-10)
    np.testing.assert_allclose(result.params, weights[0], atol=1e-10)
    np.testing.assert_allclose(result.peer_params, weights[1], atol=1e-10)
    np.testing.assert_allclose(inputs @ np.array(seen[:-1]), outputs, atol=1e-10)
    loss = np.mean(entropy(inputs @ weights[0], observed))
    np.testing.assert_allclose(result.history.loss[-1], loss, atol=1e-10)
    moved = np.sqrt(sum(np.sum((w - s) ** 2) for w, s in zip(weights, (start, PEER), strict=True)))
    np.testing.assert_allclose(result.history.distance_from_init[-1], moved, atol=1e-10)


def test_small_losses_are_counted_without_padding():
    rng = np.random.default_rng(0)
    for present in (1, 4, 7, 10):
        weights = (np.arange(10) < present).astype(np.float32)
        losses = rng.normal(size=(2, 10)).astype(np.float32)
        losses[:, present:] = -9.0
        for share in (1.0, 0.8, 0.7, 0.3, 0.05):
            chosen = np.asarray(_co_teaching.small(losses, weights, jnp.float32(share)))
            count = max(1, int(share * present + 1e-4))
            for row, values in zip(chosen, losses, strict=True):
                expected = np.argsort(values[:present])[:count]
                np.testing.assert_array_equal(np.flatnonzero(row), np.sort(expected))


def test_mixup_against_numpy(x64):
    """The drawn weights and partners are taken as they are; the step is done by hand."""
    inputs, start, observed = problem()
    weights, step = start.copy(), 0
    history = run(b.mixup, concentration=0.6).history
    for epoch in range(EPOCHS):
        for rows in batches(epoch):
            np.testing.assert_allclose(history.outputs[step], inputs @ weights, atol=1e-10)
            loss = np.mean(entropy(inputs @ weights, observed))
            np.testing.assert_allclose(history.loss[step], loss, atol=1e-10)
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(KEY), 2**31), step)
            present = (np.arange(SIZE) < len(rows)).astype(float)
            share, partner = (np.asarray(a) for a in _mixup.draw(key, 0.6, jnp.asarray(present)))
            mate = rows[partner[: len(rows)]]
            x = share * inputs[rows] + (1 - share) * inputs[mate]
            # Two losses instead of one with mixed labels.
            pull = share * (softmax(x @ weights) - observed[rows])
            pull += (1 - share) * (softmax(x @ weights) - observed[mate])
            weights = weights - RATE * x.T @ pull / len(rows)
            step += 1
    np.testing.assert_allclose(history.outputs[-1], inputs @ weights, atol=1e-10)


def test_mixup_draws():
    """Weights from Beta(c, c); partners are a permutation of the points, padding stays."""
    keys = jax.random.split(jax.random.key(0), 2000)
    present = jnp.asarray([1.0, 1, 1, 0, 0])
    draw = jax.jit(jax.vmap(_mixup.draw, in_axes=(0, None, None)))
    for concentration in (0.3, 1.0, 8.0):
        shares, partners = (np.asarray(a) for a in draw(keys, concentration, present))
        assert stats.kstest(shares, stats.beta(concentration, concentration).cdf).pvalue > 0.01
    np.testing.assert_array_equal(np.sort(partners[:, :3]), np.tile(np.arange(3), (2000, 1)))
    np.testing.assert_array_equal(np.sort(partners[:, 3:]), np.tile([3, 4], (2000, 1)))
    counts = np.bincount(partners[:, :3] @ [9, 3, 1], minlength=27)
    assert stats.chisquare(counts[counts > 0]).pvalue > 0.01
    assert np.count_nonzero(counts) == 6


def test_mixup_limit_is_cross_entropy(x64):
    """All weights are 0 or 1, and a batch in another order is the same batch."""
    plain = run(b.cross_entropy).history
    limit = run(b.mixup, concentration=1e-7).history
    np.testing.assert_allclose(limit.outputs, plain.outputs, atol=1e-10)


def noisy(n=60, seed=1):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(C), [n // 2, n // 3, n // 6]))
    centres = rng.normal(size=(C, P))
    inputs = centres[labels] + 0.7 * rng.normal(size=(n, P))
    observed = np.where(rng.random(n) < 0.3, rng.integers(0, C, n), labels)
    return inputs, np.eye(C)[labels], np.eye(C)[observed]


def test_early_stopping(x64, tmp_path):
    inputs, clean, observed = noisy()
    start, seen = problem()[1], []
    common = {"optimizer": 1.5, "num_steps": 60, "batch_size": 16, "key": 5, "record_every": 3}
    result = b.early_stopping(
        linear_model, start, inputs, observed, clean=clean, validation=0.2,
        on_record=lambda step, params: seen.append(np.asarray(params)), **common,
    )  # fmt: skip
    rows = np.asarray(result.validation_rows)
    counts = observed.sum(0)
    np.testing.assert_array_equal(observed[rows].sum(0), np.round(0.2 * counts))
    kept = np.setdiff1d(np.arange(60), rows)
    plain = b.cross_entropy(
        linear_model, start, inputs[kept], observed[kept], clean=clean[kept], **common
    )
    for name in ("step", "loss", "error_to_clean", "agreement"):
        np.testing.assert_allclose(
            getattr(result.history, name), getattr(plain.history, name), atol=1e-12
        )
    classes = np.argmax(inputs[rows] @ np.array(seen), -1)
    accuracy = np.mean(classes == observed[rows].argmax(-1), -1)
    np.testing.assert_allclose(result.validation_accuracy, accuracy, atol=1e-12)
    assert len(set(accuracy)) > 2
    best = int(np.argmax(accuracy))
    assert int(result.best_record) == best
    assert int(result.best_step) == 3 * best
    np.testing.assert_array_equal(result.params, seen[best])
    read = na.load(na.save(result, tmp_path / "stopped.zip"))
    assert isinstance(read, b.EarlyStoppingResult)
    np.testing.assert_array_equal(read.validation_rows, rows)
    assert int(read.best_step) == 3 * best
    other = b.early_stopping(
        linear_model, start, inputs, observed, validation=0.2, **common | {"key": 6}
    )
    assert set(np.asarray(other.validation_rows)) != set(rows)


def test_estimated_forward_correction(x64, tmp_path):
    """It is two trainings from one start, each of which can be done by hand."""
    inputs, _, observed = noisy()
    common = {"optimizer": 1.0, "batch_size": 16, "key": 5, "record_every": 10}
    start = problem()[1]
    result = b.forward_correction(
        linear_model, start, inputs, observed, num_steps=20, estimation_steps=40, **common
    )
    first = b.cross_entropy(linear_model, start, inputs, observed, num_steps=40, **common)
    expected = b.estimate_transition(softmax(inputs @ np.asarray(first.params)))
    np.testing.assert_allclose(result.transition, expected, atol=1e-12)
    np.testing.assert_allclose(result.estimation.loss, first.history.loss, atol=1e-12)
    given = b.forward_correction(
        linear_model, start, inputs, observed, num_steps=20, transition=expected, **common
    )
    np.testing.assert_allclose(result.params, given.params, atol=1e-12)
    read = na.load(na.save(result, tmp_path / "forward.zip"))
    np.testing.assert_array_equal(read.transition, result.transition)
    np.testing.assert_array_equal(read.estimation.step, [0, 10, 20, 30, 40])


REPLICAS = {
    "elr": (b.elr, {"momentum": [0.5, 0.9]}, np.float32),  # memories keep their dtype
    "co_teaching": (b.co_teaching, {"forget_rate": [0.2, 0.6], "ramp_epochs": 2}, np.float64),
    "forward": (
        b.forward_correction,
        {"transition": np.stack([TRANSITION, np.eye(C)])},
        np.float64,
    ),
}


@pytest.mark.parametrize("name", REPLICAS)
def test_replicas_are_single_networks(x64, name):
    function, numbers, dtype = REPLICAS[name]
    starts = np.stack([problem(seed)[1] for seed in (0, 1)]).astype(dtype)
    peers = {"peer_params": starts[::-1] * 0.5} if name == "co_teaching" else {}
    together = run(function, params=starts, replicas=2, key=[3, 4], **numbers, **peers)
    assert together.params.dtype == dtype
    assert together.history.loss.shape == (2, STEPS + 1)
    tolerance = 20 * np.sqrt(np.finfo(dtype).eps) ** 1.5
    for i in (0, 1):
        own = {k: v[i] if isinstance(v, list | np.ndarray) else v for k, v in numbers.items()}
        own |= {k: v[i] for k, v in peers.items()}
        alone = run(function, params=starts[i], key=3 + i, **own)
        one = together.replica(i).history
        np.testing.assert_allclose(one.outputs, alone.history.outputs, atol=tolerance)
        np.testing.assert_allclose(one.loss, alone.history.loss, atol=tolerance)


class Normalized(nn.Module):
    @nn.compact
    def __call__(self, inputs, train, mask=None):
        hidden = nn.Dense(6)(inputs)
        mask = None if mask is None else mask[:, None]
        hidden = nn.BatchNorm(use_running_average=not train)(hidden, mask=mask)
        return nn.Dense(C)(nn.tanh(hidden))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(P, 6, rngs=rngs)
        self.norm = nnx.BatchNorm(6, rngs=rngs)
        self.last = nnx.Linear(6, C, rngs=rngs)

    def __call__(self, inputs, mask=None):
        mask = None if mask is None else mask[:, None]
        return self.last(jnp.tanh(self.norm(self.first(inputs), mask=mask)))


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_co_teaching_of_modules(kind):
    """With nothing left out both networks are trained plainly, running statistics included."""
    if kind == "linen":
        network: object = Normalized()
        sample = jnp.zeros((1, P))
        starts = [Normalized().init(jax.random.key(i), sample, train=False) for i in (0, 1)]
    else:
        network = Block(nnx.Rngs(0))
        starts = [nnx.state(Block(nnx.Rngs(i))) for i in (0, 1)]
    common = {"record_every": STEPS, "network": network, "optimizer": 0.1}
    result = run(b.co_teaching, params=starts[0], peer_params=starts[1], forget_rate=0.0, **common)
    plains = [run(b.cross_entropy, params=start, **common) for start in starts]
    for got, plain in zip((result.params, result.peer_params), plains, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-5), got, plain.params)
    np.testing.assert_allclose(result.history.outputs, plains[0].history.outputs, atol=1e-5)


def test_second_call_compiles_nothing():
    traces = []

    def counted(params, inputs):
        traces.append(1)
        return inputs @ params

    def count(seed, **numbers):
        run(b.co_teaching, network=counted, params=problem(seed)[1], peer_params=PEER, **numbers)
        return len(traces)

    first = count(0, forget_rate=0.2, ramp_epochs=2)
    assert count(1, forget_rate=0.5, exponent=2.0, key=8) == first
