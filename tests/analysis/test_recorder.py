"""The recorder: constant kernels in closed form, moving ones against NumPy, any training loop."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na
from ntk_air.analysis import Recorder

N, D, WIDTH = 12, 16, 5


def labels(n=N, c=3, seed=0):
    """Clean and observed targets (n, C)."""
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, c, n)
    noisy = na.noise.symmetric(clean, 0.3, num_classes=c, seed=seed)
    y, observed = (np.asarray(na.datasets.encode(a, c), np.float64) for a in (clean, noisy.labels))
    return y, observed


def linear(params, x):
    return x @ params


def two_layer(params, x):
    return jnp.tanh(x @ params["w"]) @ params["v"]


def two_layer_start(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)) / D**0.5
    params = {"w": rng.normal(size=(D, WIDTH)), "v": rng.normal(size=(WIDTH, 1))}
    clean = np.sign(x[:, :1])
    observed = clean * np.where(rng.random((N, 1)) < 0.25, -1, 1)
    return x, jax.tree.map(jnp.asarray, params), clean, observed


def train(apply_fn, params, x, observed, optimizer, last, on_step):
    """A user's own loop, with donated buffers."""
    x, state = jnp.asarray(x), optimizer.init(params)
    params = jax.tree.map(jnp.copy, params)

    def loss(params):
        return 0.5 * jnp.sum((apply_fn(params, x) - observed) ** 2)

    @jax.jit
    def update(params, state):
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    update = jax.jit(update, donate_argnums=(0, 1))
    for step in range(1, last + 1):
        params, state = update(params, state)
        on_step(step, params)


@pytest.mark.parametrize("momentum", [0.0, 0.6])
def test_a_linear_model_follows_the_closed_form_and_its_kernel_stands_still(x64, momentum):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, D))
    y, observed = labels()
    weights = jnp.asarray(rng.normal(size=(D, 3)))
    rate = 0.5 / np.linalg.eigvalsh(x @ x.T).max()
    recorder = Recorder(
        linear, weights, x, observed, clean=y, learning_rate=rate, momentum=momentum,
        steps=[1, 3, 10, 30, 100], kernel_steps=[10, 100], overlap_ranks=[2, 5],
    )  # fmt: skip
    train(linear, weights, x, observed, optax.sgd(rate, momentum=momentum), 100, recorder)
    record = recorder.result()
    np.testing.assert_array_equal(record.steps, [0, 1, 3, 10, 30, 100])
    np.testing.assert_allclose(record.times, rate * record.steps / (1 - momentum), rtol=1e-12)
    for name in ("signal", "noise"):
        predicted = getattr(record.predicted, f"draw_{name}")
        np.testing.assert_allclose(getattr(record, name), predicted, atol=1e-8)
    np.testing.assert_allclose(record.per_direction, record.predicted.per_direction, atol=1e-8)
    # The public closed form, from the kernel itself.
    es = na.spectral.eigendecompose(x @ x.T)
    filters = [na.dynamics.heavy_ball(rate, int(s), momentum) for s in record.steps]
    again = na.dynamics.fit(es, filters, observed, initial=x @ np.asarray(weights))
    np.testing.assert_allclose(record.outputs, again, atol=1e-8)
    kernel = record.kernel
    np.testing.assert_array_equal(kernel.steps, [0, 10, 100])
    np.testing.assert_array_equal(kernel.distance, 0.0)
    np.testing.assert_allclose(kernel.similarity, 1.0, rtol=1e-12)
    np.testing.assert_allclose(kernel.subspace_overlap, np.ones((3, 2)), rtol=1e-10)
    assert float(kernel.air_index[0]) == pytest.approx(float(kernel.air_index[2]), rel=1e-12)
    at = np.searchsorted(record.steps, kernel.steps)
    for name in ("signal_by_direction", "noise_by_direction"):
        now, first = getattr(kernel, name), np.asarray(getattr(record, name))[at]
        np.testing.assert_allclose(now, first, atol=1e-10)


def numpy_kernel(params, x):
    """Trace NTK of the two-layer network from its derivatives written out."""
    hidden = np.tanh(x @ params["w"])
    back = (1 - hidden**2) * params["v"][:, 0]
    return hidden @ hidden.T + (back @ back.T) * (x @ x.T)


def top(kernel, k):
    return np.linalg.eigh(kernel)[1][:, ::-1][:, :k]


def test_movement_of_a_network_against_plain_numpy(x64):
    x, params, clean, observed = two_layer_start()
    last = {}
    recorder = Recorder(
        two_layer, params, x, observed, clean=clean, learning_rate=0.05, retention=0.5,
        steps=[40], kernel_steps=[40], overlap_ranks=[1, 3],
    )  # fmt: skip

    def on_step(step, now):
        recorder(step, now)
        last.update(jax.tree.map(np.array, now))

    train(two_layer, params, x, observed, optax.sgd(0.05), 40, on_step)
    record, first = recorder.result(), jax.tree.map(np.asarray, params)
    kernel = record.kernel
    before, after = numpy_kernel(first, x), numpy_kernel(last, x)
    moved = (np.tanh(x @ last["w"]) @ last["v"]) - (np.tanh(x @ first["w"]) @ first["v"])
    norm, noise = np.linalg.norm, observed - 0.5 * clean
    distance = norm(after - before) / norm(before)
    assert distance > 0.05
    np.testing.assert_allclose(kernel.distance, [0, distance], atol=1e-12)
    cosine = np.sum(after * before) / norm(after) / norm(before)
    np.testing.assert_allclose(kernel.similarity, [1, cosine], rtol=1e-12)
    for column, k in enumerate((1, 3)):
        overlap = np.sum((top(after, k).T @ top(before, k)) ** 2) / k
        assert float(kernel.subspace_overlap[1, column]) == pytest.approx(overlap, rel=1e-9)
    for at, theta in enumerate((before, after)):
        vectors, inverse = top(theta, N), np.linalg.inv(theta)
        np.testing.assert_allclose(kernel.eigenvalues[at], np.linalg.eigvalsh(theta)[::-1])
        aligned = [
            np.sum(theta * (t @ t.T)) / norm(theta) / norm(t @ t.T) for t in (clean, observed)
        ]
        assert float(kernel.alignment_clean[at]) == pytest.approx(aligned[0], rel=1e-9)
        assert float(kernel.alignment_observed[at]) == pytest.approx(aligned[1], rel=1e-9)
        energies = [np.sum((vectors.T @ t) ** 2, axis=1) / np.sum(t**2) for t in (clean, noise)]
        index = np.mean(np.cumsum(energies[0]) - np.cumsum(energies[1]))
        assert float(kernel.air_index[at]) == pytest.approx(index, abs=1e-9)
        outputs = np.asarray(record.outputs)[at]
        for name, t in (("clean", clean), ("observed", observed), ("outputs", outputs)):
            wanted = np.sqrt(np.sum(t * (inverse @ t)) * np.trace(theta)) / N
            got = float(getattr(kernel, f"complexity_{name}")[at])
            assert got == pytest.approx(wanted, rel=1e-6)
    np.testing.assert_allclose(record.signal[1], np.sum(moved * clean) / (0.5 * N), rtol=1e-9)
    np.testing.assert_allclose(record.noise[1], np.sum(moved * noise) / np.sum(noise**2), rtol=1e-9)
    for theta, got in ((before, record), (after, kernel)):
        u = top(theta, N)
        share = (u.T @ moved)[:, 0] * (u.T @ clean)[:, 0] / (0.5 * N)
        np.testing.assert_allclose(got.signal_by_direction[1], share, atol=1e-9)
        share = (u.T @ moved)[:, 0] * (u.T @ noise)[:, 0] / np.sum(noise**2)
        np.testing.assert_allclose(got.noise_by_direction[1], share, atol=1e-9)
        start = np.tanh(x @ first["w"]) @ first["v"]
        fitted = (u.T @ moved)[:, 0] / (u.T @ (observed - start))[:, 0]
        np.testing.assert_allclose(got.per_direction[1], fitted, rtol=1e-6, atol=1e-9)


def test_own_loop_and_self_distill_give_the_same_record(x64, tmp_path):
    x, params, clean, observed = two_layer_start(3)
    common = {
        "clean": clean, "learning_rate": 0.05, "kernel_steps": [20], "steps": [5, 20],
        "test": (x[:4], clean[:4]), "batch_size": 5,
    }  # fmt: skip
    own = Recorder(two_layer, params, x, observed, **common)
    train(two_layer, params, x, observed, optax.sgd(0.05), 20, own)
    given = Recorder(two_layer, params, x, observed, **common)
    run = na.distillation.self_distill(
        two_layer, params, x, observed, optimizer=0.05, num_steps=20, alpha=1.0,
        label_fn=na.distillation.sign, record_every=[5, 11], on_record=given,
        record_outputs=True, test=(x[:4], clean[:4]),
    ).history  # fmt: skip
    first, second = own.result(), given.result()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), first, second)
    kept = np.searchsorted(run.step, first.steps)
    np.testing.assert_allclose(first.outputs, run.outputs[kept], atol=1e-10)
    np.testing.assert_allclose(first.test_accuracy, run.test_accuracy[kept])
    np.testing.assert_allclose(first.times, run.time[kept])
    back = na.load(na.save(first, tmp_path / "record"))
    jax.tree.map(np.testing.assert_array_equal, first, back)
    assert back.kernel.overlap_ranks == (1, 10)


def test_calls_that_are_not_asked_for_do_not_look_at_the_parameters():
    x, params, clean, observed = two_layer_start()
    recorder = Recorder(
        two_layer, params, x, observed, clean=clean, learning_rate=0.1, steps=2, rank=4
    )
    recorder(0, params)
    recorder(1, None)
    recorder(2, params)
    recorder(3, None)
    np.testing.assert_array_equal(recorder.result().steps, [0, 2])
    assert recorder.result().kernel.eigenvalues.shape == (1, 4)
    assert "leave rank out" in recorder.result().kernel.complexity_missing


def test_time_is_the_sum_of_a_schedule_and_what_was_passed_over_is_said():
    x, params, clean, observed = two_layer_start()
    recorder = Recorder(
        two_layer, params, x, observed, clean=clean, retention=0.5,
        learning_rate=lambda step: 0.1 * 0.5**step, kernel_steps=[2, 3],
    )  # fmt: skip
    for step in (1, 3, 4):
        recorder(step, params)
    with pytest.warns(UserWarning, match=r"kernel_steps asked for step\(s\) 2, at which"):
        record = recorder.result()
    np.testing.assert_allclose(record.times, [0, 0.1, 0.175, 0.1875], rtol=1e-6)
    np.testing.assert_array_equal(record.kernel.steps, [0, 3])
    # Gradient flow to those times.
    expected = -np.expm1(-np.outer(record.times, record.kernel.eigenvalues[0]))
    np.testing.assert_allclose(record.predicted.per_direction, expected, atol=1e-5)


def test_a_kernel_that_float32_cannot_invert_is_said_and_float64_inverts_it():
    rng = np.random.default_rng(5)
    vectors = np.linalg.qr(rng.normal(size=(N, N)))[0]
    x = (vectors * np.geomspace(1, 3e-4, N)).astype(np.float32)
    y, observed = labels()
    common = {"clean": y, "learning_rate": 0.1, "retention": 0.5}
    weights = jnp.zeros((N, 3), jnp.float32)
    rough = Recorder(linear, weights, x, observed, **common).result().kernel
    assert np.isnan(rough.complexity_clean).all()
    assert rough.complexity_missing.startswith("the inverse kernel is not known: as few as ")
    assert 'kernel_dtype="float64"' in rough.complexity_missing
    exact = Recorder(linear, weights, x, observed, kernel_dtype="float64", **common).result().kernel
    assert exact.complexity_missing == ""
    theta = x.astype(np.float64) @ x.T.astype(np.float64)
    wanted = np.sqrt(np.sum(y * np.linalg.solve(theta, y)) * np.trace(theta)) / N
    assert float(exact.complexity_clean[0]) == pytest.approx(wanted, rel=1e-4)


def test_bad_inputs():
    x, params, clean, observed = two_layer_start()
    good = {"clean": clean, "learning_rate": 0.1}

    def make(apply_fn=two_layer, params=params, x=x, observed=observed, **options):
        return Recorder(apply_fn, params, x, observed, **{**good, **options})

    for match, options in {
        "observed has shape": {"observed": observed[:, 0]},
        "clean has shape": {"clean": clean[:5]},
        "inputs has length 5": {"x": x[:5]},
        "expected the same": {"apply_fn": lambda p, x: two_layer(p, x)[:, 0]},
        "inputs holds 1 value": {
            "x": np.where(np.arange(D) + np.arange(N)[:, None] == 0, np.nan, x)
        },
        "learning_rate is 0": {"learning_rate": 0.0},
        "momentum is 1": {"momentum": 1.0},
        "steps is 0": {"steps": 0},
        r"kernel_steps is \[-1\]": {"kernel_steps": [-1]},
        r"kernel_steps is 'ends'": {"kernel_steps": "ends"},
        "rank is 13": {"rank": 13},
        "overlap_ranks is 5": {"overlap_ranks": [5], "rank": 4},
        "kernel_dtype is 'float16'": {"kernel_dtype": "float16"},
        "batch_size is 0": {"batch_size": 0},
        "test labels has length 3": {"test": (x, clean[:3])},
        "test targets have shape": {"test": (x, np.ones((N, 2)))},
    }.items():
        with pytest.raises(ValueError, match=match):
            make(**options)


def test_a_loop_that_goes_wrong():
    x, params, clean, observed = two_layer_start()
    recorder = Recorder(two_layer, params, x, observed, clean=clean, learning_rate=0.1)
    other = jax.tree.map(lambda leaf: leaf + 1.0, params)
    with pytest.raises(ValueError, match="the outputs at step 0 differ by"):
        recorder(0, other)
    recorder(2, other)
    with pytest.raises(ValueError, match="step is 2 after 2"):
        recorder(2, other)
    with pytest.raises(ValueError, match="step is 0 after 2"):
        recorder(0, params)
    with pytest.raises(ValueError, match="params at step 3 differ in structure"):
        recorder(3, {"w": params["w"]})
    with pytest.raises(na.distillation.DivergenceError, match="outputs at step 3 are NaN"):
        recorder(3, jax.tree.map(lambda leaf: leaf * np.nan, params))
    np.testing.assert_array_equal(recorder.result().steps, [0, 2])
