"""Trains networks by one method on one noise: data, seeds, the record on held-out noisy labels."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from . import _distill_specs as specs
from ._distill_held_out import HeldOut
from ._options import load_dataset

if TYPE_CHECKING:
    from .._typing import Array, PyTree
    from ..noise import NoisyLabels

# Records in the first epoch, where cross-entropy on easy data is at its best; then every epoch up
# to the tenth, then about thirty more.
_FIRST_EPOCH, _EVERY_EPOCH, _LATER = 4, 10, 30
# Seeds of the second network of co-teaching, apart from those of the first.
_PEER = 2**30


@dataclasses.dataclass(frozen=True)
class Problem:
    """Points to train on, each with one observed label for each of R seeds.

    Attributes:
        dataset: standardised; its first n training points are trained on, the others held out.
        noisy: R draws of the labels of all training points.
        count: n.
    """

    dataset: Any
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


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What R networks left behind.

    Attributes:
        params: final parameters with a first axis over the networks.
        history: columns of `ntk_air.distillation.History`, (R, records); ``step`` (records,).
        held_out_accuracy: (R, records) on the observed labels of the points held out.
    """

    params: PyTree
    history: dict[str, np.ndarray]
    held_out_accuracy: np.ndarray


def prepare(options: dict[str, Any]) -> Problem:
    """Loads the data, draws the noise once for each seed and holds points out.

    The points come in random order, so the last of them are a random share.
    """
    from .. import noise
    from .._checks import check_in_range, check_size

    seeds = check_size("seeds", options["seeds"], 1)
    check_in_range("validation", options["validation"], 0.0, 1.0, low_open=True, high_open=True)
    dataset = load_dataset(
        options, test_size=options["test_size"], seed=options["seed"], noise=str(options["noise"])
    )
    noisy = tuple(
        noise.apply(
            options["noise"],
            dataset.train_labels,
            num_classes=dataset.num_classes,
            seed=options["seed"] + i,
            inputs=dataset.train_inputs,
            extra_labels=dataset.extra_labels,
        )
        for i in range(seeds)
    )
    total = len(dataset.train_labels)
    count = total - round(options["validation"] * total)
    if not 0 < count < total:
        raise ValueError(
            f"validation={options['validation']} holds out {total - count} of {total} points; "
            "expected some on either side: choose another share."
        )
    return Problem(dataset.standardized(), noisy, count)


def num_steps(options: dict[str, Any], count: int) -> int:
    """Optimiser steps of all epochs."""
    from .._checks import check_size

    size = check_size("batch_size", options["batch_size"], 1)
    return check_size("epochs", options["epochs"], 1) * math.ceil(count / size)


def record_steps(epochs: int, total: int) -> list[int]:
    """Where to measure: dense at first, with both ends."""
    epoch = total // epochs
    every = max(1, math.ceil((epochs - _EVERY_EPOCH) / _LATER))
    steps = {0, total} | {round(epoch * k / _FIRST_EPOCH) for k in range(1, _FIRST_EPOCH)}
    steps |= {epoch * e for e in range(1, min(epochs, _EVERY_EPOCH) + 1)}
    steps |= {epoch * e for e in range(_EVERY_EPOCH, epochs, every)}
    return sorted(steps)


def train(problem: Problem, options: dict[str, Any]) -> Outcome:
    """Trains one network for each seed, all together or one by one."""
    everyone = list(range(len(problem.noisy)))
    groups = [[i] for i in everyone] if options["one_by_one"] else [everyone]
    parts = [_Group(problem, options, group).train() for group in groups]
    if len(parts) == 1:
        return parts[0]
    return Outcome(
        jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *[p.params for p in parts]),
        {
            name: column if name == "step" else np.concatenate([p.history[name] for p in parts])
            for name, column in parts[0].history.items()
        },
        np.concatenate([p.held_out_accuracy for p in parts]),
    )


class _Group:
    """Networks of some of the seeds, trained by one call."""

    def __init__(self, problem: Problem, options: dict[str, Any], seeds: Sequence[int]) -> None:
        from .. import networks

        self.problem, self.options, self.seeds = problem, options, seeds
        self.method, self.numbers = specs.parse_method(options["method"])
        self.steps = num_steps(options, problem.count)
        self.module: Any = networks.create(
            options["network"], num_outputs=problem.dataset.num_classes
        )
        self.inputs = problem.dataset.train_inputs[: problem.count]
        loss = self.numbers.get("loss", options["loss"])
        self.coding = "centered_one_hot" if loss == "mse" else "one_hot"

    def train(self) -> Outcome:
        records = record_steps(self.options["epochs"], self.steps)
        folder = None
        if self.options["checkpoint"] is not None:
            # One of its own for each group of seeds.
            name = f"seeds-{self.seeds[0]}-{self.seeds[-1]}"
            folder = Path(self.options["checkpoint"]) / name
        held = self._held_out(None if folder is None else folder / "held_out.json")
        result = self._call(
            num_steps=self.steps,
            record_every=records,
            on_record=held,
            checkpoint=None if folder is None else folder / "training",
            **self._own(),
        )
        stacked = len(self.seeds) > 1
        columns = {
            field.name: np.asarray(getattr(result.history, field.name))
            for field in dataclasses.fields(result.history)
            if getattr(result.history, field.name) is not None
        }
        if not stacked:
            columns = {k: v if k == "step" else v[None] for k, v in columns.items()}
        columns["time"] = np.broadcast_to(columns["time"], columns["loss"].shape)
        params = result.params if stacked else jax.tree.map(lambda x: x[None], result.params)
        return Outcome(params, columns, held.accuracies(columns["step"]))

    def _call(self, *, function: Any = None, **extra: Any) -> Any:
        from .. import distillation

        options, dataset = self.options, self.problem.dataset
        names = [options["seed"] + i for i in self.seeds]
        tested = len(dataset.test_labels) > 0
        if function is None and self.method == specs.SELF_DISTILL:
            function = distillation.self_distill
        return (function or distillation.baselines.METHODS[self.method])(
            self.module,
            self._init(names),
            self.inputs,
            self._stacked([self._codes(self.problem.observed(i)) for i in self.seeds]),
            optimizer=specs.optimizer(options["optimizer"]),
            learning_rate=options["learning_rate"],
            batch_size=options["batch_size"],
            clean=self._codes(self.problem.clean),
            test=(dataset.test_inputs, dataset.test_labels) if tested else None,
            key=names if len(names) > 1 else names[0],
            augment=specs.augmentation(options["augment"], self.inputs.ndim),
            precision=options["precision"],
            replicas=len(names) if len(names) > 1 else None,
            progress=True,
            **extra,
        )

    def _own(self) -> dict[str, Any]:
        """What this method takes besides, published values scaled to the length of training."""
        epochs = self.options["epochs"]
        if self.method == specs.SELF_DISTILL:
            words = {k: self.numbers.get(k, self.options[k]) for k in specs.WORDS}
            return words | {
                "alpha": specs.parse_alpha(words["alpha"], self.steps),
                "label_fn": specs.parse_label_fn(words["label_fn"]),
            }
        own = dict(self.numbers)
        if self.method == "self_adaptive_training":  # published: 60 epochs of 200
            own.setdefault("start_epoch", max(1, round(0.3 * epochs)))
        if self.method == "co_teaching":
            names = [self.options["seed"] + i + _PEER for i in self.seeds]
            own.setdefault("ramp_epochs", min(10.0, epochs / 2))
            rates = [self.problem.noise_rates[i] for i in self.seeds]
            own.setdefault("forget_rate", rates if len(rates) > 1 else rates[0])
            own["peer_params"] = self._init(names)
        if self.method == "forward_correction":
            own["transition"] = self._transitions(**own)
            own.pop("percentile", None)
        return own

    def _transitions(self, percentile: float = 97.0) -> Array:
        """Estimated from a fifth of the epochs of cross-entropy, at its stopping time."""
        from ..distillation import baselines

        epochs = max(1, self.options["epochs"] // 5)
        total = self.steps // self.options["epochs"] * epochs
        held = self._held_out(None, also=self.inputs)
        self._call(
            function=baselines.cross_entropy,
            num_steps=total,
            record_every=record_steps(epochs, total),
            on_record=held,
        )
        return self._stacked(
            [
                baselines.estimate_transition(jax.nn.softmax(outputs, -1), percentile=percentile)
                for outputs in held.best_outputs
            ]
        )

    def _held_out(self, file: Path | None, also: Array | None = None) -> HeldOut:
        problem = self.problem
        labels = [np.asarray(problem.noisy[i].labels)[problem.count :] for i in self.seeds]
        inputs = problem.dataset.train_inputs[problem.count :]
        return HeldOut(self.module, inputs, np.stack(labels), file, also)

    def _codes(self, labels: np.ndarray) -> Array:
        from .. import datasets

        return datasets.encode(labels, self.problem.dataset.num_classes, coding=self.coding)

    def _init(self, names: list[int]) -> PyTree:
        return self._stacked([_initialized(self.module)(name, self.inputs[:1]) for name in names])

    def _stacked(self, trees: list[Any]) -> Any:
        """With a first axis over the networks; of a single network as it is."""
        return trees[0] if len(trees) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *trees)


@functools.lru_cache(maxsize=8)
def _initialized(module: Any) -> Any:
    return jax.jit(lambda seed, inputs: module.init(jax.random.key(seed), inputs))
