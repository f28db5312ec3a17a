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
        predicted=curves,
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
