"""The l2 floor of early stopping: numbers, violations and mutations; fits of power laws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from broken_trainers import BROKEN

import ntk_air as na
from ntk_air._numerics import double_precision

t = na.theory
SMALL = {"num_points": 60, "num_clusters": 3, "width": 100, "num_steps": 1000, "seeds": 1}


def run(**options):
    radii = {"radii": (0.02, 0.01, 0.005, 0.0), "controls": False}
    return t.check_l2_floor(**(SMALL | radii | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def failed(report):
    return {c.name for c in report.conclusions if not c.holds}


def test_confirmed_with_numbers():
    report = run(seeds=3)
    assert report.verdict == "confirmed", report.to_markdown()
    assert find(report, "floor of early stopping").measured == pytest.approx(0.4, abs=5e-4)
    assert find(report, "margin of early stopping").measured == pytest.approx(0.6, abs=5e-4)
    assert find(report, "converged gradient descent").measured == pytest.approx(2 * 0.2**0.5)
    rows = report.tables["radii"]
    slopes = []
    for seed in (0, 4, 8):
        x, y = np.transpose([(r["epsilon_0"], abs(r["margin"] - 0.6)) for r in rows[seed:][:3]])
        slopes.append(np.linalg.solve(np.stack([np.log(x), x, np.ones(3)], 1), np.log(y))[0])
    found = find(report, "exponent of margin in epsilon_0").scaling
    assert found.fitted == pytest.approx(np.mean(slopes), abs=1e-3)
    assert found.low < 1 < found.high


@pytest.mark.parametrize("seeds", [[0], [1], 2])
def test_few_seeds_decide_no_exponent(seeds):
    """What is left of a line over radii is the next order's, the same at every draw: no error."""
    report = run(seeds=seeds)
    assert (report.verdict, report.exit_code) == ("not applicable", 0)
    assert failed(report) == set()
    assert [c.name for c in report.assumptions if not c.holds] == ["exponents are resolved"]


def test_floor_is_the_brute_force_minimum():
    data = na.datasets.clusterable(
        num_points=60, num_clusters=3, dimension=20, radius=0.02, noise_rate=0.2, seed=0
    )
    with double_precision():
        weights = t.two_layer_init(jax.random.key(0), 100, 20)
        kernel = np.asarray(t.two_layer_ntk(weights, np.asarray(data.inputs, np.float64)))
    clean, observed = (np.asarray(v, np.float64)[:, 0] for v in (data.clean, data.observed))
    f, best = np.zeros(60), np.inf
    rate = 1 / np.linalg.eigvalsh(kernel)[-1]
    for _ in range(2000):
        f = f - rate * kernel @ (f - observed)
        best = min(best, np.linalg.norm(f - clean) / np.sqrt(60))
    row = run(radii=(0.02, 0.0)).tables["radii"][0]
    assert row["early stopping"] == pytest.approx(best, abs=1e-6)


def test_too_much_noise_is_reported_and_the_conclusions_fail():
    report = run(noise_rate=0.6)
    assert report.verdict == "not applicable"
    assert not find(report, "some labels are wrong, few enough").holds
    assert {"self-distillation has no floor", "margin of self-distillation"} <= failed(report)


@pytest.mark.parametrize(
    ("options", "premise"),
    [
        ({"label_fn": na.distillation.identity}, "the network is not trusted too early"),
        ({"alpha": 0.0}, "the network is not trusted too early"),
        ({"alpha": na.distillation.constant(1.0)}, "the schedule ends"),
        ({"alpha": lambda s: s < 999}, "enough steps once the labels are right"),
    ],
)  # fmt: skip
def test_schedules_that_break_a_premise_are_not_violations(options, premise):
    report = run(**options, radii=(0.01, 0.0))
    assert report.verdict == "not applicable"
    assert not find(report, premise).holds
    assert "self-distillation has no floor" in failed(report)


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_dynamics_are_violations(fault, monkeypatch):
    """Reversed weights among them: the history's own alpha would excuse those."""
    right = na.distillation.kernel_self_distill
    monkeypatch.setattr(
        na.distillation,
        "kernel_self_distill",
        lambda *a, **options: right(*a, **BROKEN[fault](options)),
    )
    report = run(radii=(0.01, 0.0))
    assert report.verdict == "violated"
    assert "the algorithm's steps" in failed(report)


@pytest.mark.parametrize("options", [{"step_size": 1.5}, {"momentum": 0.9}])
def test_filters_above_one_are_reported_and_the_floor_is_lost(options):
    report = run(**options, radii=(0.01, 0.0))
    assert report.verdict == "not applicable"
    assert find(report, "monotone gradient descent").measured > 1.4
    assert find(report, "floor of early stopping").measured < 0.3
    assert {"floor of early stopping", "gradient descent is one of them"} <= failed(report)
    assert find(report, "floor of all filters up to 1").measured == pytest.approx(0.4, abs=5e-4)


def test_smaller_steps_keep_the_floor():
    assert run(step_size=0.3, radii=(0.01, 0.0)).verdict == "confirmed"


def overshooting(kernel, clean, observed, rate, momentum, steps):
    """Least distance of heavy ball at the given steps, by its recursion."""
    f = before = np.zeros(len(clean))
    distances = []
    for _ in range(max(steps)):
        f, before = f + momentum * (f - before) - rate * kernel @ (f - observed), f
        distances.append(np.linalg.norm(f - clean) / np.sqrt(len(clean)))
    return min(distances[step - 1] for step in steps)


def test_overshooting_is_predicted_and_measured(x64):
    """Heavy ball of 0.9: far below 2 rho = 0.4, by its filter, by hand and as a network."""
    report = run(controls=True, radii=(0.01, 0.0), width=200)
    assert report.verdict == "confirmed", report.to_markdown()
    data = na.datasets.clusterable(
        num_points=60, num_clusters=3, dimension=20, radius=0.0, noise_rate=0.2, seed=0
    )
    half = t.two_layer_init(jax.random.key(0), 100, 20)
    weights = jnp.concatenate([half, half])
    inputs = jnp.asarray(data.inputs, float)
    kernel = np.asarray(t.two_layer_ntk(weights, inputs))
    clean, observed = (np.asarray(v, np.float64) for v in (data.clean, data.observed))
    top = np.linalg.eigvalsh(kernel)[-1]
    for row in report.tables["overshooting"]:
        rate, momentum = row["eta lambda_1"] / top, row["momentum"]
        least = overshooting(
            kernel, clean[:, 0], observed[:, 0], rate, momentum, (*range(1, 11), 15, 20, 30)
        )
        assert row["predicted"] == pytest.approx(least, abs=1e-9)
        assert (row["largest filter value"] > 1) == (row["predicted"] < 0.399)
    trained = na.distillation.self_distill(
        t.two_layer_apply, weights, inputs, observed, optimizer=optax.sgd(1 / top, momentum=0.9),
        num_steps=10, alpha=1.0, clean=clean, record_every=1,
    )  # fmt: skip
    row = report.tables["overshooting"][-1]
    assert row["momentum"] == 0.9
    assert row["network"] == pytest.approx(float(trained.history.l2_to_clean.min()), abs=1e-6)
    assert row["network"] == pytest.approx(row["predicted"], abs=0.004)
    assert row["predicted"] < 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radii": (0.1,)}, r"radii are \(0.1,\), expected one of at most"),
        ({"num_clusters": 61}, "a cluster needs a point"),
        ({"radii": (0.95, 0.0)}, "lower radius or num_clusters"),
        ({"width": 1}, "expected an even number"),
        ({"width": 101}, "expected an even number"),
        ({"seeds": 0}, "at least one initialisation"),
        ({"accuracy": 0.0}, "accuracy"),
        ({"step_size": 2.0}, "step_size"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**options)


def test_power_law_against_closed_form():
    x = np.tile([1.0, 2.0, 4.0, 8.0], 2)
    groups = np.repeat([0, 1], 4)
    noise = np.exp(0.01 * np.random.default_rng(0).normal(size=8))
    law = t.power_law(x, np.where(groups == 0, 3.0, 50.0) * x**-0.5 * noise, groups)
    assert law.low < -0.5 < law.high
    design = np.stack([np.log(x), groups == 0, groups == 1], 1).astype(float)
    y = np.log(np.where(groups == 0, 3.0, 50.0) * x**-0.5 * noise)
    solution, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
    assert law.exponent == pytest.approx(solution[0], abs=1e-12)
    error = np.sqrt(residual[0] / 5 * np.linalg.inv(design.T @ design)[0, 0])
    assert (law.high - law.low) / 2 == pytest.approx(2.5705818 * error, rel=1e-6)
    with pytest.raises(ValueError, match="positive"):
        t.power_law([1, 2, 3], [1, 0, 2], [0, 0, 0])
    with pytest.raises(ValueError, match="three or more"):
        t.power_law([1, 2], [1, 2], [0, 0])
    ones = np.ones(3)
    for match, arrays, options in (
        ("groups has shape", (x[:4], x[:4], [0, 0]), {}),
        ("y has shape", (x[:4], x[:3], [0, 0, 0]), {}),
        ("x has shape", (x[0], x[0], 0), {}),
        ("y is complex", (x[:3], ones + 1j, ones), {}),
        ("groups has masked", (x[:3], ones, np.ma.masked_equal([0, 1, 2], 1)), {}),
        ("next_order is nan", (x[:3], ones, ones), {"next_order": np.nan}),
        ("next_order is inf", (x[:3], ones, ones), {"next_order": np.inf}),
    ):
        with pytest.raises(ValueError, match=match):
            t.power_law(*arrays, **options)
