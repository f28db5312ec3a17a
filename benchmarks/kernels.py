"""Times kernels and their spectra: ``python -m benchmarks.kernels --help``."""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import _harness, _report
from benchmarks._cases import CASES, DEFAULT, GROUPS
from benchmarks._harness import Case, DeviceMissing, Settings

_USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the cases that were asked for; returns the exit code."""
    options = _parser().parse_args(arguments)
    asked = options.cases.split(",") if options.cases else DEFAULT
    chosen = [name for part in asked for name in GROUPS.get(part, (part,))]
    unknown = [name for name in chosen if name not in CASES]
    if unknown:
        there_are = ", ".join((*CASES, *GROUPS))
        print(f"unknown case {', '.join(unknown)}; there are: {there_are}", file=sys.stderr)
        return _USAGE_ERROR
    if options.devices < 1:
        print(f"--devices is {options.devices}, expected at least 1", file=sys.stderr)
        return _USAGE_ERROR
    settings = Settings(options.scale, options.tmp, options.devices)
    try:
        if options.alone:
            _harness.select_device(options.device, options.devices)
            case = CASES[chosen[0]](settings)
            print(json.dumps(_harness.run_alone(case, options.alone)))
            return 0
        report = _measured([CASES[name](settings) for name in chosen], options)
    except DeviceMissing as error:
        print(error, file=sys.stderr)
        return _USAGE_ERROR
    print(_report.markdown_table(report))
    for case in report["cases"]:
        for note in case["notes"]:
            print(f"\n{case['name']}: {note}")
    agree = [
        r.get("agrees", True) for case in report["cases"] for r in case["contestants"].values()
    ]
    return 0 if all(agree) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.add_argument("--device", choices=_harness.DEVICES, default="cpu")
    parser.add_argument(
        "--devices", type=int, default=1, help="how many; CPU cores can be made several"
    )
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of points")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each contestant")
    parser.add_argument(
        "--cases",
        help=f"comma-separated, of: {', '.join((*CASES, *GROUPS))}; default all but the last "
        f"{len(CASES) - len(DEFAULT) + len(GROUPS)}",
    )
    parser.add_argument(
        "--tmp", type=Path, default=Path("build"), help="folder on a disk, for kernel stores"
    )
    parser.add_argument("--no-memory", action="store_true", help="leave the memory peaks out")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    # Used by this module itself: one contestant in a process of its own.
    parser.add_argument("--alone", help=argparse.SUPPRESS)
    return parser


def _measured(cases: list[Case], options: argparse.Namespace) -> dict[str, Any]:
    load = _harness.load_average()
    # Memory first: a TPU belongs to one process at a time, and a child's peak on Linux starts at
    # what its parent holds.
    peaks = {} if options.no_memory else _memory(cases, options)
    _harness.select_device(options.device, options.devices)
    report: dict[str, Any] = {
        "environment": _report.environment(options.note, load),
        "scale": options.scale,
        "cases": [],
    }
    for case in cases:
        print(f"timing {case.name} ...", file=sys.stderr, flush=True)
        record = _harness.measure(case, options.repeats)
        if peaks:
            record["peak_rss_bytes"] = peaks[case.name]
        report["cases"].append(record)
        if options.out:
            # After every case: a run takes long enough to be interrupted.
            _report.write_json(options.out, report)
    return report


def _memory(cases: list[Case], options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Peaks of every contestant, each in a process of its own."""
    pairs = [(case.name, contestant.name) for case in cases for contestant in case.contestants]
    print(f"memory of {len(pairs)} contestants ...", file=sys.stderr, flush=True)
    # Nothing is timed here, so two can share a CPU; an accelerator is given to one at a time.
    workers = 2 if options.device == "cpu" else 1
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        found = list(pool.map(lambda pair: _peaks(pair[0], pair[1], options), pairs))
    peaks: dict[str, dict[str, Any]] = {}
    for (case, contestant), value in zip(pairs, found, strict=True):
        peaks.setdefault(case, {})[contestant] = value
    return peaks


def _peaks(case: str, contestant: str, options: argparse.Namespace) -> dict[str, Any] | None:
    """The peaks of one contestant; None, with a line that says why, if it does not survive."""
    command = [sys.executable, "-m", "benchmarks.kernels", "--cases", case, "--alone", contestant]
    command += ["--device", options.device, "--scale", str(options.scale)]
    command += ["--tmp", str(options.tmp), "--devices", str(options.devices)]
    # Otherwise the peak on a GPU is what JAX sets aside at the start.
    env = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == _USAGE_ERROR:
        raise DeviceMissing(last)
    if done.returncode:
        print(f"{case}, {contestant}: exit code {done.returncode}: {last}", file=sys.stderr)
        return None
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    sys.exit(main())
