"""How many floating-point operations a function takes, counted in its jaxpr."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

# These move entries and compute nothing.
_MOVES = frozenset(
    {
        "broadcast_in_dim",
        "concatenate",
        "copy",
        "dynamic_slice",
        "dynamic_update_slice",
        "expand_dims",
        "gather",
        "pad",
        "reshape",
        "rev",
        "slice",
        "squeeze",
        "transpose",
    }
)


def count_operations(function: Callable[..., Any], *arguments: Any) -> float:
    """Operations of ``function`` at arguments of these shapes: of products, else one per entry.

    Traced only: compiling several candidates to ask XLA would take longer than most kernels. Loops
    count as often as they run (XLA counts their body once); a loop of unknown length counts once.
    """
    return _in_jaxpr(jax.make_jaxpr(function)(*arguments).jaxpr)


def _in_jaxpr(jaxpr: Jaxpr) -> float:
    return sum(_of_equation(eqn) for eqn in jaxpr.eqns)


def _of_equation(eqn: Any) -> float:
    name, params = eqn.primitive.name, eqn.params
    size = float(sum(math.prod(getattr(v.aval, "shape", ())) for v in eqn.outvars))
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2.0 * size * math.prod(eqn.invars[0].aval.shape[d] for d in contracted)
    if name == "conv_general_dilated":
        filters = eqn.invars[1].aval.shape
        return 2.0 * size * math.prod(filters) / filters[params["dimension_numbers"].rhs_spec[0]]
    bodies = [_in_jaxpr(body) for body in _bodies(params)]
    if name == "scan":
        return params["length"] * sum(bodies)
    if name == "cond":
        return max(bodies)
    if name in _MOVES:
        return 0.0
    return sum(bodies) if bodies else size


def _bodies(params: dict[str, Any]) -> list[Jaxpr]:
    found = []
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr):
                found.append(part.jaxpr)
            elif isinstance(part, Jaxpr):
                found.append(part)
    return found
