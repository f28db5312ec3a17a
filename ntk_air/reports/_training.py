"""The history of training as a page: accuracy and distance to the clean labels, best and last."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .. import plots
from .._files import check_writable
from .._results import save
from ..distillation import DistillationResult
from ._html import image, page, paragraph, percent, png, table

_FIELDS = {"test_accuracy": np.nanmax, "l2_to_clean": np.nanmin}


def training_figure(runs: dict[str, DistillationResult], titles: tuple[str, str]) -> Figure:
    """Test accuracy and l2 distance to the clean labels over time, a line for each run.

    Args:
        runs: results by the name they have in the legend.
        titles: of the two panels.

    Returns:
        A figure outside pyplot.

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> result = na.distillation.self_distill(
        ...     lambda w, x: x @ w, jnp.zeros((2, 1)), jnp.eye(2), jnp.ones((2, 1)),
        ...     optimizer=0.5, num_steps=2, alpha=1.0)
        >>> len(na.reports.training_figure({"run": result}, ("accuracy", "distance")).axes)
        2
    """
    figure = Figure(figsize=(10.5, 4.2), dpi=130, layout="constrained")
    for ax, field, title in zip(figure.subplots(1, 2), _FIELDS, titles, strict=True):
        plots.history(runs, field=field, ax=ax, title=title)
    return figure


def write_training_report(
    result: DistillationResult, directory: str | os.PathLike[str], title: str = "Training"
) -> Path:
    """Writes ``report.html``, ``history.png`` and ``result.ntkair``.

    Args:
        result: of `ntk_air.distillation.self_distill` or a baseline, of one network or several
            trained together.
        directory: the folder, made where needed.
        title: of the page.

    Returns:
        The path of the page.

    Raises:
        ValueError: if the folder cannot be written.
        TypeError: if a result holds what no file can.

    Example:
        >>> import tempfile, jax.numpy as jnp, ntk_air as na
        >>> result = na.distillation.self_distill(
        ...     lambda w, x: x @ w, jnp.zeros((2, 1)), jnp.eye(2), jnp.ones((2, 1)),
        ...     optimizer=0.5, num_steps=2, alpha=1.0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     na.reports.write_training_report(result, folder).name
        'report.html'
    """
    folder = check_writable(directory)
    loss = np.asarray(result.history.loss)
    together = loss.ndim == 2
    runs = {f"network {i}": result.replica(i) for i in range(len(loss))} if together else {}
    runs = runs or {"network": result}
    figure = training_figure(runs, ("test accuracy", "distance to the clean labels"))
    picture = png(figure)
    (folder / "history.png").write_bytes(picture)
    save(result, folder / "result.ntkair")
    steps = np.asarray(result.history.step)
    parts = [
        paragraph(
            f"{int(steps[-1])} steps, {len(steps)} records. Best values are over the records, and "
            "take clean labels to know.",
            "lead",
        ),
        table(
            ["", "best accuracy", "last accuracy", "lowest ℓ2", "last ℓ2"],
            [_row(name, one) for name, one in runs.items()],
        ),
        image(picture, "Test accuracy and ‖f − y‖₂/√n over training time."),
    ]
    path = folder / "report.html"
    path.write_text(page(title, parts), encoding="utf-8")
    return path


def _row(name: str, result: DistillationResult) -> list[Any]:
    row: list[Any] = [name]
    for field, best in _FIELDS.items():
        values = np.asarray(getattr(result.history, field))
        known = bool(np.isfinite(values).any())
        pair = [float(best(values)), float(values[-1])] if known else [None, None]
        row += [percent(v) for v in pair] if field == "test_accuracy" else pair
    return row
