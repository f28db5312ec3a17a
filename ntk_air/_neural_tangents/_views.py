"""A module as neural-tangents should see it, without changing the module itself."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any


class View(ModuleType):
    """Shows `original`'s attributes, some of them replaced."""

    def __init__(self, name: str, original: Any, **replaced: Any) -> None:
        """Build the view.

        Args:
            name: the name that the view goes by.
            original: the object to look things up on; None for nothing.
            **replaced: attributes that take precedence.
        """
        super().__init__(name)
        vars(self).update(replaced, _original=original, _home=None)
        for attribute, value in replaced.items():
            if isinstance(value, View):
                value.settle(self, attribute)

    def settle(self, holder: Any, name: str) -> None:
        """Remember where the view can be found again: it is pickled by reference.

        Args:
            holder: name of a module, or the view, that has this one as an attribute.
            name: of the attribute.
        """
        vars(self)["_home"] = holder, name

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_original"], name)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self._home is None:
            raise TypeError(f"cannot pickle {self!r}: it belongs to no module")
        return find, self._home


def find(holder: Any, name: str) -> Any:
    """Return the view that `holder`, a view or the name of a module, has as `name`."""
    return getattr(importlib.import_module(holder) if isinstance(holder, str) else holder, name)
