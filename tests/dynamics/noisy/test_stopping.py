"""Stopping rules against retraining and closed forms; scores not known, edges and plateaus."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from retraining import flow, retrained

import ntk_air as na

D = na.dynamics
LEFT_OUT = ("leave_one_out", "leave_one_out_error")


def problem(n=60, classes=1, seed=0):
    """A kernel without a constant direction and pure noise for labels, few of one class."""
    rng = np.random.default_rng(seed)
    inner = (x := rng.normal(size=(n, 20))) @ x.T / 20
    kernel = inner**3 + inner + 0.05 * np.eye(n)
    labels = (rng.random(n) < 0.3).astype(int) if classes == 1 else rng.integers(0, classes, n)
    observed = 2.0 * labels[:, None] - 1 if classes == 1 else np.eye(classes)[labels] - 1 / classes
    return kernel, observed


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("classes", [1, 3])
def test_leave_one_out_rules_score_what_retraining_gives(dtype, classes, x64):
    kernel, observed = problem(classes=classes)
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    values = np.linalg.eigvalsh(kernel)
    times = np.geomspace(0.1 / values[-1], 100 / values[0], 25)
    outputs = np.stack([retrained(kernel, observed, flow(time)) for time in times])
    answers = outputs[..., 0] > 0 if classes == 1 else outputs.argmax(-1)
    right = observed[:, 0] > 0 if classes == 1 else observed.argmax(-1)
    expected = ((outputs - observed) ** 2).mean((1, 2)), (answers != right).mean(1)
    for rule, scores in zip(LEFT_OUT, expected, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # float32 may not tell a point near the boundary
            found = D.stopping_time(es, observed.astype(dtype), rule=rule, times=times)
        known = np.isfinite(np.asarray(found.score))
        assert known.mean() > 0.8
        rtol = 1e-3 if dtype == "float32" else 1e-8
        np.testing.assert_allclose(found.score[known], scores[known], rtol=rtol)
        index = int(np.argmin(np.abs(times - float(found.time))))
        np.testing.assert_allclose(scores[index], scores[known].min(), rtol=rtol)


def test_gcv_where_residual_and_freedom_vanish_together(x64):
    """The ratio of what is left, far beyond where either is a number."""
    kernel, observed = problem()
    values, vectors = np.linalg.eigh(kernel)
    times = np.array([10.0, 300.0, 3000.0]) / values[0]
    found = D.stopping_time(na.spectral.eigendecompose(kernel), observed, times=times)
    energy = ((vectors.T @ observed) ** 2).sum(1)
    rates = (values - values[0]) * times[:, None]
    expected = 60 * (np.exp(-2 * rates) @ energy) / np.exp(-rates).sum(1) ** 2
    np.testing.assert_allclose(found.score, expected, rtol=1e-6)
    low = na.spectral.eigendecompose(np.diag(np.r_[np.arange(1.0, 11), np.zeros(10)]))
    y = np.random.default_rng(0).normal(size=(20, 2))
    limit = D.stopping_time(low, y, times=[1.0, 1e6, np.inf])
    np.testing.assert_allclose(limit.score[1:], 20 * (y[10:] ** 2).sum() / 100, rtol=1e-12)
    assert limit.at_edge


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", D.RULES)
def test_a_time_whose_score_is_not_known_is_never_chosen(rule, dtype, x64):
    x = np.linspace(-1, 1, 50)[:, None]
    kernel = np.exp(-8 * (x - x.T) ** 2)
    observed = np.sin(3 * x) + 0.5 * np.random.default_rng(0).normal(size=x.shape)
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    eps = float(np.finfo(dtype).eps)
    noise = {"noise_variance": 0.25} if D.RULES[rule].uses_noise else {}
    times = [*np.geomspace(0.01, 3.0, 40), 1e3 / eps, 1e9 / eps, np.inf]
    with pytest.warns(UserWarning, match=rf"'{rule}' is not known at \d+ of 43 times") as said:
        found = D.stopping_time(es, observed, rule=rule, times=times, **noise)
    assert len(said) == 1
    assert np.isnan(found.score[-3:]).all()
    assert 0.01 <= float(found.time) <= 3.0
    assert float(np.nanmin(found.score)) == float(found.score[list(found.times).index(found.time)])
    with pytest.raises(ValueError, match=rf"'{rule}' is not known at any of 2 times"):
        D.stopping_time(es, observed, rule=rule, times=times[-2:], **noise)


def test_at_edge(x64):
    x = np.linspace(-1, 1, 60)[:, None]
    observed = np.sin(3 * x) + 0.5 * np.random.default_rng(0).normal(size=x.shape)
    es = na.spectral.eigendecompose(np.exp(-np.abs(x - x.T)))

    def edge(times, eigensystem=es, y=observed, **options):
        return D.stopping_time(eigensystem, y, times=times, **options).at_edge

    best = float(D.stopping_time(es, observed, rule="leave_one_out").time)
    around = best * np.geomspace(0.1, 10, 41)
    assert not edge(around, rule="leave_one_out")
    assert edge(around[:20], rule="leave_one_out")
    assert edge(around[21:], rule="leave_one_out")
    assert edge([best], rule="leave_one_out")
    assert edge([0.5 * best, best], rule="leave_one_out")
    assert not edge([0.5 * best, best, 2 * best], rule="leave_one_out")
    # One point, or points that say nothing of each other: every time is as good.
    one = na.spectral.eigendecompose(np.ones((1, 1)))
    apart = na.spectral.eigendecompose(np.eye(60))
    for rule in ("gcv", "leave_one_out"):
        assert edge([0.1, 1.0, 10.0], one, np.ones((1, 1)), rule=rule)
        assert edge([0.1, 1.0, 10.0], apart, rule=rule)
    assert edge([0.1, 1.0, 10.0], one, np.ones((1, 1)), rule="leave_one_out_error")
    # All that can be is learned by time 100; what follows changes nothing.
    low = na.spectral.eigendecompose(np.diag(np.r_[np.ones(30), np.zeros(30)]))
    times = [0.1, 1.0, *np.geomspace(100.0, 1e5, 9)]
    assert edge(times, low, noise_variance=0.0, rule="sure")
    assert edge(times, low, 0 * observed, rule="gcv")


def test_a_flat_stretch_inside_is_no_minimum(x64):
    """Two scales of the kernel far apart, and times between them at which nothing happens."""
    es = na.spectral.eigendecompose(np.diag(np.r_[np.ones(30), np.full(30, 1e-11)]))
    observed = np.r_[np.full(30, 3.0), np.tile([1.0, -1.0], 15)][:, None]
    times = np.array([1e-3, 0.1, *np.geomspace(50.0, 1e3, 9), 1e11, 3e11])
    found = D.stopping_time(es, observed, rule="sure", times=times, noise_variance=1.0)
    assert 50 <= float(found.time) <= 1e3
    assert found.at_edge
    # With one time in the stretch it is a minimum like others.
    few = times[[0, 1, 5, 11, 12]]
    assert not D.stopping_time(es, observed, rule="sure", times=few, noise_variance=1.0).at_edge


@pytest.mark.parametrize("rule", ["sure", "discrepancy", "gcv"])
def test_the_scale_of_the_targets_is_none_of_the_times(rule):
    kernel, observed = problem()
    es, observed = na.spectral.eigendecompose(kernel.astype(np.float32)), observed.astype("f4")
    times = np.geomspace(0.01, 10.0, 9)
    chosen = [
        float(D.stopping_time(es, observed * np.float32(size), rule=rule, times=times).time)
        for size in (1.0, 2.0**100, 2.0**-100)
    ]
    assert chosen[0] == chosen[1] == chosen[2]


def test_the_grid_of_times_spans_all_eigenvalues_that_are_told(x64):
    es = na.spectral.eigendecompose(np.diag([4.0, 2.0, 0.5]))
    expected = np.exp(np.linspace(np.log(0.01 / 4.0), np.log(10.0 / 0.5), 7))
    np.testing.assert_allclose(D.time_grid(es, 7), expected, rtol=1e-12)
    assert D.time_grid(es).shape == (200,)
    with_noise = na.spectral.eigendecompose(np.diag([4.0, 2.0, 1e-17]))
    ends = np.asarray(D.time_grid(with_noise, 2))
    np.testing.assert_allclose(ends, [0.01 / 4.0, 10.0 / 2.0], rtol=1e-12)


def test_what_would_be_ignored_or_fail_later_is_refused():
    kernel, observed = problem()
    es = na.spectral.eigendecompose(kernel)
    for rule in ("gcv", "leave_one_out", "leave_one_out_error"):
        with pytest.raises(ValueError, match="does not use it"):
            D.stopping_time(es, observed, rule=rule, noise_variance=0.123)
    codes = na.datasets.encode(np.arange(len(kernel)) % 2, 2)
    with pytest.raises(ValueError, match="pass one of them"):
        D.refine_labels(es, codes, time=0.1, rule="gcv")
    for call in (lambda f: D.fit(es, f, observed), lambda f: D.predict(es, f, observed, kernel)):
        for filters, said in (([], "at least one"), (None, "NoneType"), ([3.0], "is a float")):
            with pytest.raises(ValueError, match=said):
                call(filters)
    with pytest.raises(ValueError, match="filter 0 is a float"):
        D.filter_values(es, [3.0])


def test_partial_eigensystems(x64):
    kernel, observed = problem()
    part = na.spectral.eigendecompose(kernel, rank=20)
    with pytest.raises(ValueError, match=r"40 directions are outside.*remainder='mean'"):
        D.stopping_time(part, observed, rule="leave_one_out", times=[1.0, 2.0, 4.0])
    for rule in D.RULES:
        found = D.stopping_time(part, observed, rule=rule, remainder="mean")
        assert np.isfinite(found.time)
    with pytest.raises(ValueError, match="remainder is 'none'"):
        D.stopping_time(part, observed, remainder="none")


def test_several_rules_are_each_as_by_itself():
    x = np.linspace(-1, 1, 30)[:, None]
    es = na.spectral.eigendecompose(np.exp(-8 * (x - x.T) ** 2) + 0.1 * np.eye(30))
    observed = np.sin(3 * x) + 0.5 * np.random.default_rng(0).normal(size=(30, 1))
    chosen = ("sure", "gcv", "leave_one_out_error")
    times = [0.1, 0.3, 1.0, 3.0]
    found = D.stopping_times(
        es, observed, rules=chosen, times=times, noise_variance=0.25, remainder="mean"
    )
    assert tuple(found) == chosen
    for rule, one in found.items():
        noise = {"noise_variance": 0.25} if rule == "sure" else {}
        alone = D.stopping_time(es, observed, rule=rule, times=times, remainder="mean", **noise)
        assert (one.time, one.rule, one.at_edge) == (alone.time, rule, alone.at_edge)
        np.testing.assert_array_equal(one.score, alone.score)
    assert tuple(D.stopping_times(es, observed)) == tuple(D.RULES)
    with pytest.raises(ValueError, match="rule is 'guess', expected one of 'gcv'"):
        D.stopping_times(es, observed, rules=["gcv", "guess"])
    with pytest.raises(ValueError, match="noise_variance is -1"):
        D.stopping_times(es, observed, noise_variance=-1.0)
