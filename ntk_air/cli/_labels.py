"""``ntk-air labels``: which labels are probably wrong, and what they should be."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from .._text import one_line
from ._noisy_labels import DEFAULTS, add_options, report_of, shown_data, truth_known
from ._options import Options, computing, options_of

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from ..analysis import LabelReport
    from ..noise import NoisyLabels

_DEFAULTS = {**DEFAULTS, "all": False, "noise_rate": None, "rule": "leave_one_out"}
_SHOWN = 20
_MOST_CLASSES = 5


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
        help="suspects.html, a page with pictures or rows, and suspects.csv beside it, to correct; "
        f"or suspects.csv or .parquet; default here, the first {_SHOWN} (all by --all)",
    )
    one.set_defaults(run=run, parser=one)


def run(arguments: argparse.Namespace) -> int:
    """Finds the suspected labels and lists them."""
    from .. import reports

    options = options_of(arguments, _DEFAULTS)
    out = options["out"]
    if out is not None:
        out = reports.check_label_file(out, name="--out")
    with computing(options["precision"]):
        return _run(options, out)


def _run(options: Options, out: Path | None) -> int:
    from .. import reports

    began = time.perf_counter()
    # Rules that nothing is read of would warn of what they do not know.
    how = {"noise_rate": options["noise_rate"], "rule": options["rule"], "rules": ()}
    dataset, noisy, report = report_of(options, test_size=0, **how)
    print(_headline(dataset.name, report))
    for line in _by_class(report):
        print(line)
    if truth_known(noisy):
        print(_against_the_truth(noisy, report))
    if out is None:
        every = options["all"]
        _show(report.table() if every else report.suspects(), None if every else _SHOWN)
    else:
        shown = {}
        if out.suffix == ".html":
            shown = shown_data(options, dataset)
        table = reports.write_label_report(report, out, every=options["all"], **shown)
        print(f"{out}: {len(table['index'])} rows ({time.perf_counter() - began:.0f} s)")
    return 0


def _headline(name: str, report: LabelReport) -> str:
    count, n, noise = int(report.suspected.sum()), len(report.given), report.noise_rate
    rate, low, high = (float(x) for x in (noise.value, noise.lower, noise.upper))
    line = (
        f"{one_line(name)}: {count} of {n} labels suspected ({count / n:.1%}); "
        f"noise rate {rate:.3f}"
    )
    if low == high:
        return line + ", as given"
    line += f" ({low:.3f} to {high:.3f})"
    if noise.identified:
        return line
    return (
        f"{line}, which these labels and this kernel do not tell well: the score averages over "
        f"noises up to that of confident learning, {float(noise.confident):.3f}"
    )


def _by_class(report: LabelReport) -> list[str]:
    """How many are wrong, and for few classes the rates by class and from class to class."""
    wrong = report.num_wrong
    lines = [f"wrong labels: about {wrong.value:.0f}"]
    if wrong.lower < wrong.upper:
        lines[0] += f" ({wrong.lower:.0f} to {wrong.upper:.0f})"
    if len(report.class_names) > _MOST_CLASSES:
        return lines
    names = [one_line(name) for name in report.class_names]
    shares = ", ".join(
        f"{name} {float(rate):.1%}"
        for name, rate in zip(names, report.per_class["rate"], strict=True)
        if not math.isnan(float(rate))
    )
    lines += [f"wrong among those given each class: {shares}", "from right (rows) to given class:"]
    width = max([7, *map(len, names)])
    lines.append(" " * width + "".join(f"  {name:>{width}}" for name in names))
    for name, row in zip(names, report.transition.tolist(), strict=True):
        lines.append(f"{name:<{width}}" + "".join(f"  {share:>{width}.1%}" for share in row))
    return lines


def _against_the_truth(noisy: NoisyLabels, report: LabelReport) -> str:
    found = report.compare_with_truth(noisy.clean)
    if not found.wrong:
        return "truth: no label is wrong"
    precision = "undefined" if math.isnan(found.precision) else f"{found.precision:.3f}"
    return (
        f"truth ({noisy.model}): {found.wrong:.1%} wrong; precision {precision}, recall "
        f"{found.recall:.3f}, average precision {found.average_precision:.3f}; right labels "
        f"{found.right_before:.1%} -> {found.right_after:.1%}"
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
