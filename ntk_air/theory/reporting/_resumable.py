"""The sweep of a report in cells: each is stored once done, so that an interrupted one goes on."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._files import check_writable
from ..._numerics import double_precision
from ..._progress import progress_bar
from ..._results import load, name_of, save
from ._digest import digest, own_fields
from ._records import record_type

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


class ClusteredData(NamedTuple):
    """What the reports read of a clusterable dataset, in the types it came in.

    inputs (n, d), clean and observed (n, 1), clusters (n,), centers (K, d).
    """

    inputs: Any
    clean: Any
    observed: Any
    clusters: Any
    centers: Any


def clustered_data(data: Any) -> ClusteredData:
    """The arrays of any object that has them: a cell is told by them, whatever holds them."""
    return ClusteredData(*(getattr(data, name) for name in ClusteredData._fields))


class Cells:
    """Runs the cells of one report, a call of a function each; a context manager.

    A cell is found again by a digest of its report, function and arguments (see `_digest`), so a
    folder may hold cells of several reports and settings. A cell is a file of `ntk_air.save`,
    which says inside whose it is: one that was renamed or copied to the name of another is
    refused. Cells written before they said so are computed again, with a warning.
    """

    def __init__(
        self, report: str, count: int, checkpoint: str | os.PathLike[str] | None, progress: bool
    ):
        """``count`` cells are expected; ``progress`` shows a bar of them on a terminal.

        ``report`` names the theorem, and with a function's own name its cells.

        Raises:
            ValueError: if ``checkpoint`` is not a folder that can be written to.
        """
        self._report = report
        self._folder = None if checkpoint is None else check_writable(checkpoint)
        self._bar = progress_bar(count, "cell", progress)

    def __enter__(self) -> Cells:
        return self

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def run(self, function: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
        """``function(*arguments)``, or what it returned when it ran before.

        Raises:
            ValueError: with a checkpoint, if the content of an argument cannot be told or the
                stored cell is damaged.
        """
        value = self._found(function, arguments) if self._folder else function(*arguments)
        if self._bar is not None:
            self._bar.update()
        return value

    def _found(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        assert self._folder is not None
        cell = function.__name__.strip("_")
        name = f"{cell}-{digest(f'{self._report}.{cell}', function, arguments)}"
        path = self._folder / f"{name}.ntkair"
        if path.exists() and (stored := _read(path, name)):
            return stored[0]
        value = function(*arguments)
        save({"cell": name, "value": _pack(value)}, path)
        return value


def _read(path: Path, name: str) -> tuple[Any] | None:
    """The value of a cell; None where it does not say whose it is."""
    try:
        stored = load(path)
        if not (isinstance(stored, dict) and stored.keys() == {"cell", "value"}):
            warnings.warn(
                f"the stored cell {path} does not say whose it is, as those of earlier versions; "
                "it is computed again.",
                stacklevel=2,
            )
            return None
        if stored["cell"] != name:
            raise ValueError(f"it is the cell {stored['cell']!r}")
        with double_precision():  # else float64 arrays of JAX would come back as float32
            return (_unpack(stored["value"]),)
    except Exception as error:
        raise ValueError(
            f"the stored cell {path} is damaged or that of another computation ({error}); delete "
            "it, and it is computed again."
        ) from error


def _pack(value: Any) -> Any:
    """The value in types that `save` gives back as they were; each dict in it is a mark."""
    if isinstance(value, np.generic):  # before float: np.float64 is one
        return {"scalar": np.asarray(value)}
    if isinstance(value, jax.Array):
        return {"jax": np.asarray(value)}
    kind = type(value)
    if kind in (list, tuple):
        return kind(_pack(item) for item in value)
    if kind is dict:
        return {"dict": {key: _pack(item) for key, item in value.items()}}
    if (fields := own_fields(kind)) is not None:
        name = name_of(kind)
        if record_type(name) is not kind:
            raise TypeError(f"there are two records called {name}.")
        packed = {field: _pack(getattr(value, field)) for field in fields}
        return {"type": name, "fields": packed}
    return value


def _unpack(node: Any) -> Any:
    if isinstance(node, list | tuple):
        return type(node)(_unpack(item) for item in node)
    if not isinstance(node, dict):
        return node
    if "scalar" in node:
        return node["scalar"][()]
    if "jax" in node:
        return jnp.asarray(node["jax"])
    if "dict" in node:
        return {key: _unpack(item) for key, item in node["dict"].items()}
    return record_type(node["type"])(**{k: _unpack(item) for k, item in node["fields"].items()})
