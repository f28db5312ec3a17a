"""Data sets, kernels and noise of the label-error benchmark."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from sklearn.decomposition import PCA

import ntk_air as na
from ntk_air.datasets import Dataset
from ntk_air.noise import NoisyLabels
from ntk_air.spectral import Eigensystem

# Depth of the fully connected network whose kernel is used.
_DEPTHS = {"digits": 1, "mnist": 2, "cifar10": 4}
_COMPONENTS = 100
DATASETS = tuple(_DEPTHS)
# Training points of the digits but for those kept for selection.
_DIGITS = int((~na.datasets.selection_rows(1437)).sum())
# Digits easily taken for another, as CIFAR-10's (Patrini et al., arXiv:1609.03683).
_MNIST_MAPPING = {2: 7, 3: 8, 5: 6, 6: 5, 7: 1}
# Where rates and times are compared with the truth, not detection.
_ESTIMATED_ONLY = tuple(f"symmetric:0.{k}" for k in (1, 3, 5, 6))
_SPECS = {
    "digits": ("symmetric:0.2", "symmetric:0.4", "pair_flip:0.2", "pair_flip:0.4"),
    "mnist": (
        "symmetric:0.2",
        "symmetric:0.4",
        "asymmetric:0.4",
        "pair_flip:0.2",
        "pair_flip:0.4",
        *_ESTIMATED_ONLY,
    ),
    "cifar10": (
        "symmetric:0.2",
        "symmetric:0.4",
        "human:worst",
        "human:random1",
        "human:aggregate",
        "asymmetric:0.4",
        *_ESTIMATED_ONLY,
    ),
}


@dataclasses.dataclass(frozen=True)
class Problem:
    """A data set with its kernel's spectrum, neither of which depends on the noise.

    Attributes:
        name: of the data set.
        dataset: flat, standardised.
        eigensystem: of the training kernel.
        kernel: (n, n).
        cross: (m, n) kernel between test and training points.
        components: (n, at most 100), leading principal components of the inputs, whitened.
    """

    name: str
    dataset: Dataset
    eigensystem: Eigensystem
    kernel: np.ndarray
    cross: np.ndarray
    components: np.ndarray

    @property
    def clean(self) -> np.ndarray:
        """Clean training labels (n,)."""
        return np.asarray(self.dataset.train_labels)


def problem(
    name: str,
    train_size: int,
    test_size: int | None = None,
    seed: int = 0,
    purpose: str = "reporting",
) -> Problem:
    """Loads a data set, its points drawn by the seed, and computes its kernels.

    Args:
        name: of `DATASETS`.
        train_size: points whose labels are judged, at most.
        test_size: points whose accuracy judges a stopping time.
        seed: of the draw.
        purpose: ``"selection"`` judges the labels of the selection points of the training set,
            ``"reporting"`` those of the others, so that no choice was made on them.
    """
    dataset = _points(name, train_size, test_size, seed, purpose)
    dataset = dataset.standardized(per_image=True).flattened(unit_norm="sqrt_d")
    network = na.kernels.fully_connected(
        _DEPTHS[name], 8, num_outputs=10, weight_std=1.4, bias_std=0.1
    )
    kernel = na.kernels.infinite_ntk(network, dataset.train_inputs)
    eigensystem = na.spectral.eigendecompose(kernel)
    cross = na.kernels.infinite_ntk(network, dataset.test_inputs, dataset.train_inputs)
    inputs = np.asarray(dataset.train_inputs)
    components = PCA(min(_COMPONENTS, *inputs.shape), whiten=True, random_state=0)
    return Problem(
        name,
        dataset,
        eigensystem,
        np.asarray(kernel),
        np.asarray(cross),
        components.fit_transform(inputs),
    )


def _points(name: str, train_size: int, test_size: int | None, seed: int, purpose: str) -> Dataset:
    """Points whose labels are judged, and others to judge stopping times on."""
    if purpose == "reporting":
        all_digits = name == "digits" and train_size >= _DIGITS
        size = None if all_digits else train_size
        return na.datasets.load(
            name, train_size=size, test_size=test_size, seed=seed, purpose=purpose
        )
    whole = na.datasets.load(name, test_size=test_size, seed=seed)
    selected = na.datasets.selection_rows(len(whole.train_labels))[np.asarray(whole.train_rows)]
    judging = whole.take(np.flatnonzero(~selected)[: len(whole.test_labels)])
    return dataclasses.replace(
        whole.take(np.flatnonzero(selected)[:train_size]),
        test_inputs=judging.train_inputs,
        test_labels=judging.train_labels,
        test_rows=judging.train_rows,
    )


def noises(
    one: Problem, draws: int, quick: bool = False, seed: int = 0
) -> Iterator[tuple[str, NoisyLabels]]:
    """Each noise of the data set, drawn anew for each seed; recorded labels come once."""
    for spec in _SPECS[one.name][:2] if quick else _SPECS[one.name]:
        for draw in range(1 if spec.startswith("human") else draws):
            yield spec, noisy_labels(one, spec, seed + draw)


def noisy_labels(one: Problem, spec: str, seed: int) -> NoisyLabels:
    """The noise that a specification names; asymmetric on MNIST by its own pairs."""
    if (one.name, spec) == ("mnist", "asymmetric:0.4"):
        return na.noise.asymmetric(
            one.clean, 0.4, num_classes=10, seed=seed, mapping=_MNIST_MAPPING
        )
    return na.noise.apply(
        spec,
        one.clean,
        num_classes=10,
        seed=seed,
        extra_labels=one.dataset.extra_labels,
    )
