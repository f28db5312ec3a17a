"""Clean and noisy targets as an analysis uses them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp

from ... import datasets
from ..._checks import check_finite, check_same_shape
from ..._classes import class_of
from ..._numerics import as_float
from ..._typing import Array, Float
from ...datasets import Dataset
from ...noise import NoisyLabels


@dataclasses.dataclass(frozen=True)
class Targets:
    """Targets of the training and of the test points, classes as codes.

    Attributes:
        clean, observed: (n, C).
        test: (m, C), of the test points.
        retention: κ of the noise model.
        classes: whether they code classes.
    """

    clean: Float[Array, "n C"]
    observed: Float[Array, "n C"]
    test: Float[Array, "m C"]
    retention: float
    classes: bool

    @property
    def noise(self) -> Float[Array, "n C"]:
        """ξ = ỹ − κy."""
        return self.observed - self.retention * self.clean

    def score(self, outputs: Float[Array, "... n C"], *, test: bool) -> Float[Array, ...]:
        """Accuracy of outputs at the training or test points; of numbers, R²."""
        wanted = self.test if test else self.clean
        if self.classes:
            right = class_of(outputs) == class_of(wanted)
            return jnp.mean(right, axis=-1, dtype=outputs.dtype)
        left = jnp.sum((outputs - wanted) ** 2, axis=(-2, -1))
        return 1 - left / jnp.sum((wanted - wanted.mean(axis=0)) ** 2)


def check_dataset(dataset: Any) -> None:
    """Raises ValueError unless this is a dataset."""
    if not isinstance(dataset, Dataset):
        raise ValueError(
            f"dataset is a {type(dataset).__name__}, expected an ntk_air.datasets.Dataset; "
            "ntk_air.datasets.from_arrays makes one of arrays."
        )


def check_noisy(noisy: Any, dataset: Dataset) -> None:
    """Raises ValueError unless these are noisy labels, or targets, of the training points."""
    if dataset.train_targets is not None:
        check_same_shape("noisy", noisy, "the dataset's train_targets", dataset.train_targets)
        check_finite("noisy", noisy)
        return
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


def count_targets(dataset: Dataset) -> int:
    """Outputs that a network made for this dataset has."""
    if dataset.train_targets is None:
        return dataset.num_classes
    return int(dataset.train_targets.shape[1])


def targets_of(dataset: Dataset, noisy: Any, num_outputs: int | None, name: str) -> Targets:
    """Targets for a network of so many outputs; None where there is only a kernel.

    Raises:
        ValueError: if the network has another number of outputs than there are targets.
    """
    if dataset.train_targets is None:
        return coded_targets(dataset, noisy, coding_for(num_outputs, dataset.num_classes, name))
    clean = as_float(dataset.train_targets)
    if num_outputs not in (None, clean.shape[1]):
        raise ValueError(
            f"{name} has {num_outputs} output(s), the dataset {clean.shape[1]} target(s) a point; "
            "expected the same."
        )
    observed = as_float(noisy)
    test = dataset.test_targets
    # A kernel without a constant would spend its first directions on the mean.
    mean = observed.mean(axis=0)
    return Targets(
        clean - mean,
        observed - mean,
        jnp.zeros((0, clean.shape[1]), clean.dtype) if test is None else as_float(test) - mean,
        1.0,
        classes=False,
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
        classes=True,
    )


def described(noisy: Any) -> str:
    """The noise in a word, with its rate where it has one: 'symmetric:0.4'."""
    if not isinstance(noisy, NoisyLabels):
        return "given targets"
    return f"{noisy.model}:{noisy.rate:g}" if noisy.rate > 0 else noisy.model
