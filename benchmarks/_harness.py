"""How a benchmark is timed and written down, whatever it measures."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

# The first is tried first; the CPU stays available beside an accelerator.
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}
DEVICES = tuple(_PLATFORMS)
_MATMUL_PRECISION = "float32"
_PACKAGES = ("ntk_air", "jax", "jaxlib", "neural-tangents", "numpy", "scipy", "torch")
AGREEMENT = 1e-3

Run = Callable[[], Any]


class DeviceMissing(Exception):
    """The device that was asked for is not on this machine."""


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to compute what a case computes.

    Attributes:
        name: column of the table.
        build: ``build(inputs)`` -> the function without arguments that is timed.
        repeats: an upper bound for slow ones; default as many as asked for.
        value: picks from the result what is compared with the other contestants; None for a
            contestant that computes something else, such as a bound on the speed.
    """

    name: str
    build: Callable[[Any], Run]
    repeats: int | None = None
    value: Callable[[Any], Any] | None = np.asarray


@dataclasses.dataclass(frozen=True)
class Case:
    """Contestants side by side on the same inputs.

    Attributes:
        name: e.g. ``"infinite_fc"``.
        sizes: what it is computed on.
        prepare: makes the inputs that every contestant gets.
        contestants: the first is ours, the one that ratios and deviations refer to.
        notes: what a reader of the numbers has to know.
        rates: contestant -> floating-point operations, for those whose rate is of interest.
    """

    name: str
    sizes: Mapping[str, Any]
    prepare: Callable[[], Any]
    contestants: Sequence[Contestant]
    notes: Sequence[str] = ()
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


def select_device(device: str) -> None:
    """Makes JAX use ``device``; to be called before anything is computed.

    Raises:
        DeviceMissing: if this machine has none, or JAX is installed without support for it.
    """
    jax.config.update("jax_platforms", _PLATFORMS[device])
    # GPUs and TPUs would otherwise round inputs to fewer bits in some contestants and not others.
    jax.config.update("jax_default_matmul_precision", _MATMUL_PRECISION)
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        raise DeviceMissing(f"no {device} for JAX on this machine: {error}") from error
    # JAX falls back to the next platform without an error if a plugin is not installed.
    if found != device:
        raise DeviceMissing(f"no {device} for JAX on this machine; JAX found: {found}")


def seconds(run: Run) -> tuple[float, Any]:
    """Wall time of one call, its result complete, and the result."""
    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - start, result


def time_in_turn(
    runs: Mapping[str, Run], repeats: Mapping[str, int]
) -> tuple[dict[str, list[float]], dict[str, Any], dict[str, float]]:
    """Times A B C A B C ..., so that a slow spell of the machine falls on all of them.

    Args:
        runs: the contestants.
        repeats: timed calls of each; a contestant with fewer than the others drops out early.

    Returns:
        The times of each contestant, its result, and the time of its first, untimed call, which
        includes compilation.
    """
    first, results = {}, {}
    for name, run in runs.items():
        first[name], results[name] = seconds(run)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(max(repeats.values())):
        for name, run in runs.items():
            if turn < repeats[name]:
                times[name].append(seconds(run)[0])
    return times, results, first


def ratios(medians: Mapping[str, float]) -> dict[str, float]:
    """Each median over the first one's: above 1 is slower than ours."""
    reference = next(iter(medians.values()))
    return {name: median / reference for name, median in medians.items()}


def deviation(value: Any, reference: Any) -> float:
    """The largest absolute difference, relative to the largest entry of the reference."""
    value, reference = np.asarray(value), np.asarray(reference)
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Times a case and compares the results; a record for the JSON file."""
    inputs = case.prepare()
    runs = {c.name: c.build(inputs) for c in case.contestants}
    counts = {c.name: min(repeats, c.repeats or repeats) for c in case.contestants}
    times, results, first = time_in_turn(runs, counts)
    reference = case.contestants[0].value
    assert reference is not None
    expected = reference(results[case.contestants[0].name])
    records: dict[str, dict[str, Any]] = {}
    for contestant in case.contestants:
        name = contestant.name
        record = records[name] = {
            "median_s": statistics.median(times[name]),
            "min_s": min(times[name]),
            "first_call_s": first[name],
            "repeats": counts[name],
        }
        if contestant.value is not None:
            off = deviation(contestant.value(results[name]), expected)
            # Not `off > AGREEMENT`: NaN must count as a disagreement.
            record |= {"deviation": off, "agrees": bool(off <= AGREEMENT)}
        if name in case.rates:
            record["gflops_per_s"] = case.rates[name] / record["median_s"] / 1e9
    return {
        "name": case.name,
        "sizes": dict(case.sizes),
        "notes": list(case.notes),
        "contestants": records,
        "ratios": ratios({name: record["median_s"] for name, record in records.items()}),
    }


def run_alone(case: Case, name: str) -> dict[str, int | None]:
    """Runs one contestant once and returns the peaks of this process.

    Returns:
        ``before``: resident bytes at their peak when the inputs were ready; ``peak``: at the end;
        ``device_peak``: bytes on the accelerator at their peak, None on a CPU.
    """
    contestant = next(c for c in case.contestants if c.name == name)
    inputs = jax.block_until_ready(case.prepare())
    before = _peak_rss()
    seconds(contestant.build(inputs))
    stats = jax.devices()[0].memory_stats() or {}
    return {"before": before, "peak": _peak_rss(), "device_peak": stats.get("peak_bytes_in_use")}


def _peak_rss() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def environment(note: str) -> dict[str, Any]:
    """What the numbers depend on; names no host, user or path."""
    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "dtype": "float32",
        "matmul_precision": _MATMUL_PRECISION,
        "note": note,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _version(name: str) -> str | None:
    if name == "ntk_air":
        # Run from a checkout it has no metadata.
        import ntk_air

        return ntk_air.__version__
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_json(path: Path, report: Mapping[str, Any]) -> None:
    """Writes a report, the folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def markdown_table(report: Mapping[str, Any]) -> str:
    """The table of a report, one line per contestant."""
    lines = [
        "| case | contestant | median s | min s | repeats | first call s | ÷ ours | deviation "
        "| peak memory MiB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for case in report["cases"]:
        sizes = ", ".join(f"{key}={value}" for key, value in case["sizes"].items())
        for name, record in case["contestants"].items():
            cells = [
                f"{case['name']} ({sizes})",
                name + _rate(record),
                f"{record['median_s']:.4g}",
                f"{record['min_s']:.4g}",
                str(record["repeats"]),
                f"{record['first_call_s']:.3g}",
                f"{case['ratios'][name]:.2f}",
                _deviation_cell(record),
                _memory_cell(case, name),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _rate(record: Mapping[str, Any]) -> str:
    rate = record.get("gflops_per_s")
    return "" if rate is None else f" ({rate:.0f} GFLOP/s)"


def _deviation_cell(record: Mapping[str, Any]) -> str:
    if "deviation" not in record:
        return "–"
    return f"{record['deviation']:.1e}" + ("" if record["agrees"] else " DISAGREES")


def _memory_cell(case: Mapping[str, Any], name: str) -> str:
    peaks = case.get("peak_rss_bytes", {}).get(name)
    if not peaks:
        return "–"
    cell = f"{peaks['peak'] / 2**20:.0f}"
    device = peaks["device_peak"]
    return cell if device is None else f"{cell} + {device / 2**20:.0f} on the device"
