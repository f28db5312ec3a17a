"""Figures draw the numbers they are given, into the axes they are given."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import ntk_air as na

mpl.use("Agg")


@pytest.fixture(scope="module")
def parts():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 5))
    es = na.spectral.eigendecompose(x @ x.T + np.eye(30))
    clean = np.sign(x[:, :1])
    observed = clean * np.where(rng.random((30, 1)) < 0.2, -1, 1)
    return es, clean, observed


def axes():
    return Figure().add_subplot()


def test_lines_are_the_results_numbers(parts):
    es, clean, observed = parts
    profile = na.spectral.air_profile(es, clean, observed)
    ax = na.plots.air_profile(profile, ax=axes())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), profile.cumulative_signal)
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), profile.cumulative_noise)
    curves = na.dynamics.retrieval(es, clean, observed, [0.01, 0.1, 1.0])
    ax = na.plots.retrieval(curves, curves, ax=axes())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), curves.signal)
    assert len(ax.lines) == 4
    ax = na.plots.spectrum(es, ax=axes())
    np.testing.assert_allclose(ax.lines[0].get_ydata(), es.eigenvalues)
    ax = na.plots.filters({"flow": na.dynamics.gradient_flow(1.0)}, ax=axes())
    np.testing.assert_allclose(
        ax.lines[0].get_ydata(), 1 - np.exp(-ax.lines[0].get_xdata()), rtol=1e-4, atol=1e-6
    )


def test_equivalent_times_are_the_tables_numbers(parts):
    es, _, observed = parts
    d = na.dynamics
    schemes = {"stopped": [d.gradient_flow(t) for t in (0.01, 0.1)], "cut": [d.truncation(3)]}
    table = d.equivalence_table(es, observed, schemes)
    ax = na.plots.equivalent_time(table, ax=axes())
    np.testing.assert_allclose(ax.lines[0].get_xdata(), table.equivalent.time[0], rtol=1e-6)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 1e-4)
    np.testing.assert_allclose(ax.lines[1].get_ydata(), table.equivalent.relative[1, :1])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[0] == "stopped: 0%"


def test_history_and_report(parts):
    es, clean, observed = parts
    kernel = np.asarray(es.eigenvectors * es.eigenvalues @ es.eigenvectors.T)
    history = na.distillation.kernel_self_distill(
        kernel, observed, learning_rate=0.01, num_steps=20, alpha=1.0,
        label_fn=na.distillation.sign, clean=clean,
    )  # fmt: skip
    ax = na.plots.history({"a": history, "b": history}, field="l2_to_clean", ax=axes())
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), history.l2_to_clean[1:])
    with pytest.raises(ValueError, match="field is 'beauty'"):
        na.plots.history(history, field="beauty", ax=axes())
    check = na.theory.Check("name", "statement", 1.0, 2.0, False)
    report = na.theory.TheoremReport("t", "s", (check,), (check,), {}, {})
    texts = [text.get_text() for text in na.plots.theorem_report(report, ax=axes()).texts]
    assert texts.count("FAILS") == 2
    assert na.plots.theorem_report(report, ax=axes()).get_title(loc="left") == "t: not applicable"


def test_scaling_and_figure_of_a_report():
    sizes = np.array([1.0, 10.0, 100.0])[:, None] * [1, 1.5]
    values = 3 * sizes**-0.5 * [1, 2]
    values[1, 1] = np.nan  # a run that diverged
    scaling = na.theory.Scaling("error", "width", -0.5, -0.25, sizes, values)
    swept = na.theory.Check("rate", "error ~ width", "-0.5", "-0.25", False, scaling)
    ax = na.plots.theorem_scaling(swept, ax=axes())
    first, second, fitted, predicted = ax.lines
    np.testing.assert_array_equal(first.get_ydata(), values[:, 0])
    np.testing.assert_array_equal(second.get_ydata(), values[[0, 2], 1])
    for line, exponent in ((fitted, -0.25), (predicted, -0.5)):
        (left, right), heights = line.get_xdata(), line.get_ydata()
        assert (left, right) == (1.0, 150.0)
        np.testing.assert_allclose(np.log(heights[1] / heights[0]) / np.log(right), exponent)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "error")
    plain = na.theory.Check("name", "statement", 1.0, 2.0, True)
    with pytest.raises(ValueError, match="check 'name' has no sweep"):
        na.plots.theorem_scaling(plain, ax=axes())
    history = na.distillation.kernel_self_distill(
        np.eye(4), np.ones((4, 1)), learning_rate=0.1, num_steps=3, alpha=1.0, clean=np.ones((4, 1))
    )
    runs = {f"{name}, seed {seed}": history for name in ("a", "b") for seed in (3, 4)}
    report = na.theory.TheoremReport("t", "s", (plain,), (swept, plain), {}, runs)
    table, sweep, training = na.plots.theorem_figure(report).axes
    assert len(table.texts) == 4 * 4
    assert sweep.get_title() == "rate"
    assert [text.get_text() for text in training.get_legend().get_texts()] == ["a", "b"]
    alone = na.theory.TheoremReport("t", "s", (plain,), (plain,), {}, {})
    assert len(na.plots.theorem_figure(alone).axes) == 1


def test_table_of_a_report_is_read_from_its_checks():
    held = na.theory.Check("first", "statement", 0.123456, "three", True)
    broken = na.theory.Check("second", "statement", "<= 2", 3.0, False)
    report = na.theory.TheoremReport("name $x$", "s", (held,), (broken,), {}, {})
    ax = na.plots.theorem_report(report, ax=axes())
    table = np.array([text.get_text() for text in ax.texts]).reshape(3, 4).tolist()
    assert table == [
        ["check", "required", "measured", ""],
        ["assumes: first", "0.1235", "three", "holds"],
        ["concludes: second", "<= 2", "3", "FAILS"],
    ]
    places = np.array([text.get_position() for text in ax.texts]).reshape(3, 4, 2)
    np.testing.assert_allclose(places[:, :, 0], [[0.0, 0.7, 0.93, 1.0]] * 3)
    np.testing.assert_allclose(places[:, 0, 1], [1, 2 / 3, 1 / 3])
    assert [ax.texts[i].get_color() for i in (7, 11)] == ["#2a8f6d", "#c8553d"]
    assert ax.get_title(loc="left") == "name $x$: violated"
    assert not ax.axison


def test_scaling_is_drawn_without_its_correction():
    sizes, values = np.array([[2.0], [4.0], [0.0]]), np.array([[6.0], [20.0], [1.0]])
    scaling = na.theory.Scaling(
        "gap,", "n", 1.0, 1.25, sizes, values, correction=sizes + (sizes == 0)
    )
    ax = na.plots.theorem_scaling(na.theory.Check("r", "s", 1, 1.25, True, scaling), ax=axes())
    dots, fitted, predicted = ax.lines
    np.testing.assert_allclose(dots.get_xdata(), [2, 4])
    np.testing.assert_allclose(dots.get_ydata(), [3, 5])
    middle = 15**0.5
    np.testing.assert_allclose(fitted.get_ydata(), middle * np.array([2**-0.5, 2**0.5]) ** 1.25)
    np.testing.assert_allclose(predicted.get_ydata(), middle * np.array([2**-0.5, 2**0.5]))
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["fitted 1.25", "predicted 1"]
    assert (ax.get_xscale(), ax.get_yscale(), ax.get_ylabel()) == ("log", "log", "gap")
    # What varies by less than a factor of two is not stretched over the figure.
    np.testing.assert_allclose(ax.get_ylim(), [middle / 2, middle * 2])
    assert dots.get_color() == fitted.get_color() == "#2a8f6d"


def test_new_axes_when_none_are_given(parts):
    assert na.plots.spectrum(parts[0]).get_title() == "Spectrum of the NTK"
