"""The main job's report: a folder with the page, the figures, the numbers and the result."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._files import check_writable
from .._results import save
from ..analysis import AIRAnalysis, headline_rank, summary
from ._figures import ReportFigure, air_figures
from ._html import heading, image, page, paragraph, percent, png, table


@contextlib.contextmanager
def output_folder(directory: str | os.PathLike[str]) -> Iterator[Path]:
    """`check_writable` around work: if it fails, a folder made for it does not stay behind.

    Raises:
        ValueError: if there is no way to write there.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with na.reports.output_folder(pathlib.Path(folder) / "new") as path:
        ...         path.is_dir()
        True
    """
    existed = Path(directory).exists()
    path = check_writable(directory)
    try:
        yield path
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def write_air_report(analysis: AIRAnalysis, directory: str | os.PathLike[str]) -> dict[str, Any]:
    """Writes ``report.html``, ``figures/*.png``, ``summary.json`` and ``analysis.ntkair``.

    Everything is written beside its place first and moved there at the end, so that a run that is
    interrupted leaves an earlier report whole.

    Args:
        analysis: the result of `ntk_air.analysis.air`.
        directory: the folder, made where needed.

    Returns:
        The summary that was written.

    Raises:
        ValueError: if the folder cannot be written.
        TypeError: if the analysis holds what no file can.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> data = na.datasets.load("digits", train_size=60, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     numbers = na.reports.write_air_report(na.analysis.air(data, noisy, steps=0), folder)
        ...     sorted(path.name for path in pathlib.Path(folder).glob("*.[hjn]*"))
        ['analysis.ntkair', 'report.html', 'summary.json']
    """
    directory = check_writable(directory)
    numbers = summary(analysis)
    figures = air_figures(analysis)
    staging = Path(tempfile.mkdtemp(dir=directory, prefix=".writing-"))
    try:
        (staging / "figures").mkdir()
        pictures = [(figure, png(figure.figure)) for figure in figures]
        for figure, data in pictures:
            (staging / "figures" / f"{figure.name}.png").write_bytes(data)
        (staging / "summary.json").write_text(json.dumps(numbers, indent=1, allow_nan=False))
        save(analysis, staging / "analysis.ntkair")
        (staging / "report.html").write_text(_page(numbers, pictures), encoding="utf-8")
        _publish(staging, directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return numbers


def _publish(staging: Path, directory: Path) -> None:
    for path in sorted(staging.iterdir()):
        target = directory / path.name
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        os.replace(path, target)


def _page(numbers: dict[str, Any], pictures: list[tuple[ReportFigure, bytes]]) -> str:
    title = f"Signal and noise retrieved: {numbers['dataset']}, {numbers['noise']}"
    parts = [paragraph(_lead(numbers), "lead")]
    parts += [image(data, figure.caption) for figure, data in pictures[:2]]
    parts += [heading("Anisotropy of the spectrum"), _air_table(numbers)]
    parts += [heading("When to stop (kernel gradient flow)"), _stopping_table(numbers)]
    if numbers["networks"]["plain"] is not None:
        parts += [heading("The network itself"), _network_table(numbers)]
        parts.append(paragraph(_agreement(numbers)))
    for title, made in (
        ("At the test points", _test_part(numbers)),
        ("Classes", _class_table(numbers)),
        ("Layers", _layer_table(numbers)),
        ("The kernel after training", _movement_part(numbers)),
        ("Cross-entropy", _cross_entropy_part(numbers)),
    ):
        if made is not None:
            parts += [heading(title), made]
    parts += [image(data, figure.caption) for figure, data in pictures[2:]]
    parts.append(_footer(numbers))
    return page(title, parts)


def _lead(numbers: dict[str, Any]) -> str:
    air = numbers["air"]
    k = headline_rank(numbers)
    signal, noise = air["cumulative_signal"][str(k)], air["cumulative_noise"][str(k)]
    text = (
        f"{numbers['num_points']} training points, {percent(numbers['noise_rate'])} of the labels "
        f"wrong. The first {k} eigendirections of the network's Neural Tangent Kernel hold "
        f"{percent(signal)} of the clean signal"
    )
    if numbers["noise_rate"]:
        text += f" and {percent(noise)} of the label noise"
    accuracy = numbers["stopping"]["test_accuracy"]
    if accuracy["oracle"] is None:
        return text + "."
    return text + (
        f". Stopped at its best time the kernel reaches {percent(accuracy['oracle'])} test "
        f"accuracy, at the time chosen from the noisy labels alone {percent(accuracy['gcv'])}, "
        f"trained to the end {percent(accuracy['converged'])}."
    )


def _air_table(numbers: dict[str, Any]) -> str:
    air = numbers["air"]
    rows = []
    for k in air["ranks"]:
        signal, noise = air["cumulative_signal"][str(k)], air["cumulative_noise"][str(k)]
        ratio = signal / noise if signal is not None and noise else None
        even = percent(k / numbers["num_points"])
        rows.append([str(k), percent(signal), percent(noise), even, ratio])
    return table(["first k", "signal", "noise", "k / n", "ratio"], rows)


def _stopping_table(numbers: dict[str, Any]) -> str:
    stop = numbers["stopping"]
    accuracy = stop["test_accuracy"]
    return table(
        ["rule", "time", "test accuracy" if numbers["num_classes"] else "R² at test points"],
        [
            ["best on the test points", stop["oracle_time"], percent(accuracy["oracle"])],
            ["GCV, noisy labels alone", stop["gcv_time"], percent(accuracy["gcv"])],
            ["never", "∞", percent(accuracy["converged"])],
        ],
    )


def _network_table(numbers: dict[str, Any]) -> str:
    rows = []
    for name, label in (("plain", "plain training"), ("self_distilled", "self-distillation")):
        one = numbers["networks"][name]
        if one is None:
            continue
        rows.append(
            [
                label,
                percent(one["best_test_accuracy"]),
                percent(one["last_test_accuracy"]),
                one["best_l2_to_clean"],
                one["l2_to_clean"],
                one["margin"],
            ]
        )
    return table(["", "best", "last", "least ℓ2", "last ℓ2", "margin"], rows)


def _agreement(numbers: dict[str, Any]) -> str:
    training = numbers["training"]
    text = (
        f"Best and last {'test accuracy' if numbers['num_classes'] else 'R² at the test points'}; "
        "ℓ2 is ‖f − y‖/√n, the distance of the outputs to the clean labels. Predicted and measured "
        f"retrieval differ by at most {numbers['retrieval']['largest_deviation']:.3f} at any "
        "recorded time. "
    )
    if numbers["networks"]["self_distilled"] is not None:
        text += (
            "Self-distillation takes the given labels alone for τ = "
            f"{training['time_constant']:.4g} steps, then weights them by exp(−(step − τ)/τ) and "
            "its own hard labels by the rest. "
        )
    return (
        f"{text}Learning rate {training['learning_rate']:.3g}, momentum {training['momentum']:g}."
    )


def _test_part(numbers: dict[str, Any]) -> str | None:
    test = numbers["test"]
    if test is None:
        return None
    last = max(test["cumulative_signal"], key=int)
    text = (
        f"All directions together bring {percent(test['cumulative_signal'][last])} of the test "
        "points' clean signal to them, and label noise of "
        f"{test['noise_energy']:.3g} times the energy it has at a training point."
    )
    if test["retrieval"] is not None:
        text += (
            " Predicted and measured retrieval at the test points differ by at most "
            f"{test['retrieval']['largest_deviation']:.3f}."
        )
    return paragraph(text)


def _class_table(numbers: dict[str, Any]) -> str | None:
    classes = numbers["by_class"]
    if classes is None:
        return None
    shown = classes if len(classes) <= 20 else [*classes[:10], *classes[-10:]]
    rows = [[c["class"], c["count"], c["half_time"]] for c in shown]
    text = "The time at which half of the signal on a class's own points is retrieved, latest first"
    text += "." if len(shown) == len(classes) else f"; {len(classes) - 20} between are left out."
    return paragraph(text) + table(["class", "points", "half retrieved at"], rows)


def _layer_table(numbers: dict[str, Any]) -> str | None:
    layers = numbers["by_layer"]
    if layers is None:
        return None
    rows = [
        [
            one["layer"],
            one["parameters"],
            *map(percent, (one["trace"], one["signal"], one["noise"])),
        ]
        for one in layers
    ]
    header = ["layer", "parameters", "of the trace", "of the signal", "of the noise"]
    text = (
        "Shares of the layers in the kernel's trace, in yᵀΘy of the clean signal and of the noise."
    )
    return paragraph(text) + table(header, rows)


def _movement_part(numbers: dict[str, Any]) -> str | None:
    movement = numbers["kernel_movement"]
    if movement is None:
        return None
    before, after = movement["before"], movement["after"]
    names = {
        "air_index": "AIR index",
        "alignment_clean": "alignment with clean labels",
        "alignment_observed": "alignment with observed labels",
    }
    rows = [[label, before[name], after[name]] for name, label in names.items()]
    text = (
        "The network's own NTK after plain training is "
        f"{movement['distance']:.3g} of its norm away from that before training (similarity "
        f"{movement['similarity']:.3f}). What moves is what the closed form leaves out."
    )
    return paragraph(text) + table(["", "before", "after"], rows)


def _cross_entropy_part(numbers: dict[str, Any]) -> str | None:
    found = numbers["cross_entropy"]
    if found is None:
        return None
    return paragraph(
        "Trained by cross-entropy from the same parameters the network ends at a test accuracy of "
        f"{percent(found['last_test_accuracy'])}, best {percent(found['best_test_accuracy'])}. Its "
        "probabilities follow the closed form at a C-th of the time as long as they are near "
        "uniform; what comes after, no closed form says: the largest difference here is "
        f"{found['retrieval']['largest_deviation']:.3f}."
    )


def _footer(numbers: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in numbers["versions"].items())
    text = f"{numbers['architecture']}, seed {numbers['seed']}. {versions}."
    return f"<footer>{paragraph(text)}</footer>"
