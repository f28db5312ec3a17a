"""Damaged and hostile inputs of every kind: ``python -m benchmarks.fuzz --help``.

Every input is either read, and then right, or refused with a documented exception. What else
happens is printed with the seed that makes it happen again. The table is written after each
two thousand inputs, and the same command goes on from it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _fuzz_data, _fuzz_files, _harness, _report

# Kind -> what makes its inputs, and how many of a hundred thousand.
KINDS: dict[str, tuple[Any, int]] = {
    "result files, bytes": (_fuzz_files.ResultBytes, 24_000),
    "result files, types of fields": (_fuzz_files.ResultTrees, 24_000),
    "result files, members and headers": (_fuzz_files.ResultArchives, 8_000),
    "kernel stores, manifests": (_fuzz_files.Manifests, 6_000),
    "kernel stores, tiles and seals": (_fuzz_files.Tiles, 6_000),
    "cells of theorem reports": (_fuzz_files.TheoryCells, 4_000),
    "cells of the benchmark": (_fuzz_files.BenchmarkCells, 4_000),
    "checkpoints of training": (_fuzz_files.Checkpoints, 500),
    "image folders": (_fuzz_data.Images, 5_000),
    ".npz archives": (_fuzz_data.Archives, 6_000),
    "IDX files": (_fuzz_data.Idx, 2_500),
    "CIFAR binary files": (_fuzz_data.Cifar, 2_000),
    "parquet files": (_fuzz_data.Parquet, 2_000),
    "files of settings": (_fuzz_data.Settings, 4_000),
    "command lines": (_fuzz_data.Lines, 2_000),
}
DOCUMENTED = (ValueError, OSError)
_BATCH = 2000


def run(kind: str, first: int, count: int, seed: int, folder: Path) -> dict[str, Any]:
    """Feeds ``count`` inputs of a kind, from the ``first`` on.

    Returns:
        How many were read (``ok``), refused (``documented``, by exception in ``by_type``), or ended
        in another way (``undocumented``, with up to ten tracebacks in ``examples``).
    """
    found: dict[str, Any] = {"ok": 0, "documented": 0, "undocumented": 0}
    found |= {"by_type": {}, "examples": [], "slowest_s": 0.0}
    make, _ = KINDS[kind]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = make(folder)
        for index in range(first, first + count):
            rng = np.random.default_rng([seed, list(KINDS).index(kind), index])
            began = time.perf_counter()
            try:
                inputs.one(rng)
                found["ok"] += 1
            except DOCUMENTED as error:
                found["documented"] += 1
                name = type(error).__name__
                found["by_type"][name] = found["by_type"].get(name, 0) + 1
            except Exception as error:
                found["undocumented"] += 1
                if len(found["examples"]) < 10:
                    lines = "".join(traceback.format_exception(error)).splitlines()[-6:]
                    found["examples"].append({"index": index, "lines": lines})
            found["slowest_s"] = max(found["slowest_s"], time.perf_counter() - began)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Feeds what is missing of the table and prints it; 1 if an input ended undocumented."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--out", type=Path, help="JSON file to go on from and to write")
    parser.add_argument("--count", type=int, default=100_000, help="inputs of all kinds together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(KINDS), metavar="KIND")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    options = parser.parse_args(arguments)
    table: dict[str, Any] = {"seed": options.seed, "kinds": {}}
    if options.out is not None and options.out.exists():
        table = json.loads(options.out.read_text(encoding="utf-8"))
    if table["seed"] != options.seed:
        print(f"{options.out} is of seed {table['seed']}; take another --out.", file=sys.stderr)
        return 2
    table["environment"] = _report.environment(options.note, _harness.load_average())
    whole = sum(count for _, count in KINDS.values())
    for kind in options.only or KINDS:
        wanted = max(1, round(KINDS[kind][1] * options.count / whole))
        _feed(kind, wanted, options, table)
    print(markdown(table))
    return int(any(one["undocumented"] for one in table["kinds"].values()))


def _feed(kind: str, wanted: int, options: argparse.Namespace, table: dict[str, Any]) -> None:
    """In batches; each is added to the table, which is written."""
    empty = {"count": 0, "seconds": 0.0, "peak_MiB": 0.0, "slowest_s": 0.0}
    row = table["kinds"].setdefault(
        kind, empty | {"ok": 0, "documented": 0, "undocumented": 0, "by_type": {}, "examples": []}
    )
    while row["count"] < wanted:
        count = min(_BATCH, wanted - row["count"])
        gc.collect()
        before, began = _peak(), time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = run(kind, row["count"], count, options.seed, Path(folder))
        row["count"] += count
        row["seconds"] = round(row["seconds"] + time.perf_counter() - began, 1)
        row["peak_MiB"] = round(max(row["peak_MiB"], _peak() - before), 1)
        row["slowest_s"] = round(max(row["slowest_s"], found["slowest_s"]), 2)
        for name in ("ok", "documented", "undocumented"):
            row[name] += found[name]
        for name, times in found["by_type"].items():
            row["by_type"][name] = row["by_type"].get(name, 0) + times
        row["examples"] += found["examples"]
        for example in found["examples"]:
            print(f"{kind}, input {example['index']}:", *example["lines"], sep="\n  ", flush=True)
        if options.out is not None:
            beside = options.out.with_suffix(".new")
            beside.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, options.out)


def _peak() -> float:
    """MiB that the process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def markdown(table: dict[str, Any]) -> str:
    """The table of kinds and outcomes."""
    lines = [
        "| kind | inputs | read | refused as documented | undocumented | seconds "
        "| slowest s | peak + MiB |",
        "|---|" + "---:|" * 7,
    ]
    rows = dict(table["kinds"])
    summed = ("count", "ok", "documented", "undocumented", "seconds")
    total = {name: sum(row[name] for row in rows.values()) for name in summed}
    total |= {name: max(row[name] for row in rows.values()) for name in ("slowest_s", "peak_MiB")}
    for kind, row in {**rows, "**all**": total}.items():
        lines.append(
            f"| {kind} | {row['count']} | {row['ok']} | {row['documented']} | "
            f"{row['undocumented']} | {row['seconds']:.0f} | {row['slowest_s']:.2f} | "
            f"{row['peak_MiB']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
