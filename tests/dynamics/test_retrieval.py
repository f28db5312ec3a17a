"""Retrieval and stopping: predicted against measured on a linear model, rules against loops."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_air as na


def problem(n=60, c=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 20)) * np.geomspace(3, 0.1, 20)
    kernel = x @ x.T + 0.05 * np.eye(n)
    clean = (x @ rng.normal(size=(20, c))).argmax(1)
    noisy = na.noise.symmetric(clean, 0.3, num_classes=c, seed=seed)
    y = np.asarray(na.datasets.encode(clean, c), np.float64)
    observed = np.asarray(na.datasets.encode(noisy.labels, c), np.float64)
    return kernel, y, observed, noisy.retention, rng.normal(size=(n, c))


def test_prediction_for_a_draw_is_exact(x64):
    """Outputs of the dense recursion, measured, equal the closed form with f_0 and cross terms."""
    kernel, y, observed, kappa, f0 = problem()
    es = na.spectral.eigendecompose(kernel)
    rate = 0.9 / float(es.eigenvalues[0])
    steps = [0, 1, 5, 50, 400]
    f, outputs = f0, []
    for step in range(401):
        if step in steps:
            outputs.append(f)
        f = f - rate * kernel @ (f - observed)
    times = [rate * s for s in steps]
    measured = na.dynamics.measured_retrieval(
        np.stack(outputs), y, observed, times, retention=kappa, eigensystem=es
    )
    predicted = na.dynamics.retrieval(
        es,
        y,
        observed,
        times,
        retention=kappa,
        initial=f0,
        filters=[na.dynamics.gradient_descent(rate, s) for s in steps],
    )
    np.testing.assert_allclose(measured.signal, predicted.draw_signal, atol=1e-9)
    np.testing.assert_allclose(measured.noise, predicted.draw_noise, atol=1e-9)
    np.testing.assert_allclose(measured.per_direction, predicted.per_direction, atol=1e-6)


def test_plain_curves_are_the_expectation_over_noise(x64):
    """Averaged over independent noise draws, the draw's curve tends to the plain one."""
    kernel, y, _, _, _ = problem(n=40)
    es = na.spectral.eigendecompose(kernel)
    clean = y.argmax(1)
    times = [0.05, 0.5, 5.0]
    draws = []
    for seed in range(400):
        noisy = na.noise.symmetric(clean, 0.3, num_classes=3, seed=seed)
        observed = np.asarray(na.datasets.encode(noisy.labels, 3), np.float64)
        curves = na.dynamics.retrieval(es, y, observed, times, retention=noisy.retention)
        draws.append(np.asarray(curves.draw_signal))
    error = np.std(draws, axis=0) / 20
    assert (np.abs(np.mean(draws, axis=0) - curves.signal) < 5 * error + 1e-12).all()


def test_curves_run_from_nothing_to_all(x64):
    kernel, y, observed, kappa, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    curves = na.dynamics.retrieval(es, y, observed, [0.0, 0.1, np.inf], retention=kappa)
    np.testing.assert_allclose(np.asarray(curves.signal)[[0, 2]], [0, 1], atol=1e-10)
    np.testing.assert_allclose(np.asarray(curves.noise)[[0, 2]], [0, 1], atol=1e-10)
    assert float(curves.signal[1]) > 2 * float(curves.noise[1])


def test_gcv_and_leave_one_out_equal_their_definitions(x64):
    kernel, _, observed, _, _ = problem(n=25)
    es = na.spectral.eigendecompose(kernel)
    ridge = na.dynamics.ridge(0.4)
    direct = np.empty_like(observed)
    for i in range(25):
        keep = np.delete(np.arange(25), i)
        weights = np.linalg.solve(kernel[np.ix_(keep, keep)] + 0.4 * np.eye(24), observed[keep])
        direct[i] = kernel[i, keep] @ weights
    np.testing.assert_allclose(na.dynamics.leave_one_out(es, ridge, observed), direct, atol=1e-9)

    time = 0.3
    values, vectors = np.linalg.eigh(kernel)
    smoother = (vectors * (1 - np.exp(-values * time))) @ vectors.T
    residual = observed - smoother @ observed
    gcv = (residual**2).sum() / 25 / (1 - np.trace(smoother) / 25) ** 2
    chosen = na.dynamics.stopping_time(es, observed, times=[0.1, time, 2.0])
    np.testing.assert_allclose(chosen.score[1], gcv, rtol=1e-10)


def test_risk_is_the_distance_it_says(x64):
    kernel, y, observed, kappa, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    filter_ = na.dynamics.gradient_flow(0.2)
    f = np.asarray(na.dynamics.fit(es, filter_, observed))
    risk = na.dynamics.risk(es, filter_, y, observed, retention=kappa)
    np.testing.assert_allclose(risk.total, ((f - kappa * y) ** 2).sum() / len(y), rtol=1e-9)
    np.testing.assert_allclose(risk.clean_error, ((f - y) ** 2).sum() / len(y), rtol=1e-9)
    partial = na.spectral.eigendecompose(kernel, rank=9)
    f = np.asarray(na.dynamics.fit(partial, filter_, observed))
    risk = na.dynamics.risk(partial, filter_, y, observed, retention=kappa)
    np.testing.assert_allclose(risk.clean_error, ((f - y) ** 2).sum() / len(y), rtol=1e-9)


def test_gcv_stops_near_the_best_time():
    kernel, y, observed, kappa, _ = problem(n=200)
    es = na.spectral.eigendecompose(kernel)
    chosen = na.dynamics.stopping_time(es, observed)

    def clean_error(t):
        filter_ = na.dynamics.gradient_flow(float(t))
        return float(na.dynamics.risk(es, filter_, y, observed, retention=kappa).total)

    errors = [clean_error(t) for t in chosen.times]
    assert clean_error(chosen.time) < 1.2 * min(errors)
    assert clean_error(chosen.time) < 0.6 * errors[-1]
    assert not chosen.at_edge


@pytest.mark.parametrize(
    ("times", "match"),
    [
        ([-1.0], "non-negative"),
        ([2.0, 1.0], "increasing"),
        ([1.0, 1.0], "1.0 after 1.0"),
        ([], "empty"),
    ],
)
def test_bad_times(times, match):
    kernel, y, observed, _, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    with pytest.raises(ValueError, match=match):
        na.dynamics.retrieval(es, y, observed, times)


def test_bad_shapes():
    kernel, y, observed, _, _ = problem()
    es = na.spectral.eigendecompose(kernel)
    with pytest.raises(ValueError, match="equal shapes"):
        na.dynamics.retrieval(es, y, observed[:, :2], [1.0])
    with pytest.raises(ValueError, match="length 59"):
        na.dynamics.retrieval(es, y[:59], observed[:59], [1.0])
    with pytest.raises(ValueError, match="rule is 'guess'"):
        na.dynamics.stopping_time(es, observed, rule="guess")
    with pytest.raises(ValueError, match=r"expected \(T, n, C\)"):
        na.dynamics.measured_retrieval(np.zeros((2, 5, 3)), y, observed, [0.0, 1.0])
