"""``ntk-air report``: the pages and figures of a result that was saved."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    one = commands.add_parser(
        "report",
        help="pages and figures of saved results",
        description="Writes the report of results saved by air, distill, check or ntk_air.save.",
    )
    one.add_argument("files", nargs="+", metavar="FILE", help="analysis.ntkair, result.ntkair, ...")
    one.add_argument("--out", required=True, help="folder for pages and figures")
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Loads every file first, then writes; a folder for each where there are several."""
    from .. import load, reports

    results = {path: _known(path, load(path)) for path in map(Path, arguments.files)}
    names = [path.stem for path in results]
    if len(set(names)) < len(names):
        # Files of several runs have the same name, in folders that do not.
        names = [f"{path.resolve().parent.name}-{path.stem}" for path in results]
    if len(set(names)) < len(arguments.files):
        raise ValueError(
            f"the files are {', '.join(arguments.files)}, expected names that tell them apart; "
            "rename one, or make their reports one by one."
        )
    with reports.output_folder(arguments.out) as out:
        for name, result in zip(names, results.values(), strict=True):
            print(_written(result, out / name if len(results) > 1 else out, name))
    return 0


def _written(result: Any, folder: Path, name: str) -> Path:
    try:
        return _write(result, folder, name)
    except (OSError, MemoryError):
        raise
    # Fields of the right types may still not fit each other, and nothing here has computed them.
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{name} cannot be drawn, its parts do not fit each other ({reason}); save it anew."
        ) from error


def _known(path: Path, result: Any) -> Any:
    from ..analysis import AIRAnalysis
    from ..distillation import DistillationResult
    from ..theory import TheoremReport

    if not isinstance(result, AIRAnalysis | DistillationResult | TheoremReport):
        raise ValueError(
            f"{path} holds a {type(result).__name__}, expected an AIRAnalysis (of ntk-air air), a "
            "DistillationResult (distill) or a TheoremReport (check); draw others by ntk_air.plots."
        )
    return result


def _write(result: Any, folder: Path, name: str) -> Path:
    from .. import reports
    from ..analysis import AIRAnalysis
    from ..theory import TheoremReport

    if isinstance(result, AIRAnalysis):
        reports.write_air_report(result, folder)
        return folder / "report.html"
    if isinstance(result, TheoremReport):
        return reports.write_theorem_report(result, folder, name)
    return reports.write_training_report(result, folder)
