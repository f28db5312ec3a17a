"""Margins and test error away from the clusters, and the report that can fail."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ntk_air as na
from ntk_air.theory.model._sphere import at_distance, within

t = na.theory
DATA = na.datasets.clusterable(
    num_points=60, num_clusters=3, dimension=10, radius=0.3, noise_rate=0.2, seed=0
)


def run(data=DATA, **options):
    small = {"width": 200, "num_steps": 500, "time_constant": 40, "num_test": 100, "seeds": 1}
    return t.check_margin_generalization(data, **(small | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def test_confirmed():
    report = run()
    assert report.verdict == "confirmed", report.to_markdown()
    early, late, distilled = report.tables["methods"]
    assert distilled["margin"] > 0.8 > early["margin"] > 0 > late["margin"]
    assert distilled["probes"] == 60
    assert distilled["certified"] == pytest.approx(distilled["margin"] / distilled["lipschitz"])
    assert distilled["local_slope"] < distilled["lipschitz"]
    first, last = report.tables["distances"][0], report.tables["distances"][-1]
    assert first["self-distillation: error"] <= last["self-distillation: error"]
    assert first["self-distillation: margin"] > last["self-distillation: margin"]


@pytest.mark.parametrize(
    "options",
    [{"alpha": 1.0}, {"alpha": 0.5}, {"label_fn": na.distillation.identity},
     {"time_constant": 400.0}],
)  # fmt: skip
def test_other_than_the_theorems_schedule_is_no_violation(options):
    """Plain training, labels never let go, a label function that does not sharpen."""
    report = run(**options)
    assert report.verdict == "not applicable"
    assert report.exit_code == 0
    assert not find(report, "targets are nearly clean").holds
    assert not find(report, "margin of self-distillation").holds


def test_too_few_steps_after_the_labels_are_let_go():
    far = na.datasets.clusterable(
        num_points=60, num_clusters=3, dimension=10, radius=0.45, noise_rate=0.05, seed=49
    )
    report = run(far)
    assert find(report, "targets are nearly clean").holds
    assert not find(report, "enough steps").holds
    assert not find(report, "margin of self-distillation").holds
    assert report.verdict == "not applicable"


@pytest.mark.parametrize(("seed", "missed"), [(5, set()), (6, {"enough steps"}), (7, set())])
def test_size_over_data_and_seeds(seed, missed):
    data = na.datasets.clusterable(
        num_points=60, num_clusters=3, dimension=10, radius=0.3, noise_rate=0.2, seed=seed
    )
    report = run(data, seeds=[seed])
    assert {c.name for c in report.assumptions if not c.holds} == missed
    assert report.verdict == ("not applicable" if missed else "confirmed"), report.to_markdown()


def test_mutation_of_the_trained_network(monkeypatch):
    """Weights other than trained: smaller ones lose the margin, doubled ones keep the network."""
    from ntk_air.theory.theorems import _margin_runs

    plain = _margin_runs.distillation.self_distill

    def halfway(apply, weights, *arguments, **options):
        trained = plain(apply, weights, *arguments, **options)
        return dataclasses.replace(trained, params=(weights + trained.params) / 2)

    monkeypatch.setattr(_margin_runs.distillation, "self_distill", halfway)
    report = run()
    assert not find(report, "margin of self-distillation").holds
    assert report.verdict == "violated"


def test_mutation_of_the_certificate(monkeypatch):
    from ntk_air.theory.theorems import _margin_runs

    def farther(centers, distance, rng):
        return at_distance(centers, np.minimum(12 * distance, 2.0), rng)

    monkeypatch.setattr(_margin_runs, "at_distance", farther)
    report = run()
    assert report.verdict == "violated"
    assert not find(report, "certificate").holds


def test_distances_beyond_the_separation_decide_nothing():
    report = run(distances=(1.9,))
    assert report.verdict == "not applicable"
    assert not find(report, "a distance to test at").holds
    assert not find(report, "no worse away from the centres").holds


def test_too_much_noise_is_reported_and_the_conclusions_fail():
    data = na.datasets.clusterable(
        num_points=60, num_clusters=3, dimension=10, radius=0.2, noise_rate=0.6, seed=0
    )
    report = run(data)
    assert report.verdict == "not applicable"
    assert not find(report, "some labels are wrong, few enough").holds
    assert not find(report, "right inside the clusters").holds


def test_overlapping_clusters_are_reported():
    centers = np.asarray(DATA.centers).copy()
    centers[1] = at_distance(centers[:1], np.array([0.1]), np.random.default_rng(0))[0]
    inputs = within(centers[np.asarray(DATA.clusters)], 0.3, np.random.default_rng(1))
    report = run(dataclasses.replace(DATA, centers=centers, inputs=inputs), num_steps=50)
    assert not find(report, "classes are separated").holds
    assert report.verdict == "not applicable"
    assert not report.conclusions_hold


def test_too_few_steps_are_not_a_violation():
    report = run(num_steps=3)
    assert report.verdict == "not applicable"
    assert not find(report, "gradient descent ran on").holds


def test_points_lie_at_their_distance():
    centers = within(np.eye(6)[[0] * 50], 1.5, np.random.default_rng(0))
    points = at_distance(centers, np.full(50, 0.7), np.random.default_rng(1))
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1)
    np.testing.assert_allclose(np.linalg.norm(points - centers, axis=1), 0.7)
    assert np.linalg.norm(centers - np.eye(6)[0], axis=1).max() <= 1.5


@pytest.mark.parametrize(
    ("options", "message"),
    [({"distances": (2.5,)}, "distances"), ({"num_test": 0}, "num_test"),
     ({"width": 1}, "even number"), ({"num_steps": 0}, "num_steps")],
)  # fmt: skip
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)
