"""A parser whose errors are one line, settings of files held to it, words fit for a terminal."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from .._text import one_line

_BAD_INPUT = 2
_KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
}
_TEXT = ((str,), "text in quotes")
# What a file may also set to a number, and to a list, which is judged where it is read.
_ALSO_NUMBERS, _JUDGED_ELSEWHERE = {"alpha", "test"}, {"classes", "drop"}


class Parser(argparse.ArgumentParser):
    """argparse without the paragraph of usage before every error."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with one line and exit code 2."""
        self.exit(_BAD_INPUT, f"ntk-air: {one_line(message)}; see {self.prog} --help\n")

    @property
    def settings(self) -> dict[str, argparse.Action]:
        """Name to what a file of settings may say of it."""
        return {a.dest: a for a in self._actions if a.dest not in ("help", "config")}


def checked_setting(path: str, action: argparse.Action, value: Any) -> Any:
    """A value from a file, held to what its flag takes on the command line.

    Raises:
        ValueError: another type, or none of the choices.
    """
    name = action.dest
    if name in _JUDGED_ELSEWHERE:
        return value
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"{path} sets {name} to {value!r}, expected true or false.")
        return value
    types, words = _KINDS.get(action.type, _TEXT)
    if name in _ALSO_NUMBERS and type(value) in (int, float):
        value = str(value)
    if not isinstance(value, types) or isinstance(value, bool):
        raise ValueError(f"{path} sets {name} to {value!r}, expected {words}.")
    if action.choices is not None and value not in action.choices:
        choices = ", ".join(map(str, action.choices))
        raise ValueError(f"{path} sets {name} to {value!r}, expected one of {choices}.")
    return value
