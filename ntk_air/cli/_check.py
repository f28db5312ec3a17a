"""``ntk-air check``: theorem reports; exit code 1 if one is violated."""

from __future__ import annotations

import argparse
import inspect
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import markdown
from ._options import add_precision_option, computing

if TYPE_CHECKING:
    from ..theory import TheoremCheck, TheoremReport

_PREFIX = "check_"


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    one = commands.add_parser(
        "check",
        help="check theorem predictions numerically",
        description="Checks each assumption and each conclusion of theorems; exit code 1 if a "
        "conclusion fails while the assumptions hold, 0 otherwise.",
    )
    one.add_argument(
        "names", nargs="*", metavar="NAME", help="theorems (default all; --list names them)"
    )
    one.add_argument("--list", action="store_true", help="name the theorems and stop")
    one.add_argument("--quick", action="store_true", help="smaller cases, under a minute for all")
    one.add_argument("--seed", type=int, help="first of the seeds (default 0)")
    add_precision_option(one)
    one.add_argument("--out", help="folder for Markdown, JSON and figures")
    one.add_argument("--checkpoint", help="folder to store finished parts in, and to go on from")
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the reports, prints them, and writes them where asked."""
    with computing(arguments.precision):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    from .. import reports

    known = _theorems()
    if arguments.list:
        beside = ("names", "quick", "out", "checkpoint")
        if arguments.seed is not None or any(getattr(arguments, name) for name in beside):
            raise ValueError("--list names the theorems and does nothing else; give it alone.")
        for name, check in known.items():
            print(f"{name:<28}{(inspect.getdoc(check) or '').splitlines()[0]}")
        return 0
    unknown = [name for name in arguments.names if name not in known]
    if unknown:
        raise ValueError(f"no theorem named {', '.join(unknown)}; there are {', '.join(known)}.")
    out = None if arguments.out is None else reports.check_writable(arguments.out)
    made: dict[str, TheoremReport] = {}
    for name in dict.fromkeys(arguments.names or known):
        start = time.perf_counter()
        made[name] = known[name](**_options(name, known[name], arguments))
        print(_table(made[name]))
        print(f"{name}: {made[name].verdict}, {time.perf_counter() - start:.1f} s\n", flush=True)
        if out is not None:
            reports.write_theorem_report(made[name], out, name)
    if out is not None:
        (out / "index.md").write_text(_index(made), encoding="utf-8")
    violated = [name for name, report in made.items() if report.exit_code]
    if violated:
        print(f"ntk-air: violated: {', '.join(violated)}", file=sys.stderr)
    return int(bool(violated))


def _theorems() -> dict[str, TheoremCheck]:
    """Every report of the theory room by the name it has on the command line."""
    from .. import theory

    names = [name for name in theory.__all__ if name.startswith(_PREFIX)]
    return {name.removeprefix(_PREFIX): getattr(theory, name) for name in names}


def _options(name: str, check: TheoremCheck, arguments: argparse.Namespace) -> dict[str, Any]:
    """``quick``, and as many seeds as the report would take, from the one asked for."""
    options: dict[str, Any] = {"quick": arguments.quick, "progress": True}
    if arguments.checkpoint is not None:
        options["checkpoint"] = Path(arguments.checkpoint) / name
    if arguments.seed is not None:
        count = inspect.signature(check).parameters["seeds"].default
        options["seeds"] = range(arguments.seed, arguments.seed + count)
    return options


def _table(report: TheoremReport) -> str:
    """Title, source and one aligned line for each check."""
    rows = [("", "check", "required", "measured")]
    for kind, checks in (("assumes", report.assumptions), ("concludes", report.conclusions)):
        rows += [
            (
                f"{kind}, {'holds' if c.holds else 'FAILS'}",
                c.name,
                *map(_cell, (c.required, c.measured)),
            )
            for c in checks
        ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return "\n".join([report.name, report.source, *lines])


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _index(made: dict[str, TheoremReport]) -> str:
    lines = ["| theorem | verdict |", "| --- | --- |"]
    lines += [f"| [{markdown(r.name)}]({name}.md) | {r.verdict} |" for name, r in made.items()]
    return "\n".join(lines) + "\n"
