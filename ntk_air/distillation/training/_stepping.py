"""Steps of optax's transformations, also of those that keep a second set of parameters.

Lookahead has slow parameters beside those that gradients are taken at, schedule-free methods an
average, and sharpness-aware minimisation the point that it started an adversarial step from. Those
are the ones to use the network with: history, callbacks and results are of them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..._typing import Array, PyTree

_UNKNOWN = re.compile(r"unexpected keyword argument '(\w+)'")


class _LookingAhead(NamedTuple):
    """State of a lookahead whose fast parameters are those that are trained."""

    state: Any
    slow: PyTree


def begun(transformation: Any, params: PyTree) -> Any:
    """The state of an optimiser before its first step."""
    both = optax.LookaheadParams.init_synced(params)
    if _looks_ahead(transformation, both):
        return _LookingAhead(transformation.init(both), params)
    return transformation.init(params)


def _looks_ahead(transformation: Any, both: Any) -> bool:
    try:
        state = jax.eval_shape(transformation.init, both)
    except Exception:  # of trees that name the parameters
        return False
    return bool(_states(state, optax.LookaheadState))


def stepped(
    transformation: Any,
    params: PyTree,
    state: Any,
    gradient: PyTree,
    loss: Array,
    objective: Callable[[PyTree], Array],
) -> tuple[PyTree, Any]:
    """Parameters and state of the optimiser after a step.

    Line searches, rates that follow the loss and second-order methods get it, and the function
    that it is of, by the names that optax has for them.
    """
    update = optax.with_extra_args_support(transformation).update
    gradient_of = jax.grad(objective)

    def value_fn(params: PyTree, *, grad_fn: Any = None, obj_fn: Any = None) -> Array:
        # Line searches hand on what they do not know, and refuse what this does not name.
        del grad_fn, obj_fn
        return objective(params)

    extra: dict[str, Any] = {
        "value": loss,
        "grad": gradient,
        "value_fn": value_fn,
        "obj_fn": objective,
        "grad_fn": lambda params, index=None: gradient_of(params),
    }
    if not isinstance(state, _LookingAhead):
        updates, state = _with_known(update, gradient, state, params, extra)
        return optax.apply_updates(params, updates), state
    both: Any = optax.LookaheadParams(fast=params, slow=state.slow)
    updates, inner = _with_known(update, gradient, state.state, both, extra)
    both = optax.apply_updates(both, updates)
    return both.fast, _LookingAhead(inner, both.slow)


def _with_known(update: Any, gradient: PyTree, state: Any, params: Any, extra: dict) -> Any:
    """The update with as much beside the gradient as it takes: some take one thing alone."""
    while True:
        try:
            return update(gradient, state, params, **extra)
        except TypeError as error:
            unknown = _UNKNOWN.search(str(error))
            if unknown is None or unknown[1] not in extra:
                raise
            extra = {name: value for name, value in extra.items() if name != unknown[1]}


def used(state: Any, params: PyTree) -> PyTree:
    """The parameters to use the network with, of those that an optimiser keeps."""
    if isinstance(state, _LookingAhead):
        return state.slow
    for one in _states(state, optax.contrib.ScheduleFreeState):
        return optax.contrib.schedule_free_eval_params(one, params)
    for one in _states(state, optax.contrib.SAMState):
        if one.cache is not None:
            pick = functools.partial(jnp.where, one.steps_since_sync != 0)
            return jax.tree.map(pick, one.cache, params)
    return params


def _states(state: Any, kind: Any) -> list[Any]:
    leaves = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kind))
    return [x for x in leaves if isinstance(x, kind)]


def check_steps(transformation: Any, params: PyTree) -> None:
    """Raises ValueError, with the name of what it is, if an optimiser cannot take a step here.

    Functions of a learning rate, which only the loop knows, pass.
    """
    if not hasattr(transformation, "update"):
        return
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves)
    _check_steps(transformation, structure, shapes)


@functools.lru_cache(maxsize=64)
def _check_steps(transformation: Any, structure: Any, leaves: tuple[Any, ...]) -> None:
    params = jax.tree.unflatten(structure, leaves)

    def once(params: PyTree) -> PyTree:
        def objective(params: PyTree) -> Array:
            return sum(map(jnp.sum, jax.tree.leaves(params)), jnp.zeros(()))

        loss, gradient = jax.value_and_grad(objective)(params)
        state = begun(transformation, params)
        if _states(state, optax.contrib.DifferentiallyPrivateAggregateState):
            raise ValueError(
                "the gradient of every point apart, for optax.contrib."
                "differentially_private_aggregate, is not there: it is of the loss of a batch."
            )
        params, state = stepped(transformation, params, state, gradient, loss, objective)
        return used(state, params)

    try:
        after = jax.eval_shape(once, params)
        same = jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, params)
        if not same:
            raise ValueError("parameters of other shapes come out of a step.")
    except Exception as error:
        said = str(error).strip().splitlines() or [repr(error)]
        raise ValueError(
            f"optimizer cannot take a step: {said[0]} Expected an optax transformation of "
            "gradients, state and parameters, and of value, grad, value_fn, grad_fn or obj_fn."
        ) from error
