"""Students against the teacher's stopping time: ``python -m benchmarks.teacher_student --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure

import ntk_air as na
from benchmarks import _harness, _report

_NOISE_RATES = (0.4, 0.0)
_TEMPERATURES = {"mse": None, "cross_entropy": (1.0, 2.0, 4.0)}
_FIELDS = ("test_accuracy", "complexity", "l2_to_clean")
# Points, width, steps of teacher and students, checkpoints of the teacher.
_SIZES = {
    "digits": {"train_size": 1000, "width": 256, "steps": 1000, "checkpoints": 12},
    "mnist": {"train_size": 1000, "width": 128, "steps": 400, "checkpoints": 8},
}
_QUICK = {"train_size": 200, "width": 32, "steps": 60, "checkpoints": 4}
_TEST_SIZE = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs all cases and writes the report and its figures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teacher_student")
    parser.add_argument("--quick", action="store_true", help="a few small networks, two seeds")
    parser.add_argument("--out", type=Path, default=Path("build/teacher-student"), help="folder")
    parser.add_argument("--name", default="teacher-student", help="of the files in it")
    parser.add_argument("--datasets", default="digits,mnist", help="comma-separated")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--train-size", type=int, help="training points; default by dataset")
    parser.add_argument("--steps", type=int, help="of teacher and students; default by dataset")
    parser.add_argument(
        "--studies", type=Path, help="folder to keep the studies in, and to take up those it holds"
    )
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    options = parser.parse_args(arguments)
    names = options.datasets.split(",")
    if unknown := set(names) - set(_SIZES):
        print(f"unknown dataset {', '.join(unknown)}; there are: digits, mnist", file=sys.stderr)
        return 2
    load = _harness.load_average()
    report: dict[str, Any] = {
        "environment": _report.environment(options.note, load),
        "cases": [],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / options.name
    studies = []
    for name in names:
        for loss in _TEMPERATURES:
            for rate in _NOISE_RATES:
                print(f"{name}, {loss}, noise {rate:g} ...", file=sys.stderr, flush=True)
                studies.append(_kept(name, loss, rate, options))
                report["cases"].append(na.analysis.teacher_student_summary(studies[-1]))
                # After every case: a run takes long enough to be interrupted.
                _report.write_json(path.with_suffix(".json"), report)
    draw(studies).savefig(path.with_suffix(".png"), dpi=70)
    print(table(report))
    return 0


def _kept(name: str, loss: str, rate: float, options: argparse.Namespace) -> Any:
    """The study of a case, taken from or put into the folder of studies if there is one."""
    if options.studies is None:
        return _study(name, loss, rate, options)
    options.studies.mkdir(parents=True, exist_ok=True)
    size = "quick" if options.quick else f"{options.train_size}-{options.steps}-{options.seeds}"
    path = options.studies / f"{name}-{loss}-{rate:g}-{size}.zip"
    if path.exists():
        return na.load(path)
    study = _study(name, loss, rate, options)
    na.save(study, path)
    return study


def _study(name: str, loss: str, rate: float, options: argparse.Namespace) -> Any:
    sizes = _QUICK if options.quick else _SIZES[name]
    sizes = sizes | {
        key: value
        for key, value in (("train_size", options.train_size), ("steps", options.steps))
        if value is not None
    }
    seeds = 2 if options.quick else options.seeds
    dataset = na.datasets.load(
        name, train_size=sizes["train_size"], test_size=None if name == "digits" else _TEST_SIZE
    )
    # Each seed has its own noise too, so that the error bars hold it.
    draws = [
        na.noise.symmetric(dataset.train_labels, rate, num_classes=dataset.num_classes, seed=seed)
        for seed in range(seeds)
    ]
    spaced = np.geomspace(1, sizes["steps"], sizes["checkpoints"])
    return na.analysis.teacher_student(
        dataset,
        draws,
        loss=loss,
        num_seeds=seeds,
        width=sizes["width"],
        teacher_steps=sizes["steps"],
        checkpoints=np.unique(spaced.round().astype(int)).tolist(),
        temperatures=_TEMPERATURES[loss],
        students_at_once=8,
    )


def draw(studies: Sequence[Any]) -> Figure:
    """A row for every dataset and loss: with noise in three panels, and accuracy without."""
    pairs = list(zip(studies[::2], studies[1::2], strict=True))
    figure = Figure(figsize=(21.0, 4.3 * len(pairs)), layout="constrained")
    grid = figure.subplots(len(pairs), 1 + len(_FIELDS), squeeze=False)
    for (noisy, clean), row in zip(pairs, grid, strict=True):
        na.plots.teacher_student(clean, ax=row[1])
        for field, axes in zip(_FIELDS, (row[0], *row[2:]), strict=True):
            na.plots.teacher_student(noisy, field=field, ax=axes)
    return figure


def table(report: dict[str, Any]) -> str:
    """One line for every case and temperature, in Markdown; accuracies in percent."""
    lines = [
        "| dataset | loss | wrong labels | T | best student (time) | first | last | inside | "
        "best teacher | last teacher | label smoothing, best weight |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case in report["cases"]:
        for student in case["students"]:
            peak, curve = student["maximum"], student["last_test_accuracy"]
            smoothing = max(
                (one["last_test_accuracy"] for one in case["smoothing"] if one["weight"]),
                key=lambda one: one["mean"],
            )
            accuracy = case["teacher"]["test_accuracy"]
            cells = [
                case["dataset"],
                case["loss"],
                f"{100 * case['noise_rate']['mean']:.0f} %",
                "–" if student["temperature"] is None else f"{student['temperature']:g}",
                f"{_percent(peak['value'])} ({peak['time']:.2g})",
                _percent(curve, 0),
                _percent(curve, -1),
                "yes" if peak["inside"] else "no",
                _percent(case["teacher"]["maximum"]["value"]),
                _percent(accuracy, -1),
                _percent(smoothing),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _percent(spread: dict[str, Any], index: int | None = None) -> str:
    mean, deviation = spread["mean"], spread["sd"]
    if index is not None:
        mean, deviation = mean[index], deviation[index]
    return f"{100 * mean:.1f} ± {100 * deviation:.1f}"


if __name__ == "__main__":
    sys.exit(main())
