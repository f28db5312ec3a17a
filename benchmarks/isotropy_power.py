"""How often the isotropy check rejects: ``python -m benchmarks.isotropy_power``.

Runs `ntk_air.theory.check_noise_isotropy` again and again, each time with its own network and draws
of noise: on symmetric noise, where isotropy holds exactly, and on noise that depends on the class
at the same rate of errors. Writes the share of rejections after every case and goes on with the
cases that the file does not hold yet.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ntk_air as na

LEVELS = (0.05, 0.01)
SIZES = (40, 80, 120)
RATES = (0.03, 0.1, 0.2, 0.4)
CLASSES = (2, 3)
_FILE = "isotropy-power.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the cases that are missing and writes them; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.isotropy_power", description=__doc__
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder")
    parser.add_argument("--runs", type=int, default=500, help="of the check for each true case")
    parser.add_argument("--power-runs", type=int, default=100, help="for each alternative")
    parser.add_argument("--quick", action="store_true", help="four cases, to see that it runs")
    options = parser.parse_args(arguments)
    if min(options.runs, options.power_runs) < 1:
        print("expected --runs and --power-runs of at least 1.", file=sys.stderr)
        return 2
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / _FILE
    report = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for noise, classes, size, rate in _cases(options.quick):
        runs = options.runs if noise == "symmetric" else options.power_runs
        key = f"{noise} C={classes} n={size} rho={rate:g} runs={runs}"
        if key not in report:
            chances = [_chance(noise, classes, size, rate, seed) for seed in range(runs)]
            report[key] = {
                f"{level:g}": float(np.mean(np.less(chances, level))) for level in LEVELS
            }
            path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(key, *(f"level {k}: {v:.3f}" for k, v in report[key].items()), flush=True)
    return 0


def _cases(quick: bool) -> list[tuple[str, int, int, float]]:
    sizes, rates = ((40,), (0.1,)) if quick else (SIZES, RATES)
    return [
        (noise, classes, size, rate)
        for noise in ("symmetric", "one class", "pair flip")
        for classes in CLASSES
        for size in sizes
        for rate in rates
        # Between two classes a pair flip is symmetric noise.
        if not (noise == "pair flip" and classes == 2)
    ]


def _chance(noise: str, classes: int, size: int, rate: float, seed: int) -> float:
    """Significance at which one run of the check would just reject."""
    inputs, labels = _digits()
    rows = np.concatenate([np.flatnonzero(labels == c)[: size // classes] for c in range(classes)])
    report = na.theory.check_noise_isotropy(
        inputs[rows],
        labels[rows],
        model=_model(noise, classes, rate),
        contrast=None,
        width=200,
        significance=LEVELS[0],
        seeds=[seed],
    )
    found = {c.name: c for c in report.conclusions}
    isotropic, follows = found["isotropic noise"], found["energy follows the variances"]
    # Probabilities are compared with a share of the significance.
    share = float(isotropic.required) / LEVELS[0]
    tested = [isotropic, follows] if noise == "symmetric" else [isotropic]
    return min(float(c.measured) for c in tested) / share


@functools.cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    digits = na.datasets.load("digits", seed=0)
    return np.asarray(digits.train_inputs), np.asarray(digits.train_labels)


def _model(noise: str, classes: int, rate: float) -> Any:
    if noise == "one class":
        # Class 0 has all errors, up to nine of ten of its labels, then the next class.
        matrix, left = np.eye(classes), classes * rate
        for row in range(classes):
            moved = min(left, 0.9)
            matrix[row, row] -= moved
            matrix[row, (row + 1) % classes] += moved
            left -= moved
        return matrix
    return f"{'symmetric' if noise == 'symmetric' else 'pair_flip'}:{rate}"


if __name__ == "__main__":
    raise SystemExit(main())
