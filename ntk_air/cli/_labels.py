"""``ntk-air labels``: which labels are probably wrong, and what they should be."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import one_line, spreadsheet
from ._noisy_labels import DEFAULTS, add_options, prepare
from ._options import computing, options_of

if TYPE_CHECKING:
    import argparse

    from ..dynamics import RefinedLabels
    from ._noisy_labels import LabelProblem

_DEFAULTS = {**DEFAULTS, "all": False, "noise_rate": None, "rule": "leave_one_out"}
_SHOWN = 20
_COLUMNS = (
    "index",
    "observed",
    "observed_name",
    "suggested",
    "suggested_name",
    "score",
    "margin",
    "confidence",
    "suspected",
)


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    import argparse

    one = commands.add_parser(
        "labels",
        help="labels that are probably wrong, and what they should be",
        description="Predicts each point with kernel gradient flow that never saw its label, and "
        "lists the labels that are probably wrong, the most doubtful first.",
        argument_default=argparse.SUPPRESS,
    )
    add_options(one)
    one.add_argument("--noise-rate", type=float, help="share of wrong labels, where it is known")
    one.add_argument("--rule", help="that chooses the stopping time (default leave_one_out)")
    one.add_argument("--all", action="store_true", help="list every point, not only the suspected")
    one.add_argument(
        "--out",
        help=f"suspected.csv or .parquet; default here, the first {_SHOWN} (all by --all)",
    )
    one.set_defaults(run=run, parser=one)


def run(arguments: argparse.Namespace) -> int:
    """Finds the suspected labels and lists them."""
    options = options_of(arguments, _DEFAULTS)
    out = _checked(options["out"])
    with computing(options["precision"]):
        return _run(options, out)


def _run(options: dict[str, Any], out: Path | None) -> int:
    from .. import dynamics

    began = time.perf_counter()
    problem = prepare(options, test_size=0)
    refined = dynamics.refine_labels(
        problem.eigensystem,
        problem.observed,
        noise_rate=options["noise_rate"],
        rule=options["rule"],
    )
    table = _table(problem, refined, every=options["all"])
    print(_headline(problem, refined))
    if problem.truth_known:
        print(_against_the_truth(problem, refined))
    if out is None:
        _show(table, None if options["all"] else _SHOWN)
    else:
        _write(table, out)
        print(f"{out}: {len(table['index'])} rows ({time.perf_counter() - began:.0f} s)")
    return 0


def _checked(path: str | None) -> Path | None:
    """Finds out before the work what would stop it at the end."""
    if path is None:
        return None
    from .. import reports

    out = Path(path)
    if out.suffix not in (".csv", ".parquet") or out.is_dir():
        raise ValueError(f"--out is {path}, expected a file that ends in .csv or .parquet.")
    if out.suffix == ".parquet":
        try:
            import pyarrow  # noqa: F401
        except ImportError as error:
            raise ImportError(
                "writing parquet files needs pyarrow: pip install 'ntk_air[readers]', or write "
                ".csv."
            ) from error
    reports.check_writable(out.parent)
    return out


def _table(problem: LabelProblem, refined: RefinedLabels, *, every: bool) -> dict[str, list[Any]]:
    """Columns, the most doubtful label first."""
    import numpy as np

    score = np.asarray(refined.score)
    order = np.lexsort((np.asarray(refined.margin), score))
    if not every:
        order = order[np.asarray(refined.suspected)[order]]
    observed = np.asarray(problem.noisy.labels)[order]
    probabilities = np.asarray(refined.probabilities)[order]
    suspected = np.asarray(refined.suspected)[order]
    suggested = np.where(suspected, refined.alternative[order], observed)
    names = problem.dataset.class_names
    columns = (
        np.asarray(problem.dataset.train_rows)[order].tolist(),
        observed.tolist(),
        [names[c] for c in observed],
        suggested.tolist(),
        [names[c] for c in suggested],
        score[order].tolist(),
        np.asarray(refined.margin)[order].tolist(),
        probabilities[np.arange(len(order)), suggested].tolist(),
        suspected.tolist(),
    )
    return dict(zip(_COLUMNS, columns, strict=True))


def _headline(problem: LabelProblem, refined: RefinedLabels) -> str:
    import numpy as np

    count, n = int(np.sum(np.asarray(refined.suspected))), len(problem.noisy.labels)
    rate, low, high = (float(x) for x in (refined.noise_rate, refined.lower, refined.upper))
    line = (
        f"{one_line(problem.dataset.name)}: {count} of {n} labels suspected ({count / n:.1%}); "
        f"noise rate {rate:.3f}"
    )
    if low == high:
        return line + ", as given"
    line += f" ({low:.3f} to {high:.3f})"
    if refined.identified:
        return line
    return (
        f"{line}, which these labels and this kernel do not tell well: the score averages over "
        f"noises up to that of confident learning, {float(refined.confident_rate):.3f}"
    )


def _against_the_truth(problem: LabelProblem, refined: RefinedLabels) -> str:
    import numpy as np
    from sklearn.metrics import average_precision_score

    wrong, suspected = np.asarray(problem.noisy.flipped), np.asarray(refined.suspected)
    if not wrong.any():
        return "truth: no label is wrong"
    hits = int(np.sum(wrong & suspected))
    precision = f"{hits / suspected.sum():.3f}" if suspected.any() else "undefined"
    repaired = np.mean(np.asarray(refined.labels) == np.asarray(problem.noisy.clean))
    return (
        f"truth ({problem.noisy.model}): {wrong.mean():.1%} wrong; precision {precision}, recall "
        f"{hits / wrong.sum():.3f}, average precision "
        f"{average_precision_score(wrong, -np.asarray(refined.score)):.3f}; right labels "
        f"{1 - wrong.mean():.1%} -> {repaired:.1%}"
    )


def _show(table: dict[str, list[Any]], most: int | None) -> None:
    table = {k: [one_line(c) if type(c) is str else c for c in v] for k, v in table.items()}
    width = max([len("suggested"), *map(len, table["observed_name"])])
    print(f"{'index':>8}  {'observed':<{width}}  {'suggested':<{width}}  score  confidence")
    for i, index in enumerate(table["index"][:most]):
        print(
            f"{index:>8}  {table['observed_name'][i]:<{width}}  "
            f"{table['suggested_name'][i]:<{width}}  {table['score'][i]:.3f}  "
            f"{table['confidence'][i]:.3f}"
        )
    left = 0 if most is None else len(table["index"]) - most
    if left > 0:
        print(f"and {left} more; --out suspected.csv lists all of them")


def _write(table: dict[str, list[Any]], out: Path) -> None:
    if out.suffix == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.table(table), out)
        return
    with open(out, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        rows = zip(*table.values(), strict=True)
        # Names of classes come from the data, and the file is made to be opened in a spreadsheet.
        writer.writerows([spreadsheet(c) if type(c) is str else c for c in row] for row in rows)
