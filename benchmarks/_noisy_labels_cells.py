"""Cells of the noisy-label benchmark: one method on one noise, in a file of its own.

A cell grows: of the seeds asked for, those that it has are kept and the others are trained.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _harness, _report
from ntk_air import datasets
from ntk_air.analysis import (
    NoisySettings,
    noisy_problem,
    noisy_training,
    noisy_training_summary,
    over_seeds,
)

# Of the points, with what the command line has for them.
_DATA = {"dataset": "digits", "root": None, "classes": None, "train_size": None, "purpose": None}
_OF_THE_DATA = (*_DATA, "test_size", "noise", "seed")


def settings(noise: str, method: str, **changes: Any) -> dict[str, Any]:
    """All settings of a cell, checked.

    Raises:
        ValueError: a method, a network or a number that there is not.
    """
    made = _DATA | {"test_size": None, "noise": noise, "method": method} | changes
    return made | dataclasses.asdict(_training_settings(made))


def path_of(folder: Path, options: dict[str, Any]) -> Path:
    """The cell's file."""
    name = f"{options['noise']}__{options['method']}"
    return folder / "cells" / (re.sub(r"[^\w.=+-]+", "-", name.replace("/", "+")) + ".json")


def load(folder: Path, options: dict[str, Any], *, whole: bool = True) -> dict[str, Any] | None:
    """A cell that was measured before, None if it was not.

    Args:
        folder: of the benchmark.
        options: settings of the cell.
        whole: a cell of fewer seeds than ``options`` name is none.

    Raises:
        ValueError: if the file there is of other settings, or of more seeds.
    """
    path = path_of(folder, options)
    if not path.exists():
        return None
    wanted = _kept(options)
    try:
        cell = json.loads(path.read_text(encoding="utf-8"))
        # Settings that there were not yet have their defaults.
        has = _DATA | dataclasses.asdict(NoisySettings()) | cell["settings"]
        _check(cell, has["seeds"])
    # Of JSON that is cut off, and of values of any type in any place.
    except Exception as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete it, and it is measured again."
        ) from error
    fewer = has["seeds"] < wanted["seeds"]
    other = sorted(
        key for key in wanted if has.get(key) != wanted[key] and not (key == "seeds" and fewer)
    )
    if other:
        was = ", ".join(f"{k} = {has.get(k)!r}" for k in other)
        now = ", ".join(f"{k} = {wanted[k]!r}" for k in other)
        raise ValueError(
            f"{path} was measured with {was}, asked for is {now}; take another --out, or delete it."
        )
    return None if whole and fewer else cell


def _check(cell: dict[str, Any], seeds: int) -> None:
    """Raises unless a cell holds numbers of as many seeds as it says."""
    if not isinstance(seeds, int) or seeds < 1:
        raise ValueError(f"seeds is {seeds!r}")
    if "diverged" in cell:
        return
    for kind in ("best", "final", "stopped"):
        for name, values in cell[kind].items():
            if len(values["each"]) != seeds:
                raise ValueError(f"{kind}.{name} has {len(values['each'])} values of {seeds} seeds")


def measure(folder: Path, options: dict[str, Any], note: str) -> dict[str, Any]:
    """Trains the seeds that are missing, and writes the cell; it is there only once it is complete.

    Training that diverges is a finding: the cell holds what was said of it and no numbers. Seeds
    one by one are written one by one, so that an interrupted cell has those that were done.
    """
    cell = load(folder, options, whole=False)
    wanted = options["seeds"]
    while cell is None or (cell["settings"]["seeds"] < wanted and "diverged" not in cell):
        done = 0 if cell is None else cell["settings"]["seeds"]
        until = done + 1 if options["one_by_one"] else wanted
        cell = _grown(cell, options | {"seeds": until}, note)
        _write(path_of(folder, options), cell)
    return cell


def _grown(cell: dict[str, Any] | None, options: dict[str, Any], note: str) -> dict[str, Any]:
    """A cell of the seeds of ``options``, of which ``cell`` has the first."""
    from ntk_air.distillation import DivergenceError

    load_before = _harness.load_average()
    dataset = _dataset(json.dumps({name: options[name] for name in _OF_THE_DATA}))
    settings = _training_settings(options)
    problem = noisy_problem(dataset, settings)
    done = 0 if cell is None else cell["settings"]["seeds"]
    missing = dataclasses.replace(settings, seed=settings.seed + done, seeds=settings.seeds - done)
    began = time.perf_counter()
    try:
        found = noisy_training_summary(noisy_training(dataset, missing, progress=True))
    except DivergenceError as error:
        found = {"diverged": str(error)}
    else:
        found = found if cell is None else _joined(cell, found)
    before = 0.0 if cell is None else cell["seconds"]
    return {
        "settings": _kept(options),
        "num_points": problem.count,
        "num_held_out": len(dataset.train_labels) - problem.count,
        "noise_rate": sum(problem.noise_rates) / len(problem.noise_rates),
        "num_test_points": len(dataset.test_labels),
        "seconds": round(before + time.perf_counter() - began, 1),
        "environment": _environment(note) | {"load_average_1min": load_before},
        **found,
    }


def _joined(cell: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Numbers and histories of the seeds of both."""
    found: dict[str, Any] = {
        kind: {
            name: over_seeds(np.array(cell[kind][name]["each"] + values["each"], np.float64))
            for name, values in numbers.items()
        }
        for kind, numbers in more.items()
        if kind != "history"
    }
    found["history"] = {
        name: rows if name == "step" else cell["history"][name] + rows
        for name, rows in more["history"].items()
    }
    return found


def _write(path: Path, cell: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(cell, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path)


def _kept(options: dict[str, Any]) -> dict[str, Any]:
    # Where the data lie is no part of a cell.
    return {key: value for key, value in options.items() if key != "root"}


def _training_settings(options: dict[str, Any]) -> NoisySettings:
    names = [field.name for field in dataclasses.fields(NoisySettings)]
    return NoisySettings(**{name: options[name] for name in names if name in options})


@functools.lru_cache(maxsize=1)
def _dataset(named: str) -> Any:
    """The points of all methods on one noise."""
    options = json.loads(named)
    noise, name = options.pop("noise"), options.pop("dataset")
    dataset = datasets.load(name, **options)
    kind, _, column = noise.partition(":")
    return dataset.labelled_by(column) if kind == "human" else dataset


@functools.lru_cache(maxsize=1)
def _environment(note: str) -> dict[str, Any]:
    """Made once, since it measures the rate of matrix products."""
    found = _report.environment(note, None)
    found["packages"] |= {name: _report._version(name) for name in ("flax", "optax")}
    return found
