"""Early-stopped logistic regression: risks, ridge path and the report that can fail."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, optimize

import ntk_air as na
from ntk_air.theory.theorems.logistic_early_stopping import _checks as checks
from ntk_air.theory.theorems.logistic_early_stopping import _logistic as logistic
from ntk_air.theory.theorems.logistic_early_stopping import _theorem as early

t = na.theory
TRUTH, VARIANCES = np.array([1.0, -0.5, 0.0, 0.0]), np.array([1.0, 0.5, 0.3, 0.2])


def run(**options):
    small = {"num_points": 40, "dimension": 80, "support": 5, "num_steps": 2000, "seeds": 6}
    return t.check_logistic_early_stopping(**(small | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def test_confirmed():
    report = run()
    assert report.verdict == "confirmed", report.to_markdown()
    assert find(report, "ridge path").measured < 1 / np.sqrt(2)
    assert find(report, "rate of the training loss").measured.startswith("-1.0")
    rows = {row["solution"]: row for row in report.tables["stopping"]}
    assert rows["stopped"]["calibration error"] < rows["no training"]["calibration error"]
    assert rows["no training"]["calibration error"] < rows["last"]["calibration error"]


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
    gaps = 1 / (1 + np.exp(-scores)) - chance
    assert risks.calibration == pytest.approx(np.mean(gaps**2), abs=5e-4)
    assert risks.distance == pytest.approx(np.mean(np.abs(gaps)), abs=1e-3)
    sure = 1 / (1 + np.exp(np.abs(scores)))
    assert risks.undecided == pytest.approx(np.mean(sure**2), abs=5e-4)
    truth = logistic.risks(problem, TRUTH)
    assert truth.calibration < 1e-9
    assert truth.distance < 1e-9


@pytest.mark.parametrize("size", [1.0, 30.0])
def test_calibration_error_of_no_training_and_of_its_limit_in_closed_form(size):
    problem = logistic.draw(10, size * TRUTH, VARIANCES, (0,), 1.0)
    spread = size * np.sqrt(VARIANCES @ TRUTH**2)

    def mean(of):
        def density(z):
            return np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * of(1 / (1 + np.exp(-spread * z)))

        return sum(integrate.quad(density, *ends, limit=200)[0] for ends in ((-12, 0), (0, 12)))

    untrained = logistic.risks(problem, np.zeros(4))
    assert untrained.calibration == pytest.approx(mean(lambda p: (p - 0.5) ** 2), rel=1e-8)
    assert untrained.calibration > 0.02
    assert untrained.distance == pytest.approx(mean(lambda p: np.abs(p - 0.5)), rel=1e-3)
    assert untrained.logistic == pytest.approx(np.log(2))
    assert untrained.error == pytest.approx(0.5)
    limit = logistic.limit_calibration(problem)
    assert limit == pytest.approx(mean(lambda p: np.minimum(p, 1 - p) ** 2), rel=1e-3)
    # Weights along w* that grow without bound end exactly there.
    far = logistic.risks(problem, 1e6 * TRUTH)
    assert far.calibration == pytest.approx(limit, rel=2e-2)


def test_the_loss_bound_is_a_bound_that_a_slower_method_breaks():
    problem = logistic.draw(20, TRUTH, VARIANCES, (0,), 1.0)
    steps = [1, 10, 100, 1000]
    weights = logistic.descend(problem, steps)[:, 0]
    times = problem.learning_rate[0] * np.array(steps)
    bounds = logistic.loss_bounds(problem.signed[0], weights[-1], times)
    found = logistic.losses(problem.signed[0], weights)
    assert np.all(found <= bounds)
    best = optimize.minimize(
        lambda c: (
            np.logaddexp(0, -(problem.signed[0] @ (c[0] * weights[-1]))).mean()
            + c[0] ** 2 * weights[-1] @ weights[-1] / (2 * times[1])
        ),
        [1.0],
    )
    assert bounds[1] == pytest.approx(best.fun, rel=1e-3)
    assert np.any(logistic.losses(problem.signed[0], 0.1 * weights) > bounds)


def test_size_over_draws():
    """Where the assumptions hold, other draws confirm the report too."""
    for seed in (10, 20, 30):
        report = run(seeds=range(seed, seed + 6))
        assert report.verdict == "confirmed", report.to_markdown()


@pytest.fixture(scope="module")
def measured():
    """The paths of a report of four draws."""
    seen = []

    def kept(paths):
        seen.append(paths)
        return checks.conclusions_of(paths)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(early, "conclusions_of", kept)
        run(seeds=4, num_steps=1000)
    return seen[0]


@pytest.mark.parametrize(
    ("gaps", "holds", "resolved"),
    [
        ([-0.03, -0.02, -0.04, -0.03], True, True),
        ([0.03, 0.02, 0.04, 0.03], False, True),
        ([0.0, 0.0, 0.0, 0.0], False, True),
        # The lower end of the interval would pass these.
        ([-0.03, 0.05, 0.01, 0.02], False, False),
        ([-0.03, 0.01, -0.04, 0.0], False, False),
        ([-0.03], False, False),
    ],
)
def test_the_excess_error_is_decided_by_its_interval(gaps, holds, resolved, measured):
    paths = []
    for path, gap in zip(measured, gaps, strict=False):
        risks = list(path.risks)
        risks[path.stop] = risks[path.stop]._replace(error=risks[-1].error + gap)
        paths.append(path._replace(risks=risks))
    conclusions = checks.conclusions_of(paths)
    told = next(c for c in conclusions if c.name == "excess error of the stopped solution")
    assert (told.holds, checks.resolved_error(paths).holds) == (holds, resolved)


def test_mutation_of_the_calibration_error(monkeypatch):
    """The mean gap given the score is 0 for a model that knows nothing: the report sees it."""
    plain = logistic.risks

    def averaged(problem, weights):
        risks = plain(problem, weights)
        return risks._replace(calibration=risks.calibration if weights.any() else 0.0)

    monkeypatch.setattr(logistic, "risks", averaged)
    report = run()
    assert report.verdict == "violated"
    assert not find(report, "calibration error of the stopped solution against no training").holds


def test_mutation_of_the_descent(monkeypatch):
    """Weights that stay behind, and weights that do not diverge, break the report."""
    plain = logistic.descend

    def stalled(problem, steps):
        return plain(problem, [min(s, 50) for s in steps])

    monkeypatch.setattr(logistic, "descend", stalled)
    report = run()
    for name in ("the norm diverges", "rate of the training loss", "ridge path"):
        assert not find(report, name).holds, name
    assert report.exit_code == 1


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_mutation_of_the_rate(factor, monkeypatch):
    """Another rate has the same limit and path, only its times are wrong."""
    plain = logistic._advance
    monkeypatch.setattr(
        logistic, "_advance", lambda signed, rate, *rest: plain(signed, factor * rate, *rest)
    )
    report = run(num_steps=1000)
    assert report.verdict == "violated"
    assert not find(report, "the algorithm's steps").holds


def test_too_few_points_are_reported():
    report = run(num_points=10)
    assert report.verdict == "not applicable"
    assert not find(report, "enough points").holds


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
