"""The figure of students against the teacher's stopping time draws the study's numbers."""

from __future__ import annotations

import types

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import ntk_air as na

mpl.use("Agg")

G, S, K, E, R = 3, 5, 2, 2, 4


def history(rng, *shape):
    return types.SimpleNamespace(test_accuracy=rng.random(shape), l2_to_clean=rng.random(shape))


@pytest.fixture
def study():
    rng = np.random.default_rng(0)
    return types.SimpleNamespace(
        teacher=history(rng, G, S),
        students=history(rng, G, S, K, R),
        smoothed=history(rng, G, E, R),
        times=np.geomspace(0.1, 10.0, S),
        temperatures=np.array([1.0, 4.0]),
        smoothing=np.array([0.0, 0.2]),
        complexity=rng.random((G, S, K)),
        observed_complexity=rng.random(G) + 2,
        clean_complexity=rng.random(G) + 1,
        predicted=rng.random((G, S)),
        noise_rate=np.full(G, 0.4),
        dataset="digits",
        loss="cross_entropy",
    )


def drawn(ax):
    """Heights, and half lengths of the bars, of every curve with error bars, by its name."""
    curves = {}
    for container in ax.containers:
        line, _, (bars,) = container
        lengths = [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()]
        curves[container.get_label()] = (line.get_ydata(), np.array(lengths) / 2)
    return curves


@pytest.mark.parametrize("field", ["test_accuracy", "l2_to_clean"])
def test_means_and_deviations_over_seeds(study, field):
    ax = na.plots.teacher_student(study, field=field, ax=Figure().add_subplot())
    curves = drawn(ax)
    assert set(curves) == {"teacher", "student, T = 1", "student, T = 4"}
    for name, values in (
        ("teacher", getattr(study.teacher, field)),
        ("student, T = 4", getattr(study.students, field)[:, :, 1, -1]),
    ):
        np.testing.assert_allclose(curves[name][0], values.mean(0))
        np.testing.assert_allclose(curves[name][1], values.std(0, ddof=1))
    assert ax.get_title() == "digits, 40% wrong labels, cross-entropy"
    assert ax.get_xscale() == "log"
    levels = {line.get_label(): line.get_ydata()[0] for line in ax.lines}
    if field == "test_accuracy":
        last = study.smoothed.test_accuracy[..., -1].mean(0)
        assert levels["observed labels"] == pytest.approx(last[0])
        assert levels["label smoothing 0.2"] == pytest.approx(last[1])
        assert levels["student, closed form"] == pytest.approx(study.predicted.mean(0)[0])
    else:
        assert "observed labels" not in levels


def test_complexity_and_one_seed(study):
    ax = na.plots.teacher_student(study, field="complexity", ax=Figure().add_subplot(), title="a")
    assert ax.get_title() == "a"
    np.testing.assert_allclose(
        drawn(ax)["soft targets, T = 1"][0], study.complexity[..., 0].mean(0)
    )
    levels = {line.get_label(): line.get_ydata()[0] for line in ax.lines}
    assert levels["clean labels"] == pytest.approx(study.clean_complexity.mean())
    one = types.SimpleNamespace(**(vars(study) | {"complexity": study.complexity[:1]}))
    ax = na.plots.teacher_student(one, field="complexity", ax=Figure().add_subplot())
    assert np.all(drawn(ax)["soft targets, T = 1"][1] == 0)
    with pytest.raises(ValueError, match="field is 'beauty'"):
        na.plots.teacher_student(study, field="beauty", ax=Figure().add_subplot())
