"""Tables of every origin as columns of numbers and words: files, frames, mappings of arrays."""

from __future__ import annotations

import csv
import importlib
import io
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._archive import open_regular
from ..._modules import is_a
from ..._text import is_number
from .._images import INSTALL
from .._parquet import check_claims, naming, pyarrow_parquet

SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = ",;\t|"
# Beside what pyarrow takes for missing: the mark of the UCI repository.
_MISSING = ("?", "", "NA", "N/A", "NaN", "nan", "null", "NULL", "n/a", "#N/A")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        kind: "numbers"; "words", truth values among them; "dates"; "empty", nothing but missing
            entries; or the name of a type that is neither.
        values: (n,) float64 with NaN for missing entries, integers as they are if none is missing;
            or (n,) objects, text or None.
        order: the categories in order, if the column says that they have one.
    """

    kind: str
    values: np.ndarray
    order: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Table:
    """A table: columns by name, what it is called, and what its rows are called, if they are."""

    name: str
    columns: dict[str, Column]
    num_rows: int
    index: tuple[str, ...] | None = None


def read_table(source: Any, what: str = "table") -> Table:
    """A table of a file, a frame of pandas, polars or Arrow, or a mapping of arrays.

    Args:
        source: the path of a .csv, .tsv or .parquet file; what has Arrow's interface
            (``__arrow_c_stream__``); or name to (n,) array.
        what: the argument, for messages.

    Raises:
        ImportError: without pyarrow.
        ValueError: for a file that is damaged, without names of columns, or with two of one name;
            or for columns of mixed types.
        TypeError: for anything else.
        OSError: if a file cannot be read.
    """
    index = None
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        name, table = path.stem, _read_file(path)
    else:
        name, table = what, _of_object(source, what)
        if is_a(source, "pandas", "DataFrame") and not is_a(source.index, "pandas", "RangeIndex"):
            index = tuple(map(str, source.index))
    _check_names(table.column_names, name)
    if not table.num_rows:
        raise ValueError(f"{name} has no rows, expected a table of points.")
    columns = {str(k): _column(table.column(k)) for k in table.column_names}
    return Table(name, columns, table.num_rows, index)


def _of_object(source: Any, what: str) -> Any:
    """An Arrow table of what is at hand."""
    arrow = _arrow()
    try:
        if is_a(source, "pandas", "DataFrame"):
            _check_names(list(map(str, source.columns)), what)
            return arrow.Table.from_pandas(source, preserve_index=False)
        if isinstance(source, np.ndarray) and source.dtype.names:
            source = {name: source[name] for name in source.dtype.names}
        if isinstance(source, Mapping):
            return arrow.table({str(k): _plain(v) for k, v in source.items()})
        if isinstance(source, list) and source and isinstance(source[0], Mapping):
            return arrow.Table.from_pylist(source)
        is_column = any(is_a(source, library, "Series") for library in ("pandas", "polars"))
        if hasattr(source, "__arrow_c_stream__") and not is_column:
            return arrow.table(source)
    # pyarrow's errors derive from several of Python's.
    except (arrow.ArrowException, TypeError) as error:
        reason = ", ".join(map(str, error.args)).split("\n")[0]
        raise ValueError(
            f"{what} has columns of several lengths, or of types that Arrow does not mix or know "
            f"({reason}); repair them."
        ) from error
    raise TypeError(
        f"{what} is of type {type(source).__name__}, expected a frame of pandas, polars or Arrow, "
        "a mapping of arrays, a list of mappings, or the path of a "
        f"{' or '.join(SUFFIXES)} file."
    )


def _plain(values: Any) -> Any:
    if isinstance(values, list | tuple):  # NumPy would make one text of what is mixed
        return list(values)
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"a column has shape {array.shape}, expected (n,).")
    return array.astype(str) if array.dtype.kind in "US" else array


def _arrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise ImportError(f"reading tables needs pyarrow: {INSTALL}.") from error
    return pyarrow


def _check_names(names: Sequence[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(
            f"{what} has more than one column named {', '.join(map(repr, twice))}; rename them."
        )


def _read_file(path: Path) -> Any:
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"{path} is no {' or '.join(SUFFIXES)} file.")
    if path.suffix.lower() != ".parquet":
        with open_regular(path) as file:
            return _read_csv(path, file.read())
    with open_regular(path), naming(path):
        file = pyarrow_parquet().ParquetFile(path)
        check_claims(path, file.metadata)
        return file.read()


def _read_csv(path: Path, data: bytes) -> Any:
    from pyarrow import csv as arrow_csv

    try:
        first = data.decode("utf-8-sig").split("\n", 1)[0]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not in UTF-8 ({error.reason}); save it so.") from error
    delimiter = max(_DELIMITERS, key=first.count)
    names = [name.strip() for name in next(csv.reader([first.strip()], delimiter=delimiter), [])]
    if not names or all(map(is_number, names)):
        raise ValueError(
            f"the first line of {path} is {first.strip()[:60]!r}, expected names of columns; add a "
            "line with names."
        )
    _check_names(names, str(path))
    try:
        table = arrow_csv.read_csv(
            io.BytesIO(data),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=arrow_csv.ConvertOptions(strings_can_be_null=True),
        )
    except Exception as error:  # pyarrow's derive from ValueError, OSError, KeyError by release
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} is no table with one delimiter ({reason}); repair it.") from error
    columns = [_cleaned(column) for column in table.columns]
    return _arrow().table(columns, names=names)


def _cleaned(column: Any) -> Any:
    """Text without blanks around it; numbers, if all entries but missing ones are."""
    arrow = _arrow()
    if not arrow.types.is_string(column.type):
        return column
    compute: Any = importlib.import_module("pyarrow.compute")
    trimmed = compute.utf8_trim_whitespace(column)
    missing = compute.is_in(trimmed, value_set=arrow.array(_MISSING))
    kept = compute.if_else(missing, arrow.scalar(None, arrow.string()), trimmed)
    try:
        return kept.cast(arrow.float64())
    except arrow.ArrowInvalid:
        return kept


def _column(column: Any) -> Column:
    arrow = _arrow()
    types, kind = arrow.types, column.type
    order = None
    if types.is_dictionary(kind):
        if kind.ordered:
            order = tuple(map(str, column.combine_chunks().dictionary.to_pylist()))
        # Numbers that are categories have no size: they are words too.
        return Column("words", _words(column), order)
    if types.is_null(kind) or column.null_count == len(column):
        return Column("empty", np.full(len(column), None, object))
    if (
        types.is_boolean(kind)
        or types.is_string(kind)
        or types.is_large_string(kind)
        or (str(kind) == "string_view")
    ):
        return Column("words", _words(column))
    if types.is_integer(kind) and not column.null_count:
        return Column("numbers", column.to_numpy())
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return Column("numbers", column.cast(arrow.float64(), safe=False).to_numpy())
    if types.is_temporal(kind):
        return Column("dates", _words(column))
    return Column(str(kind), np.full(len(column), None, object))


def _words(column: Any) -> np.ndarray:
    values = column.to_pylist()
    return np.array([None if x is None or x != x else str(x) for x in values] + [None], object)[:-1]
