"""The list of repairs, and the checks made before anything is replaced."""

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


def repairs() -> list[Repair]:
    """Return all repairs in the order in which they apply."""
    from ntk_air._neural_tangents import _repairs_empirical, _repairs_predict

    return [*_repairs_empirical.REPAIRS, *_repairs_predict.REPAIRS]


def apply_repairs(root: ModuleType) -> None:
    """Apply every repair to the `neural_tangents` module `root`, once.

    All checks come before the first replacement, so that a repair that does not fit
    leaves neural-tangents as it was.

    Raises:
        IncompatibleJaxError: a repair does not fit.
    """
    marker = "_ntk_air_repaired"
    source = importlib.import_module(f"{root.__name__}._src")
    if getattr(source, marker, False):
        return
    pending = []
    for repair in repairs():
        patcher = Patcher(root, repair.__name__)
        repair(patcher)
        pending += patcher.pending
    for module, name, replacement in pending:
        setattr(module, name, replacement)
    setattr(source, marker, True)
