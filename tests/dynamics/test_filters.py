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


def test_ridge_distillation_equals_repeated_ridge(x64):
    kernel, y, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    for alpha in (0.0, 0.35):
        target = y
        smoother = kernel @ np.linalg.inv(kernel + 0.2 * np.eye(12))
        for rounds in range(4):
            f = smoother @ target
            filter_ = na.dynamics.ridge_distillation(0.2, rounds, alpha)
            np.testing.assert_allclose(na.dynamics.fit(es, filter_, y), f, atol=1e-10)
            target = alpha * y + (1 - alpha) * f
    several = na.dynamics.ridge_distillation([0.2, 0.5])
    np.testing.assert_allclose(several(VALUES), VALUES**2 / (VALUES + 0.2) / (VALUES + 0.5))


TOY_Y = [
    0.38476636465198066, 1.2333967683416893, 1.33232242218057, 0.6920159488889518,
    -0.29756145531871736, -0.24189291901377769, -0.7964485769175675, -0.9616480167034174,
    -0.49672509509916934, -0.3469066003991437, 0.5589512650600734,
]  # fmt: skip


@pytest.mark.parametrize(
    ("alpha", "errors"),
    [
        (0.0, [0.16477, 0.15076, 0.14915, 0.15561, 0.16735, 0.18251]),
        (0.35, [0.16477, 0.15424, 0.15089, 0.14983, 0.14954, 0.14948]),
        (0.25, [0.16477, 0.15309, 0.14958, 0.14903, 0.14946, 0.15011]),
    ],
)
def test_published_errors_of_the_toy_problem(alpha, errors, x64):
    """Borup & Andersen (arXiv:2102.13088), Mobahi's 11-point sine."""
    x, fine = np.linspace(0, 1, 11), np.linspace(0, 1, 101)
    kernel = np.exp(-80 * (x[:, None] - x) ** 2)
    cross = np.exp(-80 * (fine[:, None] - x) ** 2)
    filters = [na.dynamics.ridge_distillation(0.2, r, alpha) for r in range(6)]
    es = na.spectral.eigendecompose(kernel)
    out = na.dynamics.predict(es, filters, np.array(TOY_Y)[:, None], cross)
    mse = ((np.asarray(out)[..., 0] - np.sin(2 * np.pi * fine)) ** 2).mean(1)
    np.testing.assert_allclose(mse, errors, atol=5.1e-6)


def test_predict_equals_solved_systems(x64):
    kernel, y, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    cross = np.random.default_rng(5).normal(size=(4, 12))
    expected = cross @ np.linalg.solve(kernel + 0.3 * np.eye(12), y)
    ridge = na.dynamics.predict(es, na.dynamics.ridge(0.3), y, cross)
    np.testing.assert_allclose(ridge, expected, atol=1e-9)
    flow = na.dynamics.predict(es, na.dynamics.gradient_flow(np.inf), y, cross)
    np.testing.assert_allclose(flow, cross @ np.linalg.solve(kernel, y), rtol=1e-7)


def test_teacher_student_and_truncation(x64):
    kernel, y, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    teacher = na.dynamics.fit(es, na.dynamics.gradient_flow(0.7), y)
    student = na.dynamics.fit(es, na.dynamics.gradient_flow(3.0), teacher)
    both = na.dynamics.fit(es, na.dynamics.teacher_student(0.7, 3.0), y)
    np.testing.assert_allclose(both, student, atol=1e-10)
    u = np.asarray(es.eigenvectors)[:, :4]
    cut = na.dynamics.fit(es, na.dynamics.truncation(4), y)
    np.testing.assert_allclose(cut, u @ (u.T @ y), atol=1e-10)


def test_partial_eigensystem_leaves_the_rest_at_the_start(x64):
    kernel, y, f0 = problem()
    partial = na.spectral.eigendecompose(kernel, rank=3)
    out = np.asarray(na.dynamics.fit(partial, na.dynamics.gradient_flow(np.inf), y, initial=f0))
    u = np.asarray(partial.eigenvectors)
    np.testing.assert_allclose(out, f0 + u @ (u.T @ (y - f0)), atol=1e-10)


def test_float32_keeps_the_digits_of_small_rates():
    small = np.float32([1e-9])
    flow = na.dynamics.gradient_flow(1.0)(small)
    descent = na.dynamics.gradient_descent(0.1, 10)(small)
    np.testing.assert_allclose(flow, 1e-9, rtol=1e-6)
    np.testing.assert_allclose(descent, 1e-9, rtol=1e-6)
    assert float(na.dynamics.gradient_flow(5.0)(np.float32([-1e-7]))[0]) == 0.0


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d: d.gradient_flow(-1.0), "time is -1"),
        (lambda d: d.gradient_flow(float("nan")), "time is nan"),
        (lambda d: d.gradient_descent(0.0, 3), "learning_rate"),
        (lambda d: d.gradient_descent(0.1, -3), "steps"),
        (lambda d: d.heavy_ball(0.1, 3, 1.0), "momentum"),
        (lambda d: d.ridge(0.0), "strength"),
        (lambda d: d.ridge_distillation(0.1), "needs rounds="),
        (lambda d: d.ridge_distillation([0.1, 0.2], 5), "rounds \\+ 1"),
        (lambda d: d.ridge_distillation(0.1, 2, 1.5), "alpha"),
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
