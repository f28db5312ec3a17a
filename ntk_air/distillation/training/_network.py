"""Networks as the trainer sees them: trained on a batch, evaluated on any points.

Functions and modules of flax linen, flax nnx and equinox come in; two pure functions of parameters
and state come out. State is what a network keeps beside its parameters, such as the running
statistics of BatchNorm: training on a batch updates it, evaluation reads it.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from ..._modules import is_a
from ..._numerics import cast_floats, double_precision
from ..._typing import ApplyFn, Array, PyTree
from ._equinox_networks import equinox_module
from ._flax_networks import linen, nnx_module

P = ParamSpec("P")
R = TypeVar("R")
_PRECISIONS = ("bfloat16", "float16", "float32", "float64")


class TrainableNetwork(Protocol):
    """Two pure functions; hashable, since the training loop is compiled for it.

    Attributes:
        mixes_batch: whether the outputs of a point in training depend on the other points of its
            batch, padding included.
        normalises: whether it is normalised by statistics of the batch in training, of past ones
            in evaluation.
    """

    @property
    def mixes_batch(self) -> bool:
        """See the class."""
        ...

    @property
    def normalises(self) -> bool:
        """See the class."""
        ...

    def train(
        self, params: PyTree, state: PyTree, inputs: Array, key: Array | None, present: Array
    ) -> tuple[Array, PyTree]:
        """Outputs (b, C) in training mode and the new state; ``present`` (b,) marks real points."""
        ...

    def evaluate(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """Outputs (b, C) in evaluation mode."""
        ...

    def initial(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """The same, (b, C), of every network that is trained: (b, 2, C) of a pair."""
        ...

    def join(self, params: PyTree, state: PyTree) -> PyTree:
        """Parameters and state in the form in which they were given."""
        ...


class Adapted(NamedTuple):
    """A network with the parameters that are trained and its state."""

    network: TrainableNetwork
    params: PyTree
    state: PyTree


def as_network(network: Any, params: PyTree) -> Adapted:
    """The network, its trained parameters and its state.

    Args:
        network: ``(params, inputs) -> outputs``, an unbound linen module, an nnx or equinox module;
            what is `Adapted` already is returned as it is.
        params: of a function its parameters, of a linen module all that ``init`` returned, of an
            nnx module None or what ``nnx.state`` returns, of an equinox module None, its ``State``,
            another module, or both.

    Raises:
        ValueError: parameters that do not belong to such a network, or nothing that can be called.
    """
    if isinstance(network, Adapted):
        return network
    if is_a(network, "flax.linen", "Module"):
        return Adapted(*linen(network, params))
    if is_a(network, "flax.nnx", "Module"):
        return Adapted(*nnx_module(network, params))
    if is_a(network, "equinox", "Module"):
        return Adapted(*equinox_module(network, params))
    if not callable(network):
        raise ValueError(
            f"apply_fn is a {type(network).__name__}, expected a function (params, inputs) -> "
            "outputs, or a module of flax linen, of nnx or of equinox."
        )
    owner = getattr(network, "__self__", None)
    collections = sorted(params) if isinstance(params, Mapping) else []
    if is_a(owner, "flax.linen", "Module") and set(collections) - {"params"}:
        raise ValueError(
            f"params holds the collections {collections}, and module.apply would train them all; "
            "pass the module itself in place of its apply, then only 'params' is trained and the "
            "others are updated as the module says."
        )
    return Adapted(FunctionNetwork(_hashable(network)), params, None)


@dataclasses.dataclass(frozen=True)
class FunctionNetwork:
    """A plain function: the same in training and evaluation, and without state."""

    apply_fn: ApplyFn
    mixes_batch: bool = False
    normalises: bool = False

    def train(
        self, params: PyTree, state: PyTree, inputs: Array, key: Array | None, present: Array
    ) -> tuple[Array, PyTree]:
        """See `TrainableNetwork`."""
        del key, present
        return self.apply_fn(params, inputs), state

    def evaluate(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`."""
        del state
        return self.apply_fn(params, inputs)

    initial = evaluate

    def join(self, params: PyTree, state: PyTree) -> PyTree:
        """See `TrainableNetwork`."""
        del state
        return params


@dataclasses.dataclass(frozen=True)
class InPrecision:
    """Another network computed in a lower precision; parameters, state and outputs keep theirs."""

    network: TrainableNetwork
    dtype: Any

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
        """See `TrainableNetwork`."""
        outputs, new = self.network.train(
            self._cast(params), state, self._cast(inputs), key, present
        )
        return outputs.astype(_dtype(params)), new

    def evaluate(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`."""
        outputs = self.network.evaluate(self._cast(params), state, self._cast(inputs))
        return outputs.astype(_dtype(params))

    def initial(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`."""
        outputs = self.network.initial(self._cast(params), state, self._cast(inputs))
        return outputs.astype(_dtype(params))

    def join(self, params: PyTree, state: PyTree) -> PyTree:
        """See `TrainableNetwork`."""
        return self.network.join(params, state)

    def _cast(self, tree: PyTree) -> PyTree:
        def cast(leaf: Array) -> Array:
            return leaf.astype(self.dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        return jax.tree.map(cast, tree)


def is_slow_in_loops(
    network: TrainableNetwork, variables: tuple[PyTree, PyTree], inputs: Array
) -> bool:
    """Whether the gradient holds convolutions and runs on a CPU.

    XLA takes about a hundred times longer there for the gradient of a convolution's weights inside
    a loop than outside (jax#12868). Looked for in the program of this platform, since the networks
    of `ntk_air.networks` have other forms for CPUs.
    """
    if any(device.platform != "cpu" for device in inputs.devices()):
        return False
    traced = jax.jit(_gradient(network)).trace(*variables, inputs)
    if "conv_general_dilated" not in str(traced.jaxpr):
        return False
    return "stablehlo.convolution" in traced.lower().as_text()


@functools.lru_cache(maxsize=128)
def _gradient(network: TrainableNetwork) -> Any:
    return jax.grad(lambda *arguments: jnp.sum(network.evaluate(*arguments)))


def in_double(function: Callable[P, R]) -> Callable[P, R]:
    """Runs a function in float64, whatever JAX's default is, where its ``precision`` says so."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        precision = kwargs.get("precision")
        if precision is None or computing_dtype(precision) != np.float64:
            return function(*args, **kwargs)
        with double_precision():
            return function(*args, **kwargs)

    return call


def adapted_to(precision: Any, adapted: Adapted) -> Adapted:
    """A network that computes in a precision: parameters are widened for float64, and kept else."""
    if precision is None:
        return adapted
    dtype = computing_dtype(precision)
    if dtype == np.float64:
        params, state = cast_floats((adapted.params, adapted.state), "float64")
        return Adapted(adapted.network, params, state)
    return Adapted(InPrecision(adapted.network, dtype), adapted.params, adapted.state)


def computing_dtype(precision: Any) -> Any:
    """The dtype to compute a network in.

    Raises:
        ValueError: if it is not one of floating point.
    """
    try:
        dtype = jnp.dtype(precision)
    except TypeError:
        dtype = None
    if dtype is None or dtype.name not in _PRECISIONS:
        raise ValueError(
            f"precision is {precision!r}, expected one of {', '.join(map(repr, _PRECISIONS))}."
        )
    return dtype


def _dtype(params: PyTree) -> Any:
    return jnp.result_type(*jax.tree.leaves(params))


def _hashable(apply_fn: Any) -> ApplyFn:
    """The function itself, or a stand-in that compiles anew where it has no hash to be found by."""
    try:
        hash(apply_fn)
    except TypeError:
        return lambda params, inputs: apply_fn(params, inputs)
    return apply_fn
