"""Points with noisy labels to train on, and points held out with theirs."""

from __future__ import annotations

import dataclasses

import numpy as np

from ... import noise
from ...datasets import Dataset
from ...noise import NoisyLabels
from ._settings import NoisySettings


@dataclasses.dataclass(frozen=True)
class NoisyProblem:
    """Points to train on, each with one observed label for each of R seeds.

    Attributes:
        dataset: standardised; its first ``count`` training points are trained on, the others held
            out.
        noisy: R draws of the labels of all of them.
        count: n, points to train on.
    """

    dataset: Dataset
    noisy: tuple[NoisyLabels, ...]
    count: int

    def observed(self, seed: int) -> np.ndarray:
        """Observed classes of the points to train on, (n,)."""
        return np.asarray(self.noisy[seed].labels)[: self.count]

    @property
    def clean(self) -> np.ndarray:
        """Clean classes of the points to train on, (n,)."""
        return np.asarray(self.dataset.train_labels)[: self.count]

    @property
    def noise_rates(self) -> list[float]:
        """Fraction of wrong labels among the points to train on, for each seed."""
        return [float((self.observed(i) != self.clean).mean()) for i in range(len(self.noisy))]


def noisy_problem(dataset: Dataset, settings: NoisySettings) -> NoisyProblem:
    """What `noisy_training` trains on: noise drawn once for each seed, and points held out.

    The points come in random order, so the last of them are a random share.

    Args:
        dataset: as loaded, with n' training points.
        settings: the noise, seeds and the share held out.

    Returns:
        The problem.

    Raises:
        ValueError: if ``settings.validation`` leaves no point on either side, or there is no such
            noise for these labels.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> settings = na.analysis.NoisySettings(noise="symmetric:0.4", seeds=2)
        >>> problem = na.analysis.noisy_problem(data, settings)
        >>> problem.count, len(problem.noisy), problem.observed(1).shape
        (36, 2, (36,))
    """
    # Noise that depends on the image wants it centred: a common mean acts like a class.
    centred = dataset.standardized()
    noisy = tuple(
        noise.apply(
            settings.noise,
            dataset.train_labels,
            num_classes=dataset.num_classes,
            seed=settings.seed + i,
            inputs=centred.train_inputs,
            extra_labels=dataset.extra_labels,
        )
        for i in range(settings.seeds)
    )
    total = len(dataset.train_labels)
    count = total - round(settings.validation * total)
    if not 0 < count < total:
        raise ValueError(
            f"validation={settings.validation} holds out {total - count} of {total} points; "
            "expected some on either side: choose another share."
        )
    return NoisyProblem(centred, noisy, count)
