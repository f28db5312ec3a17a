"""Cells of the noisy-label benchmark: one method on one noise, every seed, in a file of its own."""

from __future__ import annotations

import functools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

from benchmarks import _harness, _report
from ntk_air.cli._distill import DEFAULTS, check
from ntk_air.cli._distill_numbers import numbers_of
from ntk_air.cli._distill_training import Problem, prepare, train

# Where the data lie, and where results go, are no part of a cell.
_ELSEWHERE = ("root", "checkpoint", "out")
_OF_THE_PROBLEM = (
    "dataset", "root", "classes", "train_size", "test_size", "noise", "seeds", "seed", "validation"
)  # fmt: skip


def settings(noise: str, method: str, **changes: Any) -> dict[str, Any]:
    """All settings of a cell, checked.

    Raises:
        ValueError: a method, a network or a number that there is not.
    """
    made = DEFAULTS | {"noise": noise, "method": method} | changes
    check(made)
    return made


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
    # The same points and noise for every method on one noise.
    named = {name: options[name] for name in _OF_THE_PROBLEM}
    problem = _prepared(json.dumps(named))
    began = time.perf_counter()
    try:
        found = numbers_of(train(problem, options))
    except DivergenceError as error:
        found = {"diverged": str(error)}
    cell = {
        "settings": _kept(options),
        "num_points": problem.count,
        "num_held_out": len(problem.dataset.train_labels) - problem.count,
        "num_test_points": len(problem.dataset.test_labels),
        "noise_rate": sum(problem.noise_rates) / len(problem.noise_rates),
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
    return {key: value for key, value in options.items() if key not in _ELSEWHERE}


@functools.lru_cache(maxsize=1)
def _prepared(named: str) -> Problem:
    return prepare(json.loads(named))


@functools.lru_cache(maxsize=1)
def _environment(note: str) -> dict[str, Any]:
    """Made once, since it measures the rate of matrix products."""
    found = _report.environment(note, None)
    found["packages"] |= {name: _report._version(name) for name in ("flax", "optax")}
    return found
