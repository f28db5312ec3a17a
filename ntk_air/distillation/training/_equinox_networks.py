"""Modules of equinox as two pure functions: trees that are called on single points."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

import jax
import jax.numpy as jnp

from ..._modules import equinox_state, is_a, takes
from ..._typing import Array, PyTree


@dataclasses.dataclass(frozen=True)
class EquinoxNetwork:
    """An equinox module; arrays that are not floating-point, and its ``State``, are the state."""

    structure: Any = dataclasses.field(compare=False)
    others: tuple[Any, ...] = dataclasses.field(compare=False)  # leaves that are no arrays
    told_by: Any  # both, or an object of its own where they have no hash
    stateful: bool
    axis_name: Any  # of the batch, for BatchNorm
    takes_key: bool

    @property
    def mixes_batch(self) -> bool:
        """See `TrainableNetwork`."""
        return self.normalises

    @property
    def normalises(self) -> bool:
        """See `TrainableNetwork`."""
        return self.axis_name is not None

    def train(
        self, params: PyTree, state: PyTree, inputs: Array, key: Array | None, present: Array
    ) -> tuple[Array, PyTree]:
        """See `TrainableNetwork`; the module runs as it was given, a key for each point."""
        del present
        module = self._module(params, state)
        keys = None
        if self.takes_key and key is not None:
            keys = jax.random.split(key, len(inputs))

        def one(point: Array, held: Any, key: Array | None) -> Any:
            return self._call(module, point, held, key)

        axes = (0, None, None if keys is None else 0)
        run = jax.vmap(one, in_axes=axes, out_axes=(0, None), axis_name=self.axis_name)
        try:
            outputs, new = run(inputs, state["held"], keys)
        except RuntimeError as error:
            if key is not None or "key" not in str(error):
                raise
            raise ValueError(
                f"{type(module).__name__} draws random numbers in training, for dropout say, and "
                "needs a key; pass key=0, say."
            ) from None
        new = jax.tree.map(lambda a, b: a.astype(b.dtype), new, state["held"])
        return outputs, {**state, "held": new}

    def evaluate(self, params: PyTree, state: PyTree, inputs: Array) -> Array:
        """See `TrainableNetwork`."""
        module = sys.modules["equinox"].nn.inference_mode(self._module(params, state))

        def one(point: Array, held: Any) -> Any:
            return self._call(module, point, held, None)[0]

        return jax.vmap(one, in_axes=(0, None))(inputs, state["held"])

    initial = evaluate

    def join(self, params: PyTree, state: PyTree) -> PyTree:
        """The module, with its state a pair."""
        module = self._module(params, state)
        return (module, state["held"]) if self.stateful else module

    def _module(self, params: PyTree, state: PyTree) -> Any:
        leaves = zip(params, state["fixed"], self.others, strict=True)
        return jax.tree.unflatten(
            self.structure, [next((x for x in each if x is not None), None) for each in leaves]
        )

    def _call(self, module: Any, point: Array, held: Any, key: Array | None) -> tuple[Array, Any]:
        options = {"key": key} if self.takes_key else {}
        if self.stateful:
            return module(point, held, **options)
        return module(point, **options), held


def equinox_module(module: Any, params: Any) -> tuple[EquinoxNetwork, PyTree, PyTree]:
    """The network, its trained parameters and its state.

    Args:
        module: of equinox.
        params: None for its own, its ``State``, another module of its kind, or a module and state.
    """
    module, held = equinox_state(module, params)
    leaves, structure = jax.tree.flatten(module)
    arrays = [leaf if hasattr(leaf, "dtype") else None for leaf in leaves]
    trained = [leaf if _is_trained(leaf) else None for leaf in arrays]
    fixed = [leaf if other is None else None for leaf, other in zip(arrays, trained, strict=True)]
    others = tuple(leaf if a is None else None for leaf, a in zip(leaves, arrays, strict=True))
    told_by: Any = (structure, others)
    try:
        hash(told_by)
    except TypeError:
        told_by = object()
    network = EquinoxNetwork(
        structure, others, told_by, held is not None, _axis_name(module),
        takes(module.__call__, "key"),
    )  # fmt: skip
    return network, trained, {"fixed": fixed, "held": held}


def _is_trained(leaf: Any) -> bool:
    return leaf is not None and jax.dtypes.issubdtype(leaf.dtype, jnp.floating)


def _axis_name(module: Any) -> Any:
    """The name that its BatchNorm layers have for the batch, None without any."""

    def is_norm(value: Any) -> bool:
        return is_a(value, "equinox.nn", "BatchNorm")

    leaves = jax.tree.leaves(module, is_leaf=is_norm)
    names = {leaf.axis_name for leaf in leaves if is_norm(leaf) and not leaf.inference}
    if len(names) > 1:
        raise ValueError(
            f"the BatchNorm layers of {type(module).__name__} have several names for the batch, "
            f"{sorted(map(str, names))}, expected one."
        )
    return next(iter(names), None)
