"""Every line, level, scale and word of the plainer figures, against the numbers they are given."""

from __future__ import annotations

import types

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

import ntk_air as na
from ntk_air import plots

TRAINING = "training time (learning rate × step)"
BLUE, RED, GREEN, GREY = "#1f6fb4", "#c8553d", "#2a8f6d", "#777777"


def axes():
    return Figure().add_subplot()


def legend(ax):
    return [] if ax.get_legend() is None else [t.get_text() for t in ax.get_legend().get_texts()]


def drawn(ax):
    """Abscissae and ordinates of every line, as lists."""
    return [(np.asarray(x.get_xdata()), np.asarray(x.get_ydata())) for x in ax.lines]


def same(lines, *expected):
    assert len(lines) == len(expected)
    for line, wanted in zip(lines, expected, strict=True):
        for found, values in zip(line, wanted, strict=True):
            np.testing.assert_allclose(found, values, rtol=1e-12)


def words(ax):
    return ax.get_title(), ax.get_xlabel(), ax.get_ylabel(), ax.get_xscale(), ax.get_yscale()


@pytest.mark.parametrize("trusted", [3, 4])
def test_spectrum(trusted):
    values = np.array([8.0, 2.0, 0.5, -1e-9])
    ax = plots.spectrum(types.SimpleNamespace(eigenvalues=values, trusted_rank=trusted), ax=axes())
    eigenvalues = ([1, 2, 3], [8.0, 2.0, 0.5])
    if trusted == 3:  # a level from where on eigenvalues are round-off, and its name
        same(drawn(ax), eigenvalues, ([3, 3], [0, 1]))
        assert [text.get_text() for text in ax.texts] == ["round-off bound\nfrom rank 3"]
    else:
        same(drawn(ax), eigenvalues)
        assert not ax.texts
    assert words(ax) == ("Spectrum of the NTK", "direction k", "λ_k", "log", "log")
    assert legend(ax) == []


@pytest.mark.parametrize(
    ("expected", "taken", "num_points", "line", "label"),
    [
        ([0.1, 0.3, 0.6], 0.2, None, [0.1, 0.3, 0.6], "isotropic noise"),
        ([0.25, 0.5, 0.75], 0.0, None, [0.25, 0.5, 0.75], "k / n"),
        (None, 0.0, 6, [1 / 6, 2 / 6, 0.5], "k / n"),
        (None, 0.0, None, [1 / 3, 2 / 3, 1.0], "k / n"),
    ],
)
def test_air_profile(expected, taken, num_points, line, label):
    signal, noise = np.array([0.5, 0.75, 1.0]), np.array([0.2, 0.5, 0.7])
    profile = types.SimpleNamespace(
        cumulative_signal=signal, cumulative_noise=noise, expected_noise=expected, taken=taken,
        index=0.2834,
    )  # fmt: skip
    ax = plots.air_profile(profile, num_points=num_points, ax=axes())
    k = [1, 2, 3]
    same(drawn(ax), (k, signal), (k, noise), (k, line))
    assert [to_hex(x.get_color()) for x in ax.lines] == [BLUE, RED, GREY]
    assert legend(ax) == ["clean signal", "label noise", label]
    between = ax.collections[0].get_paths()[0].vertices
    assert {(x, y) for x, y in zip(k, signal, strict=True)} <= set(map(tuple, between))
    assert {(x, y) for x, y in zip(k, noise, strict=True)} <= set(map(tuple, between))
    assert ax.get_ylim() == (0, 1.02)
    title = "Where signal and noise lie (AIR index 0.283)"
    assert words(ax) == (title, "first k eigendirections", "share of energy", "log", "linear")
    analysis = types.SimpleNamespace(profile=profile, num_points=12)
    of_analysis = drawn(plots.air_profile(analysis, ax=axes()))
    known = expected if expected is not None else np.arange(1, 4) / 12
    same(of_analysis, (k, signal), (k, noise), (k, known))


def curves(seed):
    rng = np.random.default_rng(seed)
    names = ("signal", "noise", "draw_signal", "draw_noise")
    times = np.array([0.0, 0.5, 2.0, 30.0])
    return types.SimpleNamespace(times=times, **{name: rng.random(4) for name in names})


def test_retrieval():
    predicted, measured = curves(0), curves(1)
    after = predicted.times[1:]
    expected = (after, predicted.signal[1:]), (after, predicted.noise[1:])
    exact = (after, predicted.draw_signal[1:]), (after, predicted.draw_noise[1:])
    points = (after, measured.signal[1:]), (after, measured.noise[1:])
    ax = plots.retrieval(predicted, ax=axes())
    same(drawn(ax), *expected)
    assert legend(ax) == ["signal, predicted", "noise, predicted"]
    ax = plots.retrieval(predicted, measured, draw=True, ax=axes())
    same(drawn(ax), *exact, *points)
    assert legend(ax)[2:] == ["signal, network", "noise, network"]
    assert [line.get_linestyle() for line in ax.lines] == ["-", "-", "None", "None"]
    assert [line.get_marker() for line in ax.lines[2:]] == ["o", "o"]
    assert [to_hex(line.get_color()) for line in ax.lines] == [BLUE, RED] * 2
    title = "Signal is retrieved before noise"
    assert words(ax) == (title, TRAINING, "fraction retrieved", "log", "linear")
    low, high = plots.retrieval(predicted, ax=axes()).get_ylim()
    assert -0.2 < low <= -0.02
    assert 1.02 <= high < 1.2
    # An analysis brings both: curves of the draw beside the network's, plain ones without one.
    whole = types.SimpleNamespace(measured=measured, predicted=predicted, curves=curves(2))
    same(drawn(plots.retrieval(whole, ax=axes())), *exact, *points)
    whole.measured = None
    plain = (after, whole.curves.signal[1:]), (after, whole.curves.noise[1:])
    same(drawn(plots.retrieval(whole, ax=axes())), *plain)


@pytest.mark.parametrize("grid", [None, np.array([4.0, 1.0, 0.25])])
def test_filters(grid):
    named = {"flow": na.dynamics.gradient_flow(2.0), "ridge": lambda x: x / (x + 0.5)}
    ax = plots.filters(named, eigenvalues=grid, ax=axes())
    at = np.geomspace(1e2, 1e-4, 400) if grid is None else grid
    np.testing.assert_allclose(drawn(ax)[0][1], 1 - np.exp(-2 * at), rtol=1e-3)
    same(drawn(ax)[1:], (at, at / (at + 0.5)))
    np.testing.assert_allclose(drawn(ax)[0][0], at)
    assert legend(ax) == ["flow", "ridge"]
    title = "What each method fits"
    assert words(ax) == (title, "eigenvalue λ", "fraction fitted g(λ)", "log", "linear")


FIELDS = {
    "test_accuracy": "test accuracy",
    "l2_to_clean": "ℓ2 distance to clean labels, ‖f − y‖/√n",
    "margin": "least margin on clean labels",
    "error_to_clean": "error on clean labels",
    "error_to_observed": "error on observed labels",
    "loss": "loss",
    "alpha": "weight α of the observed labels",
    "agreement": "agreement with observed labels",
    "distance_from_init": "distance from initialisation",
}


def history(seed, known=True):
    rng = np.random.default_rng(seed)
    step = np.array([0, 1, 4, 9])
    fields = {name: rng.random(4) for name in FIELDS}
    return types.SimpleNamespace(step=step, time=step * (0.5 if known else np.nan), **fields)


@pytest.mark.parametrize("field", FIELDS)
def test_history(field):
    first, second = history(0), history(1, known=False)
    result = types.SimpleNamespace(history=second)
    ax = plots.history({"a": first, "b": result}, field=field, ax=axes())
    values = [getattr(one, field)[1:] for one in (first, second)]
    # Steps where no learning rate makes them time.
    same(drawn(ax), ([0.5, 2.0, 4.5], values[0]), ([1, 4, 9], values[1]))
    assert [to_hex(line.get_color()) for line in ax.lines] == [RED, GREEN]
    assert legend(ax) == ["a", "b"]
    assert words(ax) == (FIELDS[field], TRAINING, FIELDS[field], "log", "linear")
    alone = plots.history(first, field=field, title="mine", ax=axes())
    assert alone.get_title() == "mine"
    assert legend(alone) == []
    pair = types.SimpleNamespace(plain=first, self_distilled=result)
    assert legend(plots.history(pair, field=field, ax=axes())) == [
        "plain training", "self-distillation"
    ]  # fmt: skip


def test_equivalent_time():
    equivalent = types.SimpleNamespace(
        time=np.array([[3.0, 0.2, 1.0], [0.5, np.inf, 0.0], [0.1, 0.2, 0.3]]),
        relative=np.array([[0.3, 1e-7, 0.02], [0.4, 0.9, 0.8], [0.5, 0.6, 0.7]]),
        fitted=np.array([[0.9, 0.05, 0.5], [1.0, 1.0, 1.0], [0.0, 0.04, 0.6]]),
    )
    names = ("ridge", "self", "weak")
    table = types.SimpleNamespace(names=names, equivalent=equivalent)
    ax = plots.equivalent_time(table, close=0.1, ax=axes())
    # In order of time, what is round-off on the floor; neither infinite times nor what fits < 5 %.
    same(
        drawn(ax),
        ([0.2, 1.0, 3.0], [1e-4, 0.02, 0.3]),
        ([0.5], [0.4]),
        ([0.3], [0.7]),
        ([0, 1], [0.1, 0.1]),
    )
    assert legend(ax) == ["ridge: 30%", "self: 40%", "weak: 70%"]
    assert ax.get_legend().get_title().get_text() == "scheme: largest distance"
    assert len({line.get_color() for line in ax.lines}) == 4
    assert [text.get_text() for text in ax.texts] == ["early stopping within 10%"]
    span = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    np.testing.assert_allclose([span.y0, span.y1], [0.8e-4, 0.1])
    np.testing.assert_allclose(ax.get_ylim(), [0.8e-4, 1.0])
    title = "Distillation and the early stopping nearest to it"
    distance = "relative distance ‖f − f_t‖ / ‖f‖"
    at = "equivalent stopping time (learning rate × step)"
    assert words(ax) == (title, at, distance, "log", "log")


def test_standalone_passes_on_what_it_draws():
    given = {}

    def draw(*arguments, ax, **options):
        given.update(arguments=arguments, options=options)
        ax.plot([1, 2], [3, 4])

    figure = plots.standalone(draw, "record", close=0.2)
    assert given == {"arguments": ("record",), "options": {"close": 0.2}}
    same(drawn(figure.axes[0]), ([1, 2], [3, 4]))
    np.testing.assert_allclose(figure.get_size_inches(), [6.4, 4.2])
