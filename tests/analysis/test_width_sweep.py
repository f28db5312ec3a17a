"""The width sweep: every closed form against another route, and the slopes it fits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air.analysis import fit_slope, width_sweep

N, D, C = 6, 4, 2


def problem(n=N, c=C):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, D))
    return x, na.datasets.encode(np.arange(n) % c, c), rng.normal(size=(3, D))


def network(width, activation="erf"):
    return na.kernels.fully_connected(
        1, width, num_outputs=C, activation=activation, weight_std=1.4, bias_std=0.1
    )


def descend(theta, observed, rate, steps):
    """Gradient descent in function space from zero, by its loop."""
    f, found = np.zeros_like(observed), {}
    for step in range(1, steps[-1] + 1):
        f = f - rate * theta @ (f - observed)
        found[step] = f
    return np.stack([found[step] for step in steps])


def test_every_deviation_against_another_route(x64):
    """Linearised training of the parameters, loops in function space, one step at a time."""
    x, observed, test = problem()
    observed = np.asarray(observed, np.float64)
    steps, rate = (1, 4, 20), 0.02
    sweep = width_sweep(
        x, observed, widths=(5, 7), seeds=(0, 3), activation="erf", learning_rate=rate,
        steps=steps, test_inputs=test,
    )  # fmt: skip
    net = network(7)
    _, params = net.init_fn(jax.random.key(3), (-1, D))
    both = jnp.concatenate([jnp.asarray(x), jnp.asarray(test)])
    start, derivative = jax.linearize(lambda p: net.apply_fn(p, both), params)
    transpose = jax.linear_transpose(derivative, params)

    def trained(outputs_of, pull_at):
        p, found = params, {}
        for step in range(1, steps[-1] + 1):
            error = (outputs_of(p) - start)[:N] - observed
            (gradient,) = pull_at(p)(jnp.concatenate([error, jnp.zeros((len(test), C))]))
            p = jax.tree.map(lambda a, g: a - rate * g, p, gradient)
            found[step] = np.asarray(outputs_of(p) - start)
        return np.stack([found[step] for step in steps])

    real = trained(
        lambda p: net.apply_fn(p, both),
        lambda p: jax.vjp(lambda q: net.apply_fn(q, both), p)[1],
    )
    linear = trained(
        lambda p: start + derivative(jax.tree.map(jnp.subtract, p, params)), lambda p: transpose
    )
    infinite = np.asarray(na.kernels.infinite_ntk(net, both))
    jacobian = jax.jacobian(lambda p: net.apply_fn(p, jnp.asarray(x)))(params)
    own = sum(
        np.einsum("iap,jap->ij", flat, flat) / C
        for flat in (np.asarray(j).reshape(N, C, -1) for j in jax.tree.leaves(jacobian))
    )
    closed = {
        "linearised": linear[:, :N],
        "mean_kernel": descend(own, observed, rate, steps),
        "infinite": descend(infinite[:N, :N], observed, rate, steps),
    }
    for name, form in closed.items():
        wanted = np.linalg.norm(real[:, :N] - form, axis=(1, 2)) / N**0.5
        assert wanted.max() > 1e-4
        np.testing.assert_allclose(getattr(sweep, name)[1, 1], wanted, rtol=1e-7)
    weights = np.linalg.solve(infinite[:N, :N], closed["infinite"])
    wanted = np.linalg.norm(real[:, N:] - infinite[N:, :N] @ weights, axis=(1, 2)) / 3**0.5
    np.testing.assert_allclose(sweep.infinite_test[1, 1], wanted, rtol=1e-6)
    wanted = np.linalg.norm(own - infinite[:N, :N]) / np.linalg.norm(infinite[:N, :N])
    assert float(sweep.kernel[1, 1]) == pytest.approx(wanted, rel=1e-9)
    assert sweep.linearised.shape == (2, 2, 3)
    np.testing.assert_allclose(sweep.times, 0.02 * np.asarray(steps))


def test_smooth_networks_approach_their_limit_with_the_root_of_the_width(tmp_path):
    """Fluctuations of the kernel at order −1/2; the linearisation of smooth networks is faster."""
    x, observed, _ = problem()
    sweep = width_sweep(
        x, observed, widths=(64, 512, 4096), seeds=range(4), activation="erf", steps=[20, 60]
    )
    assert sweep.infinite_test is None
    assert sweep.dtype == "float64"
    assert sweep.slopes["infinite"].slope == pytest.approx(-0.5, abs=0.1)
    assert sweep.slopes["kernel"].slope == pytest.approx(-0.5, abs=0.1)
    assert sweep.slopes["linearised"].high < -0.7
    largest = np.asarray(sweep.linearised).max(axis=2)
    fitted = np.polyfit(np.log(np.repeat([64, 512, 4096], 4)), np.log(largest.ravel()), 1)
    assert sweep.slopes["linearised"].slope == pytest.approx(fitted[0], rel=1e-5)
    back = na.load(na.save(sweep, tmp_path / "sweep"))
    assert back.slopes["infinite"].slope == sweep.slopes["infinite"].slope
    np.testing.assert_array_equal(back.infinite, sweep.infinite)


def test_a_linear_network_does_not_deviate_at_any_width():
    x, observed, test = problem()
    sweep = width_sweep(
        x, observed, widths=(8, 16), seeds=(0, 1), depth=0, steps=40, test_inputs=test
    )
    for name in ("linearised", "mean_kernel", "infinite", "infinite_test", "kernel"):
        assert float(np.asarray(getattr(sweep, name)).max()) < 1e-12
    assert sweep.steps[-1] == 40


def test_slope_and_interval_are_those_of_least_squares():
    rng = np.random.default_rng(0)
    sizes = np.array([10.0, 100.0, 1000.0])
    exact = fit_slope(sizes, 3.0 * sizes[:, None] ** -0.5 * np.ones((1, 2)))
    assert exact.slope == pytest.approx(-0.5, abs=1e-12)
    np.testing.assert_allclose(exact(sizes), 3.0 * sizes**-0.5)
    values = sizes[:, None] ** -0.5 * np.exp(0.1 * rng.normal(size=(3, 4)))
    fit = fit_slope(sizes, values, confidence=0.9)
    a = np.stack([np.ones(12), np.log(np.repeat(sizes, 4))], axis=1)
    solution, squares, _, _ = np.linalg.lstsq(a, np.log(values).ravel())
    error = np.sqrt(np.linalg.inv(a.T @ a)[1, 1] * squares[0] / 10)
    assert fit.slope == pytest.approx(solution[1])
    assert fit.standard_error == pytest.approx(error)
    # Student's t of 10 degrees of freedom at 95 %, from a table.
    assert fit.high - fit.slope == pytest.approx(1.8125 * error, rel=1e-4)
    assert fit.num_points == 12


def test_a_network_that_diverges_where_infinite_width_does_not():
    x, observed, _ = problem()
    kernel = np.asarray(na.kernels.infinite_ntk(network(2, "relu"), x))
    rate = 1.9 / np.linalg.eigvalsh(kernel).max()
    with pytest.raises(na.distillation.DivergenceError, match=r"width=2, .* diverged at learning"):
        width_sweep(x, observed, widths=(2, 1), seeds=(0, 1), learning_rate=rate, steps=[100])


def test_bad_inputs():
    x, observed, _ = problem()
    for match, options in {
        "widths is": {"widths": (8, 8)},
        "widths is 0": {"widths": (0, 8)},
        r"1 width\(s\) and 3 seed\(s\)": {"widths": (8,)},
        "seeds is": {"seeds": ()},
        "steps is": {"steps": [3, 2]},
        "steps is 0": {"steps": 0},
        "seeds is 4294967296": {"seeds": (0, 2**32)},
        "precision is 'bfloat16'": {"precision": "bfloat16"},
        "the budget is 1000 bytes": {"memory_budget": 1000},
        "learning_rate is -1": {"learning_rate": -1.0},
        # From 2/λ_1 on it diverges at infinite width.
        r"learning_rate is 10.0, expected a number in \(0, 0.": {"learning_rate": 10.0},
    }.items():
        with pytest.raises(ValueError, match=match):
            width_sweep(x, observed, **options)
    with pytest.raises(ValueError, match="inputs has shape"):
        width_sweep(x[:, 0], observed)
    with pytest.raises(ValueError, match="inputs has length 5"):
        width_sweep(x[:5], observed)
    hidden = np.ma.masked_array(x, np.arange(x.size).reshape(x.shape) == 3)
    with pytest.raises(ValueError, match=r"^inputs has 1 masked"):
        width_sweep(hidden, observed)
    with pytest.raises(ValueError, match=r"^test_inputs has 1 masked"):
        width_sweep(x, observed, test_inputs=hidden)
    for sizes, values, match in (
        ([1.0, 2.0], np.ones((3, 1)), "sizes has shape"),
        ([1.0, 1.0], np.ones((2, 2)), "do not give a slope"),
        ([1.0, 2.0], np.zeros((2, 2)), "must be positive"),
    ):
        with pytest.raises(ValueError, match=match):
            fit_slope(sizes, values)
    with pytest.raises(ValueError, match="confidence is 1"):
        fit_slope([1.0, 2.0], np.ones((2, 2)), confidence=1.0)
