"""What the training loop is given, compiled in and traced, and what a step changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import optax
from jax.sharding import Mesh

from ..._typing import Array
from ._history import Reference
from ._method import Method
from ._network import TrainableNetwork
from ._optimizer import made

# Axes of a mesh, by what is spread over its devices.
POINTS, NETWORKS = "points", "networks"


class LoopSettings(NamedTuple):
    """What is compiled in; hashable."""

    network: TrainableNetwork
    optimizer: Any  # a GradientTransformation, or a function from learning rate to one
    batch_size: int | None
    augment: Callable[[Array, Array], Array] | None
    keep_outputs: bool
    mesh: Mesh | None  # one axis, named after what is spread: points of a batch, or networks
    # Of networks trained together, the fields of `TrainingProblem` with a leading axis over them;
    # several entries for several such axes, the first one first, and none for a single network.
    replicated: tuple[tuple[str, ...], ...]
    subtract_initial: bool = False
    from_host: bool = False  # one call a step: gradients of convolutions on CPUs are slow in loops

    def transformation(self, learning_rate: Array | None) -> optax.GradientTransformation:
        """The optimiser with a traced learning rate: a number, or a table with one per step."""
        if learning_rate is None:
            return self.optimizer
        if learning_rate.ndim == 0:
            return made(self.optimizer, learning_rate)
        return made(self.optimizer, lambda count: learning_rate[count])


class TrainingProblem(NamedTuple):
    """Data and traced numbers of one run."""

    inputs: Array
    observed: Array
    reference: Reference
    test_inputs: Array | None
    initial_params: Any
    initial_state: Any
    learning_rate: Array | None
    method: Method
    key: Array | None
    # Outputs before training to be subtracted, at training and at test points: (n, C), of a pair
    # of networks (n, 2, C).
    initial_outputs: Array | None = None
    test_initial_outputs: Array | None = None


class State(NamedTuple):
    """What a step changes; with the problem it is all that is needed to go on."""

    step: Array
    params: Any
    network: Any  # state of the network beside its parameters, such as running statistics
    optimizer: Any
    memory: Any  # of the method, a tree of arrays with n rows, or None
    order: Array | None  # order of the points in the current epoch, padded to whole batches
    diverged: Array  # the first step whose loss was not finite, -1 before


def state_axes(replicated: tuple[str, ...]) -> State:
    """Where the axis over networks is: all are at the same step, and with one key in one order."""
    return State(None, 0, 0, 0, 0, 0 if "key" in replicated else None, 0)  # pyright: ignore[reportArgumentType]
