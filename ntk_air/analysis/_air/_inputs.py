"""Datasets and noisy labels as the jobs take them."""

from __future__ import annotations

from typing import Any

from ... import datasets
from ..._typing import Array
from ...datasets import Dataset
from ...noise import NoisyLabels


def check_dataset(dataset: Any) -> None:
    """Raises ValueError unless this is a dataset."""
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"dataset is a {type(dataset).__name__}, expected an ntk_air.datasets.Dataset; "
            "ntk_air.datasets.from_arrays makes one of arrays."
        )


def check_noisy(noisy: Any) -> None:
    """Raises ValueError unless these are noisy labels."""
    if not isinstance(noisy, NoisyLabels):
        raise ValueError(
            f"noisy is a {type(noisy).__name__}, expected ntk_air.noise.NoisyLabels; "
            "ntk_air.noise.recorded makes them of labels at hand."
        )


def prepared(dataset: Dataset) -> Dataset:
    """Points as vectors: images less their means, of norm sqrt(d); vectors as they are."""
    if dataset.train_inputs.ndim == 2:
        return dataset
    return dataset.standardized(per_image=True).flattened(unit_norm="sqrt_d")


def coded_targets(dataset: Dataset, noisy: NoisyLabels) -> tuple[Array, Array]:
    """Clean and observed targets (n, C); ValueError where the labels are not the dataset's."""
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
    return (
        datasets.encode(dataset.train_labels, dataset.num_classes),
        datasets.encode(noisy.labels, dataset.num_classes),
    )


def described(noisy: NoisyLabels) -> str:
    """The noise in a word, with its rate where it has one: 'symmetric:0.4'."""
    return f"{noisy.model}:{noisy.rate:g}" if noisy.rate > 0 else noisy.model
