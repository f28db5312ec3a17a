"""Networks of other libraries as plain functions of parameters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._modules import equinox_state, is_a, mode_options, required
from ..._typing import ApplyFn, Array, PyTree


def functional(
    module: Any,
    variables: Mapping[str, Any] | None = None,
    *,
    state: Any = None,
    batched: bool | None = None,
    **call_options: Any,
) -> tuple[ApplyFn, PyTree]:
    """Splits a network into ``(apply_fn, params)``, frozen in evaluation mode.

    BatchNorm uses its running statistics, dropout is off, state is read and never updated. Where
    the call takes ``deterministic``, ``use_running_average``, ``train``, ``training`` or
    ``is_training``, it is set to evaluation unless given in ``call_options``. A network that mixes
    the batch even so is refused by `empirical_ntk`.

    Parameters keep their dtype: derivatives of bfloat16 parameters are computed in bfloat16, with
    about 3 digits; cast them first for an accurate kernel. Integers and random keys have no
    derivative: they stay fixed, None in their place in ``params``.

    Args:
        module: a flax nnx module; an unbound flax linen module; or a callable pytree such as an
            equinox module or a registered dataclass, whose floating-point arrays are the
            parameters. nnx variables of another type than ``nnx.Param`` stay fixed.
        variables: of a linen module: what its ``init`` returned, ``{"params": ..., ...}``.
            Collections beside ``"params"`` stay fixed.
        state: of an equinox module that keeps one (BatchNorm): the ``State`` that
            ``equinox.nn.make_with_state`` returned, or training after it; it stays fixed.
        batched: whether the module takes inputs (n, ...); False maps it over single ones. Default:
            True for flax, False for other pytrees (equinox's convention).
        **call_options: keyword arguments of every call (of ``module.apply`` for linen, so
            ``method=`` and ``rngs=`` work).

    Returns:
        ``apply_fn(params, inputs) -> outputs (n, C)`` and the parameters. Each call returns a new
        function, and compilations are kept per function: split a module once and keep the pair.

    Raises:
        ValueError: a module of another kind, a bound linen module, variables that are missing or
            hold no ``"params"``, complex parameters, or none at all.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> module, x = na.networks.create("mlp", num_outputs=2, features=(8,)), jnp.ones((3, 4))
        >>> apply_fn, params = na.kernels.functional(module, module.init(jax.random.key(0), x))
        >>> apply_fn(params, x).shape
        (3, 2)
    """
    linen = is_a(module, "flax.linen", "Module")
    if variables is not None and not linen:
        raise ValueError(
            f"variables belong to a flax linen module, got {type(module).__name__}, which holds "
            "its own; leave them out."
        )
    if state is not None and not is_a(module, "equinox", "Module"):
        raise ValueError(
            f"state belongs to an equinox module, got {type(module).__name__}; leave it out."
        )
    if linen:
        call, tree = _linen(module, variables, call_options)
    elif is_a(module, "flax.nnx", "Module"):
        call, tree = _nnx(module, call_options)
    else:
        call, tree = _pytree(module, state, call_options)
        batched = bool(batched)
    params, rest = _partition(tree)

    def apply_fn(params: PyTree, inputs: Array) -> Array:
        whole = _combine(params, rest)
        if batched is False:
            return jax.vmap(lambda point: call(whole, point))(inputs)
        return call(whole, inputs)

    return apply_fn, params


Call = Callable[[PyTree, Array], Array]


def _linen(
    module: Any, variables: Mapping[str, Any] | None, options: dict[str, Any]
) -> tuple[Call, PyTree]:
    if module.scope is not None:
        raise ValueError(
            f"{type(module).__name__} is bound to variables, expected an unbound linen module; "
            "pass what module.unbind() returns: functional(*module.unbind())."
        )
    if not isinstance(variables, Mapping) or "params" not in variables:
        came = sorted(variables) if isinstance(variables, Mapping) else variables
        raise ValueError(
            f"variables is {came!r} for the linen module {type(module).__name__}, expected a dict "
            'with "params"; pass all that module.init returned.'
        )
    frozen = {name: value for name, value in variables.items() if name != "params"}
    method = options.get("method") or "__call__"
    called = getattr(module, method) if isinstance(method, str) else method
    options = mode_options(called, training=False) | options

    def call(params: PyTree, inputs: Array) -> Array:
        # Writing is allowed and what is written dropped: a BatchNorm that insists on training
        # then runs, and is refused because it mixes the batch.
        outputs, _ = module.apply(
            {"params": params, **frozen}, inputs, mutable=list(frozen), **options
        )
        return outputs

    return call, variables["params"]


def _nnx(module: Any, options: dict[str, Any]) -> tuple[Call, PyTree]:
    from flax import nnx

    graph, params, rest = nnx.split(module, nnx.Param, ...)
    options = mode_options(module.__call__, training=False) | options

    def call(params: PyTree, inputs: Array) -> Array:
        # A copy: some modules change their state (the counters of random streams) as they run.
        rebuilt = nnx.merge(graph, params, rest, copy=True)
        rebuilt.eval()
        return rebuilt(inputs, **options)

    return call, params


def _pytree(module: Any, state: Any, options: dict[str, Any]) -> tuple[Call, PyTree]:
    if not callable(module) or not any(map(_is_trainable, jax.tree.leaves(module))):
        raise ValueError(
            f"functional takes a flax module or a callable pytree with floating-point arrays, got "
            f"{type(module).__name__}; register a dataclass with jax.tree_util.register_dataclass, "
            "or write apply_fn(params, inputs) yourself."
        )
    if is_a(module, "equinox", "Module"):
        module, state = equinox_state(module, state)
        module = sys.modules["equinox"].nn.inference_mode(module)
        if "key" in required(module.__call__):
            options = {"key": None} | options
    options = mode_options(module.__call__, training=False) | options
    if state is not None:
        # By its leaves: reading is all that happens, but each State may be used only once.
        leaves, structure = jax.tree.flatten(state)
        return (
            lambda module, inputs: module(inputs, jax.tree.unflatten(structure, leaves), **options)[
                0
            ],
            module,
        )
    return lambda module, inputs: module(inputs, **options), module


def _is_trainable(leaf: Any) -> bool:
    if not isinstance(leaf, jax.Array | np.ndarray):
        return False
    if jnp.issubdtype(leaf.dtype, jnp.complexfloating):
        raise ValueError(
            f"a parameter of shape {leaf.shape} has dtype {leaf.dtype}, expected real parameters; "
            "hold real and imaginary part apart."
        )
    return jnp.issubdtype(leaf.dtype, jnp.floating)


def _partition(tree: PyTree) -> tuple[PyTree, tuple[Any, list[Any]]]:
    """Parameters with None in place of other leaves; structure, and leaves with None for those."""
    leaves, structure = jax.tree.flatten(tree)
    trainable = [_is_trainable(leaf) for leaf in leaves]
    if not any(trainable):
        raise ValueError(
            "the module has no floating-point parameters, expected at least one array; was it "
            "initialised?"
        )
    params = [leaf if train else None for leaf, train in zip(leaves, trainable, strict=True)]
    fixed = [None if train else leaf for leaf, train in zip(leaves, trainable, strict=True)]
    return jax.tree.unflatten(structure, params), (structure, fixed)


def _combine(params: PyTree, rest: tuple[Any, list[Any]]) -> PyTree:
    structure, fixed = rest
    leaves = zip(structure.flatten_up_to(params), fixed, strict=True)
    return jax.tree.unflatten(structure, [p if other is None else other for p, other in leaves])
