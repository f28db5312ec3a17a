"""The list of repairs, and the checks made before anything is replaced."""

from __future__ import annotations

import importlib
from types import ModuleType

from ntk_air._neural_tangents import (
    _repairs_parallel,
    _repairs_empirical,
    _repairs_predict,
)
from ntk_air._neural_tangents._patcher import Patcher, Repair


def repairs() -> list[Repair]:
    """Return all repairs in the order in which they apply."""
    return [
        *_repairs_empirical.REPAIRS,
        *_repairs_predict.REPAIRS,
        *_repairs_parallel.REPAIRS,
    ]


def apply_repairs(root: ModuleType) -> None:
    """Apply every repair to the `neural_tangents` module `root`, anew if need be.

    All checks come before the first replacement, so that a repair that does not fit
    leaves neural-tangents as it was.

    Raises:
        IncompatibleJaxError: a repair does not fit.
    """
    source = importlib.import_module(f"{root.__name__}._src")
    patchers = []
    for repair in repairs():
        patchers.append(Patcher(root, repair.__name__))
        repair(patchers[-1])
    for patcher in patchers:
        patcher.apply()
    vars(source)["_ntk_air_repaired"] = True
