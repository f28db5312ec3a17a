"""A module as neural-tangents should see it, without changing the module itself."""

from __future__ import annotations

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
        vars(self).update(replaced, _original=original)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["_original"], name)
