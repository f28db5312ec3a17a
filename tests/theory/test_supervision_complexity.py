"""Supervision complexity of early-stopped and converged teachers, and the report that can fail."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import ntk_air as na
from ntk_air._numerics import double_precision

t = na.theory
DATA = na.datasets.clusterable(
    num_points=60, num_clusters=3, dimension=10, radius=0.3, noise_rate=0.2, seed=0
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
    expected = np.sqrt(wanted @ np.linalg.solve(kernel, wanted) * np.trace(kernel)) / 60
    assert rows["observed labels"]["complexity"] == pytest.approx(expected, rel=1e-6)
    assert rows["converged teacher"]["complexity"] == pytest.approx(expected, rel=1e-6)
    assert rows["early-stopped teacher"]["test_error"] == 0


def test_a_teacher_stopped_too_late_is_reported_and_the_conclusion_fails():
    late = 20 * max(row["step"] for row in run().tables["targets"])
    report = run(stop=late)
    assert report.verdict == "not applicable"
    assert not find(report, "the teacher is stopped early").holds
    assert not find(report, "early-stopped targets are easier").holds
    assert not find(report, "the student errs less").holds


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


@pytest.mark.parametrize(
    ("options", "message"),
    [({"num_steps": 0}, "num_steps"), ({"stop": 0.0}, "stop"), ({"width": 5}, "even number")],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)
