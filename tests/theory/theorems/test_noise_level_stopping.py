"""Stopping at the noise level: size over truths, power without biases or with a wrong level."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_air as na

t = na.theory
SMALL = {"sizes": (50, 100, 200), "width": 200, "network_steps": 120, "seeds": 50}


def run(**options):
    return t.check_noise_level_stopping(**(SMALL | {"controls": False} | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


@pytest.fixture(scope="module")
def plain():
    return run(controls=True)


def test_confirmed_where_the_level_is_known(plain):
    assert plain.verdict == "confirmed", plain.to_markdown()
    row = plain.tables["sizes"][0]
    stopped = [r["stopped"] for r in plain.tables["draws"] if r["num_points"] == 50]
    assert row["stopped"] == pytest.approx(np.mean(stopped))
    # One dimension: the minimax exponent is -2 / (2 + 1), not -2 / (2 + 2).
    assert find(plain, "rate").scaling.predicted == pytest.approx(-2 / 3, abs=0.02)


@pytest.mark.parametrize("truth", ["cos3", "cos5", "relu", "even_tent", "odd_tent"])
def test_every_lipschitz_truth_is_learned_with_biases(truth):
    report = run(truth=truth)
    assert report.verdict == "confirmed", report.to_markdown()


def test_odd_harmonics_are_left_without_biases(plain):
    """1/18, the mean square of cos(3 theta)/3, at every step; with biases a tenth of it."""
    rows = plain.tables["harmonics"]
    without = [r for r in rows if r["biases"] == "no"]
    assert all(r["floor"] == pytest.approx(1 / 18) for r in without)
    assert all(1 / 18 < r["best"] < 1.15 / 18 for r in without)
    assert [r["best"] for r in rows if r["biases"] == "yes"][-1] < 0.12 / 18


@pytest.mark.parametrize("truth", ["cos3", lambda angles: np.cos(5 * angles) / 5])
def test_without_biases_an_odd_truth_is_reported_and_the_rate_is_lost(truth):
    report = run(truth=truth, bias=False)
    assert report.verdict == "not applicable"
    assert not find(report, "the network can represent the truth").holds
    assert not find(report, "rate").holds


def test_without_biases_an_even_truth_is_learned():
    assert run(bias=False).verdict == "confirmed"


def test_a_misjudged_level_is_reported_and_the_rate_is_lost():
    report = run(noise_level=0.03)
    assert report.verdict == "not applicable"
    assert not find(report, "known noise level").holds
    assert not find(report, "rate").holds


def test_steep_truths_and_too_little_noise_are_reported():
    report = run(truth=lambda angles: np.cos(3 * angles), noise=0.001, seeds=2)
    assert report.verdict == "not applicable"
    missed = {c.name for c in report.assumptions if not c.holds}
    assert {"Lipschitz truth", "enough points"} <= missed
    assert find(report, "Lipschitz truth").measured == pytest.approx(3, rel=1e-4)


def test_sizes_that_do_not_resolve_a_truth_are_reported():
    """A model that predicts no decay would make any rate pass."""
    ripple = run(truth=lambda angles: np.cos(40 * angles) / 40, noise=0.03, seeds=3)
    missed = {c.name for c in ripple.assumptions if not c.holds}
    assert "sizes that resolve the truth" in missed
    assert ripple.verdict == "not applicable"


def test_the_rate_has_its_interval_and_must_be_resolved(plain):
    scaling = find(plain, "rate").scaling
    assert scaling.low < scaling.fitted < scaling.high
    assert find(plain, "rate").measured.endswith(f"in [{scaling.low:.3f}, {scaling.high:.3f}]")
    assert find(plain, "exponents are resolved").measured < 0.25
    assert not find(run(seeds=4), "exponents are resolved").holds


def draw(num_points, noise, seed):
    """The points of the report, drawn once more."""
    rng = np.random.default_rng([seed, num_points, *b"noise_level"])
    angles = 2 * np.pi * rng.random(num_points)
    fresh = 2 * np.pi * (np.arange(200) + rng.random()) / 200
    return angles, fresh, noise * rng.standard_normal(num_points)


def kernel(first, second, bias):
    """(x x' + bias) P(both units active): half-planes at an angle share (pi - angle) / (2 pi)."""
    apart = np.abs((first[:, None] - second + np.pi) % (2 * np.pi) - np.pi)
    return (np.cos(apart) + bias) * (np.pi - apart) / (2 * np.pi)


@pytest.mark.parametrize("bias", [True, False])
def test_stopped_error_matches_steps_taken_one_by_one(bias, plain):
    report = plain if bias else run(bias=False, seeds=2)
    made = next(r for r in report.tables["draws"] if (r["num_points"], r["seed"]) == (50, 0))
    angles, fresh, noise = draw(50, 0.3, 0)
    truth, wanted = (np.abs(np.cos(a)) - 2 / np.pi for a in (angles, fresh))
    own, cross = kernel(angles, angles, bias), kernel(fresh, angles, bias)
    rate, f, new = 1 / np.linalg.eigvalsh(own)[-1], np.zeros(50), np.zeros(200)
    errors, residuals = [], []
    for _ in range(int(made["stop_step"]) + 2):
        gap = f - truth - noise
        new, f = new - rate * cross @ gap, f - rate * own @ gap
        errors.append(np.mean((new - wanted) ** 2))
        residuals.append(np.mean((f - truth - noise) ** 2))
    step = int(made["stop_step"])
    low, high = sorted((errors[step - 1], errors[step]))
    assert low * 0.999 <= made["stopped"] <= high * 1.001
    # Steps of the report are 1.07 times apart, and so are the records between which it stops.
    assert residuals[step - 2] > 0.09 * 0.98
    assert residuals[step] <= 0.09
    if bias:  # else odd harmonics have eigenvalue zero
        limit = cross @ np.linalg.solve(own, truth + noise)
        assert made["last"] == pytest.approx(np.mean((limit - wanted) ** 2), rel=1e-6)


def test_interpolation_keeps_two_thirds_of_the_noise(plain):
    rng = np.random.default_rng(0)
    places = np.sort(rng.random(20_000))
    between = np.interp(np.linspace(0.01, 0.99, 200_000), places, rng.standard_normal(20_000))
    assert np.mean(between**2) == pytest.approx(2 / 3, rel=0.05)
    last = [r["last"] for r in plain.tables["draws"]]
    assert np.mean(last) / 0.09 == pytest.approx(2 / 3, rel=0.1)


def test_mutation_of_the_rate_of_the_network(monkeypatch):
    """At half the rate the error where stopped is the same, but not the step that is reported."""
    from ntk_air.theory.theorems.noise_level_stopping import _runs

    plain = _runs.descend
    monkeypatch.setattr(_runs, "descend", lambda w, x, y, rate, **o: plain(w, x, y, rate / 2, **o))
    report = run(seeds=3, network_steps=300)
    assert not find(report, "the network's steps").holds
    assert find(report, "the network does the same").holds


def test_real_network_starts_where_its_linearisation_does(plain):
    (network,) = plain.tables["network"]
    assert network["stopped"]
    assert network["step"] == pytest.approx(network["linearised step"], abs=3)
    assert network["kernel deviation"] < 0.2


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sizes": (10, 20)}, "at least three"), ({"noise": 0.0}, "noise"), ({"seeds": 0}, "seeds"),
     ({"sizes": (1, 20, 30)}, "sizes"), ({"width": 3}, "even number"), ({"seeds": 1}, "two draws"),
     ({"truth": "sine"}, "truth"), ({"truth": lambda angles: angles * np.nan}, "one finite")],
)  # fmt: skip
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**({"seeds": 2} | options))
