"""Confident learning's counts, the set of largest expected F1, and when noises are pooled."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import ntk_air as na
from ntk_air.dynamics.noisy import _calibrate, _suspects

D = na.dynamics


def test_confident_joint_equals_its_definition_point_by_point():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    predicted = rng.dirichlet(np.ones(4), 200)
    thresholds = [predicted[labels == j, j].mean() if (labels == j).any() else 2 for j in range(4)]
    counts = np.zeros((4, 4))
    for i in range(200):
        over = [j for j in range(4) if predicted[i, j] >= thresholds[j]]
        if over:
            counts[labels[i], max(over, key=lambda j: predicted[i, j])] += 1
    expected = np.zeros((4, 4))
    for j in range(3):
        expected[j] = counts[j] / counts[j].sum() * (labels == j).mean()
    found = _suspects.confident_joint(predicted, labels)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-12)


def test_confident_joint_of_sure_predictions_counts_the_errors():
    rng = np.random.default_rng(1)
    clean = rng.integers(0, 3, 3000)
    noisy = na.noise.apply("pair_flip:0.2", clean, num_classes=3, seed=0)
    labels = np.asarray(noisy.labels)
    joint = _suspects.confident_joint(np.eye(3)[clean] * 0.97 + 0.01, labels)
    np.testing.assert_allclose(1 - np.trace(joint), noisy.empirical_rate, atol=1e-12)
    rows = joint.T / joint.sum(axis=0)[:, None]
    np.testing.assert_allclose(rows, noisy.transition, atol=0.03)


def test_chosen_set_has_the_largest_expected_f1_of_all_sets():
    rng = np.random.default_rng(2)
    for _ in range(5):
        doubt = rng.uniform(0.1, 1, 9) ** 2

        def expected_f1(chosen, doubt=doubt):
            return 2 * doubt @ chosen / (doubt.sum() + np.sum(chosen))

        best = max(map(np.array, itertools.product([0, 1], repeat=9)), key=expected_f1)
        allowed = best.astype(bool) & (doubt > 0.1)
        np.testing.assert_array_equal(_suspects.most_useful(doubt), allowed)
    assert not _suspects.most_useful(np.full(50, 0.01)).any()


def test_pooled_posterior_lies_between_its_ends():
    rng = np.random.default_rng(3)
    labels, clean = rng.integers(0, 3, 100), rng.dirichlet(np.ones(3), 100)
    symmetric = _calibrate.uniform(0.9, 3)
    joint = _suspects.confident_joint(clean, labels)
    pooled = _suspects.pooled_posterior(clean, labels, symmetric, joint)
    np.testing.assert_allclose(pooled.sum(axis=1), 1, rtol=1e-12)
    counted = joint.T / joint.sum(axis=0)[:, None]
    own = np.arange(100), labels
    ends = np.stack([_calibrate.posterior(clean, labels, m)[own] for m in (symmetric, counted)])
    assert (pooled[own] > ends.min(axis=0) - 0.02).all()
    assert (pooled[own] < ends.max(axis=0) + 0.02).all()
    assert np.abs(pooled[own] - ends[0]).mean() > 0.02
    alone = _suspects.pooled_posterior(clean, labels, symmetric, symmetric.T / 3)
    np.testing.assert_allclose(
        alone, _calibrate.posterior(clean, labels, symmetric), atol=1e-3, rtol=2e-2
    )


def overlapping(spread):
    """Points around class centres with 20 % symmetric noise, the kernel of them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    x = np.eye(4)[labels] + spread * rng.normal(size=(500, 4))
    kernel = np.exp(-((x[:, None] - x) ** 2).sum(-1)) + 0.01 * np.eye(500)
    noisy = na.noise.symmetric(labels, 0.2, num_classes=4, seed=0)
    return na.spectral.eigendecompose(kernel), na.datasets.encode(noisy.labels, 4), noisy


@pytest.mark.parametrize(("spread", "identified"), [(0.2, True), (0.8, False)])
def test_how_labels_score_and_suspected_relate(spread, identified):
    es, observed, noisy = overlapping(spread)
    refined = D.refine_labels(es, observed)
    assert refined.identified is identified
    labels, suspected = np.asarray(noisy.labels), np.asarray(refined.suspected)
    own = np.arange(500), labels
    replaced = np.asarray(refined.labels) != labels
    assert suspected[replaced].all()
    assert (np.asarray(refined.alternative) != labels).all()
    np.testing.assert_array_equal(
        np.asarray(refined.alternative)[replaced], np.asarray(refined.labels)[replaced]
    )
    certain = np.asarray(refined.probabilities)[own]
    if identified:
        np.testing.assert_allclose(refined.score, certain, atol=1e-6)
        assert abs(float(refined.confident_rate) - noisy.empirical_rate) < 0.05
    else:
        assert np.asarray(refined.score).mean() < certain.mean() - 0.02
        assert float(refined.confident_rate) > float(refined.noise_rate) + 0.05
    score = np.asarray(refined.score)
    assert score[suspected].max() <= score[~suspected].min()
    assert noisy.flipped[suspected].mean() > 2 * noisy.empirical_rate


def test_noise_that_is_stated_is_not_averaged():
    """A stated kind leaves its rate to be told, which overlapping classes do not."""
    es, observed, noisy = overlapping(0.8)
    own = np.arange(500), np.asarray(noisy.labels)
    given = D.refine_labels(es, observed, noise_rate=0.2)
    kind = D.refine_labels(es, observed, transition="symmetric")
    assert given.identified
    assert float(given.lower) == float(given.upper) == pytest.approx(0.2)
    assert not kind.identified
    for refined in (given, kind):
        certain = np.asarray(refined.probabilities)[own]
        np.testing.assert_allclose(refined.score, certain, atol=1e-6)
