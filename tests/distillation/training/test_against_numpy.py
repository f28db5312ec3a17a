"""Both trainers against plain NumPy loops, step by step in float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na

d = na.distillation
N, P, C, STEPS, RATE = 12, 5, 3, 25, 0.02


def linear_model(params, inputs):
    return inputs @ params


def problem(seed=0, classes=C, coding="centered"):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(N, P))
    start = rng.normal(size=(P, classes)) * 0.3
    if classes == 1:
        clean, observed = (rng.choice([-1.0, 1.0], size=(N, 1)) for _ in range(2))
    else:
        shift = 1 / classes if coding == "centered" else 0.0
        clean, observed = (np.eye(classes)[rng.integers(0, classes, N)] - shift for _ in range(2))
    return inputs, start, clean, observed


def softmax_rows(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def classes_of(z):
    return (z[:, 0] > 0).astype(int) if z.shape[1] == 1 else z.argmax(1)


def np_hard(shift):
    def hard(f):
        if f.shape[1] == 1:
            return np.where(f > 0, 1.0, -1.0)
        return np.eye(f.shape[1])[f.argmax(1)] - shift

    return hard


LABELS = {
    "hard": (d.hard, np_hard),
    "identity": (d.identity, lambda shift: lambda f: f),
    "softmax": (d.softmax(0.5), lambda shift: lambda f: softmax_rows(f / 0.5) - shift),
}
OPTAX = optax.linear_schedule(1.0, 0.2, 10)
ALPHAS = {
    "constant": (0.3, lambda s, agree: 0.3),
    "exponential": (d.exponential(6.0), lambda s, agree: np.exp(-s / 6.0)),
    "agreement": (d.agreement(0.9), lambda s, agree: 1 - 0.9 * agree),
    "optax": (OPTAX, lambda s, agree: float(OPTAX(s))),
}


def numpy_loop(inputs, weights, clean, observed, alpha, label, loss, start=None):
    """Records before every step and after the last: alpha, loss, l2, margin, distance, outputs."""
    rows, first = [], weights.copy()
    for step in range(STEPS + 1):
        f = inputs @ weights
        agree = np.mean(classes_of(f) == classes_of(observed))
        a = alpha(step, agree)
        target = a * observed + (1 - a) * label(f)
        if loss == "mse":
            p, value, pull = f, 0.5 * np.sum((f - target) ** 2), f - target
        else:
            p = softmax_rows(f)
            value = -np.sum(target * np.log(p)) / N
            pull = (p * target.sum(1, keepdims=True) - target) / N
        if f.shape[1] == 1:
            margin = np.min(clean * f)
        else:
            true = classes_of(clean)
            rest = f.copy()
            rest[np.arange(N), true] = -np.inf
            margin = np.min(f[np.arange(N), true] - rest.max(1))
        rows.append(
            {
                "step": step,
                "time": RATE * step,
                "loss": value,
                "alpha": a,
                "agreement": agree,
                "l2_to_clean": np.linalg.norm(p - clean) / np.sqrt(N),
                "label_to_clean": np.linalg.norm(label(f) - clean) / np.sqrt(N),
                "error_to_clean": np.mean(classes_of(f) != classes_of(clean)),
                "error_to_observed": 1 - agree,
                "margin": margin,
                "distance_from_init": np.linalg.norm(weights - first),
                "outputs": f,
            }
        )
        weights = weights - RATE * inputs.T @ pull
    return {k: np.array([row[k] for row in rows]) for k in rows[0]}, rows[-1]


def assert_same(history, expected, skip=()):
    for name, values in expected.items():
        if name not in skip:
            np.testing.assert_allclose(getattr(history, name), values, atol=1e-11, err_msg=name)


@pytest.mark.parametrize(
    ("alpha", "label"),
    [*((alpha, "hard") for alpha in ALPHAS), ("constant", "identity"), ("agreement", "softmax")],
)
def test_full_batch_mse(x64, alpha, label):
    inputs, start, clean, observed = problem()
    expected, _ = numpy_loop(
        inputs, start, clean, observed, ALPHAS[alpha][1], LABELS[label][1](1 / C), "mse"
    )
    result = d.self_distill(
        linear_model, jnp.asarray(start), inputs, observed, optimizer=RATE, num_steps=STEPS,
        alpha=ALPHAS[alpha][0], label_fn=LABELS[label][0], clean=clean, record_every=1,
        record_outputs=True,
    )  # fmt: skip
    assert_same(result.history, expected)
    np.testing.assert_allclose(
        inputs @ np.asarray(result.params), expected["outputs"][-1], atol=1e-12
    )
    assert result.history.loss.dtype == jnp.float64


@pytest.mark.parametrize(("alpha", "label"), [("agreement", "hard"), ("constant", "softmax")])
def test_cross_entropy(x64, alpha, label):
    inputs, start, clean, observed = problem(coding="one_hot")
    expected, _ = numpy_loop(
        inputs, start, clean, observed, ALPHAS[alpha][1], LABELS[label][1](0.0), "cross_entropy"
    )
    history = d.self_distill(
        linear_model, start, inputs, observed, optimizer=optax.sgd, learning_rate=RATE,
        num_steps=STEPS, alpha=ALPHAS[alpha][0], label_fn=LABELS[label][0], clean=clean,
        record_every=1, record_outputs=True, loss="cross_entropy",
    ).history  # fmt: skip
    assert_same(history, expected)


@pytest.mark.parametrize(
    ("classes", "alpha"), [(1, "agreement"), (C, "constant"), (C, "agreement"), (C, "optax")]
)
def test_kernel_is_the_linear_network(x64, classes, alpha):
    inputs, start, clean, observed = problem(classes=classes)
    test = inputs[:4] + 0.1
    common = {
        "num_steps": STEPS, "alpha": ALPHAS[alpha][0], "label_fn": d.hard, "clean": clean,
        "record_every": [1, 4, 9, 20], "record_outputs": True,
    }  # fmt: skip
    network = d.self_distill(
        linear_model, start, inputs, observed, optimizer=RATE, test=(test, clean[:4]), **common
    ).history
    kernel = d.kernel_self_distill(
        inputs @ inputs.T, observed, learning_rate=RATE, initial=inputs @ start,
        test_train_kernel=test @ inputs.T, test=clean[:4], test_initial=test @ start, **common,
    )  # fmt: skip
    np.testing.assert_array_equal(network.step, [0, 1, 4, 9, 20, STEPS])
    weighed = ("alpha_right", "alpha_wrong")  # of `posterior` alone
    assert {getattr(run, name) for run in (kernel, network) for name in weighed} == {None}
    for name in network.__dataclass_fields__.keys() - weighed:
        np.testing.assert_allclose(
            getattr(kernel, name), getattr(network, name), atol=1e-10, err_msg=name
        )
    expected, _ = numpy_loop(
        inputs, start, clean, observed, ALPHAS[alpha][1], np_hard(1 / C), "mse"
    )
    picked = {k: v[np.asarray(network.step)] for k, v in expected.items()}
    assert_same(network, picked)


@pytest.mark.parametrize(
    ("teacher", "reduction", "size"), [("step", "mean", 4), ("epoch", "sum", 5)]
)
def test_minibatches(x64, teacher, reduction, size):
    """The order of an epoch is read off the gradient of a model with one weight per point."""
    import jax

    epochs = 3
    per_epoch = -(-N // size)
    _, _, clean, observed = problem()
    inputs = np.eye(N)
    start = np.random.default_rng(1).normal(size=(N, C)) * 0.1
    history = d.self_distill(
        linear_model, start, inputs, observed, optimizer=0.1, num_steps=epochs * per_epoch,
        alpha=d.agreement(), label_fn=d.hard, clean=clean, batch_size=size, teacher=teacher,
        reduction=reduction, record_every=1, record_outputs=True, key=3,
    ).history  # fmt: skip
    f, stored = start.copy(), None
    for epoch in range(epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(jax.random.key(3), epoch), N))
        assert sorted(order) == list(range(N))
        stored = f.copy()
        for batch in range(per_epoch):
            step = epoch * per_epoch + batch
            np.testing.assert_allclose(history.outputs[step], f, atol=1e-12)
            source = f if teacher == "step" else stored
            a = 1 - np.mean(classes_of(source) == classes_of(observed))
            target = a * observed + (1 - a) * np_hard(1 / C)(source)
            loss = 0.5 * np.sum((f - target) ** 2) / (1 if reduction == "sum" else N)
            np.testing.assert_allclose(history.alpha[step], a, atol=1e-12)
            np.testing.assert_allclose(history.loss[step], loss, atol=1e-12)
            rows = order[batch * size : (batch + 1) * size]
            source = f[rows] if teacher == "step" else stored[rows]
            a = 1 - np.mean(classes_of(source) == classes_of(observed[rows]))
            target = a * observed[rows] + (1 - a) * np_hard(1 / C)(source)
            scale = 1 if reduction == "sum" else len(rows)
            f[rows] -= 0.1 * (f[rows] - target) / scale
    np.testing.assert_allclose(history.outputs[-1], f, atol=1e-12)
