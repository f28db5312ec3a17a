"""Parses, calls, reports errors: bad input is one line and exit code 2."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

import jax
import jaxlib

from .._runtime import check_runtime
from .._text import one_line
from .._version import __version__
from . import _air, _check, _distill, _kernel, _labels, _processes, _report, _stop
from ._parser import Parser

_BAD_INPUT = 2
_INTERRUPTED = 130
_BROKEN_PIPE = 141
_INPUT_ERRORS = (ValueError, OSError, ImportError, MemoryError, OverflowError, RecursionError)


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
    top = Parser(
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
    """Runs ``ntk-air``; returns the exit code (0 done, 1 a theorem violated, 2 bad input).

    130 is an interruption, 141 a pipe that nobody reads any more.
    """
    arguments = parser().parse_args(argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        code = _run(arguments)
    if code:
        _processes.abandon(code)
    return code


def _run(arguments: argparse.Namespace) -> int:
    try:
        code = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # What Python has yet to write would fail again when it exits.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except KeyboardInterrupt as stop:
        print(f"ntk-air: {one_line(str(stop)) or 'interrupted'}", file=sys.stderr)
        return _INTERRUPTED
    except Exception as error:
        if os.environ.get("NTK_AIR_TRACEBACK") or not _is_of_the_input(error):
            raise
        print(f"ntk-air: {_one_line(error)}", file=sys.stderr)
        return _BAD_INPUT


def _is_of_the_input(error: Exception) -> bool:
    """Whether it is what the rooms raise on bad input; others are mistakes of this package."""
    # JAX's error for a device without memory has no type of its own.
    return isinstance(error, _INPUT_ERRORS) or str(error).startswith("RESOURCE_EXHAUSTED")


def _one_line(error: BaseException) -> str:
    text = one_line(str(error)) or type(error).__name__
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return one_line(f"{error.filename}: {error.strerror}")
    if isinstance(error, MemoryError | OverflowError | RecursionError):
        return f"{type(error).__name__}: {text}"
    return text


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning as one line, without the place in the code that gave it."""
    print(f"ntk-air: {one_line(str(message))}", file=sys.stderr)
