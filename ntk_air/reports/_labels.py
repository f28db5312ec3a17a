"""A label report as a file: a page to look at, a table to correct, or one for other programs."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from .._checks import check_bool, check_size
from .._files import check_writable
from .._text import spreadsheet
from ..analysis import LabelReport
from ..datasets import Dataset, holds_corrections
from ._suspects import suspects_page

_SUFFIXES = (".csv", ".parquet", ".html")
_NAMED = ".csv, .parquet or .html"


def check_label_file(path: str | os.PathLike[str], *, name: str = "path") -> Path:
    """Finds out before the work what would stop `write_label_report` at the end.

    Args:
        path: of the file; its folder is made where needed.
        name: what messages call it.

    Raises:
        ValueError: if it does not end in .csv, .parquet or .html, there is no way to write there,
            or corrections would be lost.
        ImportError: if it is a parquet file and there is no pyarrow.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     na.reports.check_label_file(pathlib.Path(folder) / "suspected.csv").name
        'suspected.csv'
    """
    out = Path(path)
    if out.suffix not in _SUFFIXES or out.is_dir():
        raise ValueError(f"{name} is {path}, expected a file that ends in {_NAMED}.")
    if out.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "writing parquet files needs pyarrow: pip install 'ntk_air[readers]', or write "
                ".csv."
            ) from error
    check_writable(out.parent)
    listed = out.with_suffix(".csv")
    if out.suffix != ".parquet" and (lost := holds_corrections(listed)):
        raise ValueError(
            f"{listed} holds {lost} corrections, which would be lost; choose another name, or move "
            "that file."
        )
    return out


def write_label_report(
    report: LabelReport,
    path: str | os.PathLike[str],
    *,
    every: bool = False,
    dataset: Any = None,
    identifier: str | None = None,
    most: int = 300,
) -> dict[str, list[Any]]:
    """Writes the suspected labels to a .html, .csv or .parquet file, the most doubtful first.

    A .html file is one page that needs no other, and a .csv file of the same name is written beside
    it. Tables have an empty column ``corrected``, to write the right classes into and to read with
    `ntk_air.datasets.read_corrections`; a .csv file that holds corrections is not written over. In
    .csv files text that a spreadsheet would run as a formula gets an apostrophe in front.

    Args:
        report: the result of `ntk_air.analysis.label_report`.
        path: of the file.
        every: write every label and not only the suspected ones.
        dataset: of a page, the data that was judged, to show it: a `Dataset` of images, or a table,
            as `ntk_air.datasets.from_table` takes it. None: labels and identifiers alone.
        identifier: of a table, the column of what its rows are called, as it was for the report.
        most: of a page, how many labels it shows; it says how many there are.

    Returns:
        The columns that were written.

    Raises:
        ValueError: if the file ends in something else, its folder cannot be written, or it holds
            corrections; for a dataset without the report's points or without pictures, or where
            there is no page to show it on.
        ImportError: if it is a parquet file or a table, and there is no pyarrow; or of images, and
            there is no Pillow.
        TypeError: if ``dataset`` is neither.
        OSError: if a file cannot be read or written.

    Example:
        >>> import pathlib, tempfile, numpy as np, ntk_air as na
        >>> x = np.array([0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3])[:, None]
        >>> kernel = np.exp(-((x - x.T) ** 2)) + 0.1 * np.eye(8)
        >>> labels = [0, 0, 1, 0, 1, 1, 1, 1]
        >>> report = na.analysis.label_report(x, labels, kernel=kernel, noise_rate=0.125)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "suspects.html"
        ...     columns = na.reports.write_label_report(report, path)
        ...     columns["index"], sorted(file.name for file in path.parent.iterdir())
        ([2], ['suspects.csv', 'suspects.html'])
    """
    out = check_label_file(path)
    table = report.table() if check_bool("every", every) else report.suspects()
    table["corrected"] = [""] * len(table["index"])
    if out.suffix == ".html":
        check_size("most", most, 1)
        listed = out.with_suffix(".csv")
        if identifier is not None and (dataset is None or isinstance(dataset, Dataset)):
            raise ValueError(
                "identifier is a column of a table, and dataset is none; leave it out."
            )
        text = suspects_page(report, table, listed.name, dataset, identifier, most)
        out.write_text(text, encoding="utf-8")
        out = listed
    elif dataset is not None or identifier is not None:
        raise ValueError(
            f"dataset and identifier are shown on a page, and path is {path}; leave them out, or "
            "write a .html file."
        )
    if out.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(table), out)
        return table
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        rows = zip(*table.values(), strict=True)
        # Names of classes come from the data, and the file is made to be opened in a spreadsheet.
        writer.writerows([spreadsheet(c) if type(c) is str else c for c in row] for row in rows)
    return table
