"""The way in for a user's tables."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..._checks import check_bool
from ..._typing import ArrayLike
from .._dataset import Dataset
from .._load import assembled, numbered
from ._frame import read_table
from ._rows import TableOptions, table_source


def from_table(
    table: Any,
    *,
    label: str,
    test: float | str | os.PathLike[str] | Any = None,
    name: str | None = None,
    group: str | ArrayLike | None = None,
    identifier: str | None = None,
    drop: Sequence[str] = (),
    extra_labels: Sequence[str] = (),
    scale: bool = True,
    missing: str = "impute",
    max_categories: int | None = None,
    regression: bool | None = None,
    seed: int = 0,
) -> Dataset:
    """Makes a dataset of a table, each row a point, in the order of its rows.

    Columns of numbers come first in the inputs, in their order; then those of words and truth
    values, one input for each word, or one input where there are two words. Means, deviations,
    medians and words are those of the training rows. Constant columns are left out, with a warning.

    Args:
        table: a frame of pandas, polars or Arrow, a mapping from names to arrays (n,), a list of
            mappings, or the path of a .csv, .tsv or .parquet file.
        label: the column of the classes: words, truth values, or whole numbers, which become
            0..C-1 in order, with the others in ``class_names``; or of numbers to be predicted.
        test: which rows are test points: a fraction, drawn within classes; a column of truth values
            or of the words train and test; or a second table or file with the same columns. None:
            none of them.
        name: what to call the dataset; by default the name of the file.
        group: a column, or an array (n,), of what must not have rows in both sets, such as
            patients; a fraction is then met as well as whole groups allow.
        identifier: a column of what rows are called; by default the index of a pandas frame, or
            the number of the row.
        drop: columns to leave out.
        extra_labels: further columns of labels, such as those of other annotators.
        scale: whether columns of numbers get mean 0 and deviation 1.
        missing: ``"impute"`` fills missing entries with the median, or the most frequent word, and
            warns; ``"refuse"`` names their columns.
        max_categories: most different words that a column may have; by default 50, and no more
            than half of its entries, since columns of text or names are no categories.
        regression: whether the label is a number to be predicted: `Dataset.train_targets`. None:
            where it holds fractions.
        seed: of the draw of test rows by a fraction.

    Returns:
        The dataset, of kind "table".

    Raises:
        ImportError: without pyarrow.
        ValueError: for columns that are missing or named twice; for labels that are missing or of
            one class; for columns of infinite numbers, of dates, of text, or of lists, all of them
            named; for groups in both sets.
        TypeError: if ``table`` is none.
        OSError: if a file cannot be read.

    Warns:
        UserWarning: of columns that were left out, entries that were filled in, classes that were
            numbered anew, and test rows that equal training rows.

    Source: imputation, scaling and one-hot coding are scikit-learn's.

    Example:
        >>> import ntk_air as na
        >>> table = {"age": [30, 50], "town": ["Riga", "Oslo"], "ill": ["no", "yes"]}
        >>> data = na.datasets.from_table(table, label="ill")
        >>> print(data.train_inputs, data.class_names)
        [[-1.  1.]
         [ 1.  0.]] ('no', 'yes')
    """
    read = read_table(table)
    options = TableOptions(
        label, test, group, identifier, drop, extra_labels, check_bool("scale", scale), missing,
        max_categories, regression, seed,
    )  # fmt: skip
    source = table_source(read, options)
    names = source.class_names or numbered(source)
    rows = tuple(
        np.arange(0 if split is None else len(split.labels))
        for split in (source.train, source.test)
    )
    classes = (names, np.arange(len(names)))
    return assembled(source, name or read.name, classes, (rows[0], rows[1]), (rows[0], rows[1]))
