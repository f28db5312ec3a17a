"""Writes docs/benchmarks.md from the recorded reports: ``python -m benchmarks.page``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import _report

_ROOT = Path(__file__).resolve().parents[1]
_RESULTS = _ROOT / "benchmarks" / "results"
KERNELS = _RESULTS / "kernels-cpu-2cores.json"
TRAINING = _RESULTS / "training-cpu-2cores.json"
PAGE = _ROOT / "docs" / "benchmarks.md"

_HEAD = """# Benchmarks

Written by `python -m benchmarks.page` from what `python -m benchmarks.kernels` recorded; how it is
measured and what the columns say is in [benchmarks/README.md](../benchmarks/README.md). Beside the
plain recipe of each peer stands what its own expert would write. Contestants are called in turn on
the same inputs; `÷ ours` above 1 is slower than `ntk_air`, and a row without a deviation computes
something else, such as a bound on the speed."""
_SECTIONS = {"Kernels, spectra and dynamics": KERNELS, "Training": TRAINING}


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--out", type=Path, default=PAGE, help="page to write")
    options = parser.parse_args(arguments)
    parts = [_HEAD]
    for title, path in _SECTIONS.items():
        report = json.loads(path.read_text(encoding="utf-8"))
        parts += [f"## {title}", _measured_on(path, report), _report.markdown_table(report)]
        parts += ["### Notes", _notes(report)] if _notes(report) else []
        parts += ["### Where `ntk_air` is behind", _behind(report)]
    options.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return 0


def _threads(found: str | Mapping[str, Any]) -> str:
    """What a report says of threads, which an older one does in words."""
    if isinstance(found, str):
        return found
    counts = {**found["libraries"], "XLA": found["xla"]}
    counts |= {"torch": found["torch"]} if "torch" in found else {}
    said = [f"{name}={value}" for name, value in found["variables"].items() if value is not None]
    return ", ".join([*(f"{name} {count}" for name, count in counts.items()), *said])


def behind(report: Mapping[str, Any]) -> list[str]:
    """A line for every peer that computes the same in less time."""
    return [
        f"| {case['name']} | {name} | {1 / case['ratios'][name]:.2f} times as fast |"
        for case in report["cases"]
        for name, record in case["contestants"].items()
        if "deviation" in record and not name.startswith("ntk_air") and case["ratios"][name] < 1
    ]


def _behind(report: Mapping[str, Any]) -> str:
    lines = behind(report)
    if not lines:
        return "Nowhere in this run."
    return "\n".join(["| case | contestant | |", "|---|---|---|", *lines])


def _measured_on(path: Path, report: Mapping[str, Any]) -> str:
    found = report["environment"]
    packages = ", ".join(f"{k} {v}" for k, v in found["packages"].items() if v)
    threads = found.get("threads")
    sentences = [
        f"[{path.name}](../benchmarks/results/{path.name}), {found['date']}: {found['processor']}, "
        f"{found['cpu_count']} cores, device {found['device_kind']}, Python {found['python']}",
        packages,
        f"load of the machine before the run {found['load_average_1min']}",
        f"matrix products of side {found['gemm']['size']} at "
        f"{found['gemm']['gflops_per_s']:.0f} GFLOP/s",
        *([f"threads: {_threads(threads)}"] if threads else []),
        *([found["note"]] if found["note"] else []),
    ]
    return "; ".join(sentences) + "."


def _notes(report: Mapping[str, Any]) -> str:
    """Every note once, with the cases that it is of."""
    cases: dict[str, list[str]] = {}
    for case in report["cases"]:
        for note in case["notes"]:
            cases.setdefault(note, []).append(f"`{case['name']}`")
    return "\n".join(f"- {', '.join(names)}: {note}" for note, names in cases.items())


if __name__ == "__main__":
    sys.exit(main())
