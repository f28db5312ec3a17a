"""Losses and memories of the baselines against plain NumPy, batch by batch in float64."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import ntk_air as na

b = na.distillation.baselines
N, P, C, SIZE, EPOCHS, RATE, KEY = 12, 4, 3, 5, 3, 0.7, 3
BATCHES = -(-N // SIZE)
TRANSITION = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.25, 0.15, 0.6]])


def linear_model(params, inputs):
    return inputs @ params


def problem(seed=0):
    rng = np.random.default_rng(seed)
    observed = np.eye(C)[rng.permutation(np.arange(N) % C)]
    return rng.normal(size=(N, P)), rng.normal(size=(P, C)) * 0.8, observed


def softmax(outputs):
    shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def entropy(outputs, targets):
    return -np.sum(targets * np.log(softmax(outputs)), -1)


def mean(rows):
    """A loss without a memory from its value at every row."""
    return lambda outputs, observed, memory, epoch: (
        lambda f: np.mean(rows(f, observed)),
        memory,
    )


def of_label(outputs, observed):
    return np.sum(softmax(outputs) * observed, -1)


def bootstrapped(weight, prediction):
    return mean(lambda f, y: entropy(f, weight * y + (1 - weight) * prediction(f)))


def powers(q, threshold=None, start=0):
    def objective(outputs, observed, memory, epoch):
        def loss(f):
            p = of_label(f, observed)
            cut = None not in (threshold, epoch) and epoch >= start
            # Below the threshold the loss is its value there.
            return np.mean(
                (1 - np.where(cut & (p <= (threshold or 0)), threshold or 0, p) ** q) / q
            )

        return loss, memory

    return objective


def elr(momentum, strength):
    def objective(outputs, observed, memory, epoch):
        memory = memory if epoch is None else momentum * memory + (1 - momentum) * softmax(outputs)

        def loss(f):
            near = np.log(1 - np.sum(memory * softmax(f), -1))
            return np.mean(entropy(f, observed) + strength * near)

        return loss, memory

    return objective


def self_adaptive(momentum, start):
    def objective(outputs, observed, memory, epoch):
        if epoch is not None and epoch >= start:
            memory = momentum * memory + (1 - momentum) * softmax(outputs)
        return lambda f: np.average(entropy(f, memory), weights=memory.max(-1)), memory

    return objective


def reverse(alpha, beta, log_zero):
    def rows(f, y):
        logs = np.where(y > 0, 0.0, log_zero)
        return alpha * entropy(f, y) - beta * np.sum(softmax(f) * logs, -1)

    return mean(rows)


def one_hot_argmax(f):
    return np.eye(C)[f.argmax(-1)]


CROSS_ENTROPY = mean(entropy)
FORWARD = mean(lambda f, y: -np.log(np.sum(softmax(f) @ TRANSITION * y, -1)))
# Function, its numbers, the loss in NumPy.
CASES = {
    "cross_entropy": (b.cross_entropy, {}, CROSS_ENTROPY),
    "label_smoothing": (
        b.label_smoothing,
        {"smoothing": 0.2},
        mean(lambda f, y: entropy(f, 0.8 * y + 0.2 / C)),
    ),
    "soft": (b.bootstrapping, {"weight": 0.7}, bootstrapped(0.7, softmax)),
    "hard": (b.bootstrapping, {"kind": "hard"}, bootstrapped(0.8, one_hot_argmax)),
    "gce": (b.gce, {}, powers(0.7)),
    "truncated": (b.gce, {"threshold": 0.3, "start_epoch": 1}, powers(0.7, 0.3, 1)),
    "symmetric": (
        b.symmetric_cross_entropy,
        {"alpha": 0.3, "beta": 0.8, "log_zero": -3.0},
        reverse(0.3, 0.8, -3.0),
    ),
    "forward": (b.forward_correction, {"transition": TRANSITION}, FORWARD),
    "elr": (b.elr, {"momentum": 0.6, "strength": 2.0}, elr(0.6, 2.0)),
    "adaptive": (
        b.self_adaptive_training,
        {"momentum": 0.8, "start_epoch": 1},
        self_adaptive(0.8, 1),
    ),
    "distance": (b.distance_to_initialization, {"strength": 0.6}, CROSS_ENTROPY),
}
MEMORIES = {"elr": lambda y: np.zeros_like(y), "adaptive": np.copy}


def order_of(epoch):
    return np.asarray(jax.random.permutation(jax.random.fold_in(jax.random.key(KEY), epoch), N))


def slope(loss, outputs, step=1e-5):
    """Central differences of a loss of outputs (b, C)."""
    gradient = np.zeros_like(outputs)
    for index in np.ndindex(outputs.shape):
        moved = np.zeros_like(outputs)
        moved[index] = step
        gradient[index] = (loss(outputs + moved) - loss(outputs - moved)) / (2 * step)
    return gradient


def numpy_run(objective, memory=None, strength=0.0):
    """Outputs and losses at all points at every step."""
    inputs, start, observed = problem()
    weights, rows = start.copy(), []

    def record():
        f = inputs @ weights
        value, _ = objective(f, observed, memory, None)
        rows.append((f, value(f)))

    for epoch in range(EPOCHS):
        order = order_of(epoch)
        for batch in range(BATCHES):
            record()
            chosen = order[batch * SIZE : (batch + 1) * SIZE]
            f = inputs[chosen] @ weights
            held = None if memory is None else memory[chosen]
            loss, held = objective(f, observed[chosen], held, epoch)
            if memory is not None:
                memory[chosen] = held
            pull = strength**2 * (weights - start)
            weights = weights - RATE * (inputs[chosen].T @ slope(loss, f) + pull)
    record()
    return [np.asarray(column) for column in zip(*rows, strict=True)]


def run(function, scale=1.0, **numbers):
    inputs, start, observed = problem()
    start = start * scale
    return function(
        linear_model, start, inputs, observed, optimizer=RATE, num_steps=EPOCHS * BATCHES,
        batch_size=SIZE, key=KEY, clean=observed, record_every=1, record_outputs=True, **numbers,
    )  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_against_numpy(x64, name):
    function, numbers, objective = CASES[name]
    _, _, observed = problem()
    memory = MEMORIES[name](observed) if name in MEMORIES else None
    outputs, losses = numpy_run(objective, memory, numbers.get("strength", 0) * (name != "elr"))
    result = run(function, **numbers)
    np.testing.assert_allclose(result.history.outputs, outputs, atol=1e-8)
    np.testing.assert_allclose(result.history.loss, losses, atol=1e-8)
    np.testing.assert_array_equal(result.history.alpha, 1.0)
    inputs, start, _ = problem()
    np.testing.assert_allclose(inputs @ np.asarray(result.params), outputs[-1], atol=1e-8)
    labels = one_hot_argmax(outputs)
    np.testing.assert_allclose(
        result.history.label_to_clean,
        np.linalg.norm(labels - observed, axis=(1, 2)) / np.sqrt(N),
        atol=1e-12,
    )
    moved = np.linalg.norm(np.asarray(result.params) - start)
    np.testing.assert_allclose(result.history.distance_from_init[-1], moved, atol=1e-12)


LIMITS = {
    "label_smoothing": {"smoothing": 0.0},
    "soft": {"weight": 1.0},
    "hard": {"weight": 1.0, "kind": "hard"},
    "gce": {"q": 1e-9},
    "symmetric": {"alpha": 1.0, "beta": 0.0},
    "forward": {"transition": np.eye(C)},
    "elr": {"strength": 0.0},
    "adaptive": {"start_epoch": EPOCHS},
    "distance": {"strength": 0.0},
}


@pytest.mark.parametrize("name", LIMITS)
def test_limit_is_cross_entropy(x64, name):
    plain = run(b.cross_entropy).history
    limit = run(CASES[name][0], **LIMITS[name]).history
    np.testing.assert_allclose(limit.outputs, plain.outputs, atol=1e-7)
    np.testing.assert_allclose(limit.loss, plain.loss, atol=1e-7)
    other = run(CASES[name][0], **CASES[name][1]).history
    assert np.abs(np.asarray(other.outputs - plain.outputs)).max() > 1e-3


def test_gce_at_one_is_half_the_absolute_error(x64):
    objective = mean(lambda f, y: 0.5 * np.sum(np.abs(softmax(f) - y), -1))
    outputs, losses = numpy_run(objective)
    history = run(b.gce, q=1.0).history
    np.testing.assert_allclose(history.outputs, outputs, atol=1e-8)
    np.testing.assert_allclose(history.loss, losses, atol=1e-10)


def test_hard_bootstrapping_is_self_distillation(x64):
    own = run(
        na.distillation.self_distill, alpha=0.8, label_fn=na.distillation.hard,
        loss="cross_entropy",
    ).history  # fmt: skip
    reed = run(b.bootstrapping, kind="hard").history
    np.testing.assert_allclose(reed.outputs, own.outputs, atol=1e-12)


def test_elr_gradient_is_the_published_one(x64):
    """Lemma 2 of arXiv:2007.00151, at the second visit of every point."""
    inputs, start, observed = problem()
    weights, means = start.copy(), np.zeros((N, C))
    history = b.elr(
        linear_model, start, inputs, observed, optimizer=RATE, num_steps=4, record_every=1,
        record_outputs=True, momentum=0.6, strength=2.0,
    ).history  # fmt: skip
    for step in range(4):
        p = softmax(inputs @ weights)
        np.testing.assert_allclose(history.outputs[step], inputs @ weights, atol=1e-10)
        means = 0.6 * means + 0.4 * p
        inner = np.sum(p * means, -1, keepdims=True)
        extra = p / (1 - inner) * (inner - means * p.sum(-1, keepdims=True))
        weights = weights - RATE * inputs.T @ (p - observed + 2.0 * extra) / N
    np.testing.assert_allclose(history.outputs[-1], inputs @ weights, atol=1e-10)


@pytest.mark.parametrize("name", CASES)
def test_saturated_outputs_stay_finite(x64, name):
    """Probabilities that are 0 and 1 in float64: every loss and gradient is a number."""
    function, numbers, _ = CASES[name]
    result = run(function, scale=1e4, **numbers)
    probabilities = softmax(np.asarray(result.history.outputs[0]))
    assert probabilities.min() == 0
    assert np.isfinite(np.asarray(result.params)).all()


def test_forward_correction_recovers_the_clean_posterior(x64):
    """A table of logits has every posterior; observed labels are given by their probabilities."""
    clean = np.array([[0.7, 0.2, 0.1], [0.1, 0.85, 0.05], [0.3, 0.3, 0.4], [0.05, 0.15, 0.8]])
    result = b.forward_correction(
        linear_model, np.zeros((4, C)), np.eye(4), clean @ TRANSITION, optimizer=10.0,
        num_steps=4000, record_every=4000, transition=TRANSITION,
    )  # fmt: skip
    np.testing.assert_allclose(softmax(np.asarray(result.params)), clean, atol=1e-8)
    np.testing.assert_array_equal(result.transition, TRANSITION)
    assert result.estimation is None


def test_distance_to_initialization_is_kernel_ridge_regression(x64):
    """Theorem 4.1 of arXiv:1905.11368 for a model that is linear, with any targets."""
    inputs, start, observed = problem()
    centred, strength = observed - 1 / C, 0.8
    result = b.distance_to_initialization(
        linear_model, start, inputs, centred, optimizer=0.03, num_steps=3000, record_every=3000,
        strength=strength, loss="mse", record_outputs=True, clean=centred,
    )  # fmt: skip
    kernel, initial = inputs @ inputs.T, inputs @ start
    ridge = np.linalg.solve(kernel + strength**2 * np.eye(N), centred - initial)
    np.testing.assert_allclose(result.history.outputs[-1], initial + kernel @ ridge, atol=1e-9)
    loss = 0.5 * np.sum((initial + kernel @ ridge - centred) ** 2)
    np.testing.assert_allclose(result.history.loss[-1], loss, atol=1e-9)
    labels = one_hot_argmax(initial + kernel @ ridge) - 1 / C
    expected = np.linalg.norm(labels - centred) / np.sqrt(N)
    np.testing.assert_allclose(result.history.label_to_clean[-1], expected, atol=1e-12)
