"""Supervision complexity of early-stopped and converged teachers, and the report that can fail."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest
from scipy import special

import ntk_air as na
from ntk_air._numerics import double_precision
from ntk_air.theory import _supervision_checks as checks
from ntk_air.theory import _supervision_complexity as supervision

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


def test_margin_bound_holds_for_students_of_many_draws():
    """Interpolating students of noisy labels: the clean error is below the bound, tight or not."""
    rng = np.random.default_rng(1)
    for rate in (0.0, 0.1, 0.3):
        for _ in range(20):
            x, new = rng.normal(size=(200, 3)), rng.normal(size=(500, 3))
            x, new = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, new))
            clean = np.sign(x[:, :1])
            wanted = 0.8 * x[:, :1] * np.where(rng.random((200, 1)) < rate, -1.0, 1.0)
            kernel = (1 + x @ x.T) / 2 + 0.05 * np.eye(200)
            weights = np.linalg.solve(kernel, wanted)
            complexity = np.sqrt(float((wanted.T @ weights)[0, 0]) * np.trace(kernel)) / 200
            bound = checks.margin_bound(clean * (kernel @ weights), complexity, np.trace(kernel))
            error = np.mean(np.sign((1 + new @ x.T) / 2 @ weights) != np.sign(new[:, :1]))
            assert error <= bound


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
