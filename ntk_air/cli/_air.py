"""``ntk-air air``: the main job."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._text import one_line, plain
from ._network import NETWORK_DEFAULTS, add_network_options, network_of
from ._options import (
    DATASET_DEFAULTS,
    Options,
    add_dataset_options,
    add_numbers,
    add_precision_option,
    load_dataset,
    noisy_labels,
    options_of,
    refuse_idle,
)

if TYPE_CHECKING:
    from ..analysis import AIRAnalysis

_DEFAULTS: dict[str, Any] = {
    **DATASET_DEFAULTS,
    "test_size": None,
    "noise": "symmetric:0.4",
    **NETWORK_DEFAULTS,
    "out": None,
}
_OF_TRAINING = ("learning_rate", "momentum", "time_constant")


def add_parser(commands: Any) -> None:
    """Adds the subcommand to the parser."""
    one = commands.add_parser(
        "air",
        help="signal and noise in the NTK's spectrum, retrieval over time, and a report",
        description="Computes the NTK's spectrum, the share of clean signal and label noise in "
        "each direction, predicted and measured retrieval over training time, and what early "
        "stopping and self-distillation make of it; writes a report.",
        argument_default=argparse.SUPPRESS,
    )
    add_dataset_options(one)
    one.add_argument("--test-size", type=int, help="test points")
    one.add_argument(
        "--noise",
        help="none, symmetric:RATE (default 0.4), asymmetric:RATE, "
        "pair_flip:RATE, instance:RATE, human:worst, human_transition:worst",
    )
    add_network_options(one, "of the draw of points, the noise and the network (default 0)")
    one.add_argument("--architecture", help=argparse.SUPPRESS)  # the name of --network once
    add_numbers(
        one,
        ("--steps", int, "training steps of each network (default 1000 of fc, else 60; 0: none)"),
        ("--learning-rate", float, "for the summed loss (default 1 / largest eigenvalue)"),
        ("--momentum", float, "heavy-ball momentum (default 0 of fc, else 0.9)"),
        ("--time-constant", float, "of the self-distillation schedule, in steps (default: GCV)"),
    )
    one.add_argument(
        "--cross-entropy", action="store_true", help="also train by cross-entropy, and compare"
    )
    add_precision_option(one)
    one.add_argument("--config", help="TOML file with any of these settings; flags win")
    one.add_argument("--out", help="folder for report.html, figures/ and summary.json")
    one.set_defaults(run=run, parser=one)


def run(arguments: argparse.Namespace) -> int:
    """Runs the main job and writes its report, or prints the summary as JSON."""
    options = options_of(arguments, _DEFAULTS)
    if options.get("steps") == 0:
        refuse_idle(options, _OF_TRAINING, "where --steps is 0: no network is trained")
    from .. import analysis, reports

    if options["out"] is None:
        numbers = plain(analysis.summary(_analyse(options)))
        print(json.dumps(numbers, indent=1, allow_nan=False))
        return 0
    began = time.perf_counter()
    with reports.output_folder(options["out"]) as out:
        numbers = reports.write_air_report(_analyse(options), out)
    _tell(numbers, out, time.perf_counter() - began)
    return 0


def _analyse(options: Options) -> AIRAnalysis:
    from .. import analysis

    names = {field.name for field in dataclasses.fields(analysis.Settings)}
    settings = analysis.Settings(**{k: v for k, v in options.items() if k in names})
    if options.get("architecture") is not None:
        print("--architecture is called --network now", file=sys.stderr)
        options["network"] = options["network"] or options["architecture"]
    dataset = load_dataset(
        options, test_size=options["test_size"], seed=settings.seed, noise=str(options["noise"])
    )
    noisy = noisy_labels(str(options["noise"]), dataset, settings.seed)
    how = network_of(options, dataset)
    return analysis.air(dataset, noisy, settings, progress=True, **how)


def _tell(numbers: dict[str, Any], out: Path, seconds: float) -> None:
    """The findings in a few lines on standard output."""
    from ..analysis import headline_rank

    air, accuracy = numbers["air"], numbers["stopping"]["test_accuracy"]
    k = headline_rank(numbers)
    print(
        f"{one_line(numbers['dataset'])}: {numbers['num_points']} points, "
        f"{numbers['noise_rate']:.1%} wrong labels ({numbers['noise']})"
    )
    print(
        f"first {k} directions: signal {air['cumulative_signal'][str(k)]:.3f}, "
        f"noise {air['cumulative_noise'][str(k)]:.3f}; AIR index {air['index']:.3f}"
    )
    if accuracy["oracle"] is not None:
        print(
            f"kernel test accuracy: best stop {accuracy['oracle']:.2%}, "
            f"GCV stop {accuracy['gcv']:.2%}, converged {accuracy['converged']:.2%}"
        )
    for name, one in numbers["networks"].items():
        if one is None:
            continue
        best, last = one["best_test_accuracy"], one["last_test_accuracy"]
        scores = "" if best is None else f"best {best:.2%}, last {last:.2%}, "
        print(f"network, {name.replace('_', '-')}: {scores}l2 to clean {one['l2_to_clean']:.3f}")
    print(f"{out / 'report.html'} ({seconds:.0f} s)")
    sys.stdout.flush()
