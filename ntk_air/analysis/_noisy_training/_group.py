"""Networks of several seeds, trained by one call of a method."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ... import datasets
from ..._typing import Array, PyTree
from ...distillation import History
from . import _specs as specs
from ._held_out import NoisyHeldOut
from ._problem import NoisyProblem
from ._settings import NoisySettings

# Records in the first epoch, where cross-entropy on easy data is at its best; then every epoch up
# to the tenth, then about thirty more.
_FIRST_EPOCH, _EVERY_EPOCH, _LATER = 4, 10, 30
# Seeds of the second network of co-teaching, apart from those of the first.
_PEER = 2**30


def record_steps(epochs: int, total: int) -> list[int]:
    """Where to measure: dense at first, with both ends."""
    epoch = total // epochs
    every = max(1, math.ceil((epochs - _EVERY_EPOCH) / _LATER))
    steps = {0, total} | {round(epoch * k / _FIRST_EPOCH) for k in range(1, _FIRST_EPOCH)}
    steps |= {epoch * e for e in range(1, min(epochs, _EVERY_EPOCH) + 1)}
    steps |= {epoch * e for e in range(_EVERY_EPOCH, epochs, every)}
    return sorted(steps)


def columns_of(history: History) -> dict[str, np.ndarray]:
    """The columns that a history has, by name."""
    columns = {f.name: getattr(history, f.name) for f in dataclasses.fields(history)}
    return {name: np.asarray(column) for name, column in columns.items() if column is not None}


class Group:
    """Networks of some of the seeds, trained by one call."""

    def __init__(
        self,
        problem: NoisyProblem,
        settings: NoisySettings,
        seeds: Sequence[int],
        checkpoint: Path | None,
        mesh: Mesh | None,
        progress: bool,
    ) -> None:
        from ... import networks

        self.problem, self.settings, self.seeds = problem, settings, seeds
        self.checkpoint, self.mesh, self.progress = checkpoint, mesh, progress
        self.method, self.numbers = specs.parse_method(settings.method)
        self.steps = settings.epochs * math.ceil(problem.count / settings.batch_size)
        self.module: Any = networks.create(
            settings.network, num_outputs=problem.dataset.num_classes
        )
        self.inputs = problem.dataset.train_inputs[: problem.count]
        loss = settings.words()["loss"]
        self.coding = "centered_one_hot" if loss == "mse" else "one_hot"

    def train(self) -> tuple[PyTree, dict[str, np.ndarray], np.ndarray]:
        """Final parameters, columns of the history and held-out accuracies, by seed."""
        records = record_steps(self.settings.epochs, self.steps)
        folder = None
        if self.checkpoint is not None:
            # One of its own for each group of seeds.
            folder = self.checkpoint / f"seeds-{self.seeds[0]}-{self.seeds[-1]}"
        held = self._held_out(None if folder is None else folder / "held_out.json")
        result = self._call(
            num_steps=self.steps,
            record_every=records,
            on_record=held,
            checkpoint=None if folder is None else folder / "training",
            **self._own(folder),
        )
        stacked = len(self.seeds) > 1
        columns = columns_of(result.history)
        if not stacked:
            columns = {k: v if k == "step" else v[None] for k, v in columns.items()}
        columns["time"] = np.broadcast_to(columns["time"], columns["loss"].shape)
        params = result.params if stacked else jax.tree.map(lambda x: x[None], result.params)
        return params, columns, held.accuracies(columns["step"])

    def _call(
        self, *, num_steps: int, function: Callable[..., Any] | None = None, **extra: Any
    ) -> Any:
        from ... import distillation

        settings, dataset = self.settings, self.problem.dataset
        names = [settings.seed + i for i in self.seeds]
        tested = len(dataset.test_labels) > 0
        if function is None and self.method == specs.SELF_DISTILL:
            function = distillation.self_distill
        return (function or distillation.baselines.METHODS[self.method])(
            self.module,
            self._init(names),
            self.inputs,
            self._stacked([self._codes(self.problem.observed(i)) for i in self.seeds]),
            num_steps=num_steps,
            optimizer=specs.optimizer(settings.optimizer, settings.weight_decay),
            learning_rate=specs.parse_schedule(
                settings.schedule, settings.learning_rate, num_steps
            ),
            batch_size=settings.batch_size,
            clean=self._codes(self.problem.clean),
            test=(dataset.test_inputs, dataset.test_labels) if tested else None,
            key=names if len(names) > 1 else names[0],
            augment=specs.augmentation(settings.augment, self.inputs.ndim),
            precision=settings.precision,
            replicas=len(names) if len(names) > 1 else None,
            mesh=self.mesh,
            progress=self.progress,
            **extra,
        )

    def _own(self, folder: Path | None) -> dict[str, Any]:
        """What this method takes besides, published values scaled to the length of training."""
        epochs = self.settings.epochs
        if self.method == specs.SELF_DISTILL:
            words: dict[str, Any] = self.settings.words()
            return words | {
                "alpha": specs.parse_alpha(words["alpha"], self.steps),
                "label_fn": specs.parse_label_fn(words["label_fn"]),
            }
        own = dict(self.numbers)
        if self.method == "self_adaptive_training":  # published: 60 epochs of 200
            own.setdefault("start_epoch", max(1, round(0.3 * epochs)))
        if self.method == "gce" and "threshold" in own:  # published: 40 of 120
            own.setdefault("start_epoch", round(epochs / 3))
        if self.method == "co_teaching":
            names = [self.settings.seed + i + _PEER for i in self.seeds]
            own.setdefault("ramp_epochs", min(10.0, epochs / 2))
            rates = [self.problem.noise_rates[i] for i in self.seeds]
            own.setdefault("forget_rate", rates if len(rates) > 1 else rates[0])
            own["peer_params"] = self._init(names)
        if self.method == "forward_correction":
            own["transition"] = self._transitions(folder, **own)
            own.pop("percentile", None)
        return own

    def _transitions(self, folder: Path | None, percentile: float = 97.0) -> Array:
        """Estimated from a fifth of the epochs of cross-entropy, at its stopping time.

        Kept beside the checkpoint, under a name that other data or settings do not have.
        """
        from ...distillation import baselines

        file = None
        if folder is not None:
            file = folder / f"transition-{self._digest()}.npy"
            if file.exists():
                return jnp.asarray(np.load(file))
        epochs = max(1, self.settings.epochs // 5)
        total = self.steps // self.settings.epochs * epochs
        held = self._held_out(None, also=self.inputs)
        self._call(
            function=baselines.cross_entropy,
            num_steps=total,
            record_every=record_steps(epochs, total),
            on_record=held,
        )
        found = self._stacked(
            [
                baselines.estimate_transition(jax.nn.softmax(outputs, -1), percentile=percentile)
                for outputs in held.best_outputs
            ]
        )
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            beside = file.with_suffix(".new.npy")
            np.save(beside, found)
            os.replace(beside, file)
        return found

    def _digest(self) -> str:
        digest = hashlib.sha256(repr((self.settings, self.seeds)).encode())
        for array in (self.inputs, *(draw.labels for draw in self.problem.noisy)):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def _held_out(self, file: Path | None, also: Array | None = None) -> NoisyHeldOut:
        problem = self.problem
        labels = [np.asarray(problem.noisy[i].labels)[problem.count :] for i in self.seeds]
        inputs = problem.dataset.train_inputs[problem.count :]
        precision = self.settings.precision
        return NoisyHeldOut(self.module, inputs, np.stack(labels), precision, file, also)

    def _codes(self, labels: np.ndarray) -> Array:
        return datasets.encode(labels, self.problem.dataset.num_classes, coding=self.coding)

    def _init(self, names: list[int]) -> PyTree:
        init = _initialized(self.module)
        return self._stacked([init(jax.random.key(name), self.inputs[:1]) for name in names])

    def _stacked(self, trees: list[Any]) -> Any:
        """With a first axis over the networks; of a single network as it is."""
        return trees[0] if len(trees) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *trees)


@functools.lru_cache(maxsize=8)
def _initialized(module: Any) -> Any:
    return jax.jit(module.init)
