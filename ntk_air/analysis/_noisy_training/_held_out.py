"""Accuracy on held-out noisy labels at every record: when to stop, without a clean label."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from ..._classes import class_of
from ..._files import publishing
from ...distillation import evaluate

if TYPE_CHECKING:
    from ..._typing import Array, PyTree

_BATCH = 1000


class NoisyHeldOut:
    """Called at every record with the parameters of R networks, or of a single one.

    A resumed run is not asked again for records that its checkpoint holds; their accuracies are
    read from a file beside it.
    """

    def __init__(
        self,
        module: Any,
        inputs: Array,
        observed: np.ndarray,
        precision: str | None = None,
        file: Path | None = None,
        also: Array | None = None,
    ) -> None:
        """Takes points (v, ...) with observed classes (R, v).

        Args:
            module: linen module that is trained.
            inputs: the points.
            observed: their classes for every network.
            precision: that the network is computed in.
            file: to keep the accuracies in.
            also: further inputs, whose outputs at the best record `best_outputs` holds.
        """
        self._module, self._inputs, self._observed = module, inputs, observed
        self._precision = precision
        self._file, self._also = file, also
        self._by_step: dict[int, list[float]] = {}
        if file is not None and file.exists():
            self._by_step = {int(k): v for k, v in json.loads(file.read_text()).items()}
        self._best = np.full(len(observed), -1.0)
        self.best_outputs: list[Any] = [None] * len(observed)

    def __call__(self, step: int, params: PyTree) -> None:
        accuracies = []
        for index, observed in enumerate(self._observed):
            own = params
            if len(self._observed) > 1:
                own = jax.tree.map(lambda leaf, i=index: leaf[i], params)
            classes = class_of(self._outputs(own, self._inputs))
            accuracies.append(float((classes == observed).mean()))
            if self._also is not None and accuracies[-1] > self._best[index]:
                self._best[index] = accuracies[-1]
                self.best_outputs[index] = self._outputs(own, self._also)
        self._by_step[step] = accuracies
        if self._file is not None:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with publishing(self._file) as file:
                file.write(json.dumps(self._by_step).encode())

    def accuracies(self, steps: np.ndarray) -> np.ndarray:
        """(R, records) at the given steps."""
        missing = [int(step) for step in steps if int(step) not in self._by_step]
        if missing:
            raise ValueError(
                f"{self._file} holds no accuracy at step {missing[0]}, which the checkpoint beside "
                "it has; take a new folder as --checkpoint."
            )
        return np.array([self._by_step[int(step)] for step in steps]).T

    def _outputs(self, params: PyTree, inputs: Array) -> np.ndarray:
        return np.asarray(
            evaluate(self._module, params, inputs, batch_size=_BATCH, precision=self._precision)
        )
