"""What kind of module a network is, and how it is told that it is trained or evaluated."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

_TRAINING = {
    "deterministic": False,
    "use_running_average": False,
    "train": True,
    "training": True,
    "is_training": True,
}


def is_a(value: Any, library: str, name: str) -> bool:
    """Whether ``value`` is of that class; a library nobody imported has no instances."""
    kind = getattr(sys.modules.get(library), name, None)
    return kind is not None and isinstance(value, kind)


def is_module(value: Any) -> bool:
    """Whether ``value`` is a module of flax linen, of nnx or of equinox."""
    return (
        is_a(value, "flax.linen", "Module")
        or is_a(value, "flax.nnx", "Module")
        or is_a(value, "equinox", "Module")
    )


def mode_options(function: Callable, *, training: bool) -> dict[str, bool]:
    """Those of flax's usual keywords for training or evaluation that ``function`` takes."""
    known = inspect.signature(function).parameters
    return {k: v == training for k, v in _TRAINING.items() if k in known}


def takes(function: Callable, keyword: str) -> bool:
    """Whether ``function`` has an argument of that name."""
    return keyword in inspect.signature(function).parameters


def required(function: Callable) -> list[str]:
    """Names of the arguments of ``function`` that have no default."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.default is p.empty]


def equinox_state(module: Any, given: Any) -> tuple[Any, Any]:
    """An equinox module, and its state or None, from what is given beside a module.

    Args:
        module: of equinox.
        given: None for the module itself, a ``State``, another module, or a module and its state.

    Raises:
        ValueError: if the module keeps a state, and there is none, or something else is given.
    """
    state = None
    if isinstance(given, tuple) and len(given) == 2:
        module, state = given
    elif is_a(given, "equinox.nn", "State"):
        state = given
    elif given is not None:
        module = given
    if not is_a(module, "equinox", "Module"):
        raise ValueError(
            f"a {type(module).__name__} is given for an equinox module, expected None for its own "
            "parameters, its State, another module of its kind, or a module and its State."
        )
    nn = sys.modules["equinox"].nn

    def is_index(value: Any) -> bool:
        return isinstance(value, nn.StateIndex)

    stateful = any(map(is_index, jax.tree.leaves(module, is_leaf=is_index)))
    if stateful and state is None:
        raise ValueError(
            f"{type(module).__name__} keeps a state, such as the statistics of BatchNorm, and none "
            "is given; pass the State that equinox.nn.make_with_state returned beside the module: "
            "functional(module, state=state), self_distill(module, state, ...)."
        )
    if stateful:
        module = nn.delete_init_state(module)
    return module, state if stateful else None


def refusing_collections(apply_fn: Callable, advice: str) -> Callable:
    """The same function, that raises ValueError where it takes more than parameters as such.

    That is, collections of a linen module beside "params" (running statistics, caches), variables
    of an nnx module other than ``nnx.Param``, the state of an equinox module: where parameters are
    expected they would be differentiated and trained.

    Args:
        apply_fn: ``(params, inputs) -> outputs``, called under a trace.
        advice: what follows from that, and the call that is right, for the message.
    """

    def call(params: Any, *inputs: Any) -> Any:
        _refuse(_states_in(params) or _collections(apply_fn, params), advice)
        linen = sys.modules.get("flax.linen")
        if linen is None or not isinstance(params, Mapping):
            return apply_fn(params, *inputs)
        given = {id(leaf) for leaf in jax.tree.leaves(params)}

        def seen(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
            if context.module.scope is not None and not context.module.path:
                variables = context.module.variables
                _refuse(
                    [k for k in variables if k != "params" and _any_of(given, variables[k])], advice
                )
            return method(*args, **kwargs)

        with linen.intercept_methods(seen):
            return apply_fn(params, *inputs)

    return call


def _any_of(given: set[int], tree: Any) -> bool:
    return any(id(leaf) in given for leaf in jax.tree.leaves(tree))


def _collections(apply_fn: Any, params: Any) -> list[str]:
    """Collections that a compiled function hides, told by whose it is or by their usual name."""
    if not isinstance(params, Mapping) or "params" not in params:
        return []
    function = inspect.unwrap(apply_fn)
    owner = getattr(getattr(function, "func", function), "__self__", None)
    if is_a(owner, "flax.linen", "Module"):
        return [name for name in params if name != "params"]
    return [name for name in params if name == "batch_stats"]


def _states_in(params: Any) -> list[str]:
    """Kinds of variables that are no parameters, in the trees of nnx and of equinox."""

    def is_state(value: Any) -> bool:
        return is_a(value, "flax.nnx", "Variable") or is_a(value, "equinox.nn", "State")

    found = [x for x in jax.tree.leaves(params, is_leaf=is_state) if is_state(x)]
    kinds = {type(x) for x in found if any(map(_is_float, jax.tree.leaves(x)))}
    param = getattr(sys.modules.get("flax.nnx"), "Param", ())
    return sorted(kind.__name__ for kind in kinds if not issubclass(kind, param))


def _is_float(leaf: Any) -> bool:
    # Asked of random keys too, whose dtype NumPy does not know.
    return jax.dtypes.issubdtype(getattr(leaf, "dtype", None) or type(leaf), np.floating)


def _refuse(names: Any, advice: str) -> None:
    if names:
        raise ValueError(f"params holds {', '.join(map(repr, names))} beside parameters, {advice}")
