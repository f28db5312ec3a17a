"""Early-stopped logistic regression: risks, ridge path and the report that can fail."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

import ntk_air as na
from ntk_air.theory import _logistic as logistic

t = na.theory
TRUTH, VARIANCES = np.array([1.0, -0.5, 0.0, 0.0]), np.array([1.0, 0.5, 0.3, 0.2])


def run(**options):
    small = {"num_points": 40, "dimension": 80, "support": 5, "num_steps": 2000, "seeds": 2}
    return t.check_logistic_early_stopping(**(small | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def test_confirmed():
    report = run()
    assert report.verdict == "confirmed", report.to_markdown()
    assert find(report, "ridge path").measured < 1 / np.sqrt(2)
    assert find(report, "rate of the training loss").measured.startswith("-1.0")


def test_descent_matches_a_loop():
    problem = logistic.draw(10, TRUTH, VARIANCES, (3, 4), 1.0)
    weights = logistic.descend(problem, [1, 7])
    for index in (0, 1):
        w, signed = np.zeros(4), problem.signed[index]
        for _ in range(7):
            w = w + problem.learning_rate[index] * np.mean(
                signed / (1 + np.exp(signed @ w))[:, None], axis=0
            )
        np.testing.assert_allclose(weights[1, index], w, rtol=1e-10)


def test_ridge_path_matches_a_general_optimiser():
    signed = logistic.draw(30, TRUTH, VARIANCES, (0,), 1.0).signed[0]
    for strength, found in zip((1.0, 1e-2), logistic.ridge_path(signed, [1.0, 1e-2]), strict=True):
        best = optimize.minimize(
            lambda w, s=strength: np.logaddexp(0, -(signed @ w)).mean() + s / 2 * w @ w,
            np.zeros(4), tol=1e-12,
        )  # fmt: skip
        np.testing.assert_allclose(found, best.x, atol=1e-5)


def test_risks_match_sampling():
    problem = logistic.draw(10, TRUTH, VARIANCES, (0,), 1.0)
    weights = np.array([1.5, 0.2, -0.7, 0.3])
    risks = logistic.risks(problem, weights)
    inputs = np.random.default_rng(0).standard_normal((400_000, 4)) * np.sqrt(VARIANCES)
    chance, scores = 1 / (1 + np.exp(-(inputs @ TRUTH))), inputs @ weights
    loss = chance * np.logaddexp(0, -scores) + (1 - chance) * np.logaddexp(0, scores)
    assert risks.logistic == pytest.approx(loss.mean(), abs=3e-3)
    wrong = np.where(scores > 0, 1 - chance, chance).mean()
    assert risks.error == pytest.approx(wrong, abs=2e-3)
    cut = np.quantile(scores, np.linspace(0, 1, 201)[1:-1])
    group = np.digitize(scores, cut)
    gaps = np.bincount(group, 1 / (1 + np.exp(-scores)) - chance) / np.bincount(group)
    assert risks.calibration == pytest.approx(np.abs(gaps).mean(), abs=3e-3)
    assert logistic.risks(problem, TRUTH).calibration < 1e-9


def test_too_many_points_and_too_large_a_step_are_reported():
    full = run(num_points=200, dimension=5)
    assert full.verdict == "not applicable"
    assert not find(full, "separable data").holds
    assert not find(full, "rate of the training loss").holds
    large = run(step=20.0, num_steps=500)
    assert large.verdict == "not applicable"
    assert not find(large, "small step").holds
    assert not find(large, "ridge path").holds


@pytest.mark.parametrize(
    ("options", "message"),
    [({"support": 81}, "support"), ({"num_steps": 10}, "num_steps"), ({"step": 0.0}, "step"),
     ({"seeds": ()}, "seeds")],
)  # fmt: skip
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)
