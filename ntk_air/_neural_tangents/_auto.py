"""Choose the cheapest of several implementations of the same kernel, silently."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.tree_util import tree_flatten, tree_leaves

# Names of neural-tangents' implementations, in the order tried when costs are unknown
# or equal: structured derivatives are the fastest on nearly all networks.
PREFERENCE = ("STRUCTURED_DERIVATIVES", "JACOBIAN_CONTRACTION", "NTK_VECTOR_PRODUCTS")


def get_flops(f: Callable[..., Any], optimize: bool, *a: Any, **kw: Any) -> float:
    """Return the FLOPs of `f` by XLA's count, or NaN where the backend has none."""
    stage: Any = jax.jit(f).lower(*a, **kw)
    analysis = (stage.compile() if optimize else stage).cost_analysis()
    if isinstance(analysis, (list, tuple)):
        analysis = analysis[0] if analysis else None
    flops = float((analysis or {}).get("flops", math.nan))
    return flops if flops >= 0 else math.nan


def cheapest(candidates: Sequence[Callable[..., Any]]) -> Callable[..., Any]:
    """Return a function that delegates to the candidate with the fewest FLOPs.

    The choice is made once per structure, shape and dtype of the arguments. A
    candidate that cannot be traced is out; if all are, the error of the last is raised.

    Args:
        candidates: functions of `(x1, x2, params, **kwargs)` in order of preference.
    """
    chosen: dict[Any, Callable[..., Any]] = {}

    def ntk_fn(x1: Any, x2: Any, params: Any, **apply_fn_kwargs: Any) -> Any:
        key = _signature((x1, x2, params, apply_fn_kwargs))
        if key not in chosen:
            chosen[key] = _choose(candidates, (x1, x2, params), apply_fn_kwargs)
        return chosen[key](x1, x2, params, **apply_fn_kwargs)

    return ntk_fn


def _choose(
    candidates: Sequence[Callable[..., Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Callable[..., Any]:
    costs: list[tuple[float, int]] = []
    error: Exception | None = None
    for i, candidate in enumerate(candidates):
        try:
            costs.append((_cost(candidate, args, kwargs), i))
        except Exception as e:  # this implementation does not support the function
            error = e
    if not costs:
        raise error or ValueError("There is no implementation to choose from.")
    return candidates[min(costs)[1]]


def _cost(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """FLOPs of `f`, infinite if unknown; raises if `f` cannot be traced."""
    dynamic = {k: v for k, v in kwargs.items() if all(map(_is_array, tree_leaves(v)))}
    static = {k: v for k, v in kwargs.items() if k not in dynamic}

    def g(args: Any, dynamic: Any) -> Any:
        return f(*args, **dynamic, **static)

    # Shapes alone: the arguments may be tracers of an enclosing transformation.
    shapes = jax.tree_util.tree_map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype) if _is_array(x) else x, (args, dynamic)
    )
    jax.eval_shape(g, *shapes)
    try:
        flops = get_flops(g, True, *shapes)
    except Exception:  # no ahead-of-time compilation here, or `f` holds tracers
        flops = math.nan
    return math.inf if math.isnan(flops) else flops


def _is_array(x: Any) -> bool:
    return hasattr(x, "shape") and hasattr(x, "dtype")


def _signature(tree: Any) -> Any:
    leaves, treedef = tree_flatten(tree)
    kinds = [(x.shape, str(x.dtype)) if _is_array(x) else type(x) for x in leaves]
    return treedef, tuple(kinds)
