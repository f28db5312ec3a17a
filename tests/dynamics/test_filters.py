"""Filters and closed-form training: against loops, an ODE integrator, and solved systems."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import ntk_air as na

VALUES = np.geomspace(4.0, 1e-4, 12)


def problem(n=12, c=3, seed=0):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    kernel = (q * VALUES[:n]) @ q.T
    return kernel, rng.normal(size=(n, c)), rng.normal(size=(n, c))


def test_gradient_flow_equals_the_integrated_ode(x64):
    kernel, y, f0 = problem()
    es = na.spectral.eigendecompose(kernel)
    times = [0.1, 1.0, 20.0]

    def rhs(_, f):
        return (-kernel @ (f.reshape(y.shape) - y)).ravel()

    solution = solve_ivp(rhs, (0, 20), f0.ravel(), "DOP853", times, rtol=1e-11, atol=1e-13)
    filters = [na.dynamics.gradient_flow(t) for t in times]
    fitted = na.dynamics.fit(es, filters, y, initial=f0)
    expected = solution.y.T.reshape(3, *y.shape)
    np.testing.assert_allclose(fitted, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("steps", [0, 1, 2, 57])
@pytest.mark.parametrize("rate", [0.2, 0.45])
def test_discrete_methods_equal_their_loops(momentum, steps, rate, x64):
    kernel, y, f0 = problem()
    es = na.spectral.eigendecompose(kernel)
    f = previous = f0
    for _ in range(steps):
        f, previous = f - rate * kernel @ (f - y) + momentum * (f - previous), f
    filter_ = na.dynamics.heavy_ball(rate, steps, momentum)
    np.testing.assert_allclose(
        na.dynamics.fit(es, filter_, y, initial=f0), f, rtol=1e-8, atol=1e-10
    )
    if momentum == 0.0:
        plain = na.dynamics.gradient_descent(rate, steps)
        np.testing.assert_allclose(na.dynamics.fit(es, plain, y, initial=f0), f, atol=1e-10)


def test_heavy_ball_at_its_double_root(x64):
    """Where the characteristic roots meet, (1 − sqrt β)² = ηλ, the closed form is a limit."""
    beta, rate = 0.36, 0.5
    exact = (1 - beta**0.5) ** 2 / rate
    values = np.array([exact * (1 + 1e-9), exact, exact * (1 - 1e-9)])
    r = previous = np.ones(3)
    for _ in range(20):
        r, previous = r - rate * values * r + beta * (r - previous), r
    np.testing.assert_allclose(na.dynamics.heavy_ball(rate, 20, beta)(values), 1 - r, atol=1e-9)


def test_many_flows_at_once_equal_one_by_one(x64):
    kernel, y, f0 = problem()
    es = na.spectral.eigendecompose(kernel)
    times = [0.0, 1e-9, 0.3, 7.0, np.inf]
    flows = [na.dynamics.gradient_flow(t) for t in times]
    plain = [lambda values, flow=flow: flow(values) for flow in flows]
    together = na.dynamics.fit(es, flows, y, initial=f0)
    np.testing.assert_allclose(together, na.dynamics.fit(es, plain, y, initial=f0), rtol=1e-12)


def test_predict_equals_solved_systems(x64):
    kernel, y, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    cross = np.random.default_rng(5).normal(size=(4, 12))
    expected = cross @ np.linalg.solve(kernel + 0.3 * np.eye(12), y)
    ridge = na.dynamics.predict(es, na.dynamics.ridge(0.3), y, cross)
    np.testing.assert_allclose(ridge, expected, atol=1e-9)
    flow = na.dynamics.predict(es, na.dynamics.gradient_flow(np.inf), y, cross)
    np.testing.assert_allclose(flow, cross @ np.linalg.solve(kernel, y), rtol=1e-7)


def test_truncation_is_a_projection(x64):
    kernel, y, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    u = np.asarray(es.eigenvectors)[:, :4]
    cut = na.dynamics.fit(es, na.dynamics.truncation(4), y)
    np.testing.assert_allclose(cut, u @ (u.T @ y), atol=1e-10)


def test_float32_keeps_the_digits_of_small_rates():
    small = np.float32([1e-9])
    flow = na.dynamics.gradient_flow(1.0)(small)
    descent = na.dynamics.gradient_descent(0.1, 10)(small)
    np.testing.assert_allclose(flow, 1e-9, rtol=1e-6)
    np.testing.assert_allclose(descent, 1e-9, rtol=1e-6)
    assert float(na.dynamics.gradient_flow(5.0)(np.float32([-1e-7]))[0]) == 0.0
    ball = na.dynamics.heavy_ball(0.01, 10, 0.9)(small)
    steps = sum(0.01 * (1 - 0.9**k) / 0.1 for k in range(1, 11))
    np.testing.assert_allclose(ball, 1e-9 * steps, rtol=1e-5)


@pytest.mark.parametrize("momentum", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 3, 1000])
def test_heavy_ball_over_the_whole_spectrum(momentum, steps, x64):
    """Slow, double, oscillating, alternating and unstable directions, relative 1e-8 of the loop."""
    root = momentum**0.5
    values = np.concatenate(
        [
            np.geomspace(1e-12, 1.99 * (1 + momentum), 400),
            (1 - root) ** 2 * (1 + np.linspace(-1e-5, 1e-5, 41)),
            (1 + root) ** 2 * (1 + np.linspace(-1e-5, 1e-5, 41)),
        ]
    )
    r, previous = np.ones_like(values, dtype=np.longdouble), np.ones_like(values)
    for _ in range(steps):
        r, previous = r - values * r + momentum * (r - previous), r
    got = np.asarray(na.dynamics.heavy_ball(1.0, steps, momentum)(values))
    np.testing.assert_allclose(got, np.asarray(1 - r, float), rtol=1e-8, atol=1e-15)
    descent = na.dynamics.gradient_descent(1.0, steps)(values)
    exact = -np.expm1(steps * np.log1p(-values[values < 0.5].astype(np.longdouble)))
    np.testing.assert_allclose(np.asarray(descent)[values < 0.5], exact.astype(float), rtol=1e-8)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d: d.gradient_flow(-1.0), "time is -1"),
        (lambda d: d.gradient_flow(float("nan")), "time is nan"),
        (lambda d: d.gradient_descent(0.0, 3), "learning_rate"),
        (lambda d: d.gradient_descent(0.1, -3), "steps"),
        (lambda d: d.heavy_ball(0.1, 3, 1.0), "momentum"),
        (lambda d: d.ridge(0.0), "strength"),
        (lambda d: d.gradient_descent(0.1, 2.5), "steps is 2.5"),
        (lambda d: d.truncation(1.5), "rank is 1.5"),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call(na.dynamics)


def test_filter_of_the_wrong_shape_is_refused():
    kernel, y, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    with pytest.raises(ValueError, match="one value per eigenvalue"):
        na.dynamics.fit(es, lambda v: v[:3], y)
    with pytest.raises(ValueError, match=r"expected \(m, 12\)"):
        na.dynamics.predict(es, na.dynamics.ridge(1.0), y, np.ones((4, 5)))


def test_filter_values_are_the_formulas_at_the_eigenvalues(x64):
    es = na.spectral.eigendecompose(np.diag([4.0, 2.0, 1.0, 0.0]))
    values = np.array([4.0, 2.0, 1.0, 0.0])
    filters = [
        na.dynamics.gradient_flow(0.5),
        na.dynamics.ridge(2.0),
        na.dynamics.truncation(2),
        lambda eigenvalues: eigenvalues**2 / 16,
    ]
    found = na.dynamics.filter_values(es, filters)
    expected = [1 - np.exp(-0.5 * values), values / (values + 2), values >= 2, values**2 / 16]
    np.testing.assert_allclose(found, np.array(expected, float), rtol=1e-14, atol=1e-15)


def test_filter_values_take_what_cannot_be_told_from_zero_for_zero():
    es = na.spectral.eigendecompose(np.diag(np.float32([1.0, 1e-9])))
    assert es.trusted_rank == 1
    found = na.dynamics.filter_values(es, [lambda eigenvalues: eigenvalues + 3.0])
    np.testing.assert_array_equal(found, np.float32([[4.0, 3.0]]))


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        (None, "filter is a NoneType, expected a function of eigenvalues, such as"),
        ([na.dynamics.ridge(1.0), 3.0], "filter 1 is a float, expected a function of eigenvalues"),
        ([lambda v: v[:1]], r"filter 0 maps eigenvalues of shape \(3,\) to \(1,\); expected"),
        ([lambda v: v * np.nan], r"filter values holds 3 value\(s\) that are NaN or infinite"),
        (
            [na.dynamics.truncation(3)],
            "a filter counts 3 directions and the eigensystem holds 2 of 4: directions 3 to 3 "
            "would be lost; decompose with rank=3",
        ),
    ],
)
def test_filter_values_refuse(filters, said):
    es = na.spectral.eigendecompose(np.diag(np.float32([4.0, 3.0, 2.0, 1.0])), rank=2)
    with pytest.raises(ValueError, match=said):
        na.dynamics.filter_values(es, filters)
