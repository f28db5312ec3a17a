"""How a benchmark is timed and its results compared, whatever it measures."""

from __future__ import annotations

import dataclasses
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

# The first is tried first; the CPU stays available beside an accelerator.
_PLATFORMS = {"cpu": "cpu", "gpu": "cuda,cpu", "tpu": "tpu,cpu"}
DEVICES = tuple(_PLATFORMS)
MATMUL_PRECISION = "float32"
AGREEMENT = 1e-3
# Seconds; OpenBLAS spins longest, 2²⁶ cycles.
_PAUSE = 0.05

Run = Callable[[], Any]


class DeviceMissing(Exception):
    """The device that was asked for is not on this machine."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """What a case is made for.

    Attributes:
        scale: factor on its number of points.
        folder: on a disk, for what is written; cases make folders of their own in it.
        devices: how many JAX is to see, for cases that spread their work.
    """

    scale: float = 1.0
    folder: Path = Path("build")
    devices: int = 1


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One way to compute what a case computes.

    Attributes:
        name: column of the table.
        build: ``build(inputs)`` -> the function without arguments that is timed.
        repeats: an upper bound for slow ones; default as many as asked for.
        warm_up: False for slow ones that compile nothing: their first call is timed.
        value: picks from the result what is compared with the other contestants; None for a
            contestant that computes something else, such as a bound on the speed.
        operations: counts floating-point operations, where their rate is of interest.
        entries: kernel entries that it computes, where contestants compute different numbers; the
            case then compares times per entry.
        quality: ``quality(inputs, result)`` -> numbers that say how good the result is.
    """

    name: str
    build: Callable[[Any], Run]
    repeats: int | None = None
    warm_up: bool = True
    value: Callable[[Any], Any] | None = np.asarray
    operations: Callable[[], float] | None = None
    entries: float | None = None
    quality: Callable[[Any, Any], dict[str, float]] | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """Contestants side by side on the same inputs.

    Attributes:
        name: e.g. ``"infinite_fc"``.
        sizes: what it is computed on.
        prepare: makes the inputs that every contestant gets.
        contestants: the first is ours, the one that ratios and deviations refer to.
        notes: what a reader of the numbers has to know.
    """

    name: str
    sizes: Mapping[str, Any]
    prepare: Callable[[], Any]
    contestants: Sequence[Contestant]
    notes: Sequence[str] = ()


def select_device(device: str, count: int = 1) -> None:
    """Makes JAX use ``device``; to be called before anything is computed.

    CPU cores are made ``count`` devices; of a GPU or TPU as many have to be there.

    Raises:
        DeviceMissing: if this machine has none, or JAX is installed without support for it.
    """
    jax.config.update("jax_platforms", _PLATFORMS[device])
    if device == "cpu" and count > 1:
        jax.config.update("jax_num_cpu_devices", count)
    # GPUs and TPUs would otherwise round inputs to fewer bits in some contestants and not others.
    jax.config.update("jax_default_matmul_precision", MATMUL_PRECISION)
    try:
        found = jax.default_backend()
    except RuntimeError as error:
        raise DeviceMissing(f"no {device} for JAX on this machine: {error}") from error
    # JAX falls back to the next platform without an error if a plugin is not installed.
    if found != device:
        raise DeviceMissing(f"no {device} for JAX on this machine; JAX found: {found}")
    if jax.device_count() < count:
        raise DeviceMissing(f"{count} devices were asked for; JAX found {jax.device_count()}")


def seconds(run: Run) -> tuple[float, Any]:
    """Wall time of one call, its result complete, and the result."""
    start = time.perf_counter()
    result = jax.block_until_ready(run())
    return time.perf_counter() - start, result


def time_in_turn(
    runs: Mapping[str, Run],
    repeats: Mapping[str, int],
    *,
    cold: Collection[str] = (),
    keep: Callable[[str, Any], Any] = lambda name, result: result,
) -> tuple[dict[str, list[float]], dict[str, Any], dict[str, float]]:
    """Times A B C A B C ..., so that a slow spell of the machine falls on all of them.

    Before each a pause: threads of OpenMP and OpenBLAS spin for milliseconds when their work is
    done, which would take a core from whoever comes next.

    Args:
        runs: the contestants.
        repeats: timed calls of each; a contestant with fewer than the others drops out early.
        cold: those whose first call counts as a timed one.
        keep: ``keep(name, result)`` -> what to return of the first result; the rest is freed.

    Returns:
        The times of each contestant, what was kept of its result, and the time of its first call,
        which includes compilation.
    """
    first, kept = {}, {}
    for name, run in runs.items():
        first[name], result = seconds(run)
        kept[name] = keep(name, result)
        del result
    times = {name: [first[name]] if name in cold else [] for name in runs}
    for _ in range(max(repeats.values())):
        for name, run in runs.items():
            if len(times[name]) < repeats[name]:
                time.sleep(_PAUSE)
                times[name].append(seconds(run)[0])
    return times, kept, first


def ratios(costs: Mapping[str, float]) -> dict[str, float]:
    """Each cost over the first one's: above 1 is slower than ours."""
    reference = next(iter(costs.values()))
    return {name: cost / reference for name, cost in costs.items()}


def deviation(value: Any, reference: Any) -> float:
    """The largest absolute difference, relative to the largest entry of the reference."""
    value, reference = np.asarray(value), np.asarray(reference)
    return float(np.abs(value - reference).max() / np.abs(reference).max())


def measure(case: Case, repeats: int) -> dict[str, Any]:
    """Times a case and compares the results; a record for the JSON file."""
    contestants = {c.name: c for c in case.contestants}
    inputs = jax.block_until_ready(case.prepare())

    def keep(name: str, result: Any) -> tuple[Any, dict[str, float]]:
        value, quality = contestants[name].value, contestants[name].quality
        return (
            None if value is None else np.asarray(value(result)),
            {} if quality is None else quality(inputs, result),
        )

    times, kept, first = time_in_turn(
        {name: c.build(inputs) for name, c in contestants.items()},
        {name: min(repeats, c.repeats or repeats) for name, c in contestants.items()},
        cold={name for name, c in contestants.items() if not c.warm_up},
        keep=keep,
    )
    expected = next(iter(kept.values()))[0]
    records = {
        name: _record(c, times[name], first[name], kept[name], expected)
        for name, c in contestants.items()
    }
    per_entry = any(c.entries for c in case.contestants)
    cost = "ns_per_entry" if per_entry else "median_s"
    return {
        "name": case.name,
        "sizes": dict(case.sizes),
        "notes": list(case.notes),
        "contestants": records,
        "ratios": ratios({name: record[cost] for name, record in records.items()}),
    }


def _record(
    contestant: Contestant, times: list[float], first: float, kept: tuple, expected: Any
) -> dict[str, Any]:
    value, quality = kept
    median = statistics.median(times)
    record: dict[str, Any] = {
        "median_s": median,
        "min_s": min(times),
        "first_call_s": first,
        "repeats": len(times),
    }
    if value is not None:
        off = deviation(value, expected)
        # Not `off > AGREEMENT`: NaN must count as a disagreement.
        record |= {"deviation": off, "agrees": bool(off <= AGREEMENT)}
    if contestant.operations is not None:
        record["gflops_per_s"] = contestant.operations() / median / 1e9
    if contestant.entries is not None:
        record["ns_per_entry"] = median / contestant.entries * 1e9
    return record | ({"quality": quality} if quality else {})


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


def gemm_rate() -> dict[str, float]:
    """What this device multiplies float32 matrices at, the best of a few: the limit."""
    # One that fills the device.
    size = 2048 if jax.default_backend() == "cpu" else 8192
    a = jax.numpy.asarray(np.random.default_rng(0).standard_normal((size, size), np.float32))
    product = jax.jit(lambda a: a @ a)
    seconds(lambda: product(a))
    best = min(seconds(lambda: product(a))[0] for _ in range(5))
    return {"size": size, "gflops_per_s": 2.0 * size**3 / best / 1e9}


def load_average() -> float | None:
    """Processes that ran or waited in the last minute, where the system counts them."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
