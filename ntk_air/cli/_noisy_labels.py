"""What ``stop`` and ``labels`` share: options, observed labels, and the report on them."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from .._checks import check_size
from ._network import NETWORK_DEFAULTS, add_network_options, network_of
from ._options import (
    DATASET_DEFAULTS,
    Options,
    add_dataset_options,
    add_precision_option,
    load_dataset,
    noisy_labels,
)

if TYPE_CHECKING:
    from ..analysis import LabelReport
    from ..datasets import Dataset
    from ..noise import NoisyLabels

DEFAULTS: dict[str, Any] = {
    **DATASET_DEFAULTS,
    "noise": "none",
    "labels": None,
    "corrections": None,
    **NETWORK_DEFAULTS,
    "out": None,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Data set, its observed labels, the kernel, and where settings come from."""
    add_dataset_options(
        parser,
        "selection: the labels of a sixth of the training set, kept apart to choose settings on; "
        "reporting: those of the others (default: all of the training set)",
    )
    parser.add_argument(
        "--noise",
        help="none: the labels are as observed (default); or noise to try it on: symmetric:RATE, "
        "asymmetric:RATE, pair_flip:RATE, human:worst, ...",
    )
    parser.add_argument(
        "--labels",
        help="observed labels are this further column of the data, e.g. worst of CIFAR-10N; the "
        "data's own labels are then the truth",
    )
    parser.add_argument(
        "--corrections",
        metavar="FILE",
        help="suspects.csv of an earlier run with right classes in its column corrected, which "
        "take the place of the data's labels",
    )
    add_network_options(parser, "of the draw of points, the noise and the network (default 0)")
    add_precision_option(parser)
    parser.add_argument("--config", help="TOML file with any of these settings; flags win")


def report_of(
    options: Options, *, test_size: int | None, **how: Any
) -> tuple[Dataset, NoisyLabels, LabelReport]:
    """Loads the data, takes the observed labels, and has them judged; ``how`` is for the report.

    The labels' ``clean`` ones are the truth only if `truth_known`.
    """
    import jax.numpy as jnp

    from .. import analysis
    from .._memory import eigensystem_budget

    dataset, noisy = _observed(options, test_size)
    n, rank = len(noisy.labels), options["rank"]
    if rank is not None:
        check_size("rank", rank, 1, n)
    given = network_of(options, dataset)
    budget = options["memory_budget"]
    if isinstance(given["kernel"], str):
        # As `label_report` does, with advice that names flags.
        budget = eigensystem_budget(
            f"the kernel of {n} points",
            n,
            jnp.dtype(jnp.result_type(float)).itemsize,
            budget,
            rank=rank,
            advice="use fewer points (--train-size), fewer eigenpairs (--rank, e.g. "
            f"{max(1, n // 20)}) or a larger --memory-budget",
        )
    names = ("depth", "width", "weight_std", "bias_std", "rank", "precision", "seed")
    passed = {k: options[k] for k in names}
    report = analysis.label_report(
        dataset, noisy, memory_budget=budget, progress=True, **given, **passed, **how
    )
    return dataset, noisy, report


def truth_known(noisy: NoisyLabels) -> bool:
    """False where the labels are those of the file, whatever they are worth."""
    return noisy.model != "none"


def _observed(options: Options, test_size: int | None) -> tuple[Dataset, NoisyLabels]:
    column, spec = options["labels"], options["noise"]
    if column is not None and spec != "none":
        raise ValueError(f"--labels {column} and --noise {spec} both say what was observed.")
    spec = spec if column is None else f"human:{column}"
    dataset = load_dataset(
        options, test_size=test_size, seed=options["seed"], noise=spec, judged=True
    )
    if column is not None and column not in dataset.extra_labels:
        raise ValueError(
            f"--labels is {column!r} and {dataset.name} has the further labels "
            f"{', '.join(dataset.extra_labels) or 'none'}."
        )
    if options["corrections"] is not None:
        dataset = _corrected(dataset, options)
    return dataset, noisy_labels(spec, dataset, options["seed"])


def _corrected(dataset: Dataset, options: Options) -> Dataset:
    import numpy as np

    if options["labels"] is not None or options["noise"] != "none":
        raise ValueError(
            "--corrections are of the data's own labels, and --labels or --noise puts others in "
            "their place; leave one of them out."
        )
    corrected = dataset.corrected(options["corrections"])
    changed = int(np.sum(np.asarray(corrected.train_labels) != np.asarray(dataset.train_labels)))
    print(f"{options['corrections']}: {changed} labels corrected", file=sys.stderr)
    return corrected


def shown_data(options: Options, dataset: Dataset) -> dict[str, Any]:
    """What a page shows of the data: images, or the rows of the table; nothing of vectors."""
    if dataset.kind == "table":
        return {"dataset": options["dataset"], "identifier": options["identifier"]}
    return {"dataset": dataset} if dataset.kind == "images" else {}
