"""Predictions, kernels in closed form, sampling, batching and linearisation."""

import importlib.util
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import run

from ntk_air._neural_tangents import load

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("neural_tangents") is None,
        reason="neural-tangents is not installed",
    ),
    pytest.mark.usefixtures("x64"),
]


@pytest.fixture(scope="module")
def nt():
    return load()


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape)) for shape in ((6, 4), (3, 4), (6, 2)))


@pytest.fixture
def network(nt):
    return nt.stax.serial(nt.stax.Dense(16), nt.stax.Relu(), nt.stax.Dense(2))


@pytest.fixture
def kernels(network, data):
    x, x_test, _ = data
    return network[2](x, None, "ntk"), network[2](x_test, x, "ntk")


def gradient_flow(k, k_test, y, t):
    """Outputs at time t from zero: an eigendecomposition, written out in NumPy."""
    w, v = np.linalg.eigh(k)
    gain = -np.expm1(-w * t / y.size)
    return (v * gain) @ v.T @ y, k_test @ (v * (gain / w)) @ v.T @ y


def test_relu_kernel_is_the_arc_cosine_kernel(nt, data):
    x = np.asarray(data[0])
    norms = np.linalg.norm(x, axis=1)
    inner = x @ x.T / 4
    angle = np.arccos(np.clip(x @ x.T / np.outer(norms, norms), -1, 1))
    derivative = (np.pi - angle) / (2 * np.pi)
    nngp = np.outer(norms, norms) / 4 * np.sin(angle) / (2 * np.pi) + inner * derivative
    kernel_fn = nt.stax.serial(nt.stax.Dense(1), nt.stax.Relu(), nt.stax.Dense(1))[2]
    both = kernel_fn(data[0], None)
    np.testing.assert_allclose(both.nngp, nngp, rtol=1e-7)
    np.testing.assert_allclose(both.ntk, nngp + inner * derivative, rtol=1e-7)


def test_gradient_descent_mse(nt, data, kernels):
    y, (k, k_test) = data[2], kernels
    predict_fn = nt.predict.gradient_descent_mse(k, y)
    expected = gradient_flow(k, k_test, y, 3.0)
    for got, want in zip(predict_fn(3.0, 0.0, 0.0, k_test), expected, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-10)
    limit = predict_fn(None, 0.0, 0.0, k_test)[1]
    np.testing.assert_allclose(limit, k_test @ np.linalg.solve(k, y), atol=1e-8)


def test_gradient_descent_mse_of_a_traced_kernel_then_eagerly(nt, data, kernels):
    y, (k, k_test) = data[2], kernels
    expected = gradient_flow(k, k_test, y, 3.0)[1]

    def test_outputs(k):
        return nt.predict.gradient_descent_mse(k, y)(3.0, 0.0, 0.0, k_test)[1]

    np.testing.assert_allclose(jax.jit(test_outputs)(k), expected, atol=1e-10)
    np.testing.assert_allclose(test_outputs(k), expected, atol=1e-10)
    np.testing.assert_allclose(jax.vmap(test_outputs)(jnp.stack([k, k]))[1], expected, atol=1e-10)

    direction = k @ k  # commutes with k: a derivative along it has no degenerate terms
    step = 1e-5
    slope = jax.jvp(test_outputs, (k,), (direction,))[1]
    finite = (test_outputs(k + step * direction) - test_outputs(k - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, finite, atol=1e-6)
    assert np.isfinite(jax.grad(lambda k: test_outputs(k).sum())(k)).all()


@pytest.mark.parametrize("t", [3.0, None])
def test_prediction_function_called_under_jit_first(nt, data, kernels, t):
    y, (k, k_test) = data[2], kernels
    predict_fn = nt.predict.gradient_descent_mse(k, y)
    traced = jax.jit(lambda fx: predict_fn(t, 0.0, fx, k_test)[1])(jnp.zeros((3, 2)))
    np.testing.assert_allclose(predict_fn(t, 0.0, 0.0, k_test)[1], traced, atol=1e-10)


def test_prediction_inside_a_scan_inside_jit(nt, data, kernels):
    y, (k, k_test) = data[2], kernels

    @jax.jit
    def summed(k):
        predict_fn = nt.predict.gradient_descent_mse(k, y)

        def body(total, t):
            return total + predict_fn(t, 0.0, 0.0, k_test)[1], None

        total, _ = jax.lax.scan(body, jnp.zeros((3, 2)), jnp.array([1.0, 2.0]))
        return total + predict_fn(3.0, 0.0, 0.0, k_test)[1]

    expected = sum(gradient_flow(k, k_test, y, t)[1] for t in (1.0, 2.0, 3.0))
    np.testing.assert_allclose(summed(k), expected, atol=1e-10)


def test_gradient_descent_by_ode(nt, data, kernels):
    y, (k, k_test) = data[2], kernels
    predict_fn = nt.predict.gradient_descent(lambda fx, y: 0.5 * jnp.mean((fx - y) ** 2), k, y)
    got = predict_fn(3.0, jnp.zeros((6, 2)), jnp.zeros((3, 2)), k_test)
    for a, b in zip(got, gradient_flow(k, k_test, y, 3.0), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_ensemble_under_jit_then_eagerly(nt, network, data, kernels):
    x, x_test, y = data
    predict_fn = nt.predict.gradient_descent_mse_ensemble(network[2], x, y)

    def posterior(t):
        return predict_fn(t, x_test, "ntk", True)

    traced, eager = jax.jit(posterior)(3.0), posterior(3.0)
    np.testing.assert_allclose(traced.mean, gradient_flow(*kernels, y, 3.0)[1], atol=1e-10)
    np.testing.assert_allclose(eager.mean, traced.mean, atol=1e-10)
    np.testing.assert_allclose(eager.covariance, traced.covariance, atol=1e-10)


def test_max_learning_rate(nt, kernels):
    k = kernels[0]
    expected = 2 * 12 / np.linalg.eigvalsh(k)[-1]
    np.testing.assert_allclose(nt.predict.max_learning_rate(k, 12), expected)
    np.testing.assert_allclose(jax.jit(lambda k: nt.predict.max_learning_rate(k, 12))(k), expected)


def test_monte_carlo_converges_to_the_infinite_kernel(nt, data):
    init_fn, apply_fn, kernel_fn = nt.stax.serial(
        nt.stax.Dense(256), nt.stax.Relu(), nt.stax.Dense(1)
    )
    sampled = nt.monte_carlo_kernel_fn(
        init_fn, apply_fn, jax.random.key(0), {4, 64}, vmap_axes=0,
        implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
    )  # fmt: skip
    exact = kernel_fn(data[0], None, "ntk")
    few, many = (float(jnp.abs(k - exact).max()) for k in sampled(data[0], None, "ntk"))
    assert many < few
    assert many < 0.05 * float(exact.max())


def test_linearize_and_taylor_expand(nt, network, data):
    init_fn, f, _ = network
    x = data[0]
    _, p0 = init_fn(jax.random.key(0), x.shape)
    d = jax.tree.map(lambda a: 0.1 * jnp.ones_like(a), p0)
    p = jax.tree.map(jnp.add, p0, d)
    zeroth, first = jax.jvp(lambda p: f(p, x), (p0,), (d,))
    second = jax.jvp(lambda p: jax.jvp(lambda q: f(q, x), (p,), (d,))[1], (p0,), (d,))[1]
    np.testing.assert_allclose(nt.linearize(f, p0)(p, x), zeroth + first, atol=1e-12)
    np.testing.assert_allclose(nt.taylor_expand(f, p0, 1)(p, x), zeroth + first, atol=1e-12)
    np.testing.assert_allclose(
        nt.taylor_expand(f, p0, 2)(p, x), zeroth + first + second / 2, atol=1e-12
    )


def test_serial_batches_equal_the_whole(nt, network, data):
    init_fn, f, kernel_fn = network
    x, x_test, _ = data
    _, params = init_fn(jax.random.key(0), x.shape)
    infinite = nt.batch(kernel_fn, batch_size=3, device_count=0)
    np.testing.assert_allclose(infinite(x_test, x, "ntk"), kernel_fn(x_test, x, "ntk"))
    empirical = nt.empirical_ntk_fn(f, vmap_axes=0, implementation=3)
    np.testing.assert_allclose(
        nt.batch(empirical, 3, 0)(x, None, params), empirical(x, None, params), atol=1e-12
    )


def test_parallel_batches_over_fake_devices():
    code = """
    import jax, numpy as np
    from ntk_air._neural_tangents import load
    nt = load()
    assert jax.local_device_count() == 2
    init_fn, f, kernel_fn = nt.stax.serial(nt.stax.Dense(8), nt.stax.Relu(), nt.stax.Dense(2))
    x = jax.random.normal(jax.random.key(0), (8, 4))
    _, params = init_fn(jax.random.key(1), x.shape)
    parallel = nt.batch(kernel_fn, batch_size=2, device_count=-1)
    np.testing.assert_allclose(parallel(x, None, "ntk"), kernel_fn(x, None, "ntk"), rtol=1e-3)
    ntk = nt.empirical_ntk_fn(f, vmap_axes=0, implementation=3)
    got = nt.batch(ntk, batch_size=2, device_count=-1)(x, None, params)
    np.testing.assert_allclose(got, ntk(x, None, params), rtol=1e-4, atol=1e-5)
    """
    run(["-c", textwrap.dedent(code)], devices=2)
