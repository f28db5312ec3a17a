"""The list of repairs, and the checks made before anything is replaced."""

from __future__ import annotations

import importlib
from types import ModuleType

from ntk_air._neural_tangents import _repairs_empirical, _repairs_predict
from ntk_air._neural_tangents._patcher import Patcher, Repair


def repairs() -> list[Repair]:
    """Return all repairs in the order in which they apply."""
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
