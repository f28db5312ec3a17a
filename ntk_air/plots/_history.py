"""Training histories side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ._style import DISTILLED, NOISE, REFERENCE, SIGNAL, finish, new_axes, on_log_time

_LABELS = {
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


def history(
    result: Any, *, field: str = "test_accuracy", ax: Axes | None = None, title: str | None = None
) -> Axes:
    """One quantity of one or several training histories over training time.

    Args:
        result: a `History` or `DistillationResult`, a dictionary of them by name, or an
            `AIRAnalysis` (plain training beside self-distillation).
        field: name of a `History` field.
        ax: axes to draw on; default new ones.
        title: default the field's name.

    Returns:
        The axes.

    Raises:
        ValueError: if there is no such field.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> run = na.distillation.kernel_self_distill(
        ...     np.eye(2), np.eye(2), learning_rate=0.1, num_steps=3, alpha=1.0)
        >>> ax = na.plots.history({"run": run}, field="loss")
        >>> len(ax.lines)
        1
    """
    if field not in _LABELS:
        raise ValueError(f"field is {field!r}, expected one of {', '.join(_LABELS)}.")
    ax = new_axes(ax)
    colors = [NOISE, DISTILLED, SIGNAL, REFERENCE, "#8a5fb0", "#b8860b"]
    histories = {name: one for name, one in _named(result).items() if one is not None}
    for index, (name, one) in enumerate(histories.items()):
        one = getattr(one, "history", one)
        known = bool(np.isfinite(np.asarray(one.time)).all())
        at = np.asarray(one.time if known else one.step)
        color = colors[index % len(colors)]
        values = np.asarray(getattr(one, field))
        shown = on_log_time(ax, at)
        ax.plot(at[shown], values[shown], color=color, linewidth=2, label=name)
    return finish(
        ax,
        title=title or _LABELS[field],
        xlabel="training time (learning rate × step)",
        ylabel=_LABELS[field],
        legend=len(histories) > 1,
    )


def _named(result: Any) -> dict[str, Any]:
    if isinstance(result, dict):
        return result
    if hasattr(result, "self_distilled"):
        return {"plain training": result.plain, "self-distillation": result.self_distilled}
    return {"training": result}
