"""Replaces names inside neural-tangents on behalf of one repair, after checking that it fits."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ntk_air._neural_tangents._errors import IncompatibleJaxError
from ntk_air._neural_tangents._views import View

Repair = Callable[["Patcher"], None]

# What each replacement replaces, by the replacement's id, with the replacement itself.
# Repairs are made anew after a reload, from what neural-tangents itself defines.
_originals: dict[int, tuple[Any, Any]] = globals().get("_originals", {})


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
        self.pending: list[tuple[ModuleType, str, Any, Any]] = []

    def module(self, name: str) -> ModuleType:
        """Return neural-tangents' module `name`, relative to `neural_tangents._src`."""
        full = f"{self.root.__name__}._src.{name}"
        # An import waits for a thread that is reloading the module, and that one for us.
        if full in sys.modules:
            return sys.modules[full]
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as error:
            raise IncompatibleJaxError(self.repair, f"there is no module {full}") from error

    def get(self, module: ModuleType, name: str) -> Any:
        """Return `module`'s `name`, which the repair relies on."""
        if name not in vars(module):
            raise IncompatibleJaxError(self.repair, f"{module.__name__} has no '{name}'")
        value = vars(module)[name]
        return _originals.get(id(value), (value, value))[1]

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
        self.pending.append((module, name, replacement, self.get(module, name)))

    def apply(self) -> None:
        """Make the replacements."""
        for module, name, replacement, original in self.pending:
            _originals[id(replacement)] = replacement, original
            if isinstance(replacement, View):
                replacement.settle(module.__name__, name)
            setattr(module, name, replacement)
