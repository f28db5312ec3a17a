"""A label report as a table in a file, for a spreadsheet or another program."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from .._checks import check_bool
from .._files import check_writable
from .._text import spreadsheet
from ..analysis import LabelReport

_SUFFIXES = (".csv", ".parquet")


def check_label_file(path: str | os.PathLike[str], *, name: str = "path") -> Path:
    """Finds out before the work what would stop `write_label_report` at the end.

    Args:
        path: of the file; its folder is made where needed.
        name: what messages call it.

    Raises:
        ValueError: if it does not end in .csv or .parquet, or there is no way to write there.
        ImportError: if it is a parquet file and there is no pyarrow.

    Example:
        >>> import pathlib, tempfile, ntk_air as na
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     na.reports.check_label_file(pathlib.Path(folder) / "suspected.csv").name
        'suspected.csv'
    """
    out = Path(path)
    if out.suffix not in _SUFFIXES or out.is_dir():
        raise ValueError(f"{name} is {path}, expected a file that ends in .csv or .parquet.")
    if out.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "writing parquet files needs pyarrow: pip install 'ntk_air[readers]', or write "
                ".csv."
            ) from error
    check_writable(out.parent)
    return out


def write_label_report(
    report: LabelReport, path: str | os.PathLike[str], *, every: bool = False
) -> dict[str, list[Any]]:
    """Writes the suspected labels to a .csv or .parquet file, the most doubtful first.

    In .csv files text that a spreadsheet would run as a formula gets an apostrophe in front.

    Args:
        report: the result of `ntk_air.analysis.label_report`.
        path: of the file.
        every: write every label and not only the suspected ones.

    Returns:
        The columns that were written.

    Raises:
        ValueError: if the file does not end in .csv or .parquet, or its folder cannot be written.
        ImportError: if it is a parquet file and there is no pyarrow.
        OSError: if the file cannot be written.

    Example:
        >>> import pathlib, tempfile, numpy as np, ntk_air as na
        >>> x = np.array([0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3])[:, None]
        >>> kernel = np.exp(-((x - x.T) ** 2)) + 0.1 * np.eye(8)
        >>> labels = [0, 0, 1, 0, 1, 1, 1, 1]
        >>> report = na.analysis.label_report(x, labels, kernel=kernel, noise_rate=0.125)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder) / "suspected.csv"
        ...     columns = na.reports.write_label_report(report, path)
        ...     columns["index"], len(path.read_text().splitlines())
        ([2], 2)
    """
    out = check_label_file(path)
    table = report.table() if check_bool("every", every) else report.suspects()
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
