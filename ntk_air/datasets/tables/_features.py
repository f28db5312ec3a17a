"""Columns to inputs: imputed, scaled, one-hot by scikit-learn, from training rows alone."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ._frame import Column

MOST_CATEGORIES = 50
_FEW_ROWS = 10
_SHOWN = 5
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Features:
    """How columns become inputs.

    Attributes:
        columns: name to column, over all rows.
        scale: whether columns of numbers are standardised.
        impute: whether missing entries are filled in, or refused.
    """

    columns: Mapping[str, Column]
    scale: bool = True
    impute: bool = True

    def __call__(self, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (n, d) and (m, d) float32 of rows (n, 1) and (m, 1).

        Raises:
            ValueError: if entries are missing and refused, or no column differs between rows.
        """
        train, test = train[:, 0], test[:, 0]
        self._check_missing(np.concatenate([train, test]))
        varying = {name: c for name, c in self.columns.items() if _varies(c, train)}
        left_out = [name for name in self.columns if name not in varying]
        if not varying:
            raise ValueError(
                f"no column differs between the {len(train)} training rows, expected columns to "
                "tell them by."
            )
        if left_out:
            warnings.warn(
                f"{quoted(left_out)} left out: constant, or empty, in the training rows.",
                stacklevel=2,
            )
        words = {name: c.values for name, c in varying.items() if c.kind == "words"}
        numbers = [c.values.astype(np.float64) for c in varying.values() if c.kind == "numbers"]
        _say_unknown(words, train, test)
        parts = []
        for columns, steps in (
            (numbers, _of_numbers(self.scale)),
            (list(words.values()), _of_words()),
        ):
            if columns:
                whole = np.stack(columns, axis=1)
                parts.append(_fitted(steps, whole[train], whole[test]))
        both = zip(*parts, strict=True)
        inputs, tested = (np.concatenate(one, axis=1, dtype=np.float32) for one in both)
        _say_equal(inputs, tested)
        return inputs, tested

    def _check_missing(self, rows: np.ndarray) -> None:
        counts = {name: int(missing(c)[rows].sum()) for name, c in self.columns.items()}
        counts = {name: k for name, k in counts.items() if 0 < k < len(rows)}
        if not counts:
            return
        said = ", ".join(f"{k} in {name!r}" for name, k in counts.items())
        if not self.impute:
            raise ValueError(
                f"entries are missing: {said}; fill them in, leave the columns out (drop), or pass "
                "missing='impute'."
            )
        warnings.warn(
            f"missing entries filled in by the median, or the most frequent word: {said}.",
            stacklevel=3,
        )


def check_features(
    columns: Mapping[str, Column], label: str, max_categories: int | None
) -> dict[str, Column]:
    """The columns that can become inputs.

    Raises:
        ValueError: for columns of dates, of other types, of infinite numbers, or of words that are
            no categories; all of them are named.
    """
    if not columns:
        raise ValueError(f"there is no column beside {label!r}, expected columns of inputs.")
    dates = [name for name, c in columns.items() if c.kind == "dates"]
    if dates:
        raise ValueError(
            f"{quoted(dates)} of dates or times, which have no size of their own; turn them into "
            f"numbers, or pass drop={tuple(dates)!r}."
        )
    other = {
        name: c.kind for name, c in columns.items() if c.kind not in ("numbers", "words", "empty")
    }
    if other:
        said = ", ".join(f"{name!r} ({kind})" for name, kind in other.items())
        raise ValueError(
            f"columns of types that are neither numbers nor words: {said}; turn them into numbers, "
            f"or pass drop={tuple(other)!r}."
        )
    infinite = [
        name
        for name, c in columns.items()
        if c.kind == "numbers" and (np.abs(c.values.astype(np.float64)) > _LARGEST).any()
    ]
    if infinite:
        raise ValueError(
            f"{quoted(infinite)} with infinite values, or beyond {_LARGEST:.1g}, expected finite "
            f"numbers; repair them, or pass drop={tuple(infinite)!r}."
        )
    many = {name: k for name, c in columns.items() if (k := _too_many(c, max_categories))}
    if many:
        said = ", ".join(f"{name!r} ({k} different)" for name, k in many.items())
        raise ValueError(
            f"columns of words that are more like text or names than categories: {said}; pass "
            f"drop={tuple(many)!r}, or max_categories={max(many.values())} to take them all."
        )
    return dict(columns)


def quoted(names: Sequence[str]) -> str:
    """``column 'a'`` or ``columns 'a', 'b'``."""
    return f"column{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"


def missing(column: Column) -> np.ndarray:
    """Which entries of a column are missing, (n,) bool."""
    if column.values.dtype == object:
        return np.array([x is None for x in column.values], bool)
    return (
        np.isnan(column.values)
        if column.values.dtype.kind == "f"
        else np.zeros(len(column.values), bool)
    )


def _too_many(column: Column, most: int | None) -> int:
    """How many different words a column has, if they are no categories; else 0."""
    if column.kind != "words":
        return 0
    present = column.values[~missing(column)]
    count = len(set(present))
    if most is not None:
        return count if count > most else 0
    unlike = len(present) > _FEW_ROWS and count > len(present) / 2
    return count if count > MOST_CATEGORIES or unlike else 0


def _varies(column: Column, rows: np.ndarray) -> bool:
    if column.kind == "empty":
        return False
    here = column.values[rows]
    here = here[~missing(column)[rows]]
    return len(here) > 0 and bool((here != here[0]).any())


def _fitted(steps: Any, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the steps make of both sets, fitted to the first."""
    with warnings.catch_warnings():
        # Words that only test rows have are said in our words.
        warnings.filterwarnings("ignore", "Found unknown categories", UserWarning)
        inputs = steps.fit_transform(train)
        return inputs, steps.transform(test) if len(test) else inputs[:0]


def _of_numbers(scale: bool) -> Any:
    # Takes a second to import: only when asked for.
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(
        SimpleImputer(strategy="median"), StandardScaler() if scale else "passthrough"
    )


def _of_words() -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    nothing: Any = None
    return make_pipeline(
        SimpleImputer(missing_values=nothing, strategy="most_frequent"),
        OneHotEncoder(drop="if_binary", handle_unknown="ignore", sparse_output=False),
    )


def _say_unknown(words: Mapping[str, np.ndarray], train: np.ndarray, test: np.ndarray) -> None:
    for name, values in words.items():
        unknown = sorted({x for x in values[test] if x is not None} - set(values[train]))
        if unknown:
            more = ", ..." if len(unknown) > _SHOWN else ""
            warnings.warn(
                f"column {name!r} holds, in test rows only, {', '.join(unknown[:_SHOWN])}{more}: "
                "these rows are of none of its categories.",
                stacklevel=3,
            )


def _say_equal(train: np.ndarray, test: np.ndarray) -> None:
    # -0.0 and 0.0 are one number and two patterns of bits.
    seen = {row.tobytes() for row in train + np.float32(0)}
    equal = sum(row.tobytes() in seen for row in test + np.float32(0))
    if equal:
        warnings.warn(
            f"{equal} of the {len(test)} test rows equal a training row in every column that is "
            "used; datasets.find_duplicates lists them.",
            stacklevel=3,
        )
