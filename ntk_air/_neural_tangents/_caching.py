"""Caches that never hold a tracer."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.tree_util import tree_leaves


def eager() -> AbstractContextManager[Any]:
    """Evaluate at once what is concrete, except inside ``jax.shard_map``.

    What differs between devices there has no value yet, and JAX mixes the two badly.
    """
    inside = getattr(jax.sharding.get_abstract_mesh(), "manual_axes", ())
    return contextlib.nullcontext() if inside else jax.ensure_compile_time_eval()


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
            with eager():
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


def _holds_tracer(value: Any) -> bool:
    """Whether a tracer can be reached from `value`.

    Functions carry arbitrary objects in their closures. None of them is asked for
    anything that could run code of its own: what is looked into is told by its type.
    """
    pending, seen = [value], {}
    while pending:
        item = pending.pop()
        if issubclass(type(item), Tracer):
            return True
        if id(item) not in seen:
            seen[id(item)] = item  # kept alive, so that no other object gets this id
            pending += _inner(item)
    return False


def _inner(item: Any) -> Iterable[Any]:
    """What `item` is made of, one level down; nothing for an object of no known kind."""
    kind = type(item)
    if issubclass(kind, FunctionType):
        cells = [_contents(cell) for cell in item.__closure__ or ()]
        return [*cells, *(item.__defaults__ or ()), item.__kwdefaults__, item.__dict__]
    if issubclass(kind, MethodType):
        return item.__func__, item.__self__
    if issubclass(kind, functools.partial):
        return item.func, item.args, item.keywords
    if issubclass(kind, dict):  # its keys may have no order, which pytrees demand
        return list(dict.values(item))
    if issubclass(kind, list | tuple | set | frozenset):
        return list(item)
    if issubclass(kind, ModuleType | type) or kind.__module__ == "builtins":
        return ()
    return [*(_attributes(item) if hasattr(kind, "__call__") else ()), *_children(item)]


def _attributes(item: Any) -> Iterable[Any]:
    """Values of a callable's own dictionary, such as what a wrapper wraps."""
    try:
        return list(object.__getattribute__(item, "__dict__").values())
    except (AttributeError, TypeError):
        return ()


def _children(item: Any) -> Iterable[Any]:
    """Children of a registered pytree node."""
    try:
        return tree_leaves(item, is_leaf=lambda x: x is not item)
    except Exception:  # a node that cannot be flattened now is no argument of a traced function
        return ()


def _contents(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None
