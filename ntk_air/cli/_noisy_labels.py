"""What ``stop`` and ``labels`` share: options, observed labels, and the kernel's spectrum."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from ._options import (
    DATASET_DEFAULTS,
    add_dataset_options,
    add_numbers,
    add_precision_option,
    load_dataset,
)

if TYPE_CHECKING:
    from .._typing import Array
    from ..datasets import Dataset
    from ..kernels import Architecture
    from ..noise import NoisyLabels
    from ..spectral import Eigensystem

DEFAULTS: dict[str, Any] = {
    **DATASET_DEFAULTS,
    "noise": "none",
    "labels": None,
    "depth": 1,
    "weight_std": 1.4,
    "bias_std": 0.1,
    "rank": None,
    "memory_budget": None,
    "seed": 0,
    "precision": None,
    "out": None,
}


@dataclasses.dataclass(frozen=True)
class LabelProblem:
    """Observed labels and the kernel's spectrum.

    Attributes:
        dataset: flat and standardised.
        noisy: observed labels; their ``clean`` ones are the truth only if ``truth_known``.
        observed: their codes (n, C).
        eigensystem: of the training kernel.
        architecture: whose kernel it is.
        budget: bytes for kernels.
    """

    dataset: Dataset
    noisy: NoisyLabels
    observed: Array
    eigensystem: Eigensystem
    architecture: Architecture
    budget: int

    @property
    def truth_known(self) -> bool:
        """False where the labels are those of the file, whatever they are worth."""
        return self.noisy.model != "none"


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
    add_numbers(
        parser,
        ("--depth", int, "hidden layers of the network whose kernel is used (default 1)"),
        ("--weight-std", float, "standard deviation of weights (default 1.4)"),
        ("--bias-std", float, "standard deviation of biases (default 0.1)"),
        ("--rank", int, "eigenpairs (default all)"),
        ("--memory-budget", float, "bytes (default half of what is free)"),
        ("--seed", int, "of the draw of points and the noise (default 0)"),
    )
    add_precision_option(parser)
    parser.add_argument("--config", help="TOML file with any of these settings; flags win")


def prepare(options: dict[str, Any], *, test_size: int | None) -> LabelProblem:
    """Loads the data, takes the observed labels, computes the kernel and its spectrum."""
    import jax.numpy as jnp

    from .. import datasets, kernels, spectral
    from .._checks import check_size
    from .._memory import eigensystem_budget

    dataset, noisy = _observed(options, test_size)
    n = len(noisy.labels)
    if dataset.train_inputs.ndim == 4:
        dataset = dataset.standardized(per_image=True).flattened(unit_norm="sqrt_d")
    elif dataset.train_inputs.ndim != 2:
        dataset = dataset.flattened()
    if options["rank"] is not None:
        check_size("rank", options["rank"], 1, n)
    budget = eigensystem_budget(
        f"the kernel of {n} points",
        n,
        jnp.dtype(jnp.result_type(float)).itemsize,
        options["memory_budget"],
        rank=options["rank"],
        advice="use fewer points (--train-size), fewer eigenpairs (--rank, e.g. "
        f"{max(1, n // 20)}) or a larger --memory-budget",
    )
    architecture = kernels.fully_connected(
        options["depth"],
        8,  # the infinite-width kernel has no use for a width
        num_outputs=dataset.num_classes,
        weight_std=options["weight_std"],
        bias_std=options["bias_std"],
    )
    kernel = kernels.infinite_ntk(
        architecture,
        dataset.train_inputs,
        memory_budget=budget,
        progress=True,
        precision=options["precision"],
    )
    eigensystem = spectral.eigendecompose(kernel, rank=options["rank"])
    observed = datasets.encode(noisy.labels, dataset.num_classes)
    return LabelProblem(dataset, noisy, observed, eigensystem, architecture, budget)


def _observed(options: dict[str, Any], test_size: int | None) -> tuple[Dataset, NoisyLabels]:
    from .. import noise

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
    noisy = noise.apply(
        spec,
        dataset.train_labels,
        num_classes=dataset.num_classes,
        seed=options["seed"],
        inputs=dataset.standardized().train_inputs,
        extra_labels=dataset.extra_labels,
    )
    return dataset, noisy
