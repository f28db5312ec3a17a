"""Refining labels under noise that prefers some wrong classes: the matrix, Bayes, the gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air.dynamics.noisy import _calibrate

D = na.dynamics
CLASSES = 4


def problem(noise, n=500, spread=0.2, seed=0):
    """Points around class centres, an exponential kernel of them, and noisy labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    x = np.eye(CLASSES)[labels] + spread * rng.normal(size=(n, CLASSES))
    kernel = np.exp(-((x[:, None] - x) ** 2).sum(-1)) + 0.01 * np.eye(n)
    noisy = na.noise.apply(noise, labels, num_classes=CLASSES, seed=seed)
    return na.spectral.eigendecompose(kernel), na.datasets.encode(noisy.labels, CLASSES), noisy


@pytest.fixture(scope="module")
def pairs():
    return problem("pair_flip:0.3")


def test_matrix_of_pair_flips_is_found_and_used(pairs):
    es, observed, noisy = pairs
    refined = D.refine_labels(es, observed)
    np.testing.assert_allclose(refined.transition, noisy.transition, atol=0.1)
    np.testing.assert_allclose(np.asarray(refined.transition).sum(1), 1, rtol=1e-5)
    correct = np.asarray(refined.labels) == np.asarray(noisy.clean)
    symmetric = D.refine_labels(es, observed, transition="symmetric")
    repaired = np.asarray(symmetric.labels) == np.asarray(noisy.clean)
    assert correct.mean() > max(0.93, repaired.mean())
    assert abs(float(refined.noise_rate) - noisy.empirical_rate) < 0.05
    flat = np.asarray(symmetric.transition)[~np.eye(CLASSES, dtype=bool)]
    assert np.ptp(flat) < 1e-6


@pytest.mark.parametrize("spread", [0.2, 0.8])
def test_symmetric_noise_and_classes_that_overlap_keep_the_symmetric_matrix(spread):
    es, observed, _ = problem("symmetric:0.2", spread=spread)
    refined = D.refine_labels(es, observed)
    assert np.ptp(np.asarray(refined.transition)[~np.eye(CLASSES, dtype=bool)]) < 1e-6
    one = D.refine_labels(es, observed, transition="symmetric")
    np.testing.assert_array_equal(refined.probabilities, one.probabilities)


def test_bayes_rule_point_by_point(pairs):
    es, observed, noisy = pairs
    refined = D.refine_labels(es, observed, transition=noisy.transition)
    clean, matrix = np.asarray(refined.predicted), np.asarray(refined.transition)
    labels = np.asarray(noisy.labels)
    for i in range(0, len(labels), 17):
        joint = [clean[i, c] * matrix[c, labels[i]] for c in range(CLASSES)]
        np.testing.assert_allclose(refined.probabilities[i], joint / np.sum(joint), atol=1e-5)
        np.testing.assert_allclose(
            refined.score[i], joint[labels[i]] / np.sum(joint), rtol=1e-4, atol=1e-6
        )
    np.testing.assert_allclose(matrix, noisy.transition, atol=2e-3)


def test_slopes_of_the_likelihood_equal_automatic_ones(x64):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 3)), rng.integers(0, 3, 30)
    matrix = rng.dirichlet(np.ones(3), 3)

    def loss(logits, matrix):
        seen = jax.nn.softmax(logits, axis=1) @ matrix
        return -jnp.mean(jnp.log(seen[jnp.arange(30), labels]))

    value, slope, by_matrix = _calibrate._likelihood(
        np.asarray(jax.nn.softmax(logits, axis=1)), labels, matrix
    )
    expected = jax.grad(loss, argnums=(0, 1))(jnp.asarray(logits), jnp.asarray(matrix))
    np.testing.assert_allclose(value, loss(logits, matrix), rtol=1e-12)
    np.testing.assert_allclose(slope, expected[0], atol=1e-14)
    np.testing.assert_allclose(by_matrix, expected[1], atol=1e-14)


def test_predicted_probabilities_are_calibrated_out_of_sample():
    """Classes that look alike: one sharpness for all leaves what the matrix W gains."""
    rng = np.random.default_rng(0)
    n = 4000
    clean = rng.integers(0, 3, n)
    means = np.array([[1.0, 0.4, -1.4], [0.4, 1.0, -1.4], [-0.5, -0.5, 1.0]])
    outputs = means[clean] * 0.5 + 0.5 * rng.normal(size=(n, 3))
    found = _calibrate.class_sensitive(outputs[None], clean, np.eye(3), 1.0)
    losses = [
        -np.mean(jax.nn.log_softmax(b * outputs, axis=1)[np.arange(n), clean])
        for b in np.geomspace(0.1, 20, 60)
    ]
    assert -np.mean(np.log(found[np.arange(n), clean])) < min(losses) - 0.005
    for c in range(3):
        share = [
            (clean[inside] == c).mean() - found[inside, c].mean()
            for low in np.arange(0, 1, 0.25)
            if (inside := (found[:, c] >= low) & (found[:, c] < low + 0.25)).sum() > 100
        ]
        assert np.abs(share).max() < 0.08


def test_bad_matrices(pairs):
    es, observed, noisy = pairs
    with pytest.raises(ValueError, match="shape"):
        D.refine_labels(es, observed, transition=np.eye(3))
    with pytest.raises(ValueError, match="row sums from 2"):
        D.refine_labels(es, observed, transition=2 * np.eye(4))
    with pytest.raises(ValueError, match=r"NaN|finite"):
        D.refine_labels(es, observed, transition=np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="transition is 'learned'"):
        D.refine_labels(es, observed, transition="learned")
    with pytest.raises(ValueError, match="pass one of them"):
        D.refine_labels(es, observed, transition=noisy.transition, noise_rate=0.3)


def test_degrees_of_freedom_are_the_smoothers_trace(pairs):
    es, _, _ = pairs
    values, vectors = np.asarray(es.eigenvalues), np.asarray(es.eigenvectors)
    smoother = (vectors * -np.expm1(-values * 0.3)) @ vectors.T
    both = D.degrees_of_freedom(es, [D.gradient_flow(0.3), D.gradient_flow(0.0)])
    np.testing.assert_allclose(both, [np.trace(smoother), 0.0], rtol=1e-4, atol=1e-4)
    part = na.spectral.eigendecompose((vectors * values) @ vectors.T, rank=50)
    flow = D.degrees_of_freedom(part, D.gradient_flow(0.3))
    assert flow.shape == ()
    mean = values[50:].mean()
    expected = -np.expm1(-values[:50] * 0.3).sum() - 450 * np.expm1(-mean * 0.3)
    np.testing.assert_allclose(flow, expected, rtol=1e-3)
