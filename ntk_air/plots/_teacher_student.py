"""Students against the time at which their teacher was stopped."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from .._checks import check_choice
from ._style import DISTILLED, NOISE, REFERENCE, SIGNAL, finish, new_axes

_LABELS = {
    "test_accuracy": "test accuracy",
    "l2_to_clean": "ℓ2 distance to clean labels, ‖f − y‖/√n",
    "complexity": "supervision complexity of the soft targets",
}
_STUDENTS = (DISTILLED, "#8a5fb0", "#b8860b", "#3aa6b9")
_DASHES = ("--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))


def teacher_student(
    study: Any, *, field: str = "test_accuracy", ax: Axes | None = None, title: str | None = None
) -> Axes:
    """One quantity of the trained students against the teacher's stopping time.

    Points are means over seeds and bars their standard deviations. Of the test accuracy also the
    teacher's own, the closed form of squared loss, and as horizontal lines training on smoothed
    labels to the end.

    Args:
        study: a `TeacherStudentStudy`.
        field: "test_accuracy" or "l2_to_clean" of the students after their last step, or
            "complexity" of the targets they were taught.
        ax: axes to draw on; default new ones.
        title: default the dataset, how many labels are wrong, and the loss.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no such field.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> noisy = [na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)]
        >>> study = na.analysis.teacher_student(
        ...     data, noisy, num_seeds=1, width=16, teacher_steps=4, batch_size=20)
        >>> len(na.plots.teacher_student(study).lines) >= 1
        True
    """
    check_choice("field", field, tuple(_LABELS))
    ax = new_axes(ax)
    times = np.asarray(study.times, np.float64)
    if field == "complexity":
        values = np.asarray(study.complexity, np.float64)
        _level(ax, study.clean_complexity, "clean labels", SIGNAL, "--")
        _level(ax, study.observed_complexity, "observed labels", NOISE, ":")
        ax.set_yscale("log")
    else:
        values = np.asarray(getattr(study.students, field), np.float64)[..., -1]
        _curve(ax, times, getattr(study.teacher, field), "teacher", NOISE, "s")
    for k, temperature in enumerate(np.asarray(study.temperatures, np.float64)):
        name = "student" if field != "complexity" else "soft targets"
        if len(study.temperatures) > 1:
            name += f", T = {temperature:g}"
        _curve(ax, times, values[:, :, k], name, _STUDENTS[k % len(_STUDENTS)], "o")
    if field == "test_accuracy":
        if study.predicted is not None:
            predicted = np.asarray(study.predicted, np.float64).mean(axis=0)
            ax.plot(times, predicted, color=SIGNAL, linewidth=1, label="student, closed form")
        for e, weight in enumerate(np.asarray(study.smoothing, np.float64)):
            name = f"label smoothing {weight:.2g}" if weight else "observed labels"
            last = np.asarray(study.smoothed.test_accuracy)[:, e, -1]
            _level(ax, last, name, REFERENCE, _DASHES[e % len(_DASHES)])
    ax.set_xscale("log")
    return finish(
        ax,
        title=title or _title(study),
        xlabel="teacher's stopping time (learning rate × step)",
        ylabel=_LABELS[field],
    )


def _title(study: Any) -> str:
    rate = float(np.asarray(study.noise_rate, np.float64).mean())
    noise = f"{rate:.0%} wrong labels" if rate else "no wrong labels"
    return f"{study.dataset}, {noise}, {study.loss.replace('_', '-')}"


def _curve(ax: Axes, times: Any, values: Any, name: str, color: str, marker: str) -> None:
    """Means and standard deviations over the first axis of values (G, S)."""
    values = np.asarray(values, np.float64)
    ax.errorbar(
        times,
        values.mean(axis=0),
        yerr=_deviation(values),
        color=color,
        marker=marker,
        markersize=4,
        linewidth=1.8,
        elinewidth=1,
        capsize=2.5,
        label=name,
    )


def _level(ax: Axes, values: Any, name: str, color: str, dashes: Any) -> None:
    """A horizontal line at the mean over seeds."""
    mean = np.asarray(values, np.float64).mean()
    ax.axhline(mean, color=color, linewidth=1.2, linestyle=dashes, label=name)


def _deviation(values: np.ndarray) -> np.ndarray:
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])
