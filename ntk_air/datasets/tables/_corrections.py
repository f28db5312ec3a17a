"""Labels that a person has corrected: the file they stand in, and which points they are of."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..._archive import open_regular
from ..._text import from_spreadsheet, one_line

IDENTIFIER, CORRECTED = "index", "corrected"
_SHOWN = 3


def read_corrections(path: str | os.PathLike[str]) -> dict[str, str]:
    r"""The labels that a person wrote into the column ``corrected`` of a list of suspects.

    Such a list is what `ntk_air.reports.write_label_report` writes; what a spreadsheet makes of it
    (semicolons or tabs between columns, columns in another order or left out) is read too, as is
    any .csv file with the columns ``index`` and ``corrected``. Rows without an entry are those
    that nobody corrected, and are left out.

    Args:
        path: of the file.

    Returns:
        What each corrected point is called, and its label: the name of a class, or its number. For
        `Dataset.corrected`.

    Raises:
        ValueError: if it is no such file, a row has more or fewer entries than there are columns,
            or a point is corrected twice.
        OSError: if the file cannot be read.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "suspects.csv"
        ...     _ = path.write_text("index,observed_name,corrected\n4,cat,dog\n7,dog,\n")
        ...     na.datasets.read_corrections(path)
        {'4': 'dog'}
    """
    found: dict[str, str] = {}
    for number, row in _rows(Path(path)):
        called, label = row[IDENTIFIER], row[CORRECTED]
        if not label:
            continue
        if called in found:
            raise ValueError(
                f"{path} corrects {one_line(called)!r} twice, the second time in line {number}; "
                "leave one of the rows."
            )
        found[called] = label
    return found


def holds_corrections(path: Path) -> int:
    r"""How many corrections there are in a file, which may be none of these; 0 if it is not.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "suspects.csv"
        ...     _ = path.write_text("index,corrected\n3,cat\n5,\n")
        ...     na.datasets.holds_corrections(path)
        1
    """
    try:
        return sum(bool(row[CORRECTED]) for _, row in _rows(path))
    except (ValueError, OSError):
        return 0


def _rows(path: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """The lines of a file with their numbers: identifiers and corrections as they were meant."""
    with open_regular(path) as file:
        data = file.read()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error.reason}); save it so.") from error
    first = text.split("\n", 1)[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    header = [name.strip() for name in next(reader, [])]
    if header.count(IDENTIFIER) != 1 or header.count(CORRECTED) != 1:
        raise ValueError(
            f"{path} has the columns {', '.join(map(one_line, header)) or 'none'}, expected "
            f"{IDENTIFIER} and {CORRECTED}, as in a list that write_label_report wrote."
        )
    places = header.index(IDENTIFIER), header.index(CORRECTED)
    for row in reader:
        if not any(row):
            continue
        if len(row) != len(header):
            raise ValueError(
                f"line {reader.line_num} of {path} has {len(row)} entries, expected "
                f"{len(header)}: one for each column."
            )
        called, label = (from_spreadsheet(row[place].strip()) for place in places)
        yield reader.line_num, {IDENTIFIER: called, CORRECTED: label}


def places_of(names: Iterable[Any], identifiers: Iterable[Any], what: str) -> np.ndarray:
    """Where points are that are called so, numbers and their text alike.

    Raises:
        ValueError: for a name that no point has, that several have, or that is given twice.
    """
    wanted = [str(name) for name in names]
    place: dict[str, int] = {}
    several: set[str] = set()
    for i, name in enumerate(map(str, identifiers)):
        if name in place:
            several.add(name)
        place[name] = i
    _refuse([n for n in wanted if n not in place], f"{what} names no point of the data")
    _refuse([n for n in wanted if n in several], f"{what} names what several points are called")
    if len(set(wanted)) < len(wanted):
        twice = [n for i, n in enumerate(wanted) if n in wanted[:i]]
        _refuse(twice, f"{what} names a point twice")
    return np.array([place[n] for n in wanted], np.int64)


def _refuse(names: list[str], said: str) -> None:
    if names:
        shown = ", ".join(repr(one_line(name)) for name in names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        raise ValueError(f"{said}: {shown}{more}; expected identifiers of training points, once.")


def classes_named(labels: Mapping[Any, Any], names: Sequence[str]) -> np.ndarray:
    """Numbers of the classes that labels name, or number where none is called so.

    Raises:
        ValueError: for a label that is neither, with the name that is nearest to it.
    """
    place = {name: i for i, name in enumerate(names)}
    numbers = {str(i): i for i in range(len(names))}
    out = np.zeros(len(labels), np.int32)
    for i, (point, label) in enumerate(labels.items()):
        # A whole number is one; text is a name first, since classes may be called 3 and 8.
        known = numbers if isinstance(label, int | np.integer) else numbers | place
        text = str(label).strip()
        if text not in known or isinstance(label, bool):
            near = difflib.get_close_matches(text, names, 1)
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise ValueError(
                f"the corrected label of {one_line(str(point))!r} is {label!r}, expected one of "
                f"{shown}, or a number in 0..{len(names) - 1}"
                + (f"; did you mean {near[0]!r}?" if near else ".")
            )
        out[i] = known[text]
    return out
