"""``ntk-air check``: theorem reports; exit code 1 if one is violated."""

from __future__ import annotations

import argparse
from typing import Any

_NAMES = {"self_distillation": "check_self_distillation"}


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    one = commands.add_parser(
        "check",
        help="check theorem predictions numerically",
        description="Checks each assumption and each conclusion of a theorem; exit code 1 if a "
        "conclusion fails while the assumptions hold.",
    )
    one.add_argument(
        "names", nargs="*", metavar="NAME", help=f"default all: {', '.join(sorted(_NAMES))}"
    )
    one.add_argument("--quick", action="store_true", help="smaller case, under a minute")
    one.add_argument("--out", help="folder for Markdown, JSON and figures")
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs the reports, prints them, and writes them where asked."""
    unknown = [name for name in arguments.names if name not in _NAMES]
    if unknown:
        raise ValueError(
            f"no theorem named {', '.join(unknown)}; there are {', '.join(sorted(_NAMES))}."
        )
    from .. import plots, reports, theory

    out = None if arguments.out is None else reports.check_writable(arguments.out)
    code = 0
    for name in arguments.names or sorted(_NAMES):
        report = getattr(theory, _NAMES[name])(quick=arguments.quick)
        print(report.to_markdown())
        if out is not None:
            (out / f"{name}.md").write_text(report.to_markdown(), encoding="utf-8")
            (out / f"{name}.json").write_text(report.to_json(), encoding="utf-8")
            plots.standalone(plots.theorem_report, report).savefig(out / f"{name}.png")
        code = max(code, report.exit_code)
    return code
