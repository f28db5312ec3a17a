"""Whether the fields of a result hold what their class declares."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import AbstractArray, Float, Int

_ARRAYS = (jax.Array, np.ndarray, np.generic)
_KINDS = {bool: "a truth value", int: "a whole number", float: "a number", str: "text"}


def wrong_field(kind: type, fields: dict[str, Any]) -> str | None:
    """What is wrong with the fields of a result type, in words; None if nothing is.

    Numbers may be arrays without axes, and arrays numbers. Arrays may have axes in front of those
    declared, all of them as many: results are trees, which can be stacked or mapped over.

    Args:
        kind: the dataclass.
        fields: name to value; those with a default may be absent.
    """
    known = {field.name: field for field in dataclasses.fields(kind)}
    if unknown := sorted(fields.keys() - known.keys()):
        return f"it has no field {', '.join(unknown)}"
    hints, further = _hints(kind), set()
    for name, field in known.items():
        if name not in fields:
            if field.default is field.default_factory is dataclasses.MISSING:
                return f"its field {name} is missing"
            continue
        value, hint = fields[name], hints[name]
        if not _fits(value, hint):
            return f"its field {name} is {_shown(value)}, expected {_named(hint)}"
        axes = _axes(hint)
        if axes is not None and isinstance(value, _ARRAYS):
            further.add(np.ndim(value) - axes)
            if min(further) < 0 or len(further) > 1:
                return f"its field {name} has shape {np.shape(value)}, expected {_named(hint)}"
    return None


class _AnyShape:
    """``Float[Array, ...]`` as a formatter writes it, where jaxtyping wants ``"..."``."""

    def __init__(self, kind: Any):
        self._kind = kind

    def __getitem__(self, item: tuple[Any, Any]) -> Any:
        array, shape = item
        return self._kind[array, "..." if shape is ... else shape]


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, localns={"Float": _AnyShape(Float), "Int": _AnyShape(Int)})


def _fits(value: Any, hint: Any) -> bool:
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is None or hint is types.NoneType:
        return hint is Any or value is None
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is tuple:
        if type(value) is not tuple:
            return False
        if parts[-1] is not Ellipsis:
            return len(value) == len(parts) and all(map(_fits, value, parts))
        return all(_fits(item, parts[0]) for item in value)
    if origin is dict:
        return type(value) is dict and all(
            _fits(key, parts[0]) and _fits(item, parts[1]) for key, item in value.items()
        )
    if hint in _KINDS:
        return _is_one(value, hint)
    if _is_array(hint):
        return _is_array_like(value, hint)
    # Trees of parameters have no declared type; dataclasses have.
    return not dataclasses.is_dataclass(hint) or isinstance(value, typing.cast(type, hint))


def _is_one(value: Any, kind: type) -> bool:
    """Whether a value is one truth value, number or text, in an array without axes or not."""
    if kind is str:
        return isinstance(value, str)
    if isinstance(value, _ARRAYS):
        return np.ndim(value) == 0 and _is_of(value.dtype, kind)
    return isinstance(value, kind) if kind is bool else _is_number(value, kind)


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, (int, kind)) and not isinstance(value, bool)


def _is_of(dtype: Any, kind: type) -> bool:
    if kind is bool:
        return dtype == np.bool_
    if jnp.issubdtype(dtype, jnp.integer):
        return True
    return kind is float and jnp.issubdtype(dtype, jnp.floating)


def _is_array(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, AbstractArray | jax.Array | np.ndarray)


def _is_array_like(value: Any, hint: Any) -> bool:
    if not isinstance(value, _ARRAYS):
        return isinstance(value, bool | int | float)
    dtype = value.dtype
    if not (jnp.issubdtype(dtype, jnp.number) or dtype == np.bool_):
        return False
    if not issubclass(hint, AbstractArray):
        return True
    floating = any(name.startswith("float") for name in hint.dtypes)
    # Targets may be whole numbers where fractions are declared, not the other way round.
    return dtype != np.bool_ and (floating or jnp.issubdtype(dtype, jnp.integer))


def _axes(hint: Any) -> int | None:
    """How many axes are declared; None where any number may be."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next((_axes(part) for part in typing.get_args(hint) if _is_array(part)), None)
    if not (_is_array(hint) and issubclass(hint, AbstractArray)):
        return None
    shape = hint.dim_str.split()
    return None if "..." in shape else len(shape)


def _named(hint: Any) -> str:
    if hint in _KINDS:
        return _KINDS[hint]
    if _is_array(hint):
        shape = f" ({', '.join(hint.dim_str.split())})" if issubclass(hint, AbstractArray) else ""
        return f"an array{shape}"
    return getattr(hint, "__name__", None) if isinstance(hint, type) else str(hint)  # pyright: ignore[reportReturnType]


def _shown(value: Any) -> str:
    if isinstance(value, _ARRAYS):
        return f"an array of {value.dtype} and shape {value.shape}"
    return f"of type {type(value).__name__}"
