"""Networks of several seeds, trained by one call of a method."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from ... import datasets, distillation
from ..._digest import add_bytes, new_digest
from ..._files import publishing
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
        held = self.held_out(None if folder is None else folder / "held_out.json")
        result = self.call(
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

    def call(
        self, *, num_steps: int, function: Callable[..., Any] | None = None, **extra: Any
    ) -> Any:
        """Trains by a function, or by the method, on the points of the problem."""
        settings, dataset = self.settings, self.problem.dataset
        names = [settings.seed + i for i in self.seeds]
        tested = len(dataset.test_labels) > 0
        if function is None and self.method == specs.SELF_DISTILL:
            function = distillation.self_distill
        return (function or distillation.baselines.METHODS[self.method])(
            self.module,
            self.initial(names),
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
        if self.method == specs.SELF_DISTILL:
            words: dict[str, Any] = self.settings.words()
            return words | {
                "alpha": distillation.alpha.parse(words["alpha"], self.steps),
                "label_fn": distillation.label_fn.parse(words["label_fn"]),
            }
        settle = distillation.baselines.METHODS[self.method].settle
        if settle is None:
            return dict(self.numbers)
        return settle(_Run(self, folder), dict(self.numbers))

    def digest(self) -> str:
        """Of points, labels, settings and seeds."""
        digest = new_digest(repr((self.settings, self.seeds)))
        for array in (self.inputs, *(draw.labels for draw in self.problem.noisy)):
            add_bytes(digest, array)
        return digest.hexdigest()[:16]

    def held_out(self, file: Path | None, also: Array | None = None) -> NoisyHeldOut:
        """What judges the networks at every record."""
        problem = self.problem
        labels = [np.asarray(problem.noisy[i].labels)[problem.count :] for i in self.seeds]
        inputs = problem.dataset.train_inputs[problem.count :]
        precision = self.settings.precision
        return NoisyHeldOut(self.module, inputs, np.stack(labels), precision, file, also)

    def _codes(self, labels: np.ndarray) -> Array:
        return datasets.encode(labels, self.problem.dataset.num_classes, coding=self.coding)

    def initial(self, names: list[int]) -> PyTree:
        """Initial parameters of the networks of these seeds."""
        init = _initialized(self.module)
        return self._stacked([init(jax.random.key(name), self.inputs[:1]) for name in names])

    def _stacked(self, trees: list[Any]) -> Any:
        """With a first axis over the networks; of a single network as it is."""
        return trees[0] if len(trees) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *trees)


@dataclasses.dataclass(frozen=True)
class _Run:
    """What a baseline may ask of a group, see `ntk_air.distillation.baselines.NoisyRun`."""

    group: Group
    folder: Path | None

    @property
    def epochs(self) -> int:
        """See `NoisyRun`."""
        return self.group.settings.epochs

    @property
    def noise_rates(self) -> list[float]:
        """See `NoisyRun`."""
        return [self.group.problem.noise_rates[i] for i in self.group.seeds]

    def fresh_params(self) -> PyTree:
        """See `NoisyRun`."""
        seed = self.group.settings.seed
        return self.group.initial([seed + i + _PEER for i in self.group.seeds])

    def early_outputs(self, share: float) -> list[np.ndarray]:
        """See `NoisyRun`."""
        epochs = max(1, int(self.epochs * share + 1e-9))
        total = self.group.steps // self.epochs * epochs
        held = self.group.held_out(None, also=self.group.inputs)
        self.group.call(
            function=distillation.baselines.cross_entropy,
            num_steps=total,
            record_every=record_steps(epochs, total),
            on_record=held,
        )
        return held.best_outputs

    def kept(self, name: str, compute: Callable[[], Array]) -> Array:
        """See `NoisyRun`; under a name that other data or settings do not have."""
        if self.folder is None:
            return compute()
        file = self.folder / f"{name}-{self.group.digest()}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            found = np.asarray(compute())
            with publishing(file) as whole:
                np.save(whole, found)
        return jnp.asarray(np.load(file))


@functools.lru_cache(maxsize=8)
def _initialized(module: Any) -> Any:
    return jax.jit(module.init)
