"""Two networks of one kind as a single one, for training in which each depends on the other."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from ..._typing import Array, PyTree
from ..training._network import Adapted, TrainableNetwork, as_network


@dataclasses.dataclass(frozen=True)
class PairNetwork:
    """Gives the outputs of both in training, (2, b, C), and those of the first in evaluation."""

    network: TrainableNetwork

    @property
    def mixes_batch(self) -> bool:
        """See `TrainableNetwork`."""
        return self.network.mixes_batch

    @property
    def normalises(self) -> bool:
        """See `TrainableNetwork`."""
        return self.network.normalises

    def train(
        self, params: PyTree, state: PyTree, inputs: Array, key: Array | None, present: Array
    ) -> tuple[Array, PyTree]:
        """See `TrainableNetwork`; each draws its own random numbers."""
        keys = (None, None) if key is None else jax.random.split(key)
        passes = [
            self.network.train(p, s, inputs, k, present)
            for p, s, k in zip(params, state, keys, strict=True)
        ]
        outputs, states = zip(*passes, strict=True)
        return jnp.stack(outputs), states

    def evaluate(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`."""
        return self.network.evaluate(params[0], state[0], inputs)

    def initial(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`; (b, 2, C)."""
        pairs = zip(params, state, strict=True)
        return jnp.stack([self.network.evaluate(p, s, inputs) for p, s in pairs], axis=1)

    def join(self, params: PyTree, state: PyTree) -> PyTree:
        """Both, each in the form in which it was given."""
        return tuple(self.network.join(p, s) for p, s in zip(params, state, strict=True))


def pair(network: Any, first: PyTree, second: PyTree) -> Adapted:
    """Two copies of a function, a linen module or an nnx module, with parameters of their own."""
    one, other = as_network(network, first), as_network(network, second)
    return Adapted(PairNetwork(one.network), (one.params, other.params), (one.state, other.state))
