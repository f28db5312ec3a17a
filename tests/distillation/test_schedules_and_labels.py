"""Schedules and label functions against their formulas."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na

d = na.distillation
STEPS = np.arange(0, 40)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (d.constant(0.3), lambda s: np.full(s.shape, 0.3)),
        (d.linear(0.9, 0.1, 20), lambda s: 0.9 - 0.8 * np.minimum(s / 20, 1)),
        (d.exponential(7.0), lambda s: np.exp(-s / 7)),
        (d.inverse_time(7.0), lambda s: 1 / (1 + s / 7)),
        (d.cosine(25), lambda s: 0.5 * (1 + np.cos(np.pi * np.minimum(s / 25, 1)))),
    ],
)
def test_schedule_formulas(x64, schedule, formula):
    np.testing.assert_allclose(schedule(STEPS), formula(STEPS.astype(float)), rtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda f, s: f(s))(schedule, 5), formula(np.array(5.0)))
    assert float(schedule(5)) == pytest.approx(float(formula(np.array(5.0))))


def test_agreement_schedule():
    assert float(d.agreement()(3, 0.25)) == 0.75
    assert float(d.alpha.agreement(0.9)(0, 1.0)) == pytest.approx(0.1)
    with pytest.raises(ValueError, match="batch agreement"):
        d.agreement()(3)


@pytest.mark.parametrize(
    "schedule", [optax.cosine_decay_schedule(1.0, 30), lambda s: 1.0 if s < 7 else 0.25]
)
def test_any_function_is_a_schedule(schedule):
    """One that JAX can trace and one that it cannot."""
    kernel, observed = np.eye(2), np.array([[1.0], [-1.0]])
    history = d.kernel_self_distill(
        kernel, observed, learning_rate=0.1, num_steps=39, alpha=schedule, label_fn=d.hard
    )
    np.testing.assert_allclose(history.alpha, [float(schedule(int(s))) for s in STEPS], atol=1e-6)


def test_hard_follows_the_coding():
    f = jnp.array([[0.1, 0.7, -0.3], [2.0, 1.0, 1.5]])
    np.testing.assert_allclose(d.hard(f), np.eye(3)[[1, 0]] - 1 / 3, atol=1e-6)
    np.testing.assert_array_equal(d.hard(jnp.array([[0.2], [0.0], [-0.1]])), [[1], [-1], [-1]])
    np.testing.assert_array_equal(d.sign(f), np.sign(f))
    for shift in (0.0, 1 / 3):
        bound = d.label_fn.bind(d.hard, np.eye(3) - shift)
        np.testing.assert_allclose(bound(f), np.eye(3)[[1, 0]] - shift, atol=1e-6)
        bound = d.label_fn.bind(d.softmax(2.0), np.eye(3) - shift)
        np.testing.assert_allclose(bound(f), jax.nn.softmax(f / 2) - shift, atol=1e-6)


def test_soft_labels():
    f = jnp.array([[0.4], [-3.0]])
    np.testing.assert_allclose(d.tanh(2.0)(f), np.tanh(2 * np.asarray(f)), rtol=1e-6)
    # Two classes with outputs +-f/2: p(+) - p(-).
    pair = jax.nn.softmax(jnp.concatenate([f, -f], 1) / 2 / 0.7)
    np.testing.assert_allclose(d.softmax(0.7)(f)[:, 0], pair[:, 0] - pair[:, 1], rtol=1e-5)
    np.testing.assert_array_equal(d.identity(f), f)
    np.testing.assert_array_equal(d.nearest([-1.0, 0.0, 1.0])(f), [[0.0], [-1.0]])


@pytest.mark.parametrize("temperature", [1e-50, 1e-38, 1e-30])
def test_labels_of_no_temperature_are_hard(temperature):
    f = jnp.array([[3e38, -3e38, 0.0], [0.1, 0.2, 1e-30], [-1.0, -2.0, -3.0]])
    np.testing.assert_allclose(d.softmax(temperature)(f), d.hard(f), atol=1e-7)
    alone = jax.jit(lambda fn, x: fn(x))(d.softmax(temperature), f[:, :1])
    np.testing.assert_array_equal(alone, d.hard(f[:, :1]))
    assert float(d.softmax(temperature)(jnp.zeros((1, 1)))[0, 0]) == 0


@pytest.mark.parametrize(
    ("targets", "coding"),
    [
        (np.eye(3), "one_hot"),
        (np.eye(3) * 0.9 + 1 / 30, "one_hot"),
        (np.eye(3) - 1 / 3, "centered_one_hot"),
        (np.eye(2) - 0.5, "centered_one_hot"),
        (2 * np.eye(2) - 1, None),
        (np.array([[1.0], [-1.0]]), "sign"),
        (np.array([[1.0], [0.0]]), None),
    ],
)
def test_coding_is_detected(targets, coding):
    assert d.label_fn.coding_of(targets.astype(np.float32)) == coding


@pytest.mark.parametrize(
    "bad",
    [
        lambda: d.constant(1.2),
        lambda: d.constant(float("nan")),
        lambda: d.linear(0.5, -0.1, 10),
        lambda: d.exponential(0.0),
        lambda: d.inverse_time(-1.0),
        lambda: d.cosine(float("inf")),
        lambda: d.agreement(2.0),
        lambda: d.softmax(0.0),
        lambda: d.tanh(float("nan")),
        lambda: d.nearest([]),
        lambda: d.nearest(np.ma.masked_array([0.0, 1.0], [False, True])),
        lambda: d.nearest([0.0, 1j]),
        lambda: d.label_fn.bind(d.hard, np.array([[1.0], [0.0]])),
        lambda: d.label_fn.bind(d.softmax(), 2 * np.eye(2) - 1),
    ],
)
def test_bad_numbers(bad):
    with pytest.raises(ValueError):
        bad()
