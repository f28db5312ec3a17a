"""Errors of every public quantity in float32, and of float64 itself.

python -m benchmarks.precision --out benchmarks/results/precision.json --page docs/precision.md

float32 is compared with float64 over sizes, depths and condition numbers; float64, on a few points,
with arithmetic of 60 digits. An error is the worst of three seeds. A float32 result starts from
the same inputs, or from the same kernel, rounded to float32.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import (
    _precision_dynamics,
    _precision_exact,
    _precision_kernels,
    _precision_spectra,
    _report,
)
from benchmarks._precision_cases import CONDITIONS, SEEDS, Row, problem
from benchmarks._precision_table import NO_ROW, markdown_table, with_table

__all__ = ["NO_ROW", "exact_rows", "main", "markdown_table", "single_rows", "with_table", "worst"]

SMALL, SIZES = (50,), (50, 200, 800)
# Leaving each point out, and what calls it, is measured up to so many points.
_FEW = 200


def single_rows(sizes: Sequence[int], seed: int, parts: Sequence[str] = ()) -> Iterator[Row]:
    """Errors of float32 for one seed; only some parts of it if they are named."""
    families = {
        "infinite": lambda: _precision_kernels.infinite(sizes, seed),
        "convolutional": lambda: _precision_kernels.convolutional(20, seed),
        "finite": lambda: _precision_kernels.finite(min(sizes), seed),
        "two_layers": lambda: _precision_kernels.two_layers(min(sizes), seed),
        "training": lambda: _precision_kernels.training(min(sizes), seed),
    }
    for name, family in families.items():
        if not parts or name in parts:
            yield from family()
    for points in sizes:
        for condition in CONDITIONS:
            yield from _conditioned(points, condition, seed, parts)


def _conditioned(points: int, condition: float, seed: int, parts: Sequence[str]) -> Iterator[Row]:
    case = {"points": points, "condition": condition}
    if points == min(SIZES) and (not parts or "values" in parts):
        yield from _precision_dynamics.values(condition, case)
    given = problem(points, condition, seed)
    single, double = _precision_spectra.both(given)
    room = _precision_dynamics
    families = {
        "spectra": _precision_spectra.spectra,
        "measures": _precision_spectra.measures,
        "outputs": room.outputs,
        "curves": room.curves,
        "stopping": room.stopping,
        "left_out": room.left_out,
        "without_clean_labels": room.without_clean_labels,
        "distillation": room.distillation,
    }
    for name, family in families.items():
        few = name in ("left_out", "stopping", "without_clean_labels")
        if (not parts or name in parts) and not (few and points > _FEW):
            yield from family(given, single, double, case)
    if not parts or "function_space" in parts:
        yield from _precision_spectra.function_space(given, case)


def exact_rows(seed: int, conditions: Sequence[float] = CONDITIONS) -> Iterator[Row]:
    """Errors of float64 for one seed."""
    yield from _precision_exact.kernels(seed)
    for condition in conditions:
        yield from _precision_exact.closed_forms(condition, seed)


def worst(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The largest error of each case, the fewest values told and the largest share warned of."""
    found: dict[tuple[Any, ...], Row] = {}
    for one in rows:
        key = (one.quantity, *one.case.items())
        found[key] = functools.reduce(_worse, [found[key], one]) if key in found else one
    return [
        {**one._asdict(), "error": None if math.isnan(one.error) else one.error}
        for one in found.values()
    ]


def _worse(first: Row, second: Row) -> Row:
    errors = [one.error for one in (first, second) if not math.isnan(one.error)]
    said = [one.warned for one in (first, second) if one.warned is not None]
    return first._replace(
        error=max(errors, default=math.nan),
        told=min(first.told, second.told),
        warned=max(said, default=None),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures every row and writes what was found; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.precision", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--page", type=Path, help="Markdown page to put the table in")
    parser.add_argument("--quick", action="store_true", help="the smallest size only")
    options = parser.parse_args(arguments)
    sizes = SMALL if options.quick else SIZES
    rows: list[Row] = []
    exact: list[Row] = []
    for seed in SEEDS:
        print(f"seed {seed} ...", file=sys.stderr, flush=True)
        rows += single_rows(sizes, seed)
        exact += exact_rows(seed)
    report = {"seeds": len(SEEDS), "float32": worst(rows), "float64": worst(exact)}
    if options.out:
        _report.write_json(options.out, report)
    if options.page:
        page = with_table(options.page.read_text(encoding="utf-8"), report)
        options.page.write_text(page, encoding="utf-8")
    print(json.dumps(report, indent=1))
    print(markdown_table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
