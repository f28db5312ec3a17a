"""Exponents: coverage and power of their intervals, corrections, and what no interval decides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import ntk_air as na
from ntk_air.theory.reporting._exponents import decay_check, resolution_checks, scaling_check

t = na.theory
SIZES = np.array([1.0, 2.0, 4.0, 8.0, 16.0])


def draws(kind, seeds, rng):
    """Values (5, S) of a law of exponent -1/2, a constant for each seed, with errors of a kind."""
    noise = 0.1 * rng.normal(size=(5, seeds))
    if kind == "slopes":
        noise = 0.2 * noise + 0.1 * rng.normal(size=seeds) * np.log(SIZES)[:, None]
    if kind == "unequal":
        noise *= np.array([5.0, 2.0, 1.0, 0.5, 0.2])[:, None]
    return np.exp(rng.normal(size=seeds) + noise) * SIZES[:, None] ** -0.5


@pytest.mark.parametrize("kind", ["equal", "slopes", "unequal"])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_cover_the_exponent(kind, seeds):
    """Whatever a seed's values have in common, the true exponent is outside in 5 % of the cases."""
    rng = np.random.default_rng(0)
    outside = 0
    for _ in range(600):
        check = scaling_check("a", "b", "c", SIZES, draws(kind, seeds, rng), -0.5)
        outside += not check.holds
    # Three standard deviations of 600 trials are 0.027.
    assert abs(outside / 600 - 0.05) < 0.027


def test_replicates_share_a_constant():
    rng = np.random.default_rng(1)
    outside, widths = 0, []
    for _ in range(600):
        values = np.exp(0.1 * rng.normal(size=(5, 3))) * SIZES[:, None] ** -0.5
        check = scaling_check("a", "b", "c", SIZES, values, -0.5, replicates=True)
        outside += not check.holds
        widths.append(check.scaling.high - check.scaling.low)
    assert abs(outside / 600 - 0.05) < 0.027
    assert np.mean(widths) < 0.16


@pytest.mark.parametrize(("wrong", "least"), [(-0.6, 0.5), (-0.75, 0.99)])
def test_other_exponents_are_rejected(wrong, least):
    rng = np.random.default_rng(2)
    rejected = [
        not scaling_check("a", "b", "c", SIZES, draws("equal", 5, rng), wrong).holds
        for _ in range(200)
    ]
    assert np.mean(rejected) >= least
    one_sided = [
        not decay_check("a", "b", "c", SIZES, draws("equal", 5, rng), wrong).holds
        for _ in range(200)
    ]
    assert np.mean(one_sided) >= least


def test_bounds_are_one_sided_and_keep_their_level():
    rng = np.random.default_rng(3)
    at_bound = [
        not decay_check("a", "b", "c", SIZES, draws("equal", 4, rng), -0.5).holds
        for _ in range(600)
    ]
    assert np.mean(at_bound) < 0.05
    assert decay_check("a", "b", "c", SIZES, draws("equal", 4, rng), -0.2).holds


def test_exact_power_laws_and_what_follows_none():
    values = SIZES[:, None] ** -0.5 * np.array([1.0, 3.0, 7.0, 2.0])
    for seeds in (3, 4):
        some = values[:, :seeds]
        assert scaling_check("a", "b", "c", SIZES, some, -0.5).holds
        assert not scaling_check("a", "b", "c", SIZES, some, -0.499).holds
        assert decay_check("a", "b", "c", SIZES, some, -0.5).holds
        assert decay_check("a", "b", "c", SIZES, some, -0.41).holds
        assert not decay_check("a", "b", "c", SIZES, some, -0.501).holds
    for bad in (np.nan, 0.0, np.inf):
        values[0, 0] = bad
        found = scaling_check("a", "b", "c", SIZES, values, -0.5)
        assert "no power law" in str(found.measured)
        assert not found.holds
        assert not decay_check("a", "b", "c", SIZES, values, -0.5).holds


def test_derived_corrections_are_taken_out():
    factor = 1 + np.log(SIZES) ** 2
    values = (SIZES**0.5 * factor)[:, None] * np.array([1.0, 2.0, 5.0])
    assert not scaling_check("a", "b", "c", SIZES, values, 0.5).holds
    found = scaling_check("a", "b", "c", SIZES, values, 0.5, correction=factor, because="g(c)")
    assert found.holds
    assert "b / g(c) ~ c^(0.5)" in found.statement
    np.testing.assert_allclose(found.scaling.correction[:, 1], factor)
    assert not scaling_check("a", "b", "c", SIZES, values, 0.51, correction=factor).holds


@pytest.mark.parametrize("seeds", [3, 4])
def test_next_order_term(seeds):
    sizes = 0.05 * SIZES / 16
    slopes = np.linspace(0.8, 1.2, seeds)
    values = sizes[:, None] * (1 + slopes * sizes[:, None] + 2 * sizes[:, None] ** 2)
    assert not scaling_check("a", "b", "c", sizes, values, 1.0).holds
    for rows in (slice(None), slice(2, None), slice(3, None)):
        assert scaling_check("a", "b", "c", sizes[rows], values[rows], 1.0, next_order=1.0).holds
    other = scaling_check("a", "b", "c", sizes, values * sizes[:, None] ** 0.05, 1.0, next_order=1)
    assert not other.holds


def holds(*conclusions):
    return [assumption.holds for assumption in resolution_checks(conclusions)]


def test_wide_intervals_decide_nothing():
    rng = np.random.default_rng(4)
    wide = scaling_check("a", "b", "c", [1, 1.1, 1.2], np.exp(rng.normal(size=(3, 3))), -0.5)
    sharp = scaling_check("a", "b", "c", SIZES, draws("equal", 5, rng), -0.5)
    assert holds(sharp) == [True]
    assert holds(sharp, dataclasses.replace(wide, name="d")) == [False]
    assert holds() == [True]


@pytest.mark.parametrize("replicates", [False, True])
@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_decide_nothing(seeds, replicates):
    """Curves that every seed has in common look like small errors around a line."""
    for rows in (slice(None), slice(2)):
        values = (SIZES**0.5 * (1 + 0.02 * SIZES))[rows, None] * np.ones(seeds)
        found = scaling_check("a", "b", "c", SIZES[rows], values, 0.5, replicates=replicates)
        assert found.holds
        assert found.scaling.fitted == pytest.approx(0.56, abs=0.05)
        assert str(found.measured).endswith("without an interval")
        assert holds(found) == [False]


def test_an_open_exponent_withholds_its_own_conclusion_only():
    open_ = scaling_check("open", "b", "c", SIZES, SIZES[:, None], 0.5)
    wrong = scaling_check("wrong", "b", "c", SIZES, SIZES[:, None] ** np.ones(3), 0.5)
    right = scaling_check("right", "b", "c", SIZES, SIZES[:, None] ** np.ones(3), 1.0)
    assert holds(open_, right) == [False]
    assert holds(open_, wrong) == []
    doubt = dataclasses.replace(right, name="in doubt", holds=False)
    assert len(resolution_checks([right, wrong], {"wrong": doubt})) == 2
    assert resolution_checks([right, wrong], {"right": doubt}) == ()


@pytest.mark.parametrize(("reach", "decides"), [(0.24, True), (0.26, False)])
def test_an_interval_that_could_hold_both_0_and_a_half_decides_nothing(reach, decides):
    made = scaling_check("a", "b", "c", SIZES, SIZES[:, None] ** np.ones(3), 1.0)
    law = dataclasses.replace(made.scaling, low=0.25 - reach, high=0.25 + reach)
    assert holds(dataclasses.replace(made, scaling=law)) == [decides]


def test_slack_widens_the_interval_and_is_named():
    values = SIZES[:, None] ** 0.507 * np.ones(3)
    found = scaling_check("a", "b", "c", SIZES, values, 0.5, slack=0.01)
    assert found.holds
    assert found.statement.endswith("interval of the fitted exponent, within 0.01")
    assert not scaling_check("a", "b", "c", SIZES, values, 0.5).holds
    assert not scaling_check("a", "b", "c", SIZES, values, 0.49, slack=0.01).holds


def test_interval_is_printed_so_that_its_ends_differ():
    law = t.PowerLaw(exponent=0.99967, low=0.99953, high=0.99981)
    assert str(law) == "0.99967 in [0.99953, 0.99981]"
    assert str(t.PowerLaw(exponent=-0.5, low=-0.6, high=-0.4)) == "-0.500 in [-0.600, -0.400]"
