"""Methods for noisy labels side by side: ``python -m benchmarks.noisy_labels --help``.

Every cell, one method on one noise, trains its seeds in one call (or after one another) and is
stored when it is done. The same command goes on where it was interrupted, and with more ``--seeds``
the cells keep those that they have.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import _noisy_labels_cells as cells
from benchmarks import _noisy_labels_report

_USAGE_ERROR = 2
_SELF_DISTILL = ("self_distill/alpha=agreement", "self_distill/alpha=exponential:200")
_NOISES = ("symmetric:0.2", "symmetric:0.4", "symmetric:0.6", "asymmetric:0.4", "human:worst")


def _methods() -> list[str]:
    """Cross-entropy, self-distillation, and every other baseline as its record says."""
    from ntk_air.distillation.baselines import METHODS

    named = [
        f"{name}/{numbers}".rstrip("/")
        for name, one in METHODS.items()
        for numbers in one.benchmarked
    ]
    return [named[0], *_SELF_DISTILL, *named[1:]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code (0 done, 2 bad input)."""
    options = _parser().parse_args(arguments)
    try:
        wanted = _wanted(options)
        measured = _measured(options, wanted)
    except (ValueError, OSError, ImportError) as error:
        print(f"noisy_labels: {' '.join(str(error).split())}", file=sys.stderr)
        return _USAGE_ERROR
    if measured:
        print(_noisy_labels_report.markdown(measured))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.noisy_labels", description=__doc__)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--root", help="folder of the data files; default $NTK_AIR_DATA")
    parser.add_argument("--train-size", type=int, default=10_000)
    parser.add_argument("--test-size", type=int)
    parser.add_argument(
        "--purpose",
        default="reporting",
        choices=("selection", "reporting", "none"),
        help="selection: to choose schedules and strengths, on points apart from those reported on "
        "(default); none: the whole training set, as the tables up to now",
    )
    parser.add_argument("--network", default="mlp")
    parser.add_argument("--noise", default=",".join(_NOISES), help="comma-separated")
    parser.add_argument(
        "--methods",
        default=",".join(_methods()),
        help="comma-separated; numbers as in self_distill/alpha=exponential:2000 or gce/q=0.5",
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0, help="the first")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--schedule", default="constant", help="cosine, steps:0.1:0.5:0.75, ...")
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--validation", type=float, default=0.1)
    parser.add_argument("--augment", default="none")
    parser.add_argument("--precision")
    parser.add_argument("--one-by-one", action="store_true", help="the seeds after one another")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    parser.add_argument(
        "--only-report", action="store_true", help="of the cells and seeds that are there"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of cells and tables")
    return parser


def _wanted(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Settings of all cells, noise by noise."""
    if options.test_size == 0:
        raise ValueError(
            "--test-size is 0, expected test points: the tables are of their accuracy."
        )
    own = ("noise", "methods", "out", "note", "only_report")
    shared = {name: value for name, value in vars(options).items() if name not in own}
    shared["purpose"] = None if options.purpose == "none" else options.purpose
    noises, methods = _listed("--noise", options.noise), _listed("--methods", options.methods)
    return [cells.settings(noise, method, **shared) for noise in noises for method in methods]


def _listed(flag: str, text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{flag} is {text!r}, expected names, comma-separated, each once.")
    return names


def _measured(options: argparse.Namespace, wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    whole = not options.only_report
    done = [cells.load(options.out, one, whole=whole) for one in wanted]
    for index, one in enumerate(wanted):
        if done[index] is None and not options.only_report:
            done[index] = cell = cells.measure(options.out, one, options.note)
            name = f"{one['noise']} {one['method']}"
            print(f"{name}: {cell['seconds']:.0f} s", file=sys.stderr, flush=True)
            _noisy_labels_report.write([c for c in done if c is not None], options.out)
    found = [cell for cell in done if cell is not None]
    if found:
        _noisy_labels_report.write(found, options.out)
    return found


if __name__ == "__main__":
    sys.exit(main())
