"""Trains networks by one method on one noise: seeds, the record on held-out noisy labels."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ..._results import result, static
from ..._typing import Array, PyTree
from ...datasets import Dataset
from ...distillation import DistillationResult, History
from .._air._targets import check_dataset
from ._group import Group
from ._problem import noisy_problem
from ._settings import NoisySettings


@result
class NoisyTraining:
    """What R networks, one for each seed, left behind.

    Attributes:
        params: after the last step, with a first axis over the networks.
        history: see `ntk_air.distillation.History`; all columns but ``step`` have a first axis over
            the networks. It is over the points trained on.
        held_out_accuracy: (R, records) on the observed labels of the points held out; where it is
            highest one would stop, without a clean label.
        noise_rate: (R,) fraction of wrong labels among the points trained on.
        num_points: trained on.
        num_held_out: held out.
    """

    params: PyTree
    history: History
    held_out_accuracy: Array
    noise_rate: Array
    num_points: int = static()
    num_held_out: int = static()

    def replica(self, index: int) -> DistillationResult:
        """Parameters and history of one network."""
        return DistillationResult(self.params, self.history).replica(index)


def noisy_training(
    dataset: Dataset,
    settings: NoisySettings | None = None,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    mesh: Mesh | None = None,
    progress: bool = False,
) -> NoisyTraining:
    """Trains one network for each seed on noisy labels, by self-distillation or a baseline.

    A share of the points is held out with their noisy labels: the record at which these are
    predicted best is where one would stop without a clean label (Chen et al., arXiv:2012.04193).
    Inputs are standardised. Methods have their published numbers, scaled where they are in epochs;
    co-teaching is told the true rate of wrong labels, forward correction estimates its transition
    from a first training of a fifth of the epochs.

    Args:
        dataset: its clean labels are what noise is applied to, and what results are judged by.
        settings: noise, method, network and training.
        checkpoint: folder to store the run in and to go on from.
        mesh: devices to share the work, as every method takes them; by default those of this
            process if each then has the same number of networks, and otherwise one.
        progress: show progress bars on a terminal.

    Returns:
        Parameters, history and held-out accuracy; `noisy_training_summary` has their numbers at the
        best record, at the last and at stopping.

    Raises:
        ValueError: on settings that do not fit the data, or no dataset.
        DivergenceError: if a loss is not finite.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=40, test_size=20)
        >>> settings = na.analysis.NoisySettings(noise="symmetric:0.4", epochs=1, batch_size=20)
        >>> training = na.analysis.noisy_training(data, settings)
        >>> training.num_points, training.num_held_out
        (36, 4)
    """
    settings = NoisySettings() if settings is None else settings
    check_dataset(dataset)
    problem = noisy_problem(dataset, settings)
    everyone = list(range(settings.seeds))
    groups = [[i] for i in everyone] if settings.one_by_one else [everyone]
    folder = None if checkpoint is None else Path(checkpoint)
    mesh = _for_networks(len(groups[0])) if mesh is None else mesh
    parts = [Group(problem, settings, group, folder, mesh, progress).train() for group in groups]
    params, columns, held = parts[0]
    if len(parts) > 1:
        params = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[p for p, _, _ in parts])
        held = np.concatenate([h for _, _, h in parts])
        columns = {
            name: column if name == "step" else np.concatenate([c[name] for _, c, _ in parts])
            for name, column in columns.items()
        }
    return NoisyTraining(
        params=params,
        history=History(**{name: jnp.asarray(column) for name, column in columns.items()}),
        held_out_accuracy=jnp.asarray(held),
        noise_rate=jnp.asarray(problem.noise_rates),
        num_points=problem.count,
        num_held_out=len(problem.dataset.train_labels) - problem.count,
    )


def _for_networks(count: int) -> Mesh | None:
    devices = jax.local_devices()
    if len(devices) == 1 or count == 1 or count % len(devices):
        return None
    return Mesh(np.array(devices), ("networks",))
