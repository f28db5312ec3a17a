"""A table as a source: which rows are training and which are test points, and their labels."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._checks import check_choice, is_number
from .._labels import number_labels
from .._source import Source, Split
from .._split import check_fraction, split_rows
from ._features import Features, check_features, missing, quoted
from ._frame import Column, Table, read_table

_TEST_WORDS = {"test": True, "train": False, "true": True, "false": False, "1": True, "0": False}
_TEST_WORDS |= {"testing": True, "training": False}


@dataclass(frozen=True)
class TableOptions:
    """How a table is read; see `from_table`."""

    label: str | None = None
    test: Any = None
    group: Any = None
    identifier: str | None = None
    drop: Sequence[str] | None = None
    extra_labels: Sequence[str] = ()
    scale: bool = True
    missing: str = "impute"
    max_categories: int | None = None
    regression: bool | None = None
    seed: int = 0


def table_source(table: Table, options: TableOptions) -> Source:
    """The source of a table; raises as `from_table` does."""
    check_choice("missing", options.missing, ("impute", "refuse"))
    label = _named(table, "label", options.label)
    special = {"identifier": options.identifier}
    if isinstance(options.group, str):
        special["group"] = options.group
    by_column: str | None = options.test if isinstance(options.test, str) else None
    if by_column not in table.columns:
        by_column = None
    special["test"] = by_column
    used = [_named(table, what, name) for what, name in special.items() if name is not None]
    further = [_named(table, "extra_labels", name) for name in options.extra_labels]
    dropped = [options.drop] if isinstance(options.drop, str) else list(options.drop or ())
    dropped = [_named(table, "drop", name) for name in dropped]
    if label in (*dropped, *further):
        raise ValueError(
            f"label {label!r} is named in drop or extra_labels too; leave it out there."
        )
    taken = {label, *used, *further, *dropped}
    features = {name: c for name, c in table.columns.items() if name not in taken}
    features = check_features(features, label, options.max_categories)
    columns = {name: table.columns[name] for name in {label, *further}}
    second = None
    if options.test is not None and by_column is None and not is_number(options.test):
        second = read_table(options.test, "test")
        features, columns = (_joined(table, second, part) for part in (features, columns))
    labels, targets, names, extra = _labels(columns, label, further, options.regression)
    rows = np.arange(table.num_rows + (second.num_rows if second else 0))
    groups = _groups(table, second, options.group)
    is_test = rows >= table.num_rows
    if by_column is not None:
        is_test = _said_by(table.columns[by_column], by_column)
    elif options.test is not None and second is None:
        fraction = check_fraction("test", options.test)
        classes = labels if targets is None else None
        is_test = split_rows(len(rows), fraction, labels=classes, groups=groups, seed=options.seed)
    elif options.seed and second is None:
        raise ValueError("seed is that of the draw of test rows, and test is None; leave seed out.")
    _check_cut(is_test, groups, labels, names)
    called = np.array(_identifiers(table, second, options.identifier))

    def split(mask: np.ndarray) -> Split:
        mine = np.flatnonzero(mask)
        return Split(
            labels[mine],
            lambda chosen: mine[chosen][:, None],
            {name: values[mine] for name, values in extra.items()},
            called[mine],
            None if groups is None else groups[mine],
            None if targets is None else targets[mine],
            np.where(mine < table.num_rows, mine, mine - table.num_rows),
        )

    test = dataclasses.replace(split(is_test), extra_labels={}) if is_test.any() else None
    prepare = Features(features, options.scale, options.missing == "impute")
    return Source(table.name, split(~is_test), test, names, "table", prepare)


def _named(table: Table, what: str, name: Any) -> str:
    # A frame may number its columns.
    name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
    if not isinstance(name, str) or name not in table.columns:
        given = "is missing" if name is None else f"is {name!r}"
        shown = ", ".join(list(table.columns)[:20]) + (", ..." if len(table.columns) > 20 else "")
        raise ValueError(f"{what} {given}, expected a column of {table.name}: {shown}.")
    return name


def _joined(first: Table, second: Table, part: dict[str, Column]) -> dict[str, Column]:
    """Columns of both tables, one below the other."""
    absent = [name for name in part if name not in second.columns]
    if absent:
        raise ValueError(f"the test table lacks {quoted(absent)} of {first.name}; add them.")
    out = {}
    for name, column in part.items():
        other = second.columns[name]
        kinds = {column.kind, other.kind} - {"empty"}
        if len(kinds) > 1:
            raise ValueError(
                f"column {name!r} holds {column.kind} in {first.name} and {other.kind} in the test "
                "table; make it one."
            )
        kind = next(iter(kinds), "empty")
        parts = [
            np.full(len(c.values), np.nan) if kind == "numbers" and c.kind == "empty" else c.values
            for c in (column, other)
        ]
        out[name] = Column(kind, np.concatenate(parts), column.order)
    return out


def _labels(
    columns: dict[str, Column], label: str, further: Sequence[str], regression: bool | None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None, dict[str, np.ndarray]]:
    """Classes (n,), or zeros and targets (n, 1); names of the classes; further labels."""
    column = columns[label]
    absent = missing(column)
    if absent.any():
        raise ValueError(
            f"label {label!r} is missing in {absent.sum()} row(s), the first is {absent.argmax()}; "
            "drop those rows or fill them in."
        )
    if column.kind not in ("numbers", "words"):
        raise ValueError(f"label {label!r} holds {column.kind}, expected classes or numbers.")
    values = column.values
    fractions = values.dtype.kind == "f" and bool((values % 1 != 0).any())
    if regression is None and column.kind == "numbers":
        count = len(np.unique(values))
        if not fractions and count > max(20, len(values) / 2):
            raise ValueError(
                f"label {label!r} has {count} different numbers in {len(values)} rows; pass "
                "regression=True if they are numbers to predict, or False if they are classes."
            )
        regression = fractions
    if regression:
        if column.kind != "numbers" or not np.isfinite(values.astype(np.float64)).all():
            raise ValueError(f"label {label!r} holds {column.kind}, expected finite numbers.")
        if further:
            raise ValueError("extra_labels are classes, and the label is a number; leave them out.")
        return np.zeros(len(values), np.int32), values.astype(np.float32)[:, None], None, {}
    if fractions:
        raise ValueError(f"label {label!r} holds fractions, expected classes; see regression.")
    wanted = {name: _classes(columns[name]) for name in further}
    found = number_labels(
        {label: _classes(column)}, further=wanted, class_names=_order(column), any_integers=True
    )
    labels = found.labels[label]
    if len(np.unique(labels)) < 2:
        raise ValueError(
            f"label {label!r} is {values[0]!r} in every row, expected two classes at least."
        )
    return labels, None, found.names, {name: found.labels[name] for name in further}


def _classes(column: Column) -> np.ndarray:
    if column.kind == "words":
        return np.array(["-1" if x is None else x for x in column.values])
    return np.where(missing(column), -1, column.values).astype(np.int64)


def _order(column: Column) -> list[str] | None:
    """The categories in their order, those that occur."""
    if column.order is None:
        return None
    present = set(column.values)
    return [name for name in column.order if name in present]


def _said_by(column: Column, name: str) -> np.ndarray:
    """Which rows are test points by a column of truth values, or of train and test."""
    words = [str(x).strip().lower().removesuffix(".0") for x in column.values]
    unknown = sorted(set(words) - set(_TEST_WORDS))
    if unknown:
        raise ValueError(
            f"test column {name!r} holds {', '.join(map(repr, unknown[:5]))}, expected true and "
            "false, 1 and 0, or test and train."
        )
    return np.array([_TEST_WORDS[word] for word in words])


def _groups(table: Table, second: Table | None, group: Any) -> np.ndarray | None:
    """Numbers of the groups of all rows."""
    if group is None:
        return None
    if isinstance(group, str):
        parts = [table.columns[group].values]
        if second is not None:
            parts.append(second.columns[_named(second, "group", group)].values)
        values = np.concatenate(parts)
    else:
        values = np.asarray(group)
        if values.shape != (table.num_rows,) or second is not None:
            raise ValueError(
                f"group has shape {values.shape}, expected the name of a column, or "
                f"({table.num_rows},) where there is one table."
            )
    if any(x is None or x != x for x in values.tolist()):
        raise ValueError("group is missing in some rows; fill it in.")
    return np.unique(values.astype(str), return_inverse=True)[1]


def _check_cut(
    is_test: np.ndarray,
    groups: np.ndarray | None,
    labels: np.ndarray,
    names: tuple[str, ...] | None,
) -> None:
    if is_test.all():
        raise ValueError("all rows are test rows, expected training rows too.")
    if groups is not None:
        both = np.intersect1d(groups[is_test], groups[~is_test])
        if len(both):
            raise ValueError(
                f"{len(both)} group(s) have rows in both sets; choose test rows by whole groups, "
                "or pass a fraction as test."
            )
    new = sorted(set(labels[is_test].tolist()) - set(labels[~is_test].tolist()))
    if new:
        said = ", ".join(names[i] if names else str(i) for i in new[:5])
        warnings.warn(
            f"{len(new)} class(es) have test rows and no training row: {said}.", stacklevel=3
        )


def _identifiers(table: Table, second: Table | None, name: str | None) -> list[str]:
    return [one for each in (table, second) if each for one in row_names(each, name)]


def row_names(table: Table, name: str | None) -> list[str]:
    """What each row is called: by a column, by the frame's index, or by its number."""
    if name is not None:
        return list(map(str, table.columns[_named(table, "identifier", name)].values))
    return list(table.index or map(str, range(table.num_rows)))
