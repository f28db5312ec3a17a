"""A digest of what a cell computes, refused where two different arguments could share one."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy

from ..._digest import add_array, new_digest
from ..._results import name_of
from ..._version import __version__

_KNOWN: dict[type, Mapping[str, Any]] = {}


def tell_by_name(kind: type, known: Mapping[str, Any]) -> None:
    """Values of this type hold functions: only those known are told, by their field ``name``."""
    _KNOWN[kind] = known


def digest(name: str, function: Callable[..., Any], arguments: tuple[Any, ...]) -> str:
    """SHA-256 of the name, the full content of the function's arguments, and what runs it.

    The latter are the versions of ntk_air and the numerical libraries, JAX's backend and precision.

    Raises:
        ValueError: if an argument's content cannot be told, as of a user's own function.
    """
    taken = new_digest()
    _add(taken, "environment", _environment())
    _add(taken, "function", name)
    for path, value in inspect.signature(function).bind(*arguments).arguments.items():
        _add(taken, path, value)
    return taken.hexdigest()


def own_fields(kind: type) -> tuple[str, ...] | None:
    """Names of the fields of a NamedTuple or dataclass of this package; None for other types."""
    if kind.__module__.partition(".")[0] != "ntk_air":
        return None
    if issubclass(kind, tuple):
        return getattr(kind, "_fields", None)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind))
    return None


def _environment() -> tuple[str, ...]:
    return (
        __version__,
        jax.__version__,
        np.__version__,
        scipy.__version__,
        jax.default_backend(),
        str(jnp.result_type(float)),
        str(jax.config.jax_default_matmul_precision),  # pyright: ignore[reportAttributeAccessIssue]
    )


def _add(taken: Any, path: str, value: Any) -> None:
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        _write(taken, kind.__name__, repr(value).encode())
    elif kind is np.ndarray or isinstance(value, np.generic | jax.Array):
        array = np.asarray(value)
        if array.dtype.hasobject:
            raise _unknown(path, value)
        form = "jax" if isinstance(value, jax.Array) else kind.__name__
        add_array(taken, form, array)
    elif kind in (list, tuple):
        _write(taken, kind.__name__, str(len(value)).encode())
        for index, item in enumerate(value):
            _add(taken, f"{path}[{index}]", item)
    elif kind in _KNOWN and _KNOWN[kind].get(value.name) is value:
        _write(taken, kind.__name__.lower(), value.name.encode())
    elif kind not in _KNOWN and (fields := own_fields(kind)) is not None:
        _write(taken, "fields", name_of(kind).encode())
        for field in fields:
            _add(taken, f"{path}.{field}", getattr(value, field))
    else:
        raise _unknown(path, value)


def _write(taken: Any, form: str, content: bytes) -> None:
    """Adds both with their lengths, so that no two sequences of parts run into the same bytes."""
    taken.update(f"{len(form)} {len(content)} {form}".encode())
    taken.update(content)


def _unknown(path: str, value: Any) -> ValueError:
    known = type(value) in _KNOWN
    shown = f"the {type(value).__name__.lower()} {value.name!r}" if known else repr(value)
    return ValueError(
        f"checkpoint cannot be used with {path} = {shown}: what it computes cannot be told from "
        "outside, and cells of another one could be taken for its own. Pass what ntk_air has for "
        "it (a schedule of distillation.alpha, a label function of distillation.label_fn, the name "
        "of an activation) or plain numbers and arrays, or leave checkpoint out."
    )
