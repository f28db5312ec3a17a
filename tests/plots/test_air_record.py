"""Figures of records and width sweeps draw the numbers they are given."""

from __future__ import annotations

import dataclasses
import io

import jax
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import ntk_air as na

mpl.use("Agg")
BY_DIRECTION = ("signal_by_direction", "noise_by_direction")


@pytest.fixture(scope="module")
def record():
    """Invented numbers: 5 times, 3 kernels, 6 directions of 6 points."""
    rng = np.random.default_rng(0)
    times = np.array([0.0, 0.01, 0.02, 0.04, 0.08])
    signal, noise, per_direction = (rng.random((5, *shape)) for shape in ((), (), (6,)))
    curves = na.dynamics.RetrievalCurves(times, signal, noise, per_direction, signal, noise)
    expected = dataclasses.replace(curves, per_direction=rng.random((5, 6)))
    names = (
        "distance", "similarity", "alignment_clean", "alignment_observed", "air_index",
        "complexity_clean", "complexity_observed", "complexity_outputs",
    )  # fmt: skip
    wide = ("eigenvalues", "signal_energy", "noise_energy", "per_direction")
    kernel = na.analysis.KernelMovement(
        steps=np.array([0, 2, 8]),
        times=times[[0, 2, 4]],
        subspace_overlap=np.array([[1.0, 1.0], [0.99, 0.9], [0.98, 0.8]]),
        trusted_rank=np.full(3, 6),
        overlap_ranks=(1, 3),
        **{name: rng.random(3) for name in names},
        **{name: rng.random((3, 6)) for name in (*wide, *BY_DIRECTION)},
    )
    return na.analysis.AIRRecord(
        steps=np.array([0, 1, 2, 4, 8]),
        outputs=rng.random((5, 6, 1)),
        measured=curves,
        predicted=expected,
        kernel=kernel,
        retention=np.array(0.5),
        **{name: rng.random((5, 6)) for name in BY_DIRECTION},
    )


@pytest.fixture(scope="module")
def sweep():
    widths, rng = np.array([10, 100, 1000]), np.random.default_rng(1)
    values = widths[:, None, None] ** -0.5 * np.exp(0.1 * rng.normal(size=(3, 2, 4)))
    fit = na.analysis.fit_slope(widths, values.max(axis=2))
    nothing = dataclasses.replace(fit, slope=float("nan"))
    return na.analysis.WidthSweep(
        widths=widths, steps=np.arange(4), times=np.arange(4.0), linearised=values * 0.1,
        mean_kernel=0 * values, infinite=values, infinite_test=None, kernel=values[:, :, 0],
        slopes={"linearised": fit, "mean_kernel": nothing, "infinite": fit, "kernel": fit},
        seeds=(0, 1), learning_rate=0.1, architecture="a", dtype="float64",
    )  # fmt: skip


def test_panels_show_the_record(record):
    axes = na.plots.air_record(record, figure=Figure())
    assert axes.shape == (2, 3)
    np.testing.assert_array_equal(axes[0, 0].lines[2].get_ydata(), record.signal[1:])
    lines = {line.get_label(): line for line in axes[0, 1].lines}
    np.testing.assert_array_equal(lines["AIR index"].get_ydata(), record.kernel.air_index[1:])
    np.testing.assert_array_equal(lines["AIR index"].get_xdata(), record.kernel.times[1:])
    lines = {line.get_label(): line for line in axes[1, 1].lines}
    summed = np.cumsum(record.signal_by_direction[-1])
    np.testing.assert_allclose(lines["signal, initial basis"].get_ydata(), summed)
    lines = {line.get_label(): line for line in axes[0, 2].lines}
    gap = 1 - record.kernel.subspace_overlap[1:, 1]
    np.testing.assert_allclose(lines["1 − overlap of leading 3"].get_ydata(), gap)
    lines = {line.get_label(): line for line in axes[1, 2].lines}
    expected = record.kernel.complexity_outputs[1:]
    np.testing.assert_array_equal(lines["current outputs"].get_ydata(), expected)
    assert not axes[1, 2].texts


RETRIEVED = "Retrieved by time 0.08 in the first k directions"
TRAINING = "training time (learning rate × step)"


def test_every_panel_says_what_it_draws(record):
    axes = na.plots.air_record(record, figure=Figure())
    words = [[ax.get_title(), ax.get_xlabel(), ax.get_ylabel()] for ax in axes.ravel()]
    assert words == [
        ["Signal is retrieved before noise", TRAINING, "fraction retrieved"],
        ["Kernel and labels (dotted: at time 0)", TRAINING, "value"],
        ["Movement of the kernel", TRAINING, "distance from initial kernel"],
        ["Fitted per direction (line: predicted)", "eigendirection at initialisation",
            "fraction of ỹ − f_0 fitted"],
        [RETRIEVED, "k", "fraction retrieved"],
        ["Supervision complexity (dotted: at time 0)", TRAINING, "sqrt(yᵀΘ⁻¹y · tr Θ) / n"],
    ]  # fmt: skip
    assert {ax.get_xscale() for ax in axes.ravel()} == {"log"}
    scales = [ax.get_yscale() for ax in axes.ravel()]
    assert scales == ["linear", "linear", "log", "linear", "linear", "linear"]


def test_every_line_of_a_panel_is_a_field(record):
    axes = na.plots.air_record(record, figure=Figure())
    kernel, late = record.kernel, record.kernel.times[1:]
    fields = {
        (0, 1): {
            "AIR index": kernel.air_index,
            "alignment with clean labels": kernel.alignment_clean,
            "alignment with observed labels": kernel.alignment_observed,
        },
        (0, 2): {
            "‖Θ_t − Θ_0‖ / ‖Θ_0‖": kernel.distance,
            "1 − overlap of leading 1": np.array([0, 0.01, 0.02]),
            "1 − overlap of leading 3": np.array([0, 0.1, 0.2]),
        },
        (1, 2): {
            "clean labels": kernel.complexity_clean,
            "observed labels": kernel.complexity_observed,
            "current outputs": kernel.complexity_outputs,
        },
    }
    for index, expected in fields.items():
        ax = axes[index]
        assert [text.get_text() for text in ax.get_legend().get_texts()] == list(expected)
        levels = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
        np.testing.assert_allclose(levels, [v[0] for v in expected.values() if v[0] > 0])
        lines = {line.get_label(): line for line in ax.lines}
        for name, values in expected.items():
            np.testing.assert_array_equal(lines[name].get_xdata(), late)
            np.testing.assert_allclose(lines[name].get_ydata(), values[1:], rtol=1e-12)
    lines = {line.get_label(): line.get_ydata() for line in axes[1, 1].lines}
    for name in ("signal", "noise"):
        first = np.cumsum(getattr(record, f"{name}_by_direction")[-1])
        current = np.cumsum(getattr(kernel, f"{name}_by_direction")[-1])
        np.testing.assert_allclose(lines[f"{name}, initial basis"], first)
        np.testing.assert_allclose(lines[f"{name}, current basis"], current)


def test_fitted_per_direction_at_each_time(record):
    ax = na.plots.air_record(record, figure=Figure())[1, 0]
    predicted, measured = ax.lines[::3], ax.lines[1::3]
    legend = [text.get_text() for text in ax.get_legend().get_texts()]
    assert legend == [f"time {time:g}" for time in record.measured.times[1:]]
    for t, (line, dots) in enumerate(zip(predicted, measured, strict=True), start=1):
        # Six directions: each a group of its own.
        np.testing.assert_allclose(line.get_xdata(), np.sqrt(np.arange(1, 7) * np.arange(1, 7)))
        np.testing.assert_allclose(line.get_ydata(), record.predicted.per_direction[t])
        np.testing.assert_allclose(dots.get_ydata(), record.measured.per_direction[t])
        assert (line.get_linestyle(), dots.get_linestyle()) == ("-", "None")


def test_what_is_not_known_is_said_in_place_of_curves(record):
    nothing = np.full(3, np.nan)
    names = ("complexity_clean", "complexity_observed", "complexity_outputs")
    kernel = dataclasses.replace(
        record.kernel, complexity_missing="no inverse", **dict.fromkeys(names, nothing)
    )
    axes = na.plots.air_record(dataclasses.replace(record, kernel=kernel), figure=Figure())
    assert axes[1, 2].texts[0].get_text() == "no inverse"
    assert not axes[1, 2].lines


def test_a_record_of_the_untrained_network_alone_can_be_drawn(record):
    def first(value):
        return value[:1] if np.ndim(value) else value

    only = jax.tree.map(first, record)
    still = dataclasses.replace(only.kernel, distance=np.zeros(1), subspace_overlap=np.ones((1, 2)))
    figure = Figure()
    axes = na.plots.air_record(dataclasses.replace(only, kernel=still), figure=figure)
    figure.savefig(io.BytesIO())
    assert axes[1, 0].get_legend().get_texts()[0].get_text() == "time 0"


def test_width_sweep_draws_every_network_and_its_slope(sweep):
    ax = na.plots.width_sweep(sweep, ax=Figure().add_subplot())
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    # Neither the one that was not measured nor the one that does not deviate.
    assert len(labels) == 4
    slope = f"{sweep.slopes['infinite'].slope:.2f}".replace("-", "−")
    assert labels[0].startswith(f"infinite-width NTK: {slope} ± ")
    drawn = {line.get_label(): line for line in ax.lines}[labels[0]]
    np.testing.assert_array_equal(drawn.get_ydata(), sweep.infinite.max(axis=2).ravel())
    np.testing.assert_array_equal(drawn.get_xdata(), np.repeat(sweep.widths, 2))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), sweep.slopes["infinite"](sweep.widths))


def test_guide_scales_and_words_of_a_width_sweep(sweep):
    ax = na.plots.width_sweep(sweep, ax=Figure().add_subplot())
    guide = ax.lines[-1]
    assert guide.get_label() == "slope −1/2"
    widths = np.array([10.0, 100.0, 1000.0])
    np.testing.assert_array_equal(guide.get_xdata(), widths)
    heights = guide.get_ydata()
    np.testing.assert_allclose(heights / heights[-1], (widths / 1000) ** -0.5)
    lowest = min(line.get_ydata().min() for line in ax.lines[:-1])
    np.testing.assert_allclose(heights[-1], 0.7 * lowest)
    for index, (name, values) in enumerate(
        {"infinite": sweep.infinite, "linearised": sweep.linearised, "kernel": sweep.kernel}.items()
    ):
        line, dots = ax.lines[2 * index : 2 * index + 2]
        np.testing.assert_allclose(line.get_ydata(), sweep.slopes[name](widths))
        largest = values if name == "kernel" else values.max(axis=2)
        np.testing.assert_array_equal(dots.get_ydata(), largest.ravel())
        half = (sweep.slopes[name].high - sweep.slopes[name].low) / 2
        assert dots.get_label().endswith(f" ± {half:.2f}")
    assert [ax.get_xscale(), ax.get_yscale()] == ["log", "log"]
    assert list(ax.get_xticks()) == list(widths)
    words = ax.get_title(), ax.get_xlabel(), ax.get_ylabel()
    deviation = "largest deviation over training, ‖f − g‖/√n"
    assert words == ("Finite against infinite width", "width", deviation)
    confidence = sweep.slopes["infinite"].confidence
    title = ax.get_legend().get_title().get_text()
    assert title == f"closed form: slope, {confidence:.0%} interval"
