"""An interrupted run goes on to the history it would have had."""

from __future__ import annotations

import shutil
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from processes import run

import ntk_air as na
from ntk_air.distillation.training import _engine

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
    model = options.pop("model", linear_model)
    return d.self_distill(model, start, INPUTS.astype(np.float32), CODES, **options)


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


def shifted_by(width):
    return lambda key, x: x + width * jax.random.normal(key, x.shape)


OTHER = [
    {"key": 2},
    {"alpha": 0.5},
    {"num_steps": 5},
    {"label_fn": d.softmax()},
    {"label_fn": lambda f: jax.nn.one_hot(f.argmax(-1), 2)},
    {"optimizer": optax.sgd},
    {"optimizer": optax.nadam},
    {"optimizer": optax.adam(0.03)},
    {"learning_rate": 0.04},
    {"precision": "bfloat16"},
    {"augment": shifted_by(0.1)},
    {"loss": "cross_entropy"},
    {"record_every": 2},
    {"model": lambda params, inputs: jnp.tanh(inputs @ params["w"])},
]


@pytest.mark.parametrize("change", OTHER, ids=lambda change: next(iter(change)))
def test_other_run_is_refused(tmp_path, change):
    path = tmp_path / "run.ntk"
    train(path, num_steps=4)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(path, **({"num_steps": 4} | change))


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("augment", shifted_by(0.1), shifted_by(0.2)),
        ("optimizer", optax.adam(0.1), optax.adam(0.001)),
        ("optimizer", optax.adamw(0.1), optax.adamw(0.1, weight_decay=0.5)),
    ],
)
def test_functions_that_differ_in_a_number_are_told_apart(tmp_path, name, one, other):
    rate = {"learning_rate": None} if name == "optimizer" else {}
    train(tmp_path, num_steps=4, **{name: one}, **rate)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(tmp_path, num_steps=4, **{name: other}, **rate)


def compiled(weights):
    """Networks that hold numbers inside a compiled part."""
    inner = jax.jit(lambda inputs: jnp.tanh(inputs @ weights))
    return lambda params, inputs: jax.checkpoint(inner)(inputs) @ params["w"]


def test_numbers_inside_compiled_parts_are_told_apart(tmp_path):
    one, other = (compiled(jnp.asarray(RNG.normal(size=(4, 4)), jnp.float32)) for _ in range(2))
    first = train(tmp_path, num_steps=4, model=one)
    again = train(tmp_path, num_steps=4, model=one)
    np.testing.assert_array_equal(again.history.loss, first.history.loss)
    with pytest.raises(ValueError, match="belongs to another run"):
        train(tmp_path, num_steps=4, model=other)


def test_the_same_run_is_known_in_another_process(tmp_path):
    """The file is the program; sets and addresses are in another order and place there."""
    run([__file__, tmp_path], devices=1, optimized=True)
    resumed = smoothed(tmp_path)
    np.testing.assert_array_equal(resumed.history.loss, smoothed(None).history.loss)


def smoothed(path):
    """A module whose program holds functions with rules of their own."""
    module = na.networks.create("small_cnn", num_outputs=2, features=(2,))
    images = np.random.default_rng(0).normal(size=(6, 4, 4, 1)).astype(np.float32)
    variables = module.init(jax.random.key(0), images)
    return d.self_distill(
        module, variables, images, CODES[:6], optimizer=optax.adam, learning_rate=0.01,
        num_steps=4, alpha=0.5, batch_size=4, key=0, checkpoint=path, precision="bfloat16",
        augment=na.networks.pad_crop_flip(1), loss="cross_entropy",
        label_fn=lambda f: jax.nn.softmax(jax.nn.gelu(f)),
    )  # fmt: skip


def test_damaged_file_is_refused(tmp_path):
    path = tmp_path / "run.ntk"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        train(path)


def damaged(path, change):
    """Of a run of 6 steps, with the state of step 0 beside it in ``path.parent / 'first'``."""

    def keep(step, params):
        if step == 3:
            shutil.copytree(path / "0", path.parent / "first")

    train(path, num_steps=6, on_record=keep)
    change(path)
    with pytest.raises(ValueError, match="delete it or choose another path") as refusal:
        train(path, num_steps=6)
    return str(refusal.value)


def swap_part(part):
    def change(path):
        shutil.rmtree(path / "6" / part)
        shutil.copytree(path.parent / "first" / part, path / "6" / part)

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda path: (path / "6").rename(path / "9"),
        lambda path: (shutil.rmtree(path / "6"), (path.parent / "first").rename(path / "6")),
        swap_part("state"),
        swap_part("records"),
        swap_part("run"),
    ],
    ids=["another step", "an earlier step", "state", "records", "run"],
)
def test_parts_of_another_step_are_refused(tmp_path, change):
    assert "put together from several" in damaged(tmp_path / "run", change)


def test_names_and_counts_of_the_records_are_sealed(tmp_path):
    def rename(path):
        for file in (path / "6" / "run").rglob("*"):
            if file.is_file():
                text = file.read_text(errors="ignore")
                if '"margin"' in text:
                    file.write_text(text.replace('"margin"', '"nigram"'))

    assert "is not what was stored there" in damaged(tmp_path / "run", rename)


def test_damaged_parts_are_refused(tmp_path):
    def change(path):
        for file in (path / "6").rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    assert "is damaged" in damaged(tmp_path / "run", change)


if __name__ == "__main__":
    smoothed(sys.argv[1])
