"""Partial and singular spectra, and neural-tangents' time: against full ones and other code."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pytest
from precision_table import allowed

import ntk_air as na

D = na.dynamics
FILTERS = [
    D.gradient_flow(0.3), D.gradient_flow(30.0), D.gradient_flow(np.inf), D.ridge(0.2),
    D.gradient_descent(0.2, 9), D.heavy_ball(0.1, 20, 0.9), D.ridge_distillation(0.3, 4),
    D.teacher_student(2.0, 5.0), D.truncation(3),
]  # fmt: skip


def problem(values, m=5, c=2, seed=0):
    """A kernel of the given spectrum, labels, and a kernel to test points that fits it."""
    rng = np.random.default_rng(seed)
    n = len(values)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    features = q * np.sqrt(values)
    cross = rng.normal(size=(m, n)) / n @ features.T
    return features @ features.T, rng.normal(size=(n, c)), rng.normal(size=(n, c)), cross


@pytest.mark.parametrize("rank", [4, 10, 25])
def test_a_partial_spectrum_is_within_its_bound(rank, x64):
    kernel, y, f0, cross = problem(np.geomspace(5.0, 1e-4, 30))
    full, part = (na.spectral.eigendecompose(kernel, rank=r) for r in (None, rank))
    error = np.asarray(D.fit(part, FILTERS, y, initial=f0) - D.fit(full, FILTERS, y, initial=f0))
    bound = np.asarray(D.remainder_bound(part, FILTERS, y, initial=f0))
    assert (np.linalg.norm(error, axis=(1, 2)) <= bound + 1e-10).all()
    np.testing.assert_allclose(error[-1], 0, atol=1e-10)
    assert bound[0] < 0.9 * np.linalg.norm(y - f0)
    error = np.asarray(D.predict(part, FILTERS, y, cross) - D.predict(full, FILTERS, y, cross))
    bound = np.asarray(D.remainder_bound(part, FILTERS, y, test_train_kernel=cross))
    assert (np.linalg.norm(error, axis=2) <= bound + 1e-10).all()
    np.testing.assert_array_equal(D.remainder_bound(full, FILTERS, y), 0.0)
    assert D.remainder_bound(part, FILTERS[0], y).shape == ()


@pytest.mark.parametrize("rank", [4, 10])
def test_curves_and_risks_of_a_partial_spectrum_are_within_their_bounds(rank, x64):
    kernel, y, noise, _ = problem(np.geomspace(5.0, 1e-4, 30))
    observed = 0.6 * y + 0.3 * noise
    full, part = (na.spectral.eigendecompose(kernel, rank=r) for r in (None, rank))
    times = [0.0, 0.1, 3.0, 100.0, np.inf]
    exact, near = (D.retrieval(es, y, observed, times, retention=0.6) for es in (full, part))
    assert (np.abs(exact.signal - near.signal) <= near.signal_bound + 1e-10).all()
    assert (np.abs(exact.noise - near.noise) <= near.noise_bound + 1e-10).all()
    np.testing.assert_array_equal(exact.signal_bound, 0.0)
    exact, near = (D.risk(es, FILTERS, y, observed, retention=0.6) for es in (full, part))
    assert (np.abs(exact.total - near.total) <= near.bound + 1e-10).all()
    assert (np.abs(exact.clean_error - near.clean_error) <= near.bound + 1e-10).all()
    f = np.asarray(D.fit(part, FILTERS, observed))
    np.testing.assert_allclose(near.total, ((f - 0.6 * y) ** 2).sum((1, 2)) / 30, rtol=1e-9)
    np.testing.assert_allclose(near.clean_error, ((f - y) ** 2).sum((1, 2)) / 30, rtol=1e-9)
    one = D.risk(part, FILTERS[3], y, observed, retention=0.6)
    np.testing.assert_allclose(one.total, near.total[3], rtol=1e-9)


@pytest.mark.parametrize("rank", [4, 10])
def test_bounds_are_the_largest_change_times_what_is_left_out(rank, x64):
    """In NumPy, for filters that rise with the eigenvalue: no looser than they are said to be."""
    values = np.geomspace(5.0, 1e-4, 30)
    kernel, y, noise, cross = problem(values)
    observed = 0.6 * y + 0.3 * noise
    vectors = np.linalg.eigh(kernel)[1][:, ::-1][:, :rank]
    part = na.spectral.eigendecompose(kernel, rank=rank)
    left = values[rank:].sum()
    mean, top = left / (30 - rank), min(values[rank - 1], left)
    times = [0.3, 7.0]
    widest = np.array([max(1 - np.exp(-mean * t), np.exp(-mean * t) - np.exp(-top * t))
                       for t in times])  # fmt: skip
    slopes = np.array([(1 - np.exp(-mean * t)) / mean for t in times])
    ends = np.array([[t, (1 - np.exp(-top * t)) / top] for t in times])
    per_eigenvalue = np.maximum(np.abs(ends - slopes[:, None]).max(1), slopes)

    def beyond(signal):
        return np.linalg.norm(signal - vectors @ (vectors.T @ signal))

    flows = [D.gradient_flow(t) for t in times]
    found = D.remainder_bound(part, flows, observed)
    np.testing.assert_allclose(found, widest * beyond(observed), rtol=1e-9)
    found = D.remainder_bound(part, flows, observed, test_train_kernel=cross)
    outside = np.linalg.norm(cross - cross @ vectors @ vectors.T, axis=1)
    expected = per_eigenvalue[:, None] * beyond(observed) * outside
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    curves = D.retrieval(part, y, observed, times, retention=0.6)
    xi = observed - 0.6 * y
    for bound, signal in ((curves.signal_bound, y), (curves.noise_bound, xi)):
        np.testing.assert_allclose(bound, widest * (beyond(signal) / np.linalg.norm(signal)) ** 2)
    risk = D.risk(part, flows, y, observed, retention=0.6)
    g = 1 - np.exp(-mean * np.array(times))
    off = [max(beyond(one * observed - 0.6 * y), beyond(one * observed - y)) for one in g]
    moved = widest * beyond(observed)
    np.testing.assert_allclose(risk.bound, moved * (2 * np.array(off) + moved) / 30, rtol=1e-9)


def test_a_flat_remainder_is_exact(x64):
    """Low rank plus a multiple of the identity: the trace says all that the spectrum leaves out."""
    kernel, y, f0, cross = problem(np.r_[[5.0, 2.0, 1.0], np.full(17, 0.05)])
    full, part = (na.spectral.eigendecompose(kernel, rank=r) for r in (None, 3))
    for of in (
        lambda es: D.fit(es, FILTERS, y, initial=f0),
        lambda es: D.predict(es, FILTERS, y, cross),
        lambda es: D.leave_one_out(es, FILTERS[:4], y, remainder="mean"),
        lambda es: D.leave_one_out_flow(es, 7.0, y, remainder="mean"),
    ):
        np.testing.assert_allclose(of(part), of(full), atol=1e-9)
    for rule in D.RULES:
        times = [0.1, 1.0, 10.0]
        noise = {"noise_variance": 0.5} if D.RULES[rule].uses_noise else {}
        scores = [
            D.stopping_time(es, y, rule=rule, times=times, remainder="mean", **noise).score
            for es in (full, part)
        ]
        np.testing.assert_allclose(*scores, rtol=1e-9)


def test_rank_too_small_for_a_filter_that_counts():
    kernel, y, _, _ = problem(np.geomspace(5.0, 1e-2, 12))
    part = na.spectral.eigendecompose(kernel, rank=4)
    for filter_ in (D.truncation(6), D.distilled(D.ridge(1.0), D.truncation(6))):
        with pytest.raises(ValueError, match="directions 5 to 6 would be lost"):
            D.fit(part, filter_, y)
    assert D.fit(na.spectral.eigendecompose(kernel), D.truncation(20), y).shape == y.shape


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_duplicated_points_get_their_mean_label(dtype, x64):
    """A singular kernel: least squares, the same for both copies, and only finite numbers."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.normal(size=(6, 8)), 2, axis=0).astype(dtype)
    y = rng.normal(size=(12, 2)).astype(dtype)
    test = rng.normal(size=(3, 8)).astype(dtype)
    es = na.spectral.eigendecompose(x @ x.T)
    means = np.repeat(y.reshape(6, 2, 2).mean(1), 2, axis=0)
    converged = D.gradient_flow(np.inf)
    tolerance = 1e-4 if dtype == np.float32 else 1e-10
    np.testing.assert_allclose(D.fit(es, converged, y), means, atol=tolerance)
    exact = test @ np.linalg.lstsq(x.astype(np.float64), means, rcond=None)[0]
    predicted = D.predict(es, converged, y, test @ x.T)
    np.testing.assert_allclose(predicted, exact, atol=50 * tolerance)
    for value in (
        D.leave_one_out(es, [converged, *FILTERS[:2]], y),
        D.leave_one_out_flow(es, np.inf, y),
        D.leave_one_out_flow(es, 3.0, y),
        D.equivalent_stopping_time(es, FILTERS, y).relative,
        *(D.stopping_time(es, y, rule=rule).time for rule in D.RULES),
        D.estimate_noise(es, y).variance,
    ):
        assert np.isfinite(np.asarray(value)).all()


def test_the_zero_kernel_direction_of_a_constant_kernel():
    es = na.spectral.eigendecompose(np.ones((5, 5), np.float32))
    y = np.arange(10.0, dtype=np.float32).reshape(5, 2)
    mean = np.broadcast_to(y.mean(0), y.shape)
    tolerance = allowed("dynamics.fit", condition=1e2)
    np.testing.assert_allclose(D.fit(es, D.gradient_flow(np.inf), y), mean, rtol=tolerance)
    ones = D.predict(es, D.gradient_flow(np.inf), y, np.ones((1, 5), np.float32))
    np.testing.assert_allclose(ones, mean[:1], rtol=1e-5)


def test_classes_that_no_label_names():
    """Ten classes declared, three present: defined numbers, and no label of an absent class."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 4, 7], 30)
    x = 3 * np.eye(10)[labels] + 0.3 * rng.normal(size=(90, 10))
    es = na.spectral.eigendecompose(x @ x.T + 0.1 * np.eye(90))
    observed = na.datasets.encode(labels, 10)
    refined = D.refine_labels(es, observed)
    np.testing.assert_array_equal(refined.labels, labels)
    assert not np.asarray(refined.suspected).any()
    assert float(D.estimate_noise(es, observed).rate) < 0.05
    assert float(D.stopping_time(es, observed).time) > 0


@pytest.mark.skipif(importlib.util.find_spec("neural_tangents") is None, reason="not installed")
@pytest.mark.parametrize("rate", [1.0, 0.25])
def test_time_of_neural_tangents(rate, x64):
    import neural_tangents as nt

    kernel, y, f0, cross = problem(np.geomspace(5.0, 1e-2, 8), c=3)
    es = na.spectral.eigendecompose(kernel)
    predict = nt.predict.gradient_descent_mse(kernel, y, learning_rate=rate)
    for time in (0.1, 4.0):
        theirs = D.to_neural_tangents_time(time, 8, 3, learning_rate=rate)
        train, test = predict(theirs, f0, np.zeros((5, 3)), cross)
        ours = D.fit(es, D.gradient_flow(time), y, initial=f0)
        np.testing.assert_allclose(ours, train, rtol=1e-8, atol=1e-10)
        ours = D.predict(es, D.gradient_flow(time), y, cross, initial=f0)
        np.testing.assert_allclose(ours, test, rtol=1e-8, atol=1e-10)
        back = D.from_neural_tangents_time(theirs, 8, 3, learning_rate=rate)
        np.testing.assert_allclose(back, time, rtol=1e-14)
    with pytest.raises(ValueError, match="num_points is 0"):
        D.to_neural_tangents_time(1.0, 0, 3)


def test_rounding_beyond_the_trusted_rank_is_told_alike_of_flows_and_of_any_filter():
    kernel, y, _, _ = problem(np.geomspace(1.0, 1e-9, 30))
    es = na.spectral.eigendecompose(kernel.astype(np.float32))
    assert es.trusted_rank < 30
    for times in ((1e5, 1e8), (1e-3, 1e-30)):
        flows = [D.gradient_flow(t) for t in times]
        said = []
        for filters in (flows, [lambda values, f=f: f(values) for f in flows]):
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                D.fit(es, filters, y)
            said.append([str(one.message) for one in heard])
        assert said[0] == said[1]
        assert len(said[0]) == (times[0] > 1)
