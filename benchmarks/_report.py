"""What is written of a benchmark: the environment, the JSON file and the table made from it."""

from __future__ import annotations

import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import threadpoolctl

from benchmarks._harness import MATMUL_PRECISION, gemm_rate

_PACKAGES = (
    *("ntk_air", "jax", "jaxlib", "flax", "optax", "neural-tangents", "numpy", "scipy"),
    *("scikit-learn", "cleanlab", "torch"),
)
# What tells a library how many threads it may start, or XLA what else to do.
_SETTINGS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS"),
    *("JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_ENABLE_X64"),
)


def environment(note: str, load: float | None) -> dict[str, Any]:
    """What the numbers depend on; names no host, user or path.

    Args:
        note: a remark to keep.
        load: of the machine before the benchmark itself loaded it.
    """
    devices = jax.devices()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "load_average_1min": load,
        "threads": _threads(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device_kind": devices[0].device_kind,
        "device_count": len(devices),
        "dtype": "float32",
        "matmul_precision": MATMUL_PRECISION,
        "gemm": gemm_rate(),
        "note": note,
    }


def _threads() -> dict[str, Any]:
    """How many threads each library computes with, and the variables that say so."""
    libraries = {
        f"{pool['internal_api']} {pool['version'] or ''}".strip(): pool["num_threads"]
        for pool in threadpoolctl.threadpool_info()
    }
    # XLA's pool on CPUs has as many as this process may use cores.
    found: dict[str, Any] = {"libraries": libraries, "xla": len(_cores())}
    if importlib.util.find_spec("torch") is not None:
        import torch  # pyright: ignore[reportMissingImports]

        found["torch"] = torch.get_num_threads()
    return found | {"variables": {name: os.environ.get(name) for name in _SETTINGS}}


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


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
    gemm = report["environment"]["gemm"]["gflops_per_s"]
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
                name + _remarks(record, gemm),
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


def _remarks(record: Mapping[str, Any], gemm: float) -> str:
    found = []
    if "gflops_per_s" in record:
        rate = record["gflops_per_s"]
        found.append(f"{rate:.3g} GFLOP/s, {rate / gemm:.0%} of GEMM")
    if "ns_per_entry" in record:
        found.append(f"{record['ns_per_entry']:.3g} ns/entry")
    found += [f"{name} {value:.1e}" for name, value in record.get("quality", {}).items()]
    return f" ({'; '.join(found)})" if found else ""


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
