"""Error bars of the noise found in labels, against the scatter over many draws of the noise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import ntk_air as na

D = na.dynamics
DRAWS, POINTS = 200, 240
FIELDS = ("rate", "standard_error", "lower", "upper", "variance", "variance_error", "retention")


def clustered(classes, spread=0.1):
    """Kernel of points around class centres, and their clean labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, POINTS)
    x = np.eye(classes)[labels] + spread * rng.normal(size=(POINTS, classes))
    return np.exp(-((x[:, None] - x) ** 2).sum(-1)) + 0.01 * np.eye(POINTS), labels


def drawn(classes, rate, rank=None):
    """Fields of the estimate (draws,), shares of wrong labels, and variances of the noise."""
    kernel, labels = clustered(classes)
    es = na.spectral.eigendecompose(kernel, rank=rank)
    rng = np.random.default_rng(1)
    code = np.eye(classes) - 1 / classes
    wrong = rng.random((DRAWS, POINTS)) < rate
    seen = np.where(wrong, (labels + rng.integers(1, classes, wrong.shape)) % classes, labels)
    found = [D.estimate_noise(es, code[one]) for one in seen]
    true = wrong.mean(1)
    kappa = 1 - true * classes / (classes - 1)
    variance = ((code[seen] - kappa[:, None, None] * code[labels]) ** 2).mean((1, 2))
    return {f: np.array([float(getattr(one, f)) for one in found]) for f in FIELDS}, true, variance


@pytest.mark.parametrize(
    ("classes", "rate", "rank"), [(4, 0.05, None), (2, 0.2, None), (4, 0.2, 40)]
)
def test_errors_scatter_as_much_as_they_are_said_to(classes, rate, rank):
    found, true, variance = drawn(classes, rate, rank)
    error = found["rate"] - true
    assert 0.7 < error.std() / found["standard_error"].mean() < 1.4
    assert abs(error.mean()) < 0.5 * error.std()
    off = found["variance"] - variance
    assert 0.7 < off.std() / found["variance_error"].mean() < 1.4
    assert abs(off.mean()) < 0.5 * off.std()
    assert np.mean(found["upper"] >= true) >= 0.93
    assert np.mean(found["lower"] <= true) >= 0.93
    # Limits that are never wrong because they are far away would say nothing.
    above = (found["upper"] - found["rate"]).mean() / error.std()
    assert 1.645 < above < 8
    assert (found["lower"] <= found["rate"]).all()
    if classes > 2 and rank is None:
        assert found["lower"].mean() > 0.1 * rate
    kappa = 1 - found["rate"] * classes / (classes - 1)
    np.testing.assert_allclose(found["retention"], kappa, atol=1e-6)


def test_error_of_the_variance_of_targets_that_are_no_codes():
    """Normal targets: of the distribution's variance, since nothing ties these draws to it."""
    kernel, _ = clustered(4)
    es = na.spectral.eigendecompose(kernel)
    targets = 3 * np.random.default_rng(0).normal(size=(DRAWS, POINTS, 1))
    found = [D.estimate_noise(es, one) for one in targets]
    variance, error = (np.array([float(getattr(f, n)) for f in found]) for n in FIELDS[4:6])
    # The choice of the tail scatters too.
    assert 0.7 < variance.std() / error.mean() < 1.4
    assert abs(variance.mean() - 9) < 0.5 * variance.std()
    assert np.isnan(found[0].rate)


def test_no_noise_is_found_where_there_is_none():
    kernel, labels = clustered(4)
    found = D.estimate_noise(na.spectral.eigendecompose(kernel), np.eye(4)[labels] - 0.25)
    assert 0 <= float(found.lower) <= float(found.rate) <= float(found.upper) < 0.01
    assert float(found.standard_error) < 0.005


def test_probabilities_of_refined_labels_are_shares_and_intervals_hold_the_rate():
    """Over 20 draws, where classes overlap: neither surer nor less sure than they are right."""
    classes, draws = 4, 20
    kernel, labels = clustered(classes, spread=0.3)
    es = na.spectral.eigendecompose(kernel)
    rng = np.random.default_rng(1)
    wrong = rng.random((draws, POINTS)) < 0.3
    seen = np.where(wrong, (labels + rng.integers(1, classes, wrong.shape)) % classes, labels)
    code = np.eye(classes) - 1 / classes
    with warnings.catch_warnings(action="ignore"):  # of leave-one-out scores late in training
        found = [D.refine_labels(es, code[one]) for one in seen]
    confidence, score = (np.array([getattr(f, n) for f in found]) for n in ("confidence", "score"))
    right = np.array([f.labels for f in found]) == labels
    for said, true in ((confidence, right), (score, ~wrong)):
        assert abs((said - true).mean()) < 0.02
        doubtful = (said > 0.05) & (said < 0.95)
        assert doubtful.sum() > 200
        assert abs((said - true)[doubtful].mean()) < 0.15
    rate, lower, upper = (
        np.array([float(getattr(f, n)) for f in found]) for n in ("noise_rate", "lower", "upper")
    )
    error, true = rate - wrong.mean(1), wrong.mean(1)
    assert np.mean((lower <= true) & (true <= upper)) >= 0.9
    assert 2.5 < (upper - lower).mean() / error.std() < 12
