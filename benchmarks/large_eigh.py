"""Dense eigensystems past the sizes of 32-bit LAPACK: ``python -m benchmarks.large_eigh --help``.

A kernel of 32 767 points or more takes many minutes and tens of gigabytes, so no test does it. The
kernel has a chosen spectrum: it is diagonal, turned by two Householder reflections, so that every
eigenvalue and the residuals of all eigenpairs are known without a second solver.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ntk_air as na
from benchmarks import _harness, _report

_USAGE_ERROR = 2
# The kernel, its eigenvectors twice, LAPACK's workspace of two more, and the residuals' product.
_COPIES = 6


def main(arguments: Sequence[str] | None = None) -> int:
    """Solves one kernel; returns 0 where eigenvalues and residuals are those of round-off."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_eigh", description=__doc__)
    parser.add_argument("--device", choices=_harness.DEVICES, default="cpu")
    parser.add_argument("--points", type=int, default=33_000)
    parser.add_argument("--rank", type=int, help="of the residuals; the solver finds all")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    options = parser.parse_args(arguments)
    if options.points < 2:
        print(f"--points is {options.points}, expected at least 2", file=sys.stderr)
        return _USAGE_ERROR
    need = _COPIES * 4 * options.points**2 / 2**30
    print(f"{options.points} points in float32: about {need:.1f} GiB", file=sys.stderr, flush=True)
    try:
        _harness.select_device(options.device)
    except _harness.DeviceMissing as error:
        print(error, file=sys.stderr)
        return _USAGE_ERROR
    record = _solved(options.points, options.rank or options.points)
    report = {"environment": _report.environment(options.note, _harness.load_average()), **record}
    if options.out:
        _report.write_json(options.out, report)
    for name, value in record.items():
        print(f"{name}: {value}")
    return 0 if record["agrees"] else 1


def _solved(points: int, rank: int) -> dict[str, Any]:
    values = np.geomspace(1.0, 1e-4, points)
    kernel = _kernel(values)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        system = na.spectral.eigendecompose(jax.device_put(kernel), rank=rank, method="dense")
    took = time.perf_counter() - start
    off = float(np.abs(np.asarray(system.eigenvalues, np.float64) - values[:rank]).max())
    residual = float(np.asarray(system.residuals).max())
    limit = 10 * points**0.5 * float(np.finfo(np.float32).eps)
    return {
        "points": points,
        "rank": rank,
        "seconds": took,
        "largest_eigenvalue_error": off,
        "largest_residual": residual,
        "limit": limit,
        "agrees": bool(off <= limit and residual <= limit),
        "warnings": [str(w.message) for w in said],
    }


def _kernel(values: np.ndarray) -> np.ndarray:
    """Symmetric (n, n) float32 with these eigenvalues: two reflections of a diagonal matrix."""
    kernel = np.diag(values.astype(np.float32))
    rng = np.random.default_rng(0)
    for _ in range(2):
        u = rng.normal(size=len(values))
        u /= np.linalg.norm(u)
        # (1 - 2uuᵀ) K (1 - 2uuᵀ) = K - u wᵀ - w uᵀ with w = 2Ku - 2(uᵀKu)u, in blocks of rows.
        product = np.concatenate([rows @ u for rows in np.array_split(kernel, 64)])
        w = 2 * product - 2 * (u @ product) * u
        for rows, mine, other in zip(
            np.array_split(kernel, 64), np.array_split(u, 64), np.array_split(w, 64), strict=True
        ):
            rows -= np.outer(mine, w) + np.outer(other, u)
    return kernel


if __name__ == "__main__":
    sys.exit(main())
