"""Supervision complexity of early-stopped and converged teachers, and the report that can fail."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from scipy import special

import ntk_air as na
from ntk_air._numerics import double_precision
from ntk_air.theory.theorems import _supervision_checks as checks
from ntk_air.theory.theorems import _supervision_complexity as supervision

t = na.theory
DATA = na.datasets.clusterable(
    num_points=240, num_clusters=3, dimension=10, radius=0.3, noise_rate=0.2, seed=0
)


def run(data=DATA, **options):
    return t.check_supervision_complexity(
        data, **({"width": 200, "num_steps": 200, "seeds": 1} | options)
    )


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def test_confirmed_and_observed_labels_match_the_formula():
    report = run()
    assert report.verdict == "confirmed", report.to_markdown()
    rows = {row["teacher"]: row for row in report.tables["targets"]}
    with double_precision():
        student = t.two_layer_init(jax.random.split(jax.random.key(0))[1], 200, 10)
        kernel = np.asarray(t.two_layer_ntk(student, np.asarray(DATA.inputs, np.float64)))
    wanted = np.asarray(DATA.observed, np.float64)[:, 0]
    expected = np.sqrt(wanted @ np.linalg.solve(kernel, wanted) * np.trace(kernel)) / 240
    assert rows["observed labels"]["complexity"] == pytest.approx(expected, rel=1e-6)
    assert rows["converged teacher"]["complexity"] == pytest.approx(expected, rel=1e-6)
    assert rows["early-stopped teacher"]["test_error"] == 0
    assert rows["converged teacher"]["test_error"] > 0
    assert {c.name for c in report.conclusions} == {
        "complexity grows along the path", "limit", "early-stopped targets are easier",
        "early-stopped networks too", "the student errs less", "the bound prefers early stopping",
        "margin bound",
    }  # fmt: skip


def test_a_student_that_errs_as_often_does_not_err_less():
    """Level is a failure, unless neither errs."""
    row = checks.Targets(0, "any", 1.0, 0.1, 0.2, 0.5, 0.1)
    for early, late, holds in ((0.1, 0.2, True), (0.2, 0.2, False), (0.0, 0.0, True)):
        rows = {name: row for name in (checks.OBSERVED, checks.NETWORK_EARLY, checks.NETWORK_LATE)}
        rows[checks.EARLY] = row._replace(test_error=early)
        rows[checks.CONVERGED] = row._replace(test_error=late)
        made = checks.conclusions_of([checks.SupervisionRun(rows, 0.1, 0.0, 0.9, 2.0, 1.0, 0.0)])
        assert next(c for c in made if c.name == "the student errs less").holds == holds


def test_a_teacher_stopped_too_late_is_reported_and_the_conclusion_fails():
    late = 20 * max(row["step"] for row in run().tables["targets"])
    report = run(stop=late)
    assert report.verdict == "not applicable"
    assert not find(report, "the teacher is stopped early").holds
    assert not find(report, "early-stopped targets are easier").holds


def test_too_much_noise_is_reported_and_the_conclusions_fail():
    data = na.datasets.clusterable(
        num_points=60, num_clusters=3, dimension=10, radius=0.3, noise_rate=0.6, seed=0
    )
    report = run(data)
    assert report.verdict == "not applicable"
    assert not find(report, "some labels are wrong, few enough").holds
    assert not report.conclusions_hold


def test_repeated_points_have_no_inverse_kernel():
    inputs = np.asarray(DATA.inputs).copy()
    inputs[np.asarray(DATA.clusters) == 0] = np.asarray(DATA.centers)[0]
    with pytest.raises(ValueError, match="above round-off"):
        run(dataclasses.replace(DATA, inputs=inputs))


def test_margin_bound_of_its_union_by_hand():
    margins = np.random.default_rng(0).normal(1.0, 0.3, size=(150, 1))
    trace, complexity = 60.0, 0.05
    norm = complexity * 150 / np.sqrt(trace)
    found = []
    for member in range(-12, 13):
        radius = np.sqrt(150) * 2 ** (member / 2)
        # The weights 1 / (1 + |j|)^2 over all whole numbers sum to 2 zeta(2) - 1.
        chance = 0.05 / (2 * special.zeta(2) - 1) / (1 + abs(member)) ** 2
        share = np.mean(margins < norm / radius)
        tail = 3 * np.sqrt(np.log(2 / chance) / 300)
        found.append(share + 2 * radius * np.sqrt(trace) / 150 + tail)
    assert checks.margin_bound(margins, complexity, trace) == pytest.approx(min(found), rel=1e-12)
    assert min(found) < 1
    # Without its union the bound would be lower than it may be.
    assert min(found) > 2 * complexity / 0.9 + 3 * np.sqrt(np.log(2 / 0.05) / 300)


def angular(count, angle, rng):
    """Labels sign(x_1) of points on a circle, and outputs of the student w x at an angle to it."""
    turns = 2 * np.pi * rng.random(count)
    return np.sign(np.cos(turns))[:, None], np.cos(turns - angle)[:, None]


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.0, 1.5])
def test_margin_bound_holds_for_students_of_many_draws(angle):
    """Students x w, |w| = 1, that err on a share angle / pi of the circle: kernel x x', trace n."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        clean, outputs = angular(20_000, angle, rng)
        fresh, predicted = angular(20_000, angle, rng)
        error = np.mean(np.sign(predicted) != fresh)
        assert error == pytest.approx(angle / np.pi, abs=0.02)
        bound = checks.margin_bound(clean * outputs, 1 / np.sqrt(20_000), 20_000.0)
        # Near enough that a bound of 1 fails, and one without the share of small margins.
        assert error <= bound <= angle / np.pi + 0.35
        assert bound < 1


def test_vacuous_bounds_are_called_so_and_decide_nothing():
    few = na.datasets.clusterable(
        num_points=30, num_clusters=3, dimension=10, radius=0.3, noise_rate=0.2, seed=0
    )
    report = run(few)
    assert {row["bound says"] for row in report.tables["targets"]} == {"nothing"}
    assert not any("bound" in c.name for c in report.conclusions)
    converged = find(run(), "the bound prefers early stopping").required
    assert "vacuous" in str(converged)


def test_a_network_teacher_that_is_still_learning_is_no_violation():
    report = run(num_steps=2)
    assert report.verdict == "not applicable"
    assert not find(report, "the network teacher ran on").holds


def test_mutation_of_the_student(monkeypatch):
    plain = supervision.two_layer_ntk

    def reversed_cross(weights, x1, x2=None):
        kernel = plain(weights, x1, x2)
        return kernel if x2 is None else -kernel

    monkeypatch.setattr(supervision, "two_layer_ntk", reversed_cross)
    report = run()
    assert report.verdict == "violated"
    assert not find(report, "margin bound").holds


@pytest.mark.parametrize("seed", [1, 2])
def test_size_over_draws(seed):
    data = na.datasets.clusterable(
        num_points=240, num_clusters=3, dimension=10, radius=0.3, noise_rate=0.2, seed=seed
    )
    report = run(data, seeds=[seed])
    assert report.verdict == "confirmed", report.to_markdown()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_steps": 0}, "num_steps"), ({"stop": 0.0}, "stop"), ({"width": 5}, "even number")],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)
