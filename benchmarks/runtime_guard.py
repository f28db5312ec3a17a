"""What the runtime guard costs: ``python -m benchmarks.runtime_guard --help``.

Every case of ``benchmarks.kernels`` runs in three processes: with the guard, with XLA's fusions
left on, and with those of sums alone left out. Calls alternate between them, so that a slow spell
of the machine falls on all.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks import _harness, _report
from benchmarks._cases import CASES, DEFAULT, GROUPS
from benchmarks._harness import Settings

_USAGE_ERROR = 2
GUARDED, FUSED, NO_SUMS = "guarded", "fused", "no fused sums"
_FLAG = "--xla_cpu_experimental_ynn_fusion_type=individual_dot,individual_convolution"
_VARIABLES = {
    GUARDED: {"NTK_AIR_RUNTIME_GUARD": "1"},
    FUSED: {"NTK_AIR_RUNTIME_GUARD": "0"},
    # The user's own flags stay as they are.
    NO_SUMS: {"NTK_AIR_RUNTIME_GUARD": "1", "XLA_FLAGS": _FLAG},
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Times the cases that were asked for; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.worker:
        _serve(options)
        return 0
    asked = options.cases.split(",") if options.cases else DEFAULT
    chosen = [name for part in asked for name in GROUPS.get(part, (part,))]
    unknown = [name for name in chosen if name not in CASES]
    if unknown or options.rounds < 1:
        print(
            f"unknown case {', '.join(unknown)}; there are: {', '.join((*CASES, *GROUPS))}"
            if unknown
            else f"--rounds is {options.rounds}, expected at least 1",
            file=sys.stderr,
        )
        return _USAGE_ERROR
    load = _harness.load_average()
    report: dict[str, Any] = {"scale": options.scale, "rounds": options.rounds, "cases": []}
    for name in chosen:
        print(f"timing {name} ...", file=sys.stderr, flush=True)
        report["cases"].append(_side_by_side(name, options))
        if options.out:
            # After every case: a run takes long enough to be interrupted.
            _report.write_json(options.out, report)
    _harness.select_device("cpu")
    report = {"environment": _report.environment(options.note, load), **report}
    if options.out:
        _report.write_json(options.out, report)
    print(markdown_table(report))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.runtime_guard", description=__doc__)
    parser.add_argument("--cases", help=f"comma-separated, of: {', '.join((*CASES, *GROUPS))}")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the number of points")
    parser.add_argument("--rounds", type=int, default=7, help="timed calls of each, in turn")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--tmp", type=Path, default=Path("build"), help="folder on a disk")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    # Used by this module itself: one case in a process of its own.
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--value", type=Path, help=argparse.SUPPRESS)
    return parser


def _serve(options: argparse.Namespace) -> None:
    """Times one call of a case's first contestant for every line that comes in."""
    _harness.select_device("cpu")
    case = CASES[options.worker](Settings(options.scale, options.tmp))
    contestant = case.contestants[0]
    run = contestant.build(jax.block_until_ready(case.prepare()))
    first, outcome = _harness.seconds(run)
    if contestant.value is not None:
        np.save(options.value, np.asarray(contestant.value(outcome)))
    del outcome
    print(json.dumps({"first_call_s": first, "sizes": dict(case.sizes)}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(_harness.seconds(run)[0]), flush=True)


@contextlib.contextmanager
def _worker(name: str, variant: str, value: Path, options: Any) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.runtime_guard", "--worker", name]
    command += ["--scale", str(options.scale), "--tmp", str(options.tmp), "--value", str(value)]
    # What is compared is the guard, whatever flags this process was started with.
    inherited = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment = inherited | _VARIABLES[variant]
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _answer(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a worker ended with exit code {process.wait()}; its errors are above.")
    return json.loads(line)


def _ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return _answer(process)


def _side_by_side(name: str, options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        values = {variant: Path(folder) / f"{variant}.npy" for variant in _VARIABLES}
        workers, ready = {}, {}
        for variant in _VARIABLES:
            worker = _worker(name, variant, values[variant], options)
            workers[variant] = stack.enter_context(worker)
            # One after the other: while one compiles, the other would not be timed but disturbed.
            ready[variant] = _answer(workers[variant])
        times: dict[str, list[float]] = {variant: [] for variant in _VARIABLES}
        for number in range(options.rounds):
            # Another one begins every round: what ran before leaves its marks in the caches.
            turn = number % len(times)
            for variant in (*list(times)[turn:], *list(times)[:turn]):
                times[variant].append(_ask(workers[variant]))
        least = {variant: min(seconds) for variant, seconds in times.items()}
        record: dict[str, Any] = {
            "name": name,
            "sizes": ready[GUARDED]["sizes"],
            "seconds": times,
            "least_s": least,
            "first_call_s": {variant: ready[variant]["first_call_s"] for variant in _VARIABLES},
            "relative_to_fused": {variant: least[variant] / least[FUSED] for variant in times},
        }
        if values[GUARDED].exists():
            found = {variant: np.load(value) for variant, value in values.items()}
            record["deviation"] = _harness.deviation(found[FUSED], found[GUARDED])
        return record


def markdown_table(report: dict[str, Any]) -> str:
    """One line per case: least times, their ratios, and what the fusions change in the result."""
    lines = [
        "| case | guarded s | fused s | guarded ÷ fused | no fused sums ÷ fused "
        "| difference of results |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for case in report["cases"]:
        sizes = ", ".join(f"{key}={value}" for key, value in case["sizes"].items())
        least, ratio = case["least_s"], case["relative_to_fused"]
        differs = f"{case['deviation']:.1e}" if "deviation" in case else "–"
        lines.append(
            f"| {case['name']} ({sizes}) | {least[GUARDED]:.4g} | {least[FUSED]:.4g} "
            f"| {ratio[GUARDED]:.2f} | {ratio[NO_SUMS]:.2f} | {differs} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
