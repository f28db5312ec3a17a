"""A theorem report as files: Markdown, JSON, a figure and the result."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from .. import plots
from .._files import check_writable
from .._results import save
from .._text import markdown
from ..theory import TheoremReport


def write_theorem_report(
    report: TheoremReport, directory: str | os.PathLike[str], name: str = "theorem"
) -> Path:
    """Writes ``name.md``, ``name.json``, ``name.png`` and ``name.ntkair``.

    Args:
        report: what a ``check_*`` of `ntk_air.theory` returned.
        directory: the folder, made where needed.
        name: of the files.

    Returns:
        The path of the Markdown, which shows the figure.

    Raises:
        ValueError: if the folder cannot be written, or the name is none of a file.
        TypeError: if the report holds what no file can.

    Example:
        >>> import tempfile, ntk_air as na
        >>> check = na.theory.Check(name="small", statement="x <= 1", required=1,
        ...                         measured=2, holds=False)
        >>> report = na.theory.TheoremReport("T", "a paper", (), (check,), {}, {})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     na.reports.write_theorem_report(report, folder, "mine").name
        'mine.md'
    """
    folder = check_writable(directory)
    if Path(name).name != name:
        raise ValueError(f"name is {name!r}, expected that of a file, without a folder.")
    text = report.to_markdown() + f"\n![{markdown(report.name)}]({quote(name)}.png)\n"
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    (folder / f"{name}.json").write_text(report.to_json(), encoding="utf-8")
    plots.theorem_figure(report).savefig(folder / f"{name}.png")
    save(report, folder / f"{name}.ntkair")
    return folder / f"{name}.md"
