"""Stopping at the noise level: confirmed where it is known, seen to fail where it is not."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_air as na
from ntk_air.theory._noise_level_stopping import _draw, _kernel, _run, _truth

t = na.theory


def run(**options):
    small = {"sizes": (30, 60, 120), "width": 200, "network_steps": 60, "seeds": 12}
    return t.check_noise_level_stopping(**(small | options))


def find(report, name):
    return next(c for c in (*report.assumptions, *report.conclusions) if c.name == name)


def test_confirmed_where_the_level_is_known():
    report = run(seeds=20)
    assert report.verdict == "confirmed", report.to_markdown()
    row = report.tables["sizes"][0]
    stopped = [r["stopped"] for r in report.tables["draws"] if r["num_points"] == 30]
    assert row["stopped"] == pytest.approx(np.mean(stopped))


def test_a_misjudged_level_is_reported_and_the_rate_is_lost():
    report = run(noise_level=0.03)
    assert report.verdict == "not applicable"
    assert not find(report, "known noise level").holds
    assert not find(report, "rate").holds


def test_kernel_is_that_of_wide_relu_networks():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, 2))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    active = (x @ rng.normal(size=(2, 400_000)) > 0).astype(float)
    np.testing.assert_allclose(_kernel(x, x), x @ x.T * (active @ active.T) / 400_000, atol=5e-3)


def test_stopped_error_matches_steps_taken_one_by_one():
    made = _run(30, 0.3, 0.3, 0)
    rng = np.random.default_rng([0, 30, *b"noise_level"])
    angles = 2 * np.pi * rng.random(30)
    inputs = np.stack([np.cos(angles), np.sin(angles)], 1)
    fresh = 2 * np.pi * (np.arange(200) + rng.random()) / 200
    points = np.stack([np.cos(fresh), np.sin(fresh)], 1)
    observed = _truth(inputs) + 0.3 * rng.standard_normal(30)
    kernel, cross = _kernel(inputs, inputs), _kernel(points, inputs)
    rate, f, new = 1 / np.linalg.eigvalsh(kernel)[-1], np.zeros(30), np.zeros(200)
    errors = []
    for _ in range(int(made.stop_step) + 2):
        new, f = new - rate * cross @ (f - observed), f - rate * kernel @ (f - observed)
        errors.append(np.mean((new - _truth(points)) ** 2))
    step = int(made.stop_step)
    low, high = sorted((errors[step - 1], errors[step]))
    assert low * 0.999 <= made.stopped <= high * 1.001


def test_interpolation_keeps_two_thirds_of_the_noise():
    """The last error is that of solving for the values; on a line 2/3 of the variance stays."""
    inputs, _, observed, fresh = _draw(50, 0.3, 3)
    values = _kernel(fresh, inputs) @ np.linalg.solve(_kernel(inputs, inputs), observed)
    expected = np.mean((values - _truth(fresh)) ** 2)
    assert _run(50, 0.3, 0.3, 3).last == pytest.approx(expected, rel=1e-6)
    rng = np.random.default_rng(0)
    places = np.sort(rng.random(20_000))
    between = np.interp(np.linspace(0.01, 0.99, 200_000), places, rng.standard_normal(20_000))
    assert np.mean(between**2) == pytest.approx(2 / 3, rel=0.05)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"sizes": (10, 20)}, "at least three"), ({"noise": 0.0}, "noise"), ({"seeds": 0}, "seeds"),
     ({"sizes": (1, 20, 30)}, "sizes"), ({"width": 3}, "even number")],
)  # fmt: skip
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        run(**({"seeds": 1} | options))
