"""The self-distillation theorem on a small problem, and mutations that must turn it red."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import ntk_air as na
from ntk_air.distillation import _objective

t, d = na.theory, na.distillation

DATA = na.datasets.clusterable(
    num_points=80, num_clusters=4, dimension=10, radius=0.02, noise_rate=0.2, seed=1
)


def run(data=DATA, **options):
    small = {"width": 200, "num_steps": 800, "time_constant": 60, "controls": False, "seeds": 1}
    return t.check_self_distillation(data, **(small | options))


@pytest.fixture(scope="module")
def plain():
    return run(controls=True, seeds=2, num_steps=2000)


def measured(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name).measured


def rows(report, method):
    return [row for row in report.tables["methods"] if row["method"] == method]


def failed(report):
    return {c.name for c in report.conclusions if not c.holds}


def test_confirmed(plain):
    assert plain.verdict == "confirmed", plain.to_markdown()
    plain.raise_if_violated()
    assert measured(plain, "self-distillation reaches the clean labels") < 0.02
    assert measured(plain, "early stopping has a floor") > 0.39
    assert measured(plain, "the label function must sharpen") > 0.39
    assert measured(plain, "margin") > 0.9
    assert measured(plain, "small step") == pytest.approx(1.0)


def test_network_is_near_its_linearisation(plain):
    for method in ("gradient descent", "self-distillation"):
        for network, function in zip(
            rows(plain, method), rows(plain, f"{method} (function space)"), strict=True
        ):
            assert network["min l2"] == pytest.approx(function["min l2"], rel=0.05)
            assert network["last l2"] == pytest.approx(function["last l2"], rel=0.1)


def test_trusting_too_early_is_reported(plain):
    for early, settled in zip(
        rows(plain, "constant alpha 0.5"), rows(plain, "self-distillation"), strict=True
    ):
        # Half the noise is in the target for good: 0.5 x 2 sqrt(rho) within the clusters.
        assert early["last l2"] > 10 * settled["last l2"]
        assert settled["h(f) = y from"] < 100


def test_saved_report_is_the_same(plain, tmp_path):
    loaded = na.load(na.save(plain, tmp_path / "report.ntk"))
    assert loaded.to_json() == plain.to_json()
    assert set(loaded.histories) == {
        f"{method}, seed {seed}"
        for seed in (0, 1)
        for method in (
            "gradient descent", "self-distillation", "identity label function",
            "constant alpha 0.5",
        )
    }  # fmt: skip


def test_mutation_identity_label():
    report = run(label_fn=d.identity)
    assert report.verdict == "violated"
    assert {"labels become clean", "self-distillation reaches the clean labels"} <= failed(report)
    assert any("function space" in name for name in failed(report))
    with pytest.raises(t.TheoremViolationError, match="reaches the clean labels"):
        report.raise_if_violated()


@pytest.mark.parametrize("alpha", [lambda s: 1 - jnp.exp(-s / 60), 0.5])
def test_schedules_that_trust_too_early(alpha):
    report = run(alpha=alpha)
    assert report.verdict == "not applicable"
    missed = {c.name for c in report.assumptions if not c.holds}
    assert missed == {"the schedule ends", "the network is not trusted too early"}
    assert measured(report, "the network is not trusted too early") <= 0.5
    assert "self-distillation reaches the clean labels" in failed(report)


def test_too_much_noise_is_not_a_violation():
    data = na.datasets.clusterable(
        num_points=80, num_clusters=4, dimension=10, radius=0.02, noise_rate=0.6, seed=1
    )
    report = run(data)
    assert report.verdict == "not applicable"
    assert report.exit_code == 0
    report.raise_if_violated()
    assert not next(c for c in report.assumptions if "few enough" in c.name).holds
    assert {"labels become clean", "self-distillation reaches the clean labels"} <= failed(report)
    assert measured(report, "self-distillation reaches the clean labels") == pytest.approx(
        2, abs=0.1
    )


def test_too_large_a_step_is_reported():
    report = run(learning_rate=10.0)
    assert report.verdict == "not applicable"
    assert not next(c for c in report.assumptions if c.name == "small step").holds
    assert [c.name for c in report.conclusions] == ["training stays finite"]
    assert "at step" in report.conclusions[0].measured


def test_too_few_steps_are_not_a_violation():
    report = run(num_steps=5)
    assert report.verdict == "not applicable"
    names = {c.name for c in report.assumptions if not c.holds}
    assert names == {"enough steps", "initial outputs are forgotten", "the schedule ends"}


def test_three_levels_of_labels():
    data = na.datasets.clusterable(
        num_points=80, num_clusters=3, dimension=10, radius=0.02, num_classes=3, noise_rate=0.1,
        seed=1,
    )  # fmt: skip
    report = run(data)
    assert measured(report, "labels become clean") != "never"
    assert measured(report, "self-distillation reaches the clean labels") < 0.05


@pytest.mark.parametrize(
    "bad", [{"num_steps": 0}, {"accuracy": 0.0}, {"seeds": ()}, {"learning_rate": -1.0}]
)
def test_bad_numbers(bad):
    with pytest.raises(ValueError):
        run(**bad)


# Last, because it empties the caches of compiled loops that the other tests share.
@pytest.mark.parametrize("mutation", ["sign", "reversed"])
def test_mutations_of_the_target(mutation, monkeypatch):
    def sign(alpha, observed, labels):
        return jax.lax.stop_gradient(alpha * observed - (1 - alpha) * labels)

    def reverse(alpha, observed, labels):
        return jax.lax.stop_gradient((1 - alpha) * observed + alpha * labels)

    monkeypatch.setattr(_objective, "mix", {"sign": sign, "reversed": reverse}[mutation])
    jax.clear_caches()  # the compiled loops hold the right target
    try:
        report = run()
    finally:
        monkeypatch.undo()
        jax.clear_caches()
    assert report.verdict == "violated", report.to_markdown()
    assert "self-distillation reaches the clean labels" in failed(report)
    assert "limit of a constant alpha (function space)" in failed(report)
