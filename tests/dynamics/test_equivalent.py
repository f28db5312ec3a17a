"""Equivalent stopping times: against exact cases and a brute-force minimiser."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import ntk_air as na

D = na.dynamics
VALUES = np.geomspace(3.0, 1e-5, 14)


def problem(values=VALUES, c=2, seed=0):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(len(values), len(values))))
    return na.spectral.eigendecompose((q * values) @ q.T), rng.normal(size=(len(values), c))


def test_gradient_flow_is_its_own_equivalent(x64):
    es, y = problem()
    times = [0.0, 1e-12, 1e-3, 1.0, 40.0, 1e4, np.inf]
    found = D.equivalent_stopping_time(es, [D.gradient_flow(t) for t in times], y)
    np.testing.assert_allclose(found.time, times, rtol=1e-8)
    np.testing.assert_allclose(found.relative, 0, atol=1e-9)
    one = D.equivalent_stopping_time(es, D.gradient_flow(1.0), y)
    assert one.time.shape == ()
    np.testing.assert_allclose(one.time, 1.0, rtol=1e-8)


def test_filters_equal_to_zero_or_one():
    es, y = problem()
    found = D.equivalent_stopping_time(es, [lambda v: 0 * v, lambda v: 0 * v + 1], y)
    np.testing.assert_array_equal(found.time, [0.0, np.inf])
    np.testing.assert_array_equal(found.residual, 0.0)
    np.testing.assert_array_equal(found.fitted, [0.0, 1.0])
    nothing = D.equivalent_stopping_time(es, D.ridge(0.1), 0 * y)
    assert float(nothing.time) == 0.0
    assert np.isfinite(float(nothing.relative))


@pytest.mark.parametrize("seed", range(3))
def test_least_distance_against_a_brute_force_search(seed, x64):
    es, y = problem(seed=seed)
    rng = np.random.default_rng(seed)
    wild = [lambda v, w=w: w + 0 * v for w in rng.uniform(-0.5, 1.5, (4, len(VALUES)))]
    rounds, ball = D.ridge_distillation(0.01, 8), D.heavy_ball(0.3, 9, 0.9)
    filters = [D.ridge(0.01), D.truncation(4), rounds, ball, *wild]
    found = D.equivalent_stopping_time(es, filters, y)
    values = np.asarray(es.eigenvalues)
    weights = ((np.asarray(es.eigenvectors).T @ y) ** 2).sum(1)
    for index, filter_ in enumerate(filters):
        g = np.asarray(filter_(values))

        def distance(log_time, g=g):
            return (weights * (g + np.expm1(-values * np.exp(log_time))) ** 2).sum()

        grid = np.linspace(-20, 20, 4001)
        start = grid[np.argmin([distance(t) for t in grid])]
        inner = minimize_scalar(distance, bounds=(start - 0.02, start + 0.02), method="bounded",
                                options={"xatol": 1e-12})  # fmt: skip
        least = min(inner.fun, (weights * g**2).sum(), (weights * (1 - g) ** 2).sum())
        np.testing.assert_allclose(found.residual[index], least, rtol=1e-7, atol=1e-14)
        if least == inner.fun:
            np.testing.assert_allclose(found.time[index], np.exp(inner.x), rtol=1e-4)
    outputs = np.asarray(D.fit(es, filters, y))
    nearest = np.asarray(D.fit(es, [D.gradient_flow(float(t)) for t in found.time], y))
    size = np.linalg.norm(outputs, axis=(1, 2))
    gaps = np.linalg.norm(outputs - nearest, axis=(1, 2))
    np.testing.assert_allclose(found.residual, gaps**2, rtol=1e-6, atol=1e-14)
    np.testing.assert_allclose(found.relative, gaps / size, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(found.fitted, size / np.linalg.norm(y), rtol=1e-9)


def test_initial_outputs_and_a_partial_spectrum(x64):
    es, y = problem(np.r_[[5.0, 2.0, 1.0], np.full(11, 0.01)])
    start = np.ones_like(y)
    shifted = D.equivalent_stopping_time(es, D.ridge(0.1), y, initial=start)
    plain = D.equivalent_stopping_time(es, D.ridge(0.1), y - start)
    np.testing.assert_allclose(shifted.time, plain.time, rtol=1e-10)
    kernel = np.asarray(es.eigenvectors * es.eigenvalues) @ np.asarray(es.eigenvectors).T
    # Equal eigenvalues outside: the remainder at its mean is exact.
    partial = na.spectral.eigendecompose(kernel, rank=3)
    part = D.equivalent_stopping_time(partial, D.ridge(0.1), y - start)
    np.testing.assert_allclose(part.time, plain.time, rtol=1e-7)
    np.testing.assert_allclose(part.residual, plain.residual, rtol=1e-7)


def test_float32_and_scaled_kernels_agree():
    es, y = problem(np.geomspace(3.0, 1e-3, 14))
    big, _ = problem(1e6 * np.geomspace(3.0, 1e-3, 14))
    one = D.equivalent_stopping_time(es, D.ridge(0.1), y)
    other = D.equivalent_stopping_time(big, D.ridge(1e5), y)
    np.testing.assert_allclose(float(one.time) / float(other.time), 1e6, rtol=1e-2)


def test_table_of_schemes(x64):
    es, y = problem()
    table = D.equivalence_table(
        es, y, {"flow": [D.gradient_flow(1.0)], "ridge": [D.ridge(1.0)] * 2}
    )
    assert table.names == ("flow", "ridge")
    assert table.equivalent.time.shape == (2, 2)
    assert np.isnan(float(table.equivalent.time[0, 1]))
    alone = D.equivalent_stopping_time(es, D.ridge(1.0), y)
    np.testing.assert_allclose(table.equivalent.residual[1], float(alone.residual), rtol=1e-9)
    whole = D.equivalence_table(es, y, D.distillation_schemes(es, 5))
    exact = whole.names.index("stopped teacher, converged student")
    np.testing.assert_allclose(whole.equivalent.relative[exact], 0, atol=1e-8)
    cut = whole.names.index("spectral cut-off")
    assert np.nanmax(whole.equivalent.relative[cut]) > 0.1
    with pytest.raises(ValueError, match="schemes is empty"):
        D.equivalence_table(es, y, {})


def test_schemes_are_the_filters_of_their_names(x64):
    es, _ = problem()
    schemes, times = D.distillation_schemes(es, 4), [float(t) for t in D.time_grid(es, 4)]
    values = np.asarray(es.eigenvalues)

    def flow(t):
        return -np.expm1(-values * t)

    def rounds(t, count, alpha=0.0):
        fitted = values / (values + 1 / t)
        for _ in range(count):
            fitted = values / (values + 1 / t) * (alpha + (1 - alpha) * fitted)
        return fitted

    expected = {
        "stopped teacher, converged student": flow,
        "teacher and student stopped alike": lambda t: flow(t) ** 2,
        "teacher stopped at a tenth of the student's time": lambda t: flow(t) * flow(t / 10),
        "half labels, half stopped teacher": lambda t: 0.5 + 0.5 * flow(t),
        "ridge": lambda t: rounds(t, 0),
        "1 round of ridge distillation": lambda t: rounds(t, 1),
        "5 rounds of ridge distillation": lambda t: rounds(t, 5),
        "25 rounds of ridge distillation": lambda t: rounds(t, 25),
        "5 rounds, labels weighted 0.35": lambda t: rounds(t, 5, 0.35),
        "ridge, teacher weight 1.5": lambda t: rounds(t, 1, -0.5),
    }
    assert set(schemes) - set(expected) == {"heavy ball, momentum 0.9", "spectral cut-off"}
    for name, fitted in expected.items():
        for filter_, time in zip(schemes[name], times, strict=True):
            np.testing.assert_allclose(filter_(es.eigenvalues), fitted(time), rtol=1e-9, atol=1e-12)
