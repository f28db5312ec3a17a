"""Figures of stopping times draw the scores, accuracies and chosen times they are given."""

from __future__ import annotations

import types

import numpy as np
import pytest
from matplotlib.figure import Figure

import ntk_air as na

TIMES = np.geomspace(0.1, 10.0, 5)
SCORES = {
    "gcv": np.array([4.0, 3.0, 2.0, 2.5, 6.0]),
    "leave_one_out": np.array([np.nan, 5.0, 1.0, 3.0, np.nan]),
}
ACCURACY = np.array([0.25, 0.5, 0.625, 0.75, 0.5])
TIME_LABEL = "stopping time (learning rate × step)"


def rules():
    return [
        types.SimpleNamespace(rule=rule, times=TIMES, score=score, time=TIMES[2] * 1.01)
        for rule, score in SCORES.items()
    ]


def draw(**options):
    return na.plots.stopping_rules(rules(), ax=Figure().add_subplot(), **options)


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_rules_line_is_its_score_from_1_before_training_to_0_at_its_least():
    ax = draw()
    expected = [(SCORES["gcv"] - 2) / 2, (SCORES["leave_one_out"] - 1) / 4]
    for score, line, dot in zip(expected, ax.lines[::2], ax.lines[1::2], strict=True):
        np.testing.assert_array_equal(line.get_xdata(), TIMES)
        np.testing.assert_allclose(line.get_ydata(), score, rtol=1e-15)
        # The point of the grid nearest to the time chosen.
        assert (list(dot.get_xdata()), list(dot.get_ydata())) == ([TIMES[2]], [0.0])
        assert dot.get_marker() == "o"
        assert dot.get_color() == line.get_color()
    assert ax.lines[0].get_color() != ax.lines[2].get_color()
    assert legend(ax) == ["gcv", "leave one out"]


def test_accuracy_and_its_best_time_stand_beside_the_rules():
    ax = draw(test_accuracy=ACCURACY)
    accuracy, best = ax.lines[4:]
    np.testing.assert_array_equal(accuracy.get_xdata(), TIMES)
    np.testing.assert_allclose(accuracy.get_ydata(), [0, 0.5, 0.75, 1, 0.5])
    assert list(best.get_xdata()) == [TIMES[3]] * 2
    assert best.get_linestyle() == ":"
    assert legend(ax)[2:] == ["test accuracy (best 75.0%)", "best time (needs the truth)"]
    constant = draw(test_accuracy=np.full(5, 0.5)).lines[4]
    np.testing.assert_array_equal(constant.get_ydata(), np.zeros(5))


def test_axes_of_the_rules():
    ax = draw()
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert ax.get_ylim() == (-0.05, 1.15)
    assert ax.get_xlabel() == TIME_LABEL
    assert ax.get_ylabel() == "score: 0 at its least, 1 before training"
    assert ax.get_title() == "When to stop, from the noisy labels alone"


def test_a_score_that_never_changes_or_is_never_known():
    flat, unknown = rules()
    flat.score, unknown.score = np.full(5, 3.0), np.full(5, np.nan)
    ax = na.plots.stopping_rules([flat, unknown], ax=Figure().add_subplot())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), np.zeros(5))
    assert np.isnan(ax.lines[2].get_ydata()).all()


@pytest.mark.parametrize("known", [True, False])
def test_accuracies_of_an_analysis_over_time(known):
    train = np.array([0.5, 0.75, 0.875, 0.5, 0.25])
    analysis = types.SimpleNamespace(
        times=TIMES,
        test_accuracy=ACCURACY if known else np.full(5, np.nan),
        train_accuracy=train,
        stopping=types.SimpleNamespace(time=np.float32(1.5)),
    )
    ax = na.plots.stopping(analysis, ax=Figure().add_subplot())
    lines = {line.get_label(): line for line in ax.lines}
    for name, values in (("test points", ACCURACY), ("clean training labels", train)):
        np.testing.assert_array_equal(lines[name].get_xdata(), TIMES)
        if known or values is train:
            np.testing.assert_array_equal(lines[name].get_ydata(), values)
    assert lines["clean training labels"].get_linestyle() == "--"
    assert list(lines["GCV time (noisy labels alone)"].get_xdata()) == [1.5, 1.5]
    best = "best time (needs the truth)"
    assert (best in lines) == known
    if known:
        assert list(lines[best].get_xdata()) == [TIMES[3]]
        assert list(lines[best].get_ydata()) == [0.75]
    assert legend(ax) == list(lines)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    assert (ax.get_xlabel(), ax.get_ylabel()) == (TIME_LABEL, "accuracy")
    assert ax.get_title() == "When to stop"
