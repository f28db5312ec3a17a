"""Networks trained in shares, side by side on the cores of a CPU, equal those of one program."""

from __future__ import annotations

import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na
from ntk_air.distillation.training import _engine, _threads, _train

d = na.distillation
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(10, 4)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[RNG.integers(0, 2, 10)]
NETWORKS = 5
STACK = {"w": jnp.asarray(RNG.normal(size=(NETWORKS, 4, 2)), jnp.float32)}


def network(params, inputs):
    return inputs @ params["w"]


def train(**changes):
    options = {
        "optimizer": optax.adam, "learning_rate": np.linspace(0.01, 0.05, NETWORKS), "key": 1,
        "num_steps": 9, "alpha": [d.agreement(s) for s in np.linspace(0, 1, NETWORKS)],
        "batch_size": 4, "clean": CODES, "test": (INPUTS[:5], CODES[:5]), "record_every": 2,
        "record_outputs": True, "teacher": "epoch", "replicas": NETWORKS, **changes,
    }  # fmt: skip
    return d.self_distill(network, STACK, INPUTS, CODES, **options)


@pytest.fixture
def shares(monkeypatch):
    """A function that sets how many shares there are, whatever this machine has."""
    return lambda count: monkeypatch.setattr(_train, "share_count", lambda *_: count)


def assert_same(a, b):
    for name in a.history.__dataclass_fields__:
        pair = getattr(a.history, name), getattr(b.history, name)
        if name in ("alpha_right", "alpha_wrong"):  # of `posterior` alone
            assert pair == (None, None)
            continue
        np.testing.assert_allclose(*pair, atol=2e-6, rtol=2e-5, err_msg=name)
    np.testing.assert_allclose(a.params["w"], b.params["w"], atol=2e-6)


@pytest.mark.parametrize("count", [2, 3, NETWORKS])
def test_shares_equal_one_program(shares, monkeypatch, count):
    shares(1)
    expected = train()
    shares(count)
    loops, threads = [], set()
    advance = _engine.advance

    def counting(settings, problem, state, until):
        loops.append(len(state.params["w"]))
        threads.add(threading.get_ident())
        return advance(settings, problem, state, until)

    monkeypatch.setattr(_engine, "advance", counting)
    found = train()
    assert_same(found, expected)
    assert found.history.loss.shape == (NETWORKS, 6)
    assert sum(loops) == 6 * NETWORKS
    assert max(loops) - min(loops) <= 1
    assert len(loops) == 6 * count
    assert threading.get_ident() not in threads


def test_an_interrupted_run_goes_on_whatever_the_shares(shares, tmp_path, monkeypatch):
    shares(2)
    whole = train()
    record = _engine.record

    def interrupting(settings, problem, state):
        if int(state.step) == 6:
            raise KeyboardInterrupt
        return record(settings, problem, state)

    monkeypatch.setattr(_engine, "record", interrupting)
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint=tmp_path / "run")
    monkeypatch.setattr(_engine, "record", record)
    shares(3)
    assert_same(train(checkpoint=tmp_path / "run"), whole)


def test_records_and_divergence_name_networks_of_the_whole(shares):
    shares(3)
    seen = []
    train(on_record=lambda step, params: seen.append((step, params["w"].shape)))
    assert seen == [(step, (NETWORKS, 4, 2)) for step in (0, 2, 4, 6, 8, 9)]
    rates = np.array([0.01, 0.01, 0.01, 1e30, 0.01])
    with pytest.raises(d.DivergenceError, match="of network 3 is not finite"):
        train(optimizer=optax.sgd, learning_rate=rates, alpha=1.0)


def test_how_many_shares(monkeypatch):
    counts = []
    count = _threads.share_count
    monkeypatch.setattr(
        _train, "share_count", lambda *given: counts.append(count(*given)) or counts[-1]
    )
    monkeypatch.setattr(_threads, "_cores", lambda: 3)
    train(num_steps=0)
    d.self_distill(
        network, {"w": STACK["w"][0]}, INPUTS, CODES, optimizer=0.1, num_steps=0, alpha=1.0
    )
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("networks",))
    train(num_steps=0, mesh=mesh)
    with jax.default_matmul_precision("bfloat16"):  # another thread would not know
        train(num_steps=0)
    monkeypatch.setattr(_threads, "_cores", lambda: 64)
    train(num_steps=0)
    assert counts == [3, 1, 1, 1, NETWORKS]
