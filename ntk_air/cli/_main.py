"""Parses, calls, reports errors: bad input is one line and exit code 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import jax
import jaxlib

from .._runtime import check_runtime
from .._version import __version__
from . import _air, _check, _distill, _kernel, _labels, _processes, _report, _stop

_BAD_INPUT = 2
_INTERRUPTED = 130


class _Version(argparse.Action):
    """Prints the versions that numbers depend on and the verdict on XLA, then ends."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"ntk_air {__version__}, jax {jax.__version__}, jaxlib {jaxlib.__version__}")
        report = check_runtime()
        if report.ok:
            print(f"runtime: right, {len(report.checks)} kinds of computation match NumPy")
        else:
            wrong = [f"{c.name} ({c.device})" for c in report.checks if not c.holds]
            print(f"runtime: WRONG in {'; '.join(wrong)}\n{report.advice}")
        parser.exit()


def parser() -> argparse.ArgumentParser:
    """The parser with every subcommand."""
    top = argparse.ArgumentParser(
        prog="ntk-air",
        description="How much signal and how much label noise a network retrieves, and when.",
    )
    top.add_argument(
        "--version", action=_Version, help="show versions, and whether XLA computes rightly here"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for module in (_air, _distill, _check, _kernel, _stop, _labels, _report):
        module.add_parser(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs ``ntk-air``; returns the exit code (0 done, 1 a theorem violated, 2 bad input)."""
    code = _run(parser().parse_args(argv))
    if code:
        _processes.abandon(code)
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        return arguments.run(arguments)
    except (ValueError, OSError, ImportError, MemoryError) as error:
        if os.environ.get("NTK_AIR_TRACEBACK"):
            raise
        print(f"ntk-air: {_one_line(error)}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt as stop:
        print(f"ntk-air: {str(stop) or 'interrupted'}", file=sys.stderr)
        return _INTERRUPTED


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return f"{type(error).__name__}: {text}" if isinstance(error, MemoryError) else text
