"""Records that cells return: each has a name on disk, under which it is made again."""

from __future__ import annotations

from typing import TypeVar

from ..._results import name_of, result_type

_K = TypeVar("_K", bound=type)
_RECORDS: dict[str, type] = {}


def record(kind: _K) -> _K:
    """Class decorator: a NamedTuple or dataclass of the package that cells may return."""
    name = name_of(kind)
    if name in _RECORDS:
        raise TypeError(f"there are two records called {name}: what is stored could be either's.")
    _RECORDS[name] = kind
    return kind


def record_type(name: str) -> type:
    """The record or result called so on disk: a file makes nothing else, whatever it names.

    Raises:
        ValueError: if there is none.
    """
    return _RECORDS[name] if name in _RECORDS else result_type(name)
