"""What training promises beyond single steps: limits, bounds, inputs, compilation, seeds."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na
from ntk_air.distillation.training._replicas import as_keys

d = na.distillation


def spectrum_kernel(eigenvalues, seed=0):
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    return basis * np.asarray(eigenvalues) @ basis.T


def noisy_signs(n=20, wrong=3, seed=0):
    rng = np.random.default_rng(seed)
    clean = rng.choice([-1.0, 1.0], size=(n, 1))
    observed = clean.copy()
    observed[rng.choice(n, wrong, replace=False)] *= -1
    return clean, observed


KERNEL = spectrum_kernel(np.geomspace(2.0, 0.2, 20))


def test_constant_alpha_limit_is_exact(x64):
    clean, observed = noisy_signs()
    for alpha in (0.1, 0.4):
        history = d.kernel_self_distill(
            KERNEL, observed, learning_rate=0.5, num_steps=400, alpha=alpha, label_fn=d.hard,
            clean=clean, initial=clean, record_outputs=True, record_every=400,
        )  # fmt: skip
        np.testing.assert_allclose(
            history.outputs[-1] - clean, alpha * (observed - clean), atol=1e-12
        )


@pytest.mark.parametrize("alpha", [d.exponential(10.0), d.inverse_time(20.0), 0.3])
def test_bound_at_every_step(x64, alpha):
    """Two clusters, learnt forty times as fast as what sets their points apart."""
    clusters = np.repeat(np.eye(2), 10, axis=0)
    kernel = 0.195 * clusters @ clusters.T + 0.05 * np.eye(20)
    clean = clusters @ [[1.0], [-1.0]]
    observed = clean * np.where(np.isin(np.arange(20), [3, 4, 12]), -1, 1)[:, None]
    history = d.kernel_self_distill(
        kernel, observed, learning_rate=0.5, num_steps=300, alpha=alpha, label_fn=d.hard,
        clean=clean, initial=np.random.default_rng(0).normal(size=(20, 1)) * 0.3,
    )  # fmt: skip
    wrong = np.flatnonzero(np.asarray(history.label_to_clean) > 0)
    start = int(wrong[-1]) + 1
    assert 0 < start < 30
    distance = np.asarray(history.l2_to_clean)[start:]
    noise = np.linalg.norm(observed - clean) / np.sqrt(len(clean))
    bound = (1 - 0.5 * 0.05) ** np.arange(len(distance)) * distance[0]
    assert np.all(distance <= (bound + noise * float(history.alpha[start])) * (1 + 1e-12))


def test_identity_keeps_the_fixed_point(x64):
    _, observed = noisy_signs()
    common = {"learning_rate": 0.5, "num_steps": 3000, "record_every": 3000, "record_outputs": True}
    plain = d.kernel_self_distill(KERNEL, observed, alpha=1.0, label_fn=d.hard, **common)
    slowed = d.kernel_self_distill(KERNEL, observed, alpha=0.2, label_fn=d.identity, **common)
    np.testing.assert_allclose(plain.outputs[-1], observed, atol=1e-12)
    np.testing.assert_allclose(slowed.outputs[-1], observed, atol=1e-12)


def apply(params, inputs):
    return jnp.tanh(inputs @ params["w"]) @ params["v"]


def network(outputs=2, n=11, seed=0):
    rng = np.random.default_rng(seed)
    params = {"w": rng.normal(size=(4, 6)), "v": rng.normal(size=(6, outputs)) * 0.5}
    params = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), params)
    codes = np.eye(outputs)[rng.integers(0, outputs, n)].astype(np.float32)
    return params, rng.normal(size=(n, 4)).astype(np.float32), codes


def test_second_call_compiles_nothing():
    traces = []

    def counted(params, inputs):
        traces.append(1)
        return apply(params, inputs)

    params, inputs, codes = network()

    def train(optimizer, alpha, key, **options):
        d.self_distill(
            counted, params, inputs, codes, optimizer=optimizer, num_steps=20, alpha=alpha,
            label_fn=d.softmax(options.pop("temperature", 1.0)), batch_size=4, key=key,
            record_every=5, **options,
        )  # fmt: skip
        return len(traces)

    first = train(0.1, d.exponential(5.0), 0)
    assert train(0.2, d.exponential(9.0), 1, temperature=2.0) == first
    adam = train(optax.adam, d.linear(1, 0, 9), 0, learning_rate=1e-3)
    again = train(optax.adam, d.linear(0.9, 0.1, 5), 4, learning_rate=1e-2)
    assert again == adam
    table = train(optax.adam, lambda s: 0.5, 0, learning_rate=1e-2)
    other = train(optax.adam, optax.linear_schedule(1, 0, 3), 0, learning_rate=3e-2)
    assert other == table


def test_flax_apply_compiles_once():
    """`module.apply` is a new object every time it is read, and still the same function."""
    traces = []

    class Net(nn.Module):
        @nn.compact
        def __call__(self, inputs):
            traces.append(1)
            return nn.Dense(2)(inputs)

    _, inputs, codes = network()
    module = Net()
    params = module.init(jax.random.key(0), inputs)
    counts = []
    for rate in (0.1, 0.2):
        result = d.self_distill(
            module.apply, params, inputs, codes, optimizer=rate, num_steps=5, alpha=d.agreement(),
            label_fn=d.hard, loss="cross_entropy",
        )  # fmt: skip
        counts.append(len(traces))
    assert counts[0] == counts[1]
    assert result.history.loss[-1] != result.history.loss[0]


def test_kernel_run_compiles_once():
    clean, observed = noisy_signs()
    traces = []

    def label(f):
        traces.append(1)
        return jnp.sign(f)

    def run(alpha, rate, steps):
        d.kernel_self_distill(
            KERNEL, observed, learning_rate=rate, num_steps=steps, alpha=alpha, label_fn=label,
            clean=clean, record_every=[1, 5],
        )  # fmt: skip
        return len(traces)

    first = run(0.5, 0.1, 20)
    assert run(0.7, 0.2, 30) == first + 1  # the check of its shape, which compiles nothing


def test_same_seed_same_numbers():
    params, inputs, codes = network()
    runs = [
        d.self_distill(
            apply,
            params,
            inputs,
            codes,
            optimizer=0.1,
            num_steps=9,
            alpha=0.5,
            label_fn=d.hard,
            batch_size=4,
            key=key,
            record_outputs=True,
            record_every=2,
        ).history.outputs
        for key in (3, jax.random.key(3), 4)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert np.abs(np.asarray(runs[0] - runs[2])).max() > 1e-4


def test_history_without_clean_and_with_test():
    params, inputs, codes = network()
    result = d.self_distill(
        apply, params, inputs, codes, optimizer=optax.adam(1e-2), num_steps=7, alpha=1.0,
        label_fn=d.hard, test=(inputs[:5], codes[:5].argmax(1)), record_every=3,
    )  # fmt: skip
    history = result.history
    np.testing.assert_array_equal(history.step, [0, 3, 6, 7])
    assert np.isnan(history.time).all()
    assert np.isnan(history.l2_to_clean).all()
    assert np.isnan(history.margin).all()
    assert history.outputs is None
    assert history.loss.dtype == jnp.float32
    right = np.mean(np.asarray(apply(result.params, inputs[:5])).argmax(1) == codes[:5].argmax(1))
    assert float(history.test_accuracy[-1]) == pytest.approx(right)
    assert float(history.distance_from_init[0]) == 0


def test_single_output_test_labels():
    params, inputs, _ = network(outputs=1)
    signs = np.where(inputs[:, :1] > 0, 1.0, -1.0)
    accuracies = [
        d.self_distill(
            apply,
            params,
            inputs,
            signs,
            optimizer=0.1,
            num_steps=3,
            alpha=1.0,
            label_fn=d.hard,
            test=(inputs, labels),
        ).history.test_accuracy
        for labels in (signs, signs[:, 0].astype(int), (signs[:, 0] > 0).astype(int))
    ]
    np.testing.assert_array_equal(accuracies[0], accuracies[1])
    np.testing.assert_array_equal(accuracies[0], accuracies[2])


def test_learning_rate_schedule_sets_time(x64):
    params, inputs, codes = network()
    rate = optax.linear_schedule(0.1, 0.0, 10)
    by_name, finished = (
        d.self_distill(
            apply,
            params,
            inputs,
            codes,
            optimizer=optimizer,
            learning_rate=rate,
            num_steps=10,
            alpha=0.5,
            label_fn=d.hard,
            record_every=1,
            record_outputs=True,
        ).history
        for optimizer in (optax.sgd, optax.sgd(rate))
    )
    np.testing.assert_allclose(
        by_name.time, np.concatenate([[0], np.cumsum(0.1 - 0.01 * np.arange(10))]), atol=1e-7
    )
    np.testing.assert_allclose(by_name.time, finished.time)
    np.testing.assert_allclose(by_name.outputs, finished.outputs, atol=1e-6)


def test_result_saves_and_loads(tmp_path):
    params, inputs, codes = network()
    result = d.self_distill(
        apply, params, inputs, codes, optimizer=0.1, num_steps=2, alpha=0.5, label_fn=d.hard
    )
    loaded = na.load(na.save(result, tmp_path / "run.ntk"))
    np.testing.assert_array_equal(loaded.history.loss, result.history.loss)
    np.testing.assert_array_equal(loaded.params["w"], result.params["w"])


def bad_calls():
    params, inputs, codes = network()
    fine = {"optimizer": 0.1, "num_steps": 4, "alpha": 0.5, "label_fn": d.hard}

    def call(match, **changes):
        arguments = {"inputs": inputs, "observed": codes, **fine, **changes}
        return pytest.param(
            lambda: d.self_distill(
                apply, params, arguments.pop("inputs"), arguments.pop("observed"), **arguments
            ),
            match,
            id=match,
        )

    return [
        call("expected encoded targets", observed=codes.argmax(1)),
        call("expected encoded targets .n, C. of floats", observed=codes.astype(int)),
        call("NaN or infinite", observed=np.where(codes > 0, np.nan, codes)),
        call("inputs has length 10", inputs=inputs[:10]),
        call("apply_fn returns outputs", observed=np.eye(3)[codes.argmax(1)]),
        call("number of points", batch_size=12, key=0),
        call("needs a key", batch_size=4),
        call("alpha is 1.5", alpha=1.5),
        call("alpha is nan", alpha=float("nan")),
        call("at step 2", alpha=lambda s: 1.0 if s < 2 else -0.5),
        call("loss is 'l1'", loss="l1"),
        call("probabilities", loss="cross_entropy", observed=codes - 0.5),
        call("does not give prob", loss="cross_entropy", label_fn=d.identity),
        call("coded as", clean=codes - 0.5),
        call("clean has shape", clean=codes[:, :1]),
        call("same shape .n, C.", label_fn=lambda f: f.argmax(-1)),
        call("given twice", learning_rate=0.1),
        call("function of the learning rate", optimizer=optax.adam),
        call("learning_rate is -1", optimizer=-1.0),
        call("record_every is 0", record_every=0),
        call("increasing", record_every=[1, 1]),
        call("expected steps in 0..4", record_every=[1, 5]),
        call("num_steps is -1", num_steps=-1),
        call("teacher is 'ema'", teacher="ema"),
        call("reduction is 'max'", reduction="max"),
        call("num_steps is inf", num_steps=float("inf")),
        call("num_steps is None", num_steps=None),
        call("record_every is 'often'", record_every="often"),
        call("batch_size is '4'", batch_size="4", key=0),
        call("alpha is nan at step 1", alpha=lambda s: np.nan if s == 1 else 0.5),
        call("learning rate is 'fast'", optimizer=optax.adam, learning_rate="fast"),
        call("optimizer is None", optimizer=None),
        call("optimizer is 'adam'", optimizer="adam"),
        call("returns a", optimizer=optax.constant_schedule, learning_rate=0.1),
        call("replicas is nan", replicas=float("nan")),
        call("mesh is 2", mesh=2),
        call("on_record is 'print'", on_record="print"),
        call("augment turns inputs", augment=lambda key, x: x[:1], key=0),
        call("augment turns inputs", augment=lambda key, x: None, key=0),
        call("apply_fn fails on inputs of shape", inputs=np.ones((11, 7), np.float32)),
        call("apply_fn fails on inputs of shape", test=(inputs[:3, :2], codes[:3])),
        call("written? with jax.numpy|write it with jax.numpy", label_fn=lambda f: np.sign(f)),
        call("test is 1 parts", test=(inputs[:3],)),
        call("test is 2 parts", test=(inputs[:3], None)),
        call("test labels holds 6 value.s. that are NaN", test=(inputs[:3], codes[:3] * np.nan)),
        call("at least one point", inputs=inputs[:0], observed=codes[:0]),
        call("test labels has length", test=(inputs[:3], codes[:2])),
        call("label_fn returns is complex", label_fn=lambda z: z * 1j),
        call("record_outputs is 'no'", record_outputs="no"),
        call("alpha has masked", alpha=np.ma.masked_array(np.ones(4), np.arange(4) == 2)),
        call("key is 4294967296, expected a whole number in 0..4294967295", key=2**32),
        call("key is -1", key=-1),
        call("test labels holds 5", test=(inputs[:3], np.array([0, 1, 5]))),
    ]


@pytest.mark.parametrize(("call", "match"), bad_calls())
def test_bad_inputs(call, match):
    with pytest.raises(ValueError, match=match):
        call()


def test_the_largest_seed_is_one_of_its_own_alone_and_among_others():
    keys = as_keys([0, 2**32 - 1])
    for one, seed in zip(keys, (0, 2**32 - 1), strict=True):
        assert one == as_keys(seed) == jax.random.key(seed)
    assert keys[0] != keys[1]


def test_every_seed_of_several_is_one_of_them():
    with pytest.raises(ValueError, match="key is 4294967296"):
        as_keys([0, 2**32])


def test_labels_too_large_for_the_loss_are_not_a_learning_rate():
    _, observed = noisy_signs()
    options = {"learning_rate": 1e-3, "num_steps": 1, "alpha": 1.0, "label_fn": d.identity}
    with pytest.raises(d.DivergenceError, match="at step 0, before any training: the targets"):
        d.kernel_self_distill(KERNEL, observed * np.float32(2.0**70), **options)
    history = d.kernel_self_distill(KERNEL, observed * 2.0**70, precision="float64", **options)
    assert np.isfinite(history.loss).all()


def test_divergence_names_the_step():
    _, observed = noisy_signs()
    with pytest.raises(d.DivergenceError, match="at step 4096"):
        d.kernel_self_distill(
            KERNEL, observed, learning_rate=5.0, num_steps=4096, alpha=1.0, label_fn=d.hard,
            record_every=[2, 4096],
        )  # fmt: skip
    params, inputs, codes = network()
    with pytest.raises(d.DivergenceError, match="at step"):
        d.self_distill(
            lambda p, x: x @ p["w"] @ p["v"], params, inputs, codes, optimizer=50.0,
            num_steps=100, alpha=1.0, label_fn=d.hard, record_every=20,
        )  # fmt: skip


def test_a_batch_may_hold_all_points():
    params, inputs, codes = network()

    def run(model, **options):
        return d.self_distill(
            model, params, inputs, codes, optimizer=1e-3, num_steps=3, alpha=1.0, label_fn=d.hard,
            **options,
        )  # fmt: skip

    whole = run(lambda p, x: x @ p["w"] @ p["v"])
    batched = run(lambda p, x: x @ p["w"] @ p["v"], batch_size=len(inputs), key=0)
    np.testing.assert_allclose(batched.history.loss, whole.history.loss, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"kernel": KERNEL[:, :5]}, "square"),
        ({"kernel": KERNEL[:5, :5]}, "length"),
        ({"kernel": KERNEL + np.triu(np.ones_like(KERNEL), 1)}, "kernel is not symmetric"),
        ({"record_outputs": 1}, "record_outputs is 1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"initial": np.zeros((20, 2))}, "initial has shape"),
        ({"test_train_kernel": KERNEL[:3]}, "without test"),
        ({"test": np.zeros(3, int)}, "test_train_kernel"),
        ({"test": np.zeros(3, int), "test_train_kernel": KERNEL[:3] * np.nan}, "holds 60 value"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"num_steps": None}, "num_steps is None"),
    ],
)
def test_bad_kernel_inputs(changes, match):
    arguments = {
        "kernel": KERNEL, "observed": noisy_signs()[1], "learning_rate": 0.1, "num_steps": 3,
        "alpha": 0.5, "label_fn": d.hard, **changes,
    }  # fmt: skip
    with pytest.raises(ValueError, match=match):
        d.kernel_self_distill(arguments.pop("kernel"), arguments.pop("observed"), **arguments)


def test_networks_of_all_points_only_are_trained():
    """Nothing is asked of a network at another number of points than it is trained on."""
    params, inputs, codes = network()
    options = {"optimizer": 0.1, "num_steps": 3, "alpha": 0.5}
    fixed = d.self_distill(
        lambda p, x: apply(p, x.reshape(11, -1)), params, inputs, codes, **options
    )
    free = d.self_distill(apply, params, inputs, codes, **options)
    np.testing.assert_allclose(fixed.history.loss, free.history.loss, rtol=1e-6)


def test_a_search_for_nan_finds_none():
    """What is not measured is NaN in the history, and in no compiled program."""
    params, inputs, codes = network()
    with jax.debug_nans(True):
        found = d.self_distill(apply, params, inputs, codes, optimizer=0.1, num_steps=2, alpha=0.5)
        unknown_rate = d.self_distill(
            apply, params, inputs, codes, optimizer=optax.sgd(0.1), num_steps=2, alpha=0.5
        )
        kernel = d.kernel_self_distill(
            KERNEL, noisy_signs()[1], learning_rate=0.1, num_steps=2, alpha=0.5, label_fn=d.hard
        )
    assert np.isnan(unknown_rate.history.time).all()
    for history in (found.history, kernel):
        for name in ("l2_to_clean", "label_to_clean", "error_to_clean", "margin", "test_accuracy"):
            column = np.asarray(getattr(history, name))
            assert column.shape == history.loss.shape
            assert np.isnan(column).all()
