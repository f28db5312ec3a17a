"""Clean and noisy targets as an analysis uses them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from ... import datasets
from ..._typing import Array, Float
from ...datasets import Dataset
from ...noise import NoisyLabels


@dataclasses.dataclass(frozen=True)
class Targets:
    """Targets of the training and of the test points.

    Attributes:
        clean, observed: (n, C).
        test: (m, C), of the test points.
        retention: κ of the noise model.
    """

    clean: Float[Array, "n C"]
    observed: Float[Array, "n C"]
    test: Float[Array, "m C"]
    retention: float

    @property
    def noise(self) -> Float[Array, "n C"]:
        """ξ = ỹ − κy."""
        return self.observed - self.retention * self.clean


def check_dataset(dataset: Any) -> None:
    """Raises ValueError unless this is a dataset."""
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"dataset is a {type(dataset).__name__}, expected an ntk_air.datasets.Dataset; "
            "ntk_air.datasets.from_arrays makes one of arrays."
        )


def check_noisy(noisy: Any, dataset: Dataset) -> None:
    """Raises ValueError unless these are noisy labels of the dataset's training points."""
    if not isinstance(noisy, NoisyLabels):
        raise ValueError(
            f"noisy is a {type(noisy).__name__}, expected ntk_air.noise.NoisyLabels; "
            "ntk_air.noise.recorded makes them of labels at hand."
        )
    if len(noisy.labels) != len(dataset.train_labels):
        raise ValueError(
            f"noisy holds {len(noisy.labels)} labels, the dataset {len(dataset.train_labels)} "
            "training points; make the noise from dataset.train_labels."
        )
    if noisy.num_classes != dataset.num_classes:
        raise ValueError(
            f"noisy has {noisy.num_classes} classes, the dataset {dataset.num_classes}; expected "
            "the same."
        )


def coding_for(num_outputs: int | None, num_classes: int, name: str) -> str:
    """How classes are coded for a network of so many outputs.

    Raises:
        ValueError: if it has neither an output a class nor, for two classes, one.
    """
    if num_outputs in (None, num_classes):
        return "centered_one_hot"
    if num_outputs == 1 and num_classes == 2:
        return "sign"
    raise ValueError(
        f"{name} has {num_outputs} output(s), the dataset {num_classes} classes; expected "
        f"{num_classes} outputs{', or one' if num_classes == 2 else ''}."
    )


def coded_targets(dataset: Dataset, noisy: NoisyLabels, coding: str) -> Targets:
    """The labels as regression targets."""
    size = dataset.num_classes
    test = dataset.test_labels
    clean = datasets.encode(dataset.train_labels, size, coding=coding)
    return Targets(
        clean,
        datasets.encode(noisy.labels, size, coding=coding),
        datasets.encode(test, size, coding=coding) if len(test) else jnp.zeros((0, clean.shape[1])),
        noisy.retention,
    )


def described(noisy: NoisyLabels) -> str:
    """The noise in a word, with its rate where it has one: 'symmetric:0.4'."""
    return f"{noisy.model}:{noisy.rate:g}" if noisy.rate > 0 else noisy.model
