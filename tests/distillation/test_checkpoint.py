"""An interrupted run goes on to the history it would have had."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na
from ntk_air.distillation import _engine

d = na.distillation
RNG = np.random.default_rng(0)
INPUTS, START = RNG.normal(size=(11, 4)), RNG.normal(size=(4, 2)) * 0.3
CODES = np.eye(2)[RNG.integers(0, 2, 11)]


def linear_model(params, inputs):
    return inputs @ params["w"]


def train(path, **changes):
    options = {
        "optimizer": optax.adam, "learning_rate": 0.03, "num_steps": 40, "alpha": d.agreement(),
        "label_fn": d.hard, "batch_size": 4, "teacher": "epoch", "record_every": 3, "key": 1,
        "record_outputs": True, "clean": CODES, "checkpoint": path, **changes,
    }  # fmt: skip
    start = {"w": jnp.asarray(START, jnp.float32)}
    return d.self_distill(linear_model, start, INPUTS.astype(np.float32), CODES, **options)


def test_interrupted_run_goes_on(tmp_path, monkeypatch):
    path = tmp_path / "run.ntk"
    whole = train(None)
    record, calls = _engine.record, []

    def interrupting(*arguments):
        calls.append(int(arguments[2].step))
        if len(calls) == 6:
            raise KeyboardInterrupt
        return record(*arguments)

    monkeypatch.setattr(_engine, "record", interrupting)
    with pytest.raises(KeyboardInterrupt):
        train(path)
    resumed = train(path)
    assert calls[6] > 0, "started again from the first step"
    for name in whole.history.__dataclass_fields__:
        a, b = getattr(whole.history, name), getattr(resumed.history, name)
        np.testing.assert_array_equal(a, b, err_msg=name)
    np.testing.assert_array_equal(whole.params["w"], resumed.params["w"])
    done = len(calls)
    again = train(path)  # complete: nothing is computed
    assert len(calls) == done
    np.testing.assert_array_equal(again.params["w"], whole.params["w"])


@pytest.mark.parametrize(
    "change", [{"key": 2}, {"alpha": 0.5}, {"num_steps": 41}, {"label_fn": d.softmax()}]
)
def test_other_run_is_refused(tmp_path, change):
    path = tmp_path / "run.ntk"
    train(path, num_steps=4)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(path, **({"num_steps": 4} | change))


def test_damaged_file_is_refused(tmp_path):
    path = tmp_path / "run.ntk"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        train(path)
