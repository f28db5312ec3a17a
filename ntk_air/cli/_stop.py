"""``ntk-air stop``: how noisy the labels are and when to stop, from the labels alone."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from .._text import one_line, plain
from ._noisy_labels import DEFAULTS, add_options, report_of, truth_known
from ._options import Options, computing, options_of

if TYPE_CHECKING:
    import argparse

    from ..analysis import LabelReport, NoiseRate
    from ..noise import NoisyLabels

_DEFAULTS = {**DEFAULTS, "test_size": None, "learning_rate": None}


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    import argparse

    one = commands.add_parser(
        "stop",
        help="noise rate and stopping time from noisy labels alone",
        description="Estimates how noisy the labels are, and when to stop kernel gradient flow, "
        "by every rule; where the data has test labels, with the accuracy on them.",
        argument_default=argparse.SUPPRESS,
    )
    add_options(one)
    one.add_argument("--test-size", type=int, help="test points")
    one.add_argument(
        "--learning-rate", type=float, help="for the summed loss, to give times in steps"
    )
    one.add_argument("--out", help="folder for stopping.json and stopping.png")
    one.set_defaults(run=run, parser=one)


def run(arguments: argparse.Namespace) -> int:
    """Estimates, prints a table, and writes it where asked."""
    options = options_of(arguments, _DEFAULTS)
    rate = options["learning_rate"]
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise ValueError(f"--learning-rate is {rate}, expected a positive number.")
    with computing(options["precision"]):
        return _run(options)


def _run(options: Options) -> int:
    from .. import reports

    if options["out"] is None:
        print(_table(_measure(options)[0]))
        return 0
    with reports.output_folder(options["out"]) as out:
        numbers, report = _measure(options)
        from .. import plots

        figure = plots.standalone(
            plots.stopping_rules,
            list(report.stopping_times.values()),
            test_accuracy=report.test_accuracy,
        )
        figure.savefig(out / "stopping.png")
        (out / "stopping.json").write_text(
            json.dumps(plain(numbers), indent=1, allow_nan=False) + "\n", encoding="utf-8"
        )
    print(_table(numbers))
    print(out)
    return 0


def _measure(options: Options) -> tuple[dict[str, Any], LabelReport]:
    """The numbers that are printed, and the report that they are from."""
    dataset, noisy, report = report_of(options, test_size=options["test_size"], test=True)
    accuracy = report.test_accuracy
    numbers: dict[str, Any] = {
        "dataset": dataset.name,
        "num_points": len(report.given),
        "num_classes": dataset.num_classes,
        "noise": _noise(report.noise_rate, noisy),
        "directions_left_out": len(report.given) - report.rank,
        "rules": {},
        "best_test_accuracy": None if accuracy is None else float(accuracy.max()),
    }
    for rule, one in report.stopping_times.items():
        time = float(one.time)
        chosen = int((one.times == one.time).argmax())
        rate = options["learning_rate"]
        if rate is not None and not math.isfinite(time / rate):
            raise ValueError(
                f"--learning-rate is {rate:g}, which takes more steps to time {time:g} than can be "
                "counted; give a larger one."
            )
        numbers["rules"][rule] = {
            "time": time,
            "steps": None if rate is None else round(time / rate),
            "degrees_of_freedom": report.degrees_of_freedom[rule],
            "at_edge": one.at_edge,
            "test_accuracy": None if accuracy is None else float(accuracy[chosen]),
        }
    return numbers, report


def _noise(found: NoiseRate, noisy: NoisyLabels) -> dict[str, Any]:
    """Estimated noise rates, and the true one where it is known."""
    return {
        "rate": float(found),
        "interval": [float(found.lower), float(found.upper)],
        "identified": found.identified,
        "tail": float(found.tail.rate),
        "standard_error": float(found.tail.standard_error),
        "upper": float(found.tail.upper),
        "upper_holds_for": "symmetric noise",
        "only_a_bound": found.tail.upper_bound,
        "likelihood": float(found),
        "confident": float(found.confident),
        "true": noisy.empirical_rate if truth_known(noisy) else None,
    }


def _table(numbers: dict[str, Any]) -> str:
    noise = numbers["noise"]
    true = "" if noise["true"] is None else f"; true {noise['true']:.3f}"
    bound = (
        "only an upper bound: the kernel resolves too little of the signal"
        if noise["only_a_bound"]
        else "an estimate"
    )
    lines = [
        f"{one_line(numbers['dataset'])}: {numbers['num_points']} points, "
        f"{numbers['num_classes']} classes",
        f"noise rate {noise['rate']:.3f} ({noise['interval'][0]:.3f} to {noise['interval'][1]:.3f}"
        f"{'' if noise['identified'] else ', not told well'}){true}",
        f"by the tail alone {noise['tail']:.3f} ± {noise['standard_error']:.3f} ({bound}), "
        f"at most {noise['upper']:.3f} if the noise is symmetric; by confident learning "
        f"{noise['confident']:.3f}",
        "",
        f"{'rule':<20} {'time':>10} {'steps':>8} {'freedom':>8} {'test':>7}",
    ]
    for rule, one in numbers["rules"].items():
        steps = "–" if one["steps"] is None else str(one["steps"])
        test = "–" if one["test_accuracy"] is None else f"{one['test_accuracy']:.2%}"
        edge = "  at the edge of what is known, or flat" if one["at_edge"] else ""
        lines.append(
            f"{rule:<20} {one['time']:>10.4g} {steps:>8} {one['degrees_of_freedom']:>8.1f} "
            f"{test:>7}{edge}"
        )
    if numbers["directions_left_out"]:
        lines.append(
            f"{numbers['directions_left_out']} directions are outside the spectrum and count at "
            "their mean eigenvalue: every score is an estimate"
        )
    if numbers["best_test_accuracy"] is not None:
        lines.append(f"{'best (needs truth)':<20} {'':>28} {numbers['best_test_accuracy']:>7.2%}")
    return "\n".join(lines)
