"""Finds wrong labels, beside cleanlab: ``python -m benchmarks.label_errors --help``.

Also how noisy the labels are and when to stop, from the noisy labels alone, against the truth.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import ntk_air as na
from benchmarks import _harness, _label_errors_report, _report
from benchmarks._label_errors_data import DATASETS, Problem, noises, noisy_labels, problem
from benchmarks._label_errors_scores import HAVE_CLEANLAB, detection
from ntk_air.noise import NoisyLabels

_USAGE_ERROR = 2
_DETECTION = ("symmetric:0.2", "symmetric:0.4")
_BOUNDS = ("symmetric:0.2", "symmetric:0.4", "human:aggregate", "human:random1", "human:worst")
_QUICK_SIZE = 400
_TIMES = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    options = _parser().parse_args(arguments)
    unknown = sorted(set(options.datasets) - set(DATASETS))
    if unknown or options.draws < 1 or options.train_size < 100:
        print(
            f"expected --datasets of {', '.join(DATASETS)}, --draws from 1 and --train-size from "
            f"100; got {' '.join(options.datasets)}, {options.draws} and {options.train_size}.",
            file=sys.stderr,
        )
        return _USAGE_ERROR
    if not HAVE_CLEANLAB:
        print(
            "cleanlab is not installed: its columns stay empty; "
            "pip install 'ntk_air[peers]' for the comparison.",
            file=sys.stderr,
        )
    report = _measured(options)
    print(_label_errors_report.markdown(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_errors", description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), metavar="NAME")
    parser.add_argument("--train-size", type=int, default=4000)
    parser.add_argument("--draws", type=int, default=2, help="of each synthetic noise")
    parser.add_argument("--seed", type=int, default=0, help="of the points and the first draw")
    parser.add_argument(
        "--purpose",
        default="reporting",
        choices=("selection", "reporting"),
        help="selection: to choose constants, on points apart from those reported on (default)",
    )
    parser.add_argument(
        "--sizes",
        type=int,
        nargs="*",
        default=[1000, 2000, 4000],
        help="training points of the table of CIFAR-10's bounds",
    )
    parser.add_argument("--out", type=Path, help="folder for label-errors.json, .md and .png")
    parser.add_argument("--quick", action="store_true", help="400 digits, two noises, one draw")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    return parser


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    environment = _report.environment(options.note, _harness.load_average())
    if options.quick:
        options.datasets, options.draws, options.train_size = ["digits"], 1, _QUICK_SIZE
        options.sizes = []
    report: dict[str, Any] = {
        "environment": environment,
        "train_size": options.train_size,
        "draws": options.draws,
        "seed": options.seed,
        "purpose": options.purpose,
        "rows": [],
        "bounds": [],
    }
    for name in options.datasets:
        try:
            one = problem(name, options.train_size, seed=options.seed, purpose=options.purpose)
        except (FileNotFoundError, ImportError) as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
            continue
        for spec, noisy in noises(one, options.draws, options.quick, options.seed):
            began = time.perf_counter()
            report["rows"].append(_row(one, spec, noisy))
            print(
                f"{name} {spec}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True
            )
            _write(report, options.out)
        del one
    if "cifar10" in options.datasets:
        for size in options.sizes:
            report["bounds"] += _bounds(size, options.seed, options.purpose)
            _write(report, options.out)
    return report


def _row(one: Problem, spec: str, noisy: NoisyLabels) -> dict[str, Any]:
    observed = na.datasets.encode(noisy.labels, noisy.num_classes)
    refined = na.dynamics.refine_labels(one.eigensystem, observed)
    row = {
        "dataset": one.name,
        "noise": spec,
        "num_points": len(one.clean),
        "estimate": _estimate(one, noisy, refined),
        "stopping": _stopping(one, noisy),
    }
    if not spec.startswith("symmetric") or spec in _DETECTION:
        row["detection"] = detection(one, noisy, refined)
    return row


def _estimate(
    one: Problem, noisy: NoisyLabels, refined: na.dynamics.RefinedLabels
) -> dict[str, Any]:
    """Noise rates: the truth, that of maximum likelihood, that of the tail and its bound."""
    observed = na.datasets.encode(noisy.labels, noisy.num_classes)
    found = na.dynamics.estimate_noise(one.eigensystem, observed)
    return {
        "true": noisy.empirical_rate,
        "likelihood": float(refined.noise_rate),
        "confident": float(refined.confident_rate),
        "tail": float(found.rate),
        "standard_error": float(found.standard_error),
        "upper": float(found.upper),
        "upper_bound": found.upper_bound,
    }


def _stopping(one: Problem, noisy: NoisyLabels) -> dict[str, Any]:
    """Test accuracy of the best time and points of it that each rule loses."""
    observed = na.datasets.encode(noisy.labels, noisy.num_classes)
    times = np.asarray(na.dynamics.time_grid(one.eigensystem, _TIMES))
    filters = [na.dynamics.gradient_flow(float(t)) for t in times]
    outputs = na.dynamics.predict(one.eigensystem, filters, observed, one.cross)
    hits = np.argmax(np.asarray(outputs), axis=2) == np.asarray(one.dataset.test_labels)
    accuracy = hits.mean(axis=1)
    losses = {}
    for rule in na.dynamics.RULES:
        found = na.dynamics.stopping_time(one.eigensystem, observed, rule=rule, times=times)
        chosen = int(np.argmin(np.abs(times - float(found.time))))
        losses[rule] = 100 * float(accuracy.max() - accuracy[chosen])
    return {
        "oracle": float(accuracy.max()),
        "converged": float(accuracy[-1]),
        "points_lost": losses,
    }


def _bounds(size: int, seed: int, purpose: str) -> list[dict[str, Any]]:
    """How the bound on CIFAR-10 tightens with the number of points."""
    try:
        one = problem("cifar10", size, test_size=10, seed=seed, purpose=purpose)
    except (FileNotFoundError, ImportError) as error:
        print(f"the table of bounds is left out: {error}", file=sys.stderr)
        return []
    print(f"bounds at {size} points", file=sys.stderr, flush=True)
    records = []
    for spec in _BOUNDS:
        noisy = noisy_labels(one, spec, seed)
        observed = na.datasets.encode(noisy.labels, noisy.num_classes)
        refined = na.dynamics.refine_labels(one.eigensystem, observed)
        records.append({"num_points": size, "noise": spec, **_estimate(one, noisy, refined)})
    return records


def _write(report: dict[str, Any], out: Path | None) -> None:
    """After every row: a run takes long enough to be interrupted."""
    if out is None:
        return
    _report.write_json(out / "label-errors.json", report)
    text = _label_errors_report.markdown(report) + "\n"
    (out / "label-errors.md").write_text(text, encoding="utf-8")
    _label_errors_report.draw(report, out / "label-errors.png")


if __name__ == "__main__":
    sys.exit(main())
