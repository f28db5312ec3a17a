"""Finite against infinite width, and AIR over training: ``python -m benchmarks.width_sweep``.

Writes the numbers of both as JSON, and a figure of each.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure

import ntk_air as na
from benchmarks import _harness, _report

_NOISE_RATE = 0.4
_WEIGHT_STD = 1.4
_SWEEP = {
    False: {
        "num_points": 200,
        "num_test": 200,
        "widths": (256, 512, 1024, 2048, 4096, 8192),
        "seeds": (0, 1, 2, 3),
        "steps": 300,
    },
    True: {
        "num_points": 40,
        "num_test": 40,
        "widths": (64, 128, 256),
        "seeds": (0, 1),
        "steps": 60,
    },
}
_RUN = {
    False: {"num_points": 1000, "num_test": 360, "width": 1024, "steps": 1000, "num_kernels": 8},
    True: {"num_points": 60, "num_test": 60, "width": 64, "steps": 100, "num_kernels": 3},
}
_SLOPE_FIELDS = ("slope", "low", "high", "standard_error", "confidence", "num_points")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs both and writes them; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.width_sweep", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small case, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"), help="folder")
    parser.add_argument("--activation", default="relu", help="of the networks of the sweep")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    parser.add_argument(
        "--only", choices=("sweep", "record"), help="one of the two; the JSON keeps the other"
    )
    options = parser.parse_args(arguments)
    load = _harness.load_average()
    tag = f"{jax.default_backend()}-{os.cpu_count()}cores"
    path = options.out / f"width-sweep-{tag}.json"
    report: dict[str, Any] = {}
    if options.only and path.exists():
        report = json.loads(path.read_text(encoding="utf-8"))
    # Both compute in float64: the sweep all of it, the record its kernels.
    report["environment"] = _report.environment(options.note, load) | {"dtype": "float64"}
    # No contestants are timed here; reports of benchmarks.kernels list theirs.
    report["cases"] = []
    if options.only != "record":
        report["width_sweep"] = _run_sweep(_SWEEP[options.quick], options, path)
        _report.write_json(path, report)
    if options.only != "sweep":
        report["air_over_time"] = _run_record(
            _RUN[options.quick], options.out / f"air-record-{tag}.png"
        )
        _report.write_json(path, report)
    return 0


def _run_sweep(case: dict[str, Any], options: argparse.Namespace, path: Path) -> dict[str, Any]:
    """The sweep, its figure beside the JSON file, and its numbers."""
    seconds, sweep = _harness.seconds(lambda: _sweep(case, options.activation))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(6.4, 4.6), dpi=130, layout="constrained")
    na.plots.width_sweep(sweep, ax=figure.add_subplot())
    figure.savefig(path.with_suffix(".png"), bbox_inches="tight")
    for name, fit in sweep.slopes.items():
        print(
            f"{name}: slope {fit.slope:.3f}, {fit.confidence:.0%} [{fit.low:.3f}, {fit.high:.3f}]"
        )
    return _setup(case) | _sweep_numbers(sweep) | {"seconds": seconds}


def _run_record(case: dict[str, Any], image: Path) -> dict[str, Any]:
    """The recorded run, its figure, and its numbers."""
    seconds, record = _harness.seconds(lambda: _record(**case))
    image.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(14.0, 7.6), dpi=110, layout="constrained")
    na.plots.air_record(record, figure=figure)
    figure.savefig(image)
    return _setup(case) | _record_numbers(record) | {"seconds": seconds}


def _digits(num_points: int, num_test: int) -> tuple[Any, Any, Any, Any]:
    """Digits as the main job prepares them, clean and observed targets, and the noise."""
    data = na.datasets.load("digits", train_size=num_points, test_size=num_test)
    data = data.standardized(per_image=True).flattened(unit_norm="sqrt_d")
    noisy = na.noise.symmetric(data.train_labels, _NOISE_RATE, num_classes=10, seed=0)
    clean = na.datasets.encode(data.train_labels, 10)
    return data, clean, na.datasets.encode(noisy.labels, 10), noisy


def _setup(case: dict[str, Any]) -> dict[str, Any]:
    return {"dataset": "digits", "noise": f"symmetric:{_NOISE_RATE:g}"} | case


def _sweep(case: dict[str, Any], activation: str) -> na.analysis.WidthSweep:
    data, _, observed, _ = _digits(case["num_points"], case["num_test"])
    return na.analysis.width_sweep(
        data.train_inputs,
        observed,
        widths=case["widths"],
        seeds=case["seeds"],
        steps=case["steps"],
        activation=activation,
        weight_std=_WEIGHT_STD,
        test_inputs=data.test_inputs,
        progress=True,
    )


def _sweep_numbers(sweep: na.analysis.WidthSweep) -> dict[str, Any]:
    largest = {}
    for name in sweep.slopes:
        values = np.asarray(getattr(sweep, name))
        largest[name] = values.reshape(*values.shape[:2], -1).max(axis=2).tolist()
    return {
        "architecture": sweep.architecture,
        "learning_rate": sweep.learning_rate,
        "slopes": {
            name: {field: getattr(fit, field) for field in _SLOPE_FIELDS}
            for name, fit in sweep.slopes.items()
        },
        "largest_over_time": largest,
    }


def _record(
    *, num_points: int, num_test: int, width: int, steps: int, num_kernels: int
) -> na.analysis.AIRRecord:
    """Plain training of one network on noisy digits, recorded."""
    data, clean, observed, noisy = _digits(num_points, num_test)
    network = na.kernels.fully_connected(1, width, num_outputs=10, weight_std=_WEIGHT_STD)
    _, params = network.init_fn(jax.random.key(0), data.train_inputs.shape)
    kernel = na.kernels.infinite_ntk(network, data.train_inputs)
    rate = float(1.0 / na.spectral.eigendecompose(kernel, rank=1).eigenvalues[0])
    recorded = _spaced(steps, 30)
    recorder = na.analysis.Recorder(
        network.apply_fn,
        params,
        data.train_inputs,
        observed,
        clean=clean,
        learning_rate=rate,
        retention=noisy.retention,
        kernel_steps=_nearest(recorded, _spaced(steps, num_kernels)),
        kernel_dtype="float64",
        test=(data.test_inputs, data.test_labels),
    )
    na.distillation.self_distill(
        network.apply_fn,
        params,
        data.train_inputs,
        observed,
        optimizer=rate,
        num_steps=steps,
        alpha=1.0,
        record_every=recorded,
        on_record=recorder,
    )
    return recorder.result()


def _spaced(last: int, count: int) -> list[int]:
    return np.unique(np.geomspace(1, last, count).round().astype(int)).tolist()


def _nearest(among: list[int], wanted: list[int]) -> list[int]:
    return sorted({min(among, key=lambda step: abs(np.log(step / w))) for w in wanted})


def _record_numbers(record: na.analysis.AIRRecord) -> dict[str, Any]:
    kernel, predicted = record.kernel, record.predicted
    gaps = {
        "signal": np.abs(np.asarray(record.signal) - np.asarray(predicted.draw_signal)).max(),
        "noise": np.abs(np.asarray(record.noise) - np.asarray(predicted.draw_noise)).max(),
    }
    over_time = ("steps", "times", "signal", "noise", "test_accuracy")
    per_kernel = (
        "steps", "times", "distance", "similarity", "subspace_overlap", "alignment_clean",
        "alignment_observed", "air_index", "complexity_clean", "complexity_observed",
        "complexity_outputs", "trusted_rank",
    )  # fmt: skip
    return {
        "largest_gap_to_prediction": {name: float(gap) for name, gap in gaps.items()},
        "retrieval": {name: _rounded(getattr(record, name)) for name in over_time},
        "kernel": {
            "overlap_ranks": kernel.overlap_ranks,
            "complexity_missing": kernel.complexity_missing,
            **{name: _rounded(getattr(kernel, name)) for name in per_kernel},
        },
    }


def _rounded(values: Any) -> Any:
    """As lists, with the seven digits that float32 has."""
    array = np.asarray(values)
    if np.issubdtype(array.dtype, np.integer):
        return array.tolist()
    return [_rounded(v) if np.ndim(v) else float(f"{v:.7g}") for v in array]


if __name__ == "__main__":
    sys.exit(main())
