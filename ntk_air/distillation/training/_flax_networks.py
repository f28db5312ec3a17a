"""Modules of flax, linen and nnx, as two pure functions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..._modules import mode_options, takes
from ..._typing import Array, PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class _Hashable:
    """A linen module, told by its fields, or by itself where these are lists or dicts."""

    module: Any

    def __hash__(self) -> int:
        try:
            return hash(self.module)
        except TypeError:
            return id(self.module)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Hashable):
            return NotImplemented
        return self.module is other.module or (
            hash(self) == hash(other) and self.module == other.module
        )


@dataclasses.dataclass(frozen=True)
class LinenNetwork:
    """A linen module; its collections beside "params" are the state."""

    held: _Hashable
    normalises: bool  # by statistics of the batch

    @property
    def module(self) -> Any:
        """The module itself."""
        return self.held.module

    @property
    def mixes_batch(self) -> bool:
        """See `TrainableNetwork`."""
        return self.normalises and not takes(self.module.__call__, "mask")

    def train(
        self, params: PyTree, state: PyTree, inputs: Array, key: Array | None, present: Array
    ) -> tuple[Array, PyTree]:
        """See `TrainableNetwork`; a module that normalises is given the ``mask`` of real rows."""
        from flax.errors import InvalidRngError

        options: dict[str, Any] = mode_options(self.module.__call__, training=True)
        if self.normalises and takes(self.module.__call__, "mask"):
            options["mask"] = present
        if key is not None:
            options["rngs"] = {"dropout": key}
        try:
            outputs, new = self.module.apply(
                {"params": params, **state}, inputs, mutable=list(state), **options
            )
        except InvalidRngError:
            if key is not None:
                raise
            raise ValueError(
                f"{type(self.module).__name__} draws random numbers in training, for dropout say, "
                "and needs a key; pass key=0, say."
            ) from None
        return outputs, jax.tree.map(_as_before, {**state, **new}, state)

    def evaluate(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`."""
        options = mode_options(self.module.__call__, training=False)
        return self.module.apply({"params": params, **state}, inputs, **options)

    initial = evaluate

    def join(self, params: PyTree, state: PyTree) -> PyTree:
        """See `TrainableNetwork`."""
        return {"params": params, **state}


@dataclasses.dataclass(frozen=True)
class NnxNetwork:
    """An nnx module; every variable that is no ``nnx.Param`` is state."""

    graph: Any
    normalises: bool
    takes_mask: bool

    @property
    def mixes_batch(self) -> bool:
        """See `TrainableNetwork`."""
        return self.normalises and not self.takes_mask

    def train(
        self, params: PyTree, state: PyTree, inputs: Array, key: Array | None, present: Array
    ) -> tuple[Array, PyTree]:
        """See `TrainableNetwork`; random streams are the module's own, and part of its state."""
        from flax import nnx

        del key
        module = nnx.merge(self.graph, params, state, copy=True)
        module.train()
        options: dict[str, Any] = mode_options(module.__call__, training=True)
        if self.normalises and self.takes_mask:
            options["mask"] = present
        outputs = module(inputs, **options)
        new = nnx.state(module, nnx.Not(nnx.Any(nnx.Param, nnx.Intermediate)))
        return outputs, jax.tree.map(_as_before, new, state)

    def evaluate(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`."""
        from flax import nnx

        module = nnx.merge(self.graph, params, state, copy=True)
        module.eval()
        return module(inputs, **mode_options(module.__call__, training=False))

    initial = evaluate

    def join(self, params: PyTree, state: PyTree) -> PyTree:
        """One nnx.State: ``nnx.update(module, result.params)`` puts it into a module."""
        from flax import nnx

        return nnx.merge_state(params, state)


def _as_before(value: Array, before: Array) -> Array:
    """The value in the precision it had; counters and random keys as they are."""
    return value.astype(before.dtype) if jnp.issubdtype(before.dtype, jnp.floating) else value


def linen(module: Any, variables: PyTree) -> tuple[LinenNetwork, PyTree, PyTree]:
    """The network, its trained parameters and its state."""
    if module.scope is not None:
        raise ValueError(
            f"{type(module).__name__} is bound to variables, expected an unbound linen module; "
            "pass the two that module.unbind() returns."
        )
    if not isinstance(variables, Mapping) or "params" not in variables:
        came = sorted(variables) if isinstance(variables, Mapping) else type(variables).__name__
        raise ValueError(
            f"params is {came!r} for the linen module {type(module).__name__}, expected a dict "
            'with "params"; pass all that module.init returned.'
        )
    from flax.core import FrozenDict

    if isinstance(variables, FrozenDict):  # modules return plain dicts, whatever comes in
        variables = variables.unfreeze()
    kept = {k: v for k, v in variables.items() if k not in ("params", "intermediates")}
    return LinenNetwork(_Hashable(module), "batch_stats" in kept), variables["params"], kept


def nnx_module(module: Any, params: PyTree | None) -> tuple[NnxNetwork, PyTree, PyTree]:
    """The network, its trained parameters and its state."""
    from flax import nnx

    if params is not None:
        module = nnx.clone(module)
        nnx.update(module, params)
    normalises = bool(jax.tree.leaves(nnx.state(module, nnx.BatchStat)))
    graph, trained, state = nnx.split(module, nnx.Param, ...)
    return NnxNetwork(graph, normalises, takes(module.__call__, "mask")), trained, state
