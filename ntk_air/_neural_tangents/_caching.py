"""Caches that never hold a tracer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CellType
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.tree_util import tree_leaves


def lru_cache(maxsize: int | None) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Like `functools.lru_cache`, but does not remember traced results.

    A function that closes over traced arrays is called anew each time. Otherwise all
    it computes from is concrete, and it is evaluated at once even while tracing.

    Args:
        maxsize: number of results to keep; None for all.
    """

    def decorator(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.lru_cache(maxsize)
        def cached(*args: Any) -> Any:
            with jax.ensure_compile_time_eval():
                result = function(*args)
            if _holds_tracer(result):
                raise _TracedError(result)
            return result

        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            if _holds_tracer(function):
                return function(*args)
            try:
                return cached(*args)
            except _TracedError as traced:  # `lru_cache` does not remember exceptions
                return traced.result

        return wrapper

    return decorator


def fresh_while_tracing(factory: Callable[..., Any]) -> Callable[..., Any]:
    """Make `factory`'s products forget what they compute while being traced.

    Args:
        factory: returns a prediction function that caches kernels between calls.

    Returns:
        A factory with the same arguments. Under a transformation its prediction
        function is rebuilt for each call.
    """

    @functools.wraps(factory)
    def wrapped(*args: Any, **kwargs: Any) -> Callable[..., Any]:
        kept = factory(*args, **kwargs)

        @functools.wraps(kept)
        def predict_fn(*call_args: Any, **call_kwargs: Any) -> Any:
            if _is_traced((args, kwargs, call_args, call_kwargs)):
                return factory(*args, **kwargs)(*call_args, **call_kwargs)
            return kept(*call_args, **call_kwargs)

        return predict_fn

    return wrapped


class _TracedError(Exception):
    """Carries a traced result past `functools.lru_cache`."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


def _is_traced(tree: Any) -> bool:
    # Inside `jit` even a constant is staged out, hence a tracer.
    return _holds_tracer(tree) or isinstance(jnp.zeros(()), Tracer)


def _holds_tracer(tree: Any, seen: set[int] | None = None) -> bool:
    """Whether a pytree has a tracer among its leaves, or in their closures."""
    seen = set() if seen is None else seen
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tracer):
            return True
        if id(leaf) in seen or not callable(leaf):
            continue
        seen.add(id(leaf))
        inner = [_contents(cell) for cell in getattr(leaf, "__closure__", None) or ()]
        inner += [*list(getattr(leaf, "args", ())), getattr(leaf, "__wrapped__", None)]
        if any(_holds_tracer(x, seen) for x in inner):
            return True
    return False


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
