"""Checks and reports: verdicts, text forms, saving; measured geometry of clusterable data."""

from __future__ import annotations

import json

import numpy as np
import pytest

import ntk_air as na

t = na.theory


def check(name, holds, measured=1.5):
    return t.Check(name=name, statement="|x| <= 1", required=1.0, measured=measured, holds=holds)


def report(assumption, conclusion, measured=1.5):
    return t.TheoremReport(
        name="A theorem",
        source="a paper, section 1",
        assumptions=(check("small", assumption),),
        conclusions=(check("close", conclusion, measured),),
        tables={"rows": ({"|x|": 1, "value": np.float32(0.5), "from": None},)},
        histories={},
    )


@pytest.mark.parametrize(
    ("assumption", "conclusion", "verdict", "code"),
    [
        (True, True, "confirmed", 0),
        (True, False, "violated", 1),
        (False, True, "not applicable", 0),
        (False, False, "not applicable", 0),
    ],
)
def test_verdicts(assumption, conclusion, verdict, code):
    made = report(assumption, conclusion)
    assert (made.verdict, made.exit_code) == (verdict, code)
    assert (made.assumptions_hold, made.conclusions_hold) == (assumption, conclusion)
    if code:
        with pytest.raises(t.TheoremViolationError, match=r"close.*required 1, measured 1.5"):
            made.raise_if_violated()
    else:
        made.raise_if_violated()


def test_text_forms_and_saving(tmp_path):
    made = report(True, False, float("nan"))
    text = made.to_markdown()
    assert "Verdict: **violated**" in text
    assert "| FAILS | close | \\|x\\| <= 1 | 1 | nan |" in text
    assert "| \\|x\\| | value | from |\n| --- | --- | --- |\n| 1 | 0.5 | - |" in text
    document = json.loads(made.to_json())
    assert document["conclusions"][0]["measured"] is None
    assert document["tables"]["rows"][0] == {"|x|": 1, "value": 0.5, "from": None}
    loaded = na.load(na.save(made, tmp_path / "report.ntk"))
    assert loaded.to_json() == made.to_json()
    assert loaded.to_markdown() == text


def test_geometry_is_measured():
    data = na.datasets.clusterable(
        num_points=100, num_clusters=5, dimension=10, radius=0.1, noise_rate=0.2, seed=3
    )
    geometry = t.measure_clusters(data)
    assert 0.05 < geometry.radius <= 0.1 + 1e-6
    assert geometry.separation > 2 * geometry.radius
    assert geometry.noise_rate == pytest.approx(0.2)
    assert geometry.worst_noise_rate == pytest.approx(0.2)
    assert geometry.average_error == pytest.approx(0.4)
    assert geometry.average_margin == pytest.approx(0.6)
    assert geometry.label_error == pytest.approx(2 * np.sqrt(0.2))
    assert geometry.label_gap == pytest.approx(2.0)
    assert geometry.max_input_norm == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("compare", "holding", "failing"),
    [
        ("at_most", (0.9, 1.0), (1.1,)),
        ("at_least", (1.0, 1.1), (0.9,)),
        ("below", (0.9,), (1.0, 1.1)),
        ("above", (1.1,), (0.9, 1.0)),
    ],
)
def test_checks_that_compare(compare, holding, failing):
    def holds(measured, required=1.0):
        check = getattr(na.theory.Check, compare)("a", "b", measured, required)
        assert (check.name, check.statement, check.measured) == ("a", "b", measured)
        assert check.required == required
        return check.holds

    for make in (float, np.float64):  # a NumPy truth value is no bool: JSON and `save` ask for one
        assert [holds(make(x)) for x in holding] == [True] * len(holding)
        assert all(type(holds(make(x))) is bool for x in (*holding, *failing))
        assert not any(holds(make(x)) for x in failing)


@pytest.mark.parametrize("compare", ["at_most", "at_least", "below", "above"])
@pytest.mark.parametrize("other", [-np.inf, 0.0, np.inf, np.nan])
def test_nan_meets_nothing(compare, other):
    make = getattr(na.theory.Check, compare)
    assert not make("a", "b", np.nan, other).holds
    assert not make("a", "b", other, np.nan).holds


def test_slack_is_beside_what_is_required():
    make = na.theory.Check.at_most
    assert make("a", "b", 1.05, 1.0, slack=0.1).holds
    assert not make("a", "b", 1.2, 1.0, slack=0.1).holds
    assert make("a", "b", 1.05, 1.0, slack=0.1).required == 1.0
