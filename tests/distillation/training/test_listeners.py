"""What ``on_record`` is told: step, parameters and, where it has a place for them, numbers."""

from __future__ import annotations

import csv

import numpy as np
import optax
import pytest

import ntk_air as na

d, b = na.distillation, na.distillation.baselines
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(10, 3)).astype(np.float32)
CODES = np.eye(2, dtype=np.float32)[np.arange(10) % 2]
START = RNG.normal(size=(3, 2)).astype(np.float32)


def network(params, x):
    return x @ params


def train(call=d.self_distill, **changes):
    options = {"optimizer": 0.1, "num_steps": 4, "record_every": 2, "key": 0, **changes}
    if call is d.self_distill:
        options = {"alpha": 1.0, "loss": "cross_entropy"} | options
    return call(network, START, INPUTS, CODES, **options)


@pytest.mark.parametrize(
    ("call", "more"),
    [
        (d.self_distill, {}),
        (b.early_stopping, {"validation": 0.2}),
        (b.co_teaching, {"peer_params": 0.5 * START, "forget_rate": 0.1}),
    ],
    ids=["self_distill", "early_stopping", "co_teaching"],
)
def test_the_numbers_are_those_of_the_history(call, more, tmp_path):
    test, rates = (INPUTS[:3], [0, 1, 0]), optax.linear_schedule(0.4, 0.0, 4)
    with open(tmp_path / "log.csv", "w", newline="") as file:
        writer = csv.writer(file)

        def log(step, params, numbers):
            assert np.shape(params) == (3, 2)
            if step == 0:
                writer.writerow(numbers)
            writer.writerow(numbers.values())

        result = train(
            call, on_record=log, test=test, batch_size=4, optimizer=optax.sgd,
            learning_rate=rates, **more,
        )  # fmt: skip
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("step", "loss", "test_accuracy", "agreement", "time", "margin", "alpha"):
        found = [float(row[name]) for row in rows]
        np.testing.assert_allclose(found, getattr(result.history, name), rtol=1e-6, err_msg=name)
    np.testing.assert_allclose([float(row["learning_rate"]) for row in rows], [0.4, 0.2, 0.1])
    batches = 2 if call is b.early_stopping else 3
    assert [int(row["epoch"]) for row in rows] == [step // batches for step in (0, 2, 4)]


def test_callables_of_two_arguments_stay_as_they_are():
    seen = []

    class Counter:
        def __call__(self, step, params):
            seen.append(step)

    for listener in (
        lambda step, params: seen.append(step),
        lambda step, params, kept=seen: kept.append(step),
        lambda *given: seen.append(given[0]) if len(given) == 2 else None,
        Counter(),
    ):
        train(on_record=listener)
    assert seen == 4 * [0, 2, 4]


def test_of_several_networks_the_numbers_are_arrays():
    rows = []
    stack = np.stack([START, 2 * START])
    result = d.self_distill(
        network, stack, INPUTS, CODES, optimizer=optax.sgd, learning_rate=np.array([0.1, 0.2]),
        num_steps=2, alpha=1.0, replicas=2, record_every=1,
        on_record=lambda step, params, numbers: rows.append(numbers),
    )  # fmt: skip
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    np.testing.assert_allclose([row["loss"] for row in rows], result.history.loss.T, rtol=1e-6)
    np.testing.assert_allclose(rows[-1]["time"], [0.2, 0.4])
    np.testing.assert_allclose(rows[0]["learning_rate"], [0.1, 0.2])
    assert np.isnan(rows[0]["test_accuracy"]).shape == (2,)


@pytest.mark.parametrize("wrong", ["print", lambda step: None, lambda a, b, c, d: None])
def test_refusals(wrong):
    with pytest.raises(ValueError, match=r"on_record is .*expected a function"):
        train(on_record=wrong)
