"""What an analysis shares out: over classes, over layers, and before and after training."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes

from ._style import NOISE, SIGNAL, finish, legend_beside, new_axes, on_log_time

_STYLES = ("-", "--", "-.", ":")
# More lines than these say nothing each: the earliest and the latest are named.
_MOST_LINES = 12


def by_class(result: Any, *, ax: Axes | None = None) -> Axes:
    """Share of each class's own signal that is retrieved over training time.

    Lines are predicted by the kernel; points are measured on the network, where one was trained.
    Of many classes, those retrieved earliest and latest are drawn in colour, the others in grey.

    Args:
        result: an `AIRAnalysis`, or its ``by_class``.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=60, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> ax = na.plots.by_class(na.analysis.air(data, noisy, steps=0))
        >>> ax.get_ylabel()
        "fraction of the class's signal"
    """
    ax = new_axes(ax)
    classes = getattr(result, "by_class", result)
    names, times = list(classes.class_names), np.asarray(classes.times)
    order = [names.index(name) for name in reversed(classes.latest())]
    shown = on_log_time(ax, times)
    if len(order) <= _MOST_LINES:
        named = order
    else:
        half = _MOST_LINES // 2
        named = [*order[:half], *order[-half:]]
    colors = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.9, max(len(named), 2)))
    signal = np.asarray(classes.signal)
    for index in order:
        if index not in named:
            ax.plot(times[shown], signal[index][shown], color="#cccccc", linewidth=0.8, zorder=1)
    for place, index in enumerate(named):
        style = {"color": colors[place], "linestyle": _STYLES[place % len(_STYLES)]}
        label = names[index].replace("$", r"\$")
        ax.plot(times[shown], signal[index][shown], linewidth=1.8, label=label, **style)
        if classes.measured_signal is not None:
            at = np.asarray(classes.measured_times)
            points = on_log_time(ax, at)
            measured = np.asarray(classes.measured_signal)[index][points]
            ax.plot(at[points], measured, "o", markersize=3, alpha=0.7, color=colors[place])
    ax.axhline(0.5, color="#777777", linewidth=0.8, linestyle=":")
    ax.set_ylim(min(-0.02, ax.get_ylim()[0]), max(1.02, min(ax.get_ylim()[1], 1.5)))
    finish(
        ax,
        title="Which classes are retrieved late",
        xlabel="training time (learning rate × step)",
        ylabel="fraction of the class's signal",
        legend=False,
    )
    legend_beside(ax, "earliest first", 8)
    return ax


def by_layer(result: Any, *, ax: Axes | None = None) -> Axes:
    """Share of each layer in each direction of a finite network's kernel.

    Args:
        result: an `AIRAnalysis` of a finite kernel, or its ``by_layer``.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if the analysis is of another kernel.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> result = na.analysis.air(data, noisy, kernel="finite", width=16, steps=0)
        >>> len(na.plots.by_layer(result).collections)
        2
    """
    ax = new_axes(ax)
    layers = getattr(result, "by_layer", result)
    if layers is None:
        raise ValueError(
            f"the analysis is of the kernel {result.kernel!r}, which has no layers; take "
            "kernel='finite'."
        )
    share = np.clip(np.asarray(layers.share), 0.0, None)
    share = share[:, np.isfinite(share).all(axis=0)]
    rank = np.arange(1, share.shape[1] + 1)
    colors = matplotlib.colormaps["cividis"](np.linspace(0.05, 0.95, max(len(share), 2)))
    hatches = ("", "//", "..", "\\\\")
    for index, (low, high) in enumerate(_stacked(share)):
        ax.fill_between(
            rank,
            low,
            high,
            color=colors[index],
            hatch=hatches[index % len(hatches)],
            edgecolor="white",
            linewidth=0.0,
            label=layers.names[index].replace("$", r"\$"),
        )
    if len(rank) > 1:
        ax.set_xscale("log")
        ax.set_xlim(1, len(rank))
    ax.set_ylim(0, 1)
    finish(
        ax,
        title="Which layers a direction is learned by",
        xlabel="eigendirection k",
        ylabel="share of λ_k",
        legend=False,
    )
    legend_beside(ax, "layers, first below", 8 if len(share) <= 16 else 6)
    return ax


def _stacked(share: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    tops = np.cumsum(share, axis=0)
    return [(top - one, top) for one, top in zip(share, tops, strict=True)]


def before_and_after(result: Any, *, ax: Axes | None = None) -> Axes:
    """Cumulative signal and noise in the network's kernel before training and after it.

    Args:
        result: an `AIRAnalysis` with a trained network, or a `KernelMovement`.
        ax: axes to draw on; default new ones.

    Returns:
        The axes.

    Raises:
        ValueError: if no network was trained.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> ax = na.plots.before_and_after(na.analysis.air(data, noisy, width=16, steps=2))
        >>> len(ax.lines)
        4
    """
    ax = new_axes(ax)
    movement = getattr(result, "kernel_movement", result)
    if movement is None:
        raise ValueError("no network was trained (steps=0): its kernel did not move.")
    for energy, color, what in (
        (movement.signal_energy, SIGNAL, "signal"),
        (movement.noise_energy, NOISE, "noise"),
    ):
        cumulative = np.cumsum(np.asarray(energy), axis=1)
        rank = np.arange(1, cumulative.shape[1] + 1)
        for row, style, when in ((0, "--", "before"), (-1, "-", "after")):
            label = f"{what}, {when} training"
            ax.semilogx(rank, cumulative[row], color=color, linestyle=style, label=label)
    ax.set_ylim(0, 1.02)
    return finish(
        ax,
        title="The network's kernel before and after training",
        xlabel="first k eigendirections of the current kernel",
        ylabel="share of energy",
    )
