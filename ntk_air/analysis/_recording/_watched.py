"""The network that a recorder watches: a function, or a module with what it keeps besides."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import distillation, kernels
from ..._modules import is_a, is_module
from ..._typing import ApplyFn, Array, PyTree


class Watched:
    """A network in evaluation mode, by parameters in the form in which training hands them out."""

    def __init__(self, network: Any, params: PyTree, batch_size: int | None) -> None:
        """``params`` None are those of an nnx or equinox module itself."""
        self._network, self._batch, self._module = network, batch_size, is_module(network)
        self.initial = params
        if params is None and is_a(network, "flax.nnx", "Module"):
            from flax import nnx

            self.initial = nnx.state(network)
        elif is_a(network, "equinox", "Module") and not is_a(params, "equinox", "Module"):
            self.initial = (network, params) if params is not None else network
        self._compiled = None if self._module else jax.jit(network)

    def shape(self, params: PyTree, inputs: Array) -> tuple[int, ...]:
        """Of the outputs; those of a module are computed at one point."""
        if not self._module:
            return jax.eval_shape(self._network, params, inputs).shape
        return (len(inputs), *self.outputs(params, inputs[:1]).shape[1:])

    def outputs(self, params: PyTree, inputs: Array) -> np.ndarray:
        """(n, C), on the host."""
        if self._compiled is None:
            found = distillation.evaluate(self._network, params, inputs, batch_size=self._batch)
            return np.asarray(jax.device_get(found))
        size = self._batch or len(inputs)
        batches = [inputs[start : start + size] for start in range(0, len(inputs), size)]
        return np.concatenate([jax.device_get(self._compiled(params, one)) for one in batches])

    def function(self, params: PyTree) -> tuple[ApplyFn, PyTree]:
        """A function of the parameters alone, what a module keeps besides fixed; and those."""
        network = self._network
        if not self._module:
            return network, params
        if is_a(network, "flax.linen", "Module"):
            return kernels.functional(network, params)
        if is_a(network, "equinox", "Module"):
            module, state = params if isinstance(params, tuple) else (params, None)
            return kernels.functional(module, state=state)
        from flax import nnx

        module = nnx.clone(network)
        nnx.update(module, jax.tree.map(jnp.asarray, params))
        return kernels.functional(module)
