r"""Mutation testing: how many small changes of the package's mathematics the tests catch.

    python -m benchmarks.mutations cover                     # the suite once, with coverage
    python -m benchmarks.mutations run --per-room 100        # resumed where it was stopped
    python -m benchmarks.mutations run --again               # survivors, after tests were added
    python -m benchmarks.mutations report --page docs/mutations.md \
        --out benchmarks/results/mutations.json

Changes are those of cosmic-ray (``pip install "ntk_air[mutation]"``): another number, sign,
comparison or branch. Of each room of the package a sample is drawn; ``--seed`` draws another.
A mutant is caught (killed) where a test fails or takes much longer than it did.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._mutants import ROOMS, places, sample
from benchmarks._mutation_runs import outcomes, read
from benchmarks._mutation_tests import Covering, cover

_INTRODUCTION = """# What the tests catch

A small change of the package's mathematics (another number, sign, comparison or branch) is made,
the tests that run its line are run, and it is counted whether one of them fails or takes many times
as long.
`python -m benchmarks.mutations` does it, with the operators of
[cosmic-ray](https://cosmic-ray.readthedocs.io); of each room a sample is drawn (seed {seed}).
[Recorded](../benchmarks/results/mutations.json){note}:
"""
_SURVIVORS = """Some of these change nothing that can be seen (the size of a tile, a bound that
is not reached, a first guess); the others are what the tests do not hold."""
CAUGHT = ("killed", "timeout")


def run(options: argparse.Namespace) -> int:
    """Tests the mutants of the sample that have no outcome yet."""
    chosen = sample(options.rooms, options.per_room, options.seed)
    known = read(options.folder / "outcomes.jsonl")

    def is_open(key: str) -> bool:
        record = known.get(key)
        return record is None or (options.again and record["outcome"] not in CAUGHT)

    left = [mutant for mutant in chosen if is_open(mutant.key)]
    if options.share is None:
        print(f"{len(left)} of {len(chosen)} mutants to test", flush=True)
        return _shared(options)
    index, count = options.share
    tree = options.folder / f"tree-{index}"
    for mutant, found in outcomes(left[index::count], Covering(options.folder), tree):
        record = {"key": mutant.key, "seed": options.seed, **dataclasses.asdict(mutant), **found}
        with open(options.folder / "outcomes.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
        where = f"{mutant.file}:{mutant.line}"
        print(f"{found['outcome']:9} {where} {mutant.before} -> {mutant.after}", flush=True)
    return 0


def _shared(options: argparse.Namespace) -> int:
    """The same in as many processes as asked for."""
    count = options.workers
    command = [
        *(sys.executable, "-m", "benchmarks.mutations", "run"),
        *("--folder", str(options.folder), "--seed", str(options.seed)),
        *("--rooms", ",".join(options.rooms), "--per-room", str(options.per_room)),
        *(["--again"] if options.again else []),
    ]
    started = [subprocess.Popen([*command, "--share", f"{i}/{count}"]) for i in range(count)]
    return max(process.wait() for process in started)


def report(options: argparse.Namespace) -> int:
    """The share caught in each room, and those that were not."""
    known = read(options.folder / "outcomes.jsonl")
    chosen = sample(options.rooms, options.per_room, options.seed)
    records = [known[mutant.key] for mutant in chosen if mutant.key in known]
    found = summary(records, options.seed) | {"note": options.note}
    print(json.dumps(found["rooms"], indent=2))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=1, ensure_ascii=False)
        options.out.write_text(text + "\n", encoding="utf-8")
    if options.page:
        options.page.write_text(page(found), encoding="utf-8")
    return 0


def summary(records: Sequence[dict[str, Any]], seed: int) -> dict[str, Any]:
    """What of each room was caught; survivors by name."""
    rooms = {}
    for room in ROOMS:
        of_room = [record for record in records if record["room"] == room]
        if of_room:
            counts = Counter(record["outcome"] for record in of_room)
            caught = sum(counts[outcome] for outcome in CAUGHT)
            rooms[room] = {
                "places": sum(1 for _ in places(room)),
                "tested": len(of_room),
                **counts,
                "caught_share": round(caught / len(of_room), 4),
            }
    fields = ("file", "line", "operator", "before", "after", "outcome")
    left = [{f: r[f] for f in fields} for r in records if r["outcome"] not in CAUGHT]
    left.sort(key=lambda record: (record["file"], record["line"], record["operator"]))
    return {"seed": seed, "rooms": rooms, "survivors": left}


def page(found: dict[str, Any]) -> str:
    """The page of the documentation about it."""
    note = f", {found['note']}" if found.get("note") else ""
    lines = [_INTRODUCTION.format(seed=found["seed"], note=note)]
    lines += ["| room | places | tested | caught | not caught |", "|---|---:|---:|---:|---:|"]
    totals = Counter()
    for room, counts in found["rooms"].items():
        caught = sum(counts.get(outcome, 0) for outcome in CAUGHT)
        row = {"places": counts["places"], "tested": counts["tested"], "caught": caught}
        lines.append(_row(room, row))
        totals.update(row)
    lines += [_row("all", totals), "", "## Not caught", "", _SURVIVORS, ""]
    file = None
    for record in found["survivors"]:
        if record["file"] != file:
            file = record["file"]
            lines += ["", f"`{file}`", ""]
        before, after = (" ".join(record[name].split()) for name in ("before", "after"))
        lines.append(f"- {record['line']}: ``{before}`` → ``{after}``")
    return "\n".join(lines).replace("\n\n\n", "\n\n") + "\n"


def _row(name: str, row: Any) -> str:
    tested, caught = row["tested"], row["caught"]
    share = f"{caught} ({caught / tested:.1%})"
    return f"| {name} | {row['places']} | {tested} | {share} | {tested - caught} |"


def _share(text: str) -> tuple[int, int]:
    index, count = map(int, text.split("/"))
    return index, count


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: done; of ``cover`` that of pytest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutations", description=__doc__)
    parser.add_argument("step", choices=("cover", "run", "report"))
    parser.add_argument("tests", nargs="*", help="of cover: files of tests; default all")
    parser.add_argument("--folder", type=Path, default=Path("build/mutations"))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rooms", type=lambda text: text.split(","), default=list(ROOMS))
    parser.add_argument("--per-room", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="test survivors once more")
    parser.add_argument("--note", default="", help="of report: what the page says of the run")
    parser.add_argument("--share", type=_share, help="i/n: one of n processes")
    parser.add_argument("--out", type=Path, help="of report: the JSON file to write")
    parser.add_argument("--page", type=Path, help="of report: the page to write")
    options = parser.parse_args(arguments)
    options.folder = options.folder.resolve()
    if unknown := set(options.rooms) - set(ROOMS):
        parser.error(f"no such room: {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}")
    if options.step == "cover":
        return cover(options.folder, options.tests, options.workers)
    return {"run": run, "report": report}[options.step](options)


if __name__ == "__main__":
    sys.exit(main())
