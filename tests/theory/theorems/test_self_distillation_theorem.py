"""The self-distillation theorem on a small problem: size, power, and what its schedule assumes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from self_distillation_reports import (
    LATE,
    MARGIN,
    REACHES,
    TRUSTED,
    control,
    failed,
    find,
    missed,
    rows,
    run,
)  # fmt: skip

import ntk_air as na

d = na.distillation


@pytest.fixture(scope="module")
def plain():
    return run(controls=True, seeds=2, num_steps=1200)


def test_confirmed(plain):
    assert plain.verdict == "confirmed", plain.to_markdown()
    plain.raise_if_violated()
    assert find(plain, REACHES).measured < 0.02
    assert find(plain, "early stopping has a floor").measured > 0.39
    assert find(plain, "the label function must sharpen").measured > 0.39
    assert find(plain, "margin").measured > 0.9
    assert find(plain, "small step").measured == pytest.approx(1.0)
    assert find(plain, TRUSTED).measured.startswith("function space: ")


def test_network_is_near_its_linearisation(plain):
    for method in ("gradient descent", "self-distillation"):
        for network, function in zip(
            rows(plain, method), rows(plain, f"{method} (function space)"), strict=True
        ):
            assert network["min l2"] == pytest.approx(function["min l2"], rel=0.05)
            assert network["last l2"] == pytest.approx(function["last l2"], rel=0.1)


def test_control_trusted_too_early_locks_wrong_labels_in(plain):
    for row in control(plain, "trusted from step 0"):
        assert row["outcome"] == "locks wrong labels in"
        assert row["|h(f) - y| at the end"] > 0
        assert row["h(f) = y from"] is None
        # With right labels: alpha x 2 rho within the cluster averages, half the noise at most.
        assert row["with h(f) = y at every step"] == pytest.approx(0.5 * 0.4, rel=0.05)
        assert row["|f - y| at the end"] > 0.5 * 2 * np.sqrt(0.2)
    assert find(plain, "trusting too early locks wrong labels in").measured > 2


@pytest.mark.parametrize(
    ("name", "conclusion", "settled"),
    [
        # Plain training has the labels right long before it trusts the network, at step 120.
        ("trusted late", "trusting late converges", range(1, 120)),
        ("trusted from step 0, clean outputs", "right labels converge", [0]),
    ],
)
def test_the_same_weight_with_right_labels_follows_the_theorem(plain, name, conclusion, settled):
    found = control(plain, name)
    assert len(found) == 2
    for row in found:
        assert row["outcome"] == "follows the theorem"
        assert row["h(f) = y from"] in settled
        assert row["|h(f) - y| at the end"] == 0
        assert row["distance / bound"] <= 1
        assert row["|f - y| at the end"] == pytest.approx(row["with h(f) = y at every step"], 0.02)
    assert find(plain, conclusion).holds


def test_control_says_nothing_where_trust_was_not_too_early():
    """Of two clusters some initialisation has the signs right: then nothing is locked in."""
    made = na.datasets.clusterable(
        num_points=20, num_clusters=2, dimension=10, radius=0.02, noise_rate=0.2, seed=1
    )
    both = run(made, width=20, num_steps=60, controls=True, seeds=2)
    locked, lucky = control(both, "trusted from step 0")
    assert [row["seed"] for row in (locked, lucky)] == [0, 1]
    assert locked["outcome"] == "locks wrong labels in"
    assert lucky["outcome"] == "follows the theorem"
    told = find(both, "trusting too early locks wrong labels in")
    assert "in 1 of 2 runs" in told.statement
    ratio = locked["|f - y| at the end"] / locked["with h(f) = y at every step"]
    assert told.measured == pytest.approx(ratio, rel=1e-12)
    alone = run(made, width=20, num_steps=60, controls=True, seeds=[1])
    names = {c.name for c in alone.conclusions}
    assert names >= {"trusting late converges", "right labels converge"}
    assert told.name not in names


def test_saved_report_is_the_same(plain, tmp_path):
    loaded = na.load(na.save(plain, tmp_path / "report.ntk"))
    assert loaded.to_json() == plain.to_json()
    assert set(loaded.histories) == {
        f"{method}, seed {seed}"
        for seed in (0, 1)
        for method in (
            "gradient descent", "self-distillation", "identity label function"
        )
    }  # fmt: skip


def test_a_label_function_that_does_not_sharpen_fails_the_premise():
    report = run(label_fn=d.identity)
    assert report.verdict == "not applicable"
    assert missed(report) == {TRUSTED, LATE, MARGIN, "labels stay clean at a constant alpha"}
    assert find(report, TRUSTED).measured == "function space: never, network: never"
    assert failed(report) == {
        REACHES, "margin", "rate (function space)", "rate (network)",
        "limit of a constant alpha (function space)",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("alpha", "premises", "conclusions"),
    [
        # It comes to trust the observed labels in the end, and then has the clean signs.
        (lambda s: 1 - jnp.exp(-s / 60), set(), set()),
        (0.5, {TRUSTED}, {"rate (function space)", "rate (network)"}),
    ],
)
def test_schedules_that_trust_too_early(alpha, premises, conclusions):
    report = run(alpha=alpha)
    assert report.verdict == "not applicable"
    assert missed(report) == {"the schedule ends", LATE, MARGIN} | premises
    assert failed(report) == {REACHES, "margin"} | conclusions


def test_premise_is_that_of_the_distilled_run_not_of_gradient_descent():
    """Gradient descent has every sign right from step 2; with alpha 0.63 until then, not this."""
    data = na.datasets.clusterable(
        num_points=100, num_clusters=5, dimension=20, radius=0.02, noise_rate=0.2, seed=2
    )
    small = {"width": 400, "num_steps": 2000, "seeds": 1}
    report = run(data, alpha=lambda s: jnp.where(s < 2, 0.63, 0.0), **small)
    assert rows(report, "gradient descent (function space)")[0]["h(f) = y from"] == 2
    assert report.verdict == "not applicable"
    assert TRUSTED in missed(report)
    assert report.exit_code == 0
    assert {REACHES, "margin"} <= failed(report)
    # Twenty steps at that weight are enough, and everything holds.
    report = run(data, alpha=lambda s: jnp.where(s < 20, 0.63, 0.0), **small)
    assert report.verdict == "confirmed", report.to_markdown()


def test_a_schedule_that_ends_too_late_is_not_a_violation():
    """h(f_s) = y early on, and alpha_S = 0: but one step does not unlearn the noise."""
    report = run(alpha=lambda s: jnp.where(s < 799, 1.0, 0.0))
    assert find(report, "the schedule ends").holds
    assert find(report, TRUSTED).holds
    assert not find(report, "enough steps once the labels are right").holds
    assert report.verdict == "not applicable"
    assert REACHES in failed(report)


@pytest.mark.parametrize("seed", range(3))
def test_no_random_schedule_is_a_violation(seed):
    rng = np.random.default_rng(seed)
    kinds = [
        rng.random(801) * (np.arange(801) < rng.integers(1, 801)),
        np.where(np.arange(801) < rng.integers(0, 20), rng.uniform(0.5, 0.8), 0.0),
        d.agreement(rng.random()),
    ]
    label_fn = [d.tanh(20.0), d.hard, d.softmax(0.2)][seed]
    report = run(alpha=kinds[seed], label_fn=label_fn)
    assert report.verdict != "violated", report.to_markdown()


def test_too_much_noise_is_not_a_violation():
    data = na.datasets.clusterable(
        num_points=80, num_clusters=4, dimension=10, radius=0.02, noise_rate=0.6, seed=1
    )
    report = run(data)
    assert report.verdict == "not applicable"
    assert report.exit_code == 0
    report.raise_if_violated()
    assert not next(c for c in report.assumptions if "few enough" in c.name).holds
    assert REACHES in failed(report)
    assert find(report, REACHES).measured == pytest.approx(2, abs=0.1)


def test_too_large_a_step_is_reported():
    report = run(learning_rate=10.0)
    assert report.verdict == "not applicable"
    assert not next(c for c in report.assumptions if c.name == "small step").holds
    assert [c.name for c in report.conclusions] == ["training stays finite"]
    assert "at step" in report.conclusions[0].measured


def test_too_few_steps_are_not_a_violation():
    report = run(num_steps=5)
    assert report.verdict == "not applicable"
    assert missed(report) == {
        "enough steps", "initial outputs are forgotten", "the schedule ends", LATE, MARGIN
    }  # fmt: skip
    assert failed(report) == {REACHES, "margin"}


def test_clusters_of_points_are_farther_than_gradient_descent():
    """Nothing to overfit within clusters: (1 - 2 rho) y is nearer than y, and that is no fault."""
    data = na.datasets.clusterable(
        num_points=80, num_clusters=4, dimension=10, radius=0.004, noise_rate=0.2, seed=1
    )
    report = run(data)
    names = {c.name for c in report.conclusions}
    assert report.verdict == "confirmed", report.to_markdown()
    assert "self-distillation stays closer to initialisation" not in names
    assert (
        rows(report, "self-distillation")[0]["|W - W0|"]
        > rows(report, "gradient descent")[0]["|W - W0|"]
    )


def test_three_levels_of_labels():
    data = na.datasets.clusterable(
        num_points=80, num_clusters=3, dimension=10, radius=0.02, num_classes=3, noise_rate=0.1,
        seed=1,
    )  # fmt: skip
    report = run(data, num_steps=1200, accuracy=0.2)
    assert find(report, REACHES).measured < 0.05
    assert report.verdict == "confirmed", report.to_markdown()


@pytest.mark.parametrize(
    "bad", [{"num_steps": 0}, {"accuracy": 0.0}, {"seeds": ()}, {"learning_rate": -1.0}]
)
def test_bad_numbers(bad):
    with pytest.raises(ValueError):
        run(**bad)
