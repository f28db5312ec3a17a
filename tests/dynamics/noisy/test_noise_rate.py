"""One noise rate: within its own bounds, told only where the labels tell it, in every draw."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer

import ntk_air as na
from ntk_air.dynamics.noisy import _calibrate, _rate

D = na.dynamics


@pytest.fixture(scope="module")
def tables():
    """A table of two classes, its columns as they are and standardised: kernels and labels."""
    x, y = load_breast_cancer(return_X_y=True)
    # As images, whose pixels have one unit and share one deviation.
    raw = na.datasets.from_arrays(x, y, name="table", kind="images").standardized()
    raw = raw.flattened(unit_norm="sqrt_d")
    even = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    even *= np.sqrt(x.shape[1]) / np.linalg.norm(even, axis=1, keepdims=True)
    network = na.kernels.fully_connected(1, 8, num_outputs=2)
    spectra = [
        na.spectral.eigendecompose(na.kernels.infinite_ntk(network, inputs))
        for inputs in (raw.train_inputs, even)
    ]
    return *spectra, y


def f1(found, wrong):
    return 2 * np.sum(found & wrong) / (found.sum() + wrong.sum())


def test_two_classes_are_suspected_in_every_draw(tables):
    raw, even, y = tables
    for seed in range(12):
        noisy = na.noise.symmetric(y, 0.12, num_classes=2, seed=seed)
        observed, wrong = na.datasets.encode(noisy.labels, 2), np.asarray(noisy.flipped)
        for es, least in ((raw, 0.75), (even, 0.8)):
            refined, tail = D.refine_labels(es, observed), D.estimate_noise(es, observed)
            assert f1(np.asarray(refined.suspected), wrong) >= least
            rate = float(refined.noise_rate)
            assert float(tail.lower) - 1e-6 <= rate <= float(tail.upper) + 1e-6
            assert float(refined.lower) <= rate <= float(refined.upper)
            assert refined.identified or es is raw
            if refined.identified:
                assert float(refined.lower) - 0.01 < wrong.mean() < float(refined.upper) + 0.01
                assert float(refined.upper) - float(refined.lower) <= 0.1


@pytest.mark.parametrize("balanced", [True, False])
def test_a_kernel_of_one_direction_identifies_nothing(balanced):
    labels = np.random.default_rng(0).permutation(np.arange(40) % 2)
    labels[0] = labels[0] if balanced else 1 - labels[0]
    observed = na.datasets.encode(labels, 2)
    es = na.spectral.eigendecompose(np.ones((40, 40)))
    assert es.trusted_rank == 1
    tail, refined = D.estimate_noise(es, observed), D.refine_labels(es, observed)
    assert tail.upper_bound
    assert float(tail.lower) == float(tail.extrapolated) == 0.0
    assert not refined.identified
    assert float(refined.upper) - float(refined.lower) > 0.2
    assert np.isfinite(D.stopping_time(es, observed, rule="sure").time)


def test_intervals_reach_the_rate_of_no_wrong_label_at_all():
    x = np.random.default_rng(0).normal(size=(80, 3))
    es = na.spectral.eigendecompose(np.exp(-((x[:, None] - x) ** 2).sum(-1)))
    refined = D.refine_labels(es, na.datasets.encode(np.zeros(80, int), 2))
    assert float(refined.lower) == 0.0
    assert 0 <= float(refined.noise_rate) <= float(refined.upper) < 0.01


def test_a_flat_likelihood_is_not_identified(tables):
    """The draw whose rate of largest likelihood alone is 0.001, with 14 % of the labels wrong."""
    raw, _, y = tables
    noisy = na.noise.symmetric(y, 0.12, num_classes=2, seed=1)
    refined = D.refine_labels(raw, na.datasets.encode(noisy.labels, 2))
    assert not refined.identified
    assert float(refined.upper) - float(refined.lower) > 0.1
    assert np.sum(np.asarray(refined.suspected) & noisy.flipped) > 60


def test_clean_labels_are_hardly_suspected(tables):
    for es in tables[:2]:
        refined = D.refine_labels(es, na.datasets.encode(tables[2], 2))
        assert refined.identified
        assert float(refined.noise_rate) < 0.01
        assert float(refined.upper) < 0.03
        assert np.sum(np.asarray(refined.suspected)) < 10


def test_noise_of_one_of_two_classes_is_found(tables):
    """A class that keeps 72 % of its labels beside one that keeps 98 %: not symmetric, not none."""
    _, even, y = tables
    kept = np.array([[0.72, 0.28], [0.02, 0.98]])
    noisy = na.noise.from_transition(y, kept, seed=3)
    refined = D.refine_labels(even, na.datasets.encode(noisy.labels, 2))
    np.testing.assert_allclose(refined.transition, kept, atol=0.06)
    assert abs(float(refined.noise_rate) - noisy.empirical_rate) < 0.03
    assert f1(np.asarray(refined.suspected), np.asarray(noisy.flipped)) > 0.8


def test_labels_of_chance_tell_no_rate():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 8))
    es = na.spectral.eigendecompose(np.exp(-((x[:, None] - x) ** 2).sum(-1) / 8))
    for classes in (2, 3):
        labels = rng.integers(0, classes, 300)
        refined = D.refine_labels(es, na.datasets.encode(labels, classes))
        assert not refined.identified
        assert float(refined.upper) > 0.8 * (1 - 1 / classes)


def test_a_class_that_no_label_names_and_few_points(tables):
    _, even, y = tables
    noisy = na.noise.symmetric(y, 0.12, num_classes=2, seed=5)
    three = D.refine_labels(even, na.datasets.encode(noisy.labels, 3))
    assert (np.asarray(three.labels) < 2).all()
    assert f1(np.asarray(three.suspected), np.asarray(noisy.flipped)) > 0.8
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 3))
    few = D.refine_labels(
        na.spectral.eigendecompose(x @ x.T + np.eye(6)), na.datasets.encode([0, 0, 1, 1, 0, 1], 2)
    )
    assert not few.identified
    assert np.isfinite(np.asarray(few.score)).all()


@pytest.mark.parametrize(("value", "index"), [(np.nan, "NaN"), (np.inf, "infinite")])
def test_targets_that_are_not_finite_are_refused(value, index):
    es = na.spectral.eigendecompose(np.eye(30) + 1.0)
    targets = np.tile(np.eye(3), (10, 1)) - 1 / 3
    targets[4] = value
    for call in (D.refine_labels, D.estimate_noise):
        with pytest.raises(ValueError, match=index):
            call(es, targets)
    good = np.tile(np.eye(3), (10, 1))
    for options in ({"time": np.nan}, {"time": -1.0}, {"noise_rate": np.nan}, {"rule": "none"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
            D.refine_labels(es, good, **options)


def test_likelihood_interval_equals_a_search_of_its_own(x64):
    """The profile over the rate, by SciPy's search over the sharpness at each rate."""
    from scipy.optimize import minimize_scalar

    rng = np.random.default_rng(0)
    clean = rng.integers(0, 3, 900)
    outputs = 0.8 * (np.eye(3)[clean] - 1 / 3) + 0.25 * rng.normal(size=(900, 3))
    labels = np.where(rng.random(900) < 0.3, (clean + rng.integers(1, 3, 900)) % 3, clean)

    def cost(rate):
        def loss(log_sharpness):
            z = np.exp(log_sharpness) * outputs
            p = np.exp(z - z.max(1, keepdims=True))
            own = (p / p.sum(1, keepdims=True))[np.arange(900), labels]
            return -np.log((1 - rate) * own + rate / 2 * (1 - own)).sum()

        found = minimize_scalar(loss, bounds=(-2, 5), method="bounded", options={"xatol": 1e-6})
        off = (rate - 0.33) / (0.02 if rate > 0.33 else 0.1)
        return found.fun + (off**2 / 2 if off > 0 else np.log1p(off**2))

    grid = np.linspace(0.2, 0.4, 401)
    costs = np.array([cost(rate) for rate in grid])
    inside = grid[costs <= costs.min() + 1.92]
    evidence = _rate.TailEvidence(0.33, 0.1, 0.02, 0.001, 0.6)
    rates = np.linspace(0.001, 0.66, 80)
    found = _rate.told_rate(outputs, labels, _calibrate.uniform(0.0, 3), evidence, (rates, rates))
    mean = np.average(inside, weights=np.exp(costs.min() - costs[costs <= costs.min() + 1.92]))
    ends = found.scale, found.lower, found.upper
    np.testing.assert_allclose(ends, [mean, inside[0], inside[-1]], atol=2e-3)
    assert not found.contradicted


def test_equal_rate_of_symmetric_noise_is_its_own_and_slopes_are_right():
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(4))
    for rate in (0.05, 0.4):
        found = _calibrate.equal_rate(shares, _calibrate.uniform(1 - rate, 4))[0]
        np.testing.assert_allclose(found, rate, rtol=1e-9)
    matrix = rng.dirichlet(np.ones(4), 4) + np.eye(4)
    matrix /= matrix.sum(1, keepdims=True)
    value, by_shares, by_matrix = _calibrate.equal_rate(shares, matrix)
    codes = np.eye(4) - 0.25
    energy = sum(
        shares[c] * ((matrix[c] @ (codes**2).sum(1)) - ((matrix[c] @ codes) ** 2).sum())
        for c in range(4)
    )
    np.testing.assert_allclose(energy / 0.75, 1 - (1 - value * 4 / 3) ** 2, rtol=1e-9)
    step = 1e-6
    for index in ((0, 1), (3, 3)):
        moved = matrix.copy()
        moved[index] += step
        slope = (_calibrate.equal_rate(shares, moved)[0] - value) / step
        np.testing.assert_allclose(by_matrix[index], slope, rtol=1e-4)
    slope = (_calibrate.equal_rate(shares + step * np.eye(4)[2], matrix)[0] - value) / step
    np.testing.assert_allclose(by_shares[2], slope, rtol=1e-4)
