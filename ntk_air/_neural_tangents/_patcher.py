"""Replaces names inside neural-tangents on behalf of one repair, after checking that it fits."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ntk_air._neural_tangents._errors import IncompatibleJaxError

Repair = Callable[["Patcher"], None]


class Patcher:
    """Replaces names inside neural-tangents' modules on behalf of one repair."""

    def __init__(self, root: ModuleType, repair: str) -> None:
        """Remember what to patch and in whose name.

        Args:
            root: the `neural_tangents` module.
            repair: name of the repair, for error messages.
        """
        self.root = root
        self.repair = repair
        self.pending: list[tuple[Any, str, Any]] = []

    def module(self, name: str) -> ModuleType:
        """Return neural-tangents' module `name`, relative to `neural_tangents._src`."""
        full = f"{self.root.__name__}._src.{name}"
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as error:
            raise IncompatibleJaxError(self.repair, f"there is no module {full}") from error

    def get(self, module: ModuleType, name: str) -> Any:
        """Return `module`'s `name`, which the repair relies on."""
        if name not in vars(module):
            raise IncompatibleJaxError(self.repair, f"{module.__name__} has no '{name}'")
        return vars(module)[name]

    def function(self, module: ModuleType, name: str, replacement: Callable[..., Any]) -> None:
        """Replace a function, provided that it takes the parameters we expect."""
        original = self.get(module, name)
        found, expected = (
            [p.name for p in inspect.signature(f).parameters.values()]
            for f in (original, replacement)
        )
        if found != expected:
            raise IncompatibleJaxError(
                self.repair,
                f"{module.__name__}.{name} takes {found}, not {expected}",
            )
        self.value(module, name, replacement)

    def value(self, module: ModuleType, name: str, replacement: Any) -> None:
        """Replace a global of `module`, which must exist, by any object."""
        self.get(module, name)
        self.pending.append((module, name, replacement))
