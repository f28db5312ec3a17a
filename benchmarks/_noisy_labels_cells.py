"""Cells of the noisy-label benchmark: one method on one noise, every seed, in a file of its own."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from benchmarks import _harness, _report
from ntk_air.analysis import NoisySettings, noisy_training, noisy_training_summary
from ntk_air.analysis._noisy_problem import prepare
from ntk_air.cli._options import DATASET_DEFAULTS, load_dataset

_OF_THE_DATA = (*DATASET_DEFAULTS, "test_size", "noise", "seed")


def settings(noise: str, method: str, **changes: Any) -> dict[str, Any]:
    """All settings of a cell, checked.

    Raises:
        ValueError: a method, a network or a number that there is not.
    """
    made = DATASET_DEFAULTS | {"test_size": None, "noise": noise, "method": method} | changes
    return made | dataclasses.asdict(_training_settings(made))


def path_of(folder: Path, options: dict[str, Any]) -> Path:
    """The cell's file."""
    name = f"{options['noise']}__{options['method']}"
    return folder / "cells" / (re.sub(r"[^\w.=+-]+", "-", name.replace("/", "+")) + ".json")


def load(folder: Path, options: dict[str, Any]) -> dict[str, Any] | None:
    """A cell that was measured before, None if it was not.

    Raises:
        ValueError: if the file there is of other settings.
    """
    path = path_of(folder, options)
    if not path.exists():
        return None
    cell = json.loads(path.read_text(encoding="utf-8"))
    wanted = _kept(options)
    other = sorted(k for k in wanted if cell["settings"].get(k) != wanted[k])
    if other:
        was = ", ".join(f"{k} = {cell['settings'].get(k)!r}" for k in other)
        now = ", ".join(f"{k} = {wanted[k]!r}" for k in other)
        raise ValueError(
            f"{path} was measured with {was}, asked for is {now}; take another --out, or delete it."
        )
    return cell


def measure(folder: Path, options: dict[str, Any], note: str) -> dict[str, Any]:
    """Trains, and writes the cell; it is there only once it is complete.

    Training that diverges is a finding: the cell holds what was said of it and no numbers.
    """
    from ntk_air.distillation import DivergenceError

    load_before = _harness.load_average()
    dataset = _dataset(json.dumps({name: options[name] for name in _OF_THE_DATA}))
    settings = _training_settings(options)
    problem = prepare(dataset, settings)
    began = time.perf_counter()
    try:
        found = noisy_training_summary(noisy_training(dataset, settings, progress=True))
    except DivergenceError as error:
        found = {"diverged": str(error)}
    cell = {
        "settings": _kept(options),
        "num_points": problem.count,
        "num_held_out": len(dataset.train_labels) - problem.count,
        "noise_rate": sum(problem.noise_rates) / len(problem.noise_rates),
        "num_test_points": len(dataset.test_labels),
        "seconds": round(time.perf_counter() - began, 1),
        "environment": _environment(note) | {"load_average_1min": load_before},
        **found,
    }
    path = path_of(folder, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(cell, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(beside, path)
    return cell


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
    return load_dataset(
        options, test_size=options["test_size"], seed=options["seed"], noise=options["noise"]
    )


@functools.lru_cache(maxsize=1)
def _environment(note: str) -> dict[str, Any]:
    """Made once, since it measures the rate of matrix products."""
    found = _report.environment(note, None)
    found["packages"] |= {name: _report._version(name) for name in ("flax", "optax")}
    return found
