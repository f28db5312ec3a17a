"""Leave-one-out outputs against n retrainings in NumPy's float64, and where they are not known."""

from __future__ import annotations

import warnings

import jax
import numpy as np
import pytest
import scipy.linalg
from precision_table import allowed
from retraining import flow, retrained

import ntk_air as na

D = na.dynamics
TOLERANCES = {"float32": 1e-3, "float64": 1e-8}


def data(n, outputs=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 20)), rng.normal(size=(n, outputs))


def polynomial(x):
    """Full rank up to 231 points, condition 1e2 to 1e3."""
    return (1 + x @ x.T / 20) ** 2


def of_spectrum(values, seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(values), len(values))))
    kernel = (q * values) @ q.T
    return (kernel + kernel.T) / 2


def descent(rate, steps, momentum=0.0):
    def fractions(values):
        before = now = np.ones_like(values)
        for _ in range(steps):
            before, now = now, now - rate * values * now + momentum * (now - before)
        return 1 - now

    return fractions


def worst(found, expected):
    """Largest error of what is known, over the largest output; NaN if nothing is."""
    found = np.asarray(found, np.float64)
    errors = np.abs(found - expected)[np.isfinite(found)]
    return errors.max() / np.abs(expected).max() if errors.size else np.nan


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_filter_is_that_of_the_kernel_without_the_point(dtype, x64):
    x, y = data(30)
    kernel = polynomial(x)
    top = np.linalg.eigvalsh(kernel)[-1]
    pairs = [
        *((D.gradient_flow(t / top), flow(t / top)) for t in (1e-6, 0.01, 1.0, 30.0, 1e3, np.inf)),
        *((D.ridge(z * top), lambda w, z=z * top: w / (w + z)) for z in (1e3, 1.0, 1e-6)),
        *((D.gradient_descent(e / top, s), descent(e / top, s)) for e, s in ((1.9, 7), (0.5, 999))),
        (D.gradient_descent(2.5 / top, 3), descent(2.5 / top, 3)),
        (D.heavy_ball(0.5 / top, 50, 0.9), descent(0.5 / top, 50, 0.9)),
        (D.ridge_distillation(0.1 * top, 2), lambda w: (w / (w + 0.1 * top)) ** 3),
        (D.teacher_student(9 / top, 50 / top), lambda w: flow(9 / top)(w) * flow(50 / top)(w)),
        (D.truncation(4), lambda w: 1.0 * (np.arange(len(w)) < 4)),
        (lambda w: w / w.max(), lambda w: w / w.max()),
        (lambda w: w / (w + w[len(w) // 2]), lambda w: w / (w + w[len(w) // 2])),
        (lambda w: 0.0 * w, lambda w: 0.0 * w),
    ]
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    found = np.asarray(D.leave_one_out(es, [filter_ for filter_, _ in pairs], y.astype(dtype)))
    assert np.isfinite(found).all()
    for one, (_, fractions) in zip(found[:-1], pairs[:-1], strict=True):
        assert worst(one, retrained(kernel, y, fractions)) < TOLERANCES[dtype]
    assert not found[-1].any()
    alone = D.leave_one_out(es, pairs[1][0], y.astype(dtype))
    late = allowed("dynamics.leave_one_out", condition=1e2)
    np.testing.assert_allclose(alone, found[1], rtol=late if dtype == "float32" else 1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_flow_at_many_times_equals_retraining(dtype, x64):
    """Across windows of times, from hardly any training to full convergence."""
    x, y = data(100, outputs=3)
    kernel = polynomial(x)
    values = np.linalg.eigvalsh(kernel)
    grid = np.geomspace(1e-9 / values[-1], 1e3 / values[0], 70)
    times = [0.0, *grid, np.inf]
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    found = np.asarray(D.leave_one_out_flow(es, times, y.astype(dtype)))
    assert np.isfinite(found).all()
    assert not found[0].any()
    for index in (1, 20, 37, 45, 55, 70, 71):
        assert worst(found[index], retrained(kernel, y, flow(times[index]))) < TOLERANCES[dtype]
    last = D.leave_one_out_flow(es, times[55], y.astype(dtype))
    np.testing.assert_allclose(last, found[55], rtol=0, atol=TOLERANCES[dtype] * np.abs(y).max())


@pytest.mark.parametrize(("n", "rank", "dtype"), [(6, 6, "float64"), (24, 8, "float32")])
def test_filters_that_look_at_the_whole_spectrum(n, rank, dtype, x64):
    """Also where they agree on either half of it, as a filter that counts all directions does."""
    x = np.random.default_rng(3).normal(size=(n, rank))
    y = np.random.default_rng(4).normal(size=(n, 1))
    kernel = x @ x.T if n > rank else (1 + x @ x.T / 8) ** 3

    def first(count):
        return lambda w: 1.0 * (np.arange(len(w)) < count)

    pairs = [
        *((D.truncation(count), first(count)) for count in (1, n - 1, n, n + 3)),
        (D.distilled(D.truncation(n), D.ridge(2.0)), lambda w: w / (w + 2.0)),
        *((one, one) for one in (lambda w: 1.0 * (w > np.median(w)), lambda w: w / w.sum())),
    ]
    filters, fractions = zip(*pairs, strict=True)
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    found = np.asarray(D.leave_one_out(es, filters, y))
    for one, each in zip(found, fractions, strict=True):
        assert np.isfinite(one).all()
        assert worst(one, retrained(kernel, y, each, 1e-9)) < TOLERANCES[dtype]


def test_flow_equals_a_matrix_exponential(x64):
    """The linear differential equation itself, without any eigenvalues."""
    x, y = data(5, outputs=1)
    kernel = polynomial(x)
    for time in (0.01, 0.7, 20.0):
        expected = np.zeros_like(y)
        for i in range(5):
            keep = np.arange(5) != i
            # d(f, 1)/dt for all five outputs, driven by the four labels kept.
            rows = np.c_[-kernel * keep, kernel[:, keep] @ y[keep]]
            expected[i] = scipy.linalg.expm(time * np.r_[rows, np.zeros((1, 6))])[i, -1]
        found = D.leave_one_out_flow(na.spectral.eigendecompose(kernel), time, y)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "decades"), [("float32", 6), ("float64", 12)])
def test_what_precision_does_not_tell_is_nan_and_said_once(dtype, decades, x64):
    kernel = of_spectrum(np.geomspace(1.0, 10.0**-decades, 30))
    _, y = data(30)
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    times = [*np.geomspace(0.1, 10.0 ** (decades + 2), 12), np.inf]
    with pytest.warns(UserWarning, match=r"not known to (1e-08|0\.001) and are NaN") as said:
        found = np.asarray(D.leave_one_out_flow(es, times, y.astype(dtype)))
    assert len(said) == 1
    known = np.isfinite(found)
    assert known[0].all()
    assert not known[-1].any()
    # Known as long as flow does not reach what is below round-off.
    early = np.array(times) <= (30 if dtype == "float32" else 1e3)
    assert early.sum() >= 3
    assert known[early].all()
    # With exact eigenpairs in higher precision, since NumPy's own round-off would count here.
    values, vectors = np.linalg.eigh(kernel)
    for one, time in zip(found, times, strict=True):
        error = worst(one, retrained((vectors * values) @ vectors.T, y, flow(time)))
        assert np.isnan(error) or error < TOLERANCES[dtype]
    with pytest.warns(UserWarning, match="are NaN"):
        weak = D.leave_one_out(es, [D.ridge(1.0), D.ridge(1e-30)], y.astype(dtype))
    assert np.isfinite(np.asarray(weak[0])).all()
    assert np.isnan(np.asarray(weak[1])).all()
    with pytest.warns(UserWarning, match="are NaN"):
        assert np.isnan(D.leave_one_out(es, lambda w: w / (w + 1e-30), y.astype(dtype))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_smooth_kernels_never_give_a_plausible_limit(dtype, x64):
    """Few eigenvalues stand above rounding, and those below it are not zero."""
    x = np.linspace(0, 1, 30)[:, None]
    _, y = data(30)
    for length in (0.3, 3.0, 10.0):
        kernel = np.exp(-((x - x.T) ** 2) / (2 * length**2))
        es = na.spectral.eigendecompose(kernel.astype(dtype))
        with pytest.warns(UserWarning, match="are NaN"):
            found = D.leave_one_out_flow(es, np.inf, y.astype(dtype))
        assert np.isnan(np.asarray(found)).all()


def of_two_scales(name):
    """Kernels whose eigenvalues end far above round-off and go on, resolved, far below that."""
    rng = np.random.default_rng(1)
    if name == "block":
        block = 1e-7 * (np.eye(20) + np.ones((20, 20)))
        return scipy.linalg.block_diag(block, np.eye(20))
    z = np.c_[np.ones(40), 1e-3 * rng.normal(size=(40, 2))]
    return z @ z.T if name == "offset" else 9e4 * (z @ z.T + 1e-5 * z[:, 1:] @ z[:, 1:].T)


@pytest.mark.parametrize(
    ("name", "precision"), [("offset", None), ("block", None), ("large", "float64")]
)
@pytest.mark.filterwarnings("ignore:the kernel is not positive semidefinite")
def test_what_a_gap_hides_is_not_taken_for_zero(name, precision, x64):
    kernel = of_two_scales(name).astype(np.float32)
    y = np.where(np.arange(40)[:, None] % 3, 1.0, -1.0)
    es = na.spectral.eigendecompose(kernel, precision=precision)
    values = np.linalg.eigvalsh(kernel.astype(np.float64))[::-1]
    assert es.trusted_rank < np.sum(values > 1e-7 * values[0])
    times = np.r_[0.01, 0.1, 10.0, 1e6, 1e7, np.inf] / values[0]
    with pytest.warns(UserWarning, match="are NaN"):
        found = np.asarray(D.leave_one_out_flow(es, times, y))
    assert np.isfinite(found[1]).mean() >= 0.5
    for one, time in zip(found, times, strict=True):
        expected = retrained(kernel.astype(np.float64), y, flow(time), 1e-12 * values[0])
        # Points that say next to nothing of each other are read beside what is fitted at all.
        size = max(np.abs(expected).max(), -1e-3 * np.expm1(-time * values[0]))
        assert np.nanmax(np.abs(one - expected), initial=0.0) < 1e-3 * size
    assert float(D.time_grid(es)[-1]) > 1e6 / values[0]
    for rule in ("gcv", "leave_one_out"):
        with pytest.warns(UserWarning, match="not known"):
            D.stopping_time(es, y, rule=rule, times=times)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_singular_kernels(dtype, x64):
    """Duplicates predict each other; directions of eigenvalue zero are never fitted."""
    x, y = data(30)
    twice = np.repeat(x[:15], 2, axis=0)
    kernel = polynomial(twice)
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    limit = D.leave_one_out_flow(es, np.inf, y.astype(dtype))
    np.testing.assert_allclose(limit, y[np.arange(30) ^ 1], rtol=0, atol=TOLERANCES[dtype])
    low = x[:, :5] @ x[:, :5].T
    es = na.spectral.eigendecompose(low.astype(dtype))
    filters = [D.gradient_flow(t) for t in (0.01, 1.0, np.inf)]
    filters += [D.gradient_descent(0.01, 30), D.truncation(3)]
    fractions = [*map(flow, (0.01, 1.0, np.inf)), descent(0.01, 30)]
    fractions.append(lambda w: 1.0 * (np.arange(len(w)) < 3))
    found = np.asarray(D.leave_one_out(es, filters, y.astype(dtype)))
    for one, each in zip(found, fractions, strict=True):
        assert worst(one, retrained(low, y, each, zero=1e-9)) < TOLERANCES[dtype]
    assert np.isfinite(found).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tied_eigenvalues_and_points_that_say_nothing_of_each_other(dtype, x64):
    block = np.eye(10) + np.ones((10, 10))
    kernel = scipy.linalg.block_diag(block, block, 2 * block)
    _, y = data(30)
    filters = [D.gradient_flow(0.3), D.heavy_ball(0.1, 9, 0.5)]
    fractions = [flow(0.3), descent(0.1, 9, 0.5)]
    es = na.spectral.eigendecompose(kernel.astype(dtype))
    for one, each in zip(D.leave_one_out(es, filters, y), fractions, strict=True):
        assert np.isfinite(np.asarray(one)).all()
        assert worst(one, retrained(kernel, y, each)) < TOLERANCES[dtype]
    with pytest.warns(UserWarning, match="are NaN"):  # which of three equal directions are two?
        assert np.isnan(D.leave_one_out(es, D.truncation(2), y)).all()
    apart = na.spectral.eigendecompose(3 * np.eye(30, dtype=dtype))
    found = D.leave_one_out(apart, [*filters, D.ridge(1e-3), D.gradient_flow(np.inf)], y)
    np.testing.assert_allclose(found, 0.0, atol=1e-6 if dtype == "float32" else 1e-14)


def test_one_point_and_two(x64):
    filters = [D.gradient_flow(0.4), D.gradient_flow(np.inf), D.ridge(0.5), D.truncation(1)]
    filters.append(D.gradient_descent(0.1, 3))
    one = na.spectral.eigendecompose(np.array([[2.0]]))
    np.testing.assert_array_equal(D.leave_one_out(one, filters, np.ones((1, 3))), 0.0)
    np.testing.assert_array_equal(D.leave_one_out_flow(one, [0.1, np.inf], np.ones((1, 3))), 0.0)
    kernel, y = np.array([[2.0, 0.7], [0.7, 3.0]]), np.array([[1.0], [-2.0]])
    own = np.diag(kernel)[::-1]
    fractions = [
        -np.expm1(-own * 0.4), np.ones(2), own / (own + 0.5), np.ones(2), 1 - (1 - 0.1 * own) ** 3
    ]  # fmt: skip
    found = D.leave_one_out(na.spectral.eigendecompose(kernel), filters, y)
    for outputs, g in zip(found, fractions, strict=True):
        np.testing.assert_allclose(outputs[:, 0], 0.7 * g / own * y[::-1, 0], rtol=1e-11)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_kernels_scale_is_that_of_time(size, x64):
    x, y = data(30)
    kernel = polynomial(x)
    plain, scaled = (na.spectral.eigendecompose(k) for k in (kernel, size * kernel))
    times = np.array([0.01, 1.0, np.inf])
    np.testing.assert_allclose(
        D.leave_one_out_flow(scaled, times / size, y),
        D.leave_one_out_flow(plain, times, y),
        rtol=1e-9,
    )


def test_partial_eigensystems_give_estimates_only_where_asked(x64):
    """Whatever the trace's remainder is, a value given is right; at its mean it is an estimate."""
    values = np.r_[[5.0, 2.0, 1.0], np.full(17, 0.05)]
    kernel = of_spectrum(values)
    _, y = data(20)
    full, part = (na.spectral.eigendecompose(kernel, rank=r) for r in (None, 3))
    filters = [D.gradient_flow(7.0), D.ridge(0.2), D.gradient_descent(0.1, 9), D.truncation(2)]
    with pytest.warns(UserWarning, match=r"17 directions are outside.*remainder='mean'"):
        assert np.isnan(np.asarray(D.leave_one_out(part, filters, y))).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = D.leave_one_out(part, filters, y, remainder="mean")
    np.testing.assert_allclose(found, D.leave_one_out(full, filters, y), atol=1e-9)
    with pytest.raises(ValueError, match="remainder is 'median'"):
        D.leave_one_out(part, filters, y, remainder="median")
    # What is left of this trace cannot reach any output.
    nearly = of_spectrum(np.r_[np.linspace(2.0, 1.0, 15), np.full(5, 1e-13)])
    part = na.spectral.eigendecompose(nearly, rank=15)
    found = D.leave_one_out_flow(part, 1.0, y)
    assert worst(found, retrained(nearly, y, flow(1.0))) < 1e-8
    assert np.isfinite(np.asarray(found)).all()


def test_bad_input():
    x, y = data(6)
    es = na.spectral.eigendecompose(polynomial(x).astype(np.float32))
    with pytest.raises(ValueError, match=r"times holds -1\.0"):
        D.leave_one_out_flow(es, -1.0, y)
    with pytest.raises(ValueError, match="increasing"):
        D.leave_one_out_flow(es, [1.0, 1.0], y)
    with pytest.raises(ValueError, match="NaN or infinite"):
        D.leave_one_out(es, lambda w: w / 0.0, y)
    with pytest.raises(ValueError, match="holds 1 value"):
        D.leave_one_out(es, D.ridge(1.0), np.where(np.arange(12).reshape(6, 2) == 3, np.nan, y))
    assert D.leave_one_out(es, [], y).shape == (0, 6, 2)
    assert not jax.config.jax_enable_x64
