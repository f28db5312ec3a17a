"""Two networks of one kind as a single one, for training in which each depends on the other."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from ..._modules import is_a, mode_options, takes
from ..._typing import ApplyFn, Array, PyTree


class Pair(NamedTuple):
    """Two networks of one kind.

    Attributes:
        network: what to train; evaluated it gives the outputs of the first network.
        params: of both.
        separate: ``params -> (first, second)``, each in the form in which it was given.
        at_once: whether a forward pass in training gives the outputs of both, (2, b, C); else
            those of the first, and the second's come from params in the other order.
    """

    network: Any
    params: PyTree
    separate: Callable[[PyTree], tuple[PyTree, PyTree]]
    at_once: bool


def pair(network: Any, first: PyTree, second: PyTree) -> Pair:
    """Two copies of a function, a linen module or an nnx module, with parameters of their own."""
    if is_a(network, "flax.linen", "Module"):
        copies = (network.clone(name=None), network.clone(name=None))
        joined = {name: {"first": first[name], "second": second[name]} for name in first}
        return Pair(
            _linen_class(takes(network.__call__, "mask"))(*copies), joined, _separate_linen, True
        )
    if is_a(network, "flax.nnx", "Module"):
        return Pair(_nnx_pair(network, first, second), None, _separate_nnx, True)
    return Pair(_First(network), (first, second), lambda params: params, False)


def both(made: bool, forward: Any, params: PyTree, inputs: Array) -> Array:
    """Outputs of both networks, (2, b, C); ``made`` is `Pair.at_once`."""
    if made:
        return forward(params, inputs)
    return jnp.stack([forward(params, inputs), forward(params[::-1], inputs)])


@dataclasses.dataclass(frozen=True)
class _First:
    """A function of two sets of parameters that uses the first; equal for equal functions."""

    apply_fn: ApplyFn

    def __call__(self, params: PyTree, inputs: Array) -> Array:
        return self.apply_fn(params[0], inputs)


# Classes are made on first use: flax is imported only where a module of it came in, and one class
# for all calls lets JAX find the loop it has compiled. A pair takes ``mask`` only if its networks
# do, by which the trainer tells whether padding is left out of their statistics.
@functools.cache
def _linen_class(masked: bool) -> Any:
    from flax import linen

    class LinenPair(linen.Module):
        first: Any
        second: Any

        def __call__(self, inputs: Array, train: bool) -> Array:
            return _outputs(self.first, self.second, inputs, train)

    class MaskedLinenPair(linen.Module):
        first: Any
        second: Any

        def __call__(self, inputs: Array, train: bool, mask: Array | None = None) -> Array:
            return _outputs(self.first, self.second, inputs, train, mask)

    return MaskedLinenPair if masked else LinenPair


@functools.cache
def _nnx_class(masked: bool) -> Any:
    from flax import nnx

    class NnxPair(nnx.Module):
        def __init__(self, first: Any, second: Any):
            self.first, self.second = first, second

        def __call__(self, inputs: Array, train: bool) -> Array:
            return _outputs(self.first, self.second, inputs, train)

    class MaskedNnxPair(NnxPair):
        def __call__(self, inputs: Array, train: bool, mask: Array | None = None) -> Array:
            return _outputs(self.first, self.second, inputs, train, mask)

    return MaskedNnxPair if masked else NnxPair


def _outputs(
    first: Any, second: Any, inputs: Array, train: bool, mask: Array | None = None
) -> Array:
    """Of both in training, (2, b, C), of the first in evaluation."""
    options: dict[str, Any] = mode_options(first.__call__, training=train)
    if mask is not None:
        options["mask"] = mask
    outputs = first(inputs, **options)
    return jnp.stack([outputs, second(inputs, **options)]) if train else outputs


def _nnx_pair(module: Any, *states: PyTree) -> Any:
    from flax import nnx

    copies = []
    for state in states:
        copy = nnx.clone(module)
        if state is not None:
            nnx.update(copy, state)
        copies.append(copy)
    return _nnx_class(takes(module.__call__, "mask"))(*copies)


def _separate_linen(params: PyTree) -> tuple[PyTree, PyTree]:
    first, second = ({k: v[name] for k, v in params.items()} for name in ("first", "second"))
    return first, second


def _separate_nnx(params: PyTree) -> tuple[PyTree, PyTree]:
    return params["first"], params["second"]
