"""Rows of a table as they stand there, for a person to look at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._corrections import places_of
from ._frame import read_table
from ._rows import row_names


def table_rows(
    table: Any, points: Iterable[Any] | None = None, *, identifier: str | None = None
) -> dict[str, list[Any]]:
    """The rows of a table that are called so, with their entries as they stand there.

    Args:
        table: as `from_table` takes it.
        points: what the rows are called, in the order they are wanted, as `Dataset.identifiers` of
            what `from_table` or `load` made of the table; None: all.
        identifier: the column of what rows are called, as in `from_table`.

    Returns:
        Columns by name: numbers, text, or None where an entry is missing.

    Raises:
        ImportError: without pyarrow.
        ValueError: for rows that are unknown, named twice, or called as others are; for a file or a
            column that `from_table` refuses.
        TypeError: if ``table`` is none.
        OSError: if a file cannot be read.

    Example:
        >>> import ntk_air as na
        >>> table = {"age": [30, 50], "town": ["Riga", "Oslo"]}
        >>> na.datasets.table_rows(table, [1])
        {'age': [50], 'town': ['Oslo']}
    """
    read = read_table(table)
    places = range(read.num_rows)
    if points is not None:
        places = places_of(points, row_names(read, identifier), "points").tolist()
    columns = {name: column.values.tolist() for name, column in read.columns.items()}
    return {
        name: [None if values[i] != values[i] else values[i] for i in places]
        for name, values in columns.items()
    }
