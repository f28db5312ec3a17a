"""Wrong labels of a two-class table, in 12 draws: ``python -m benchmarks.two_classes --help``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer

import ntk_air as na
from benchmarks import _harness, _report
from ntk_air.spectral import Eigensystem


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.two_classes", description=__doc__)
    parser.add_argument("--rate", type=float, default=0.12, help="of symmetric noise")
    parser.add_argument("--draws", type=int, default=12)
    parser.add_argument("--out", type=Path, help="folder for two-classes.json")
    options = parser.parse_args(arguments)
    inputs, labels = load_breast_cancer(return_X_y=True)
    rows = []
    for columns in ("raw", "standardised"):
        spectrum = _spectrum(inputs, labels, columns)
        rows += [_row(spectrum, labels, columns, options.rate, s) for s in range(options.draws)]
    for row in rows:
        print(
            " ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        )
    for columns in ("raw", "standardised"):
        least = min(row["f1"] for row in rows if row["columns"] == columns)
        print(f"{columns}: least F1 {least:.3f}")
    if options.out is not None:
        environment = _report.environment("", _harness.load_average())
        _report.write_json(
            options.out / "two-classes.json", {"environment": environment, "rows": rows}
        )
    return 0


def _spectrum(inputs: np.ndarray, labels: np.ndarray, columns: str) -> Eigensystem:
    """Of the infinite network's kernel, with columns as they are or each of unit variance."""
    if columns == "standardised":
        inputs = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    data = na.datasets.from_arrays(inputs, labels, name="breast cancer")
    data = data.standardized().flattened(unit_norm="sqrt_d")
    network = na.kernels.fully_connected(1, 8, num_outputs=2)
    return na.spectral.eigendecompose(na.kernels.infinite_ntk(network, data.train_inputs))


def _row(
    spectrum: Eigensystem, labels: np.ndarray, columns: str, rate: float, seed: int
) -> dict[str, Any]:
    noisy = na.noise.symmetric(labels, rate, num_classes=2, seed=seed)
    observed = na.datasets.encode(noisy.labels, 2)
    refined = na.dynamics.refine_labels(spectrum, observed)
    tail = na.dynamics.estimate_noise(spectrum, observed)
    wrong, suspected = np.asarray(noisy.flipped), np.asarray(refined.suspected)
    hits = int(np.sum(wrong & suspected))
    return {
        "columns": columns,
        "seed": seed,
        "wrong": int(wrong.sum()),
        "suspected": int(suspected.sum()),
        "hits": hits,
        "f1": float(2 * hits / (wrong.sum() + suspected.sum())),
        "true": float(wrong.mean()),
        "noise_rate": float(refined.noise_rate),
        "lower": float(refined.lower),
        "upper": float(refined.upper),
        "identified": bool(refined.identified),
        "tail": float(tail.rate),
        "tail_lower": float(tail.lower),
        "tail_upper": float(tail.upper),
    }


if __name__ == "__main__":
    sys.exit(main())
