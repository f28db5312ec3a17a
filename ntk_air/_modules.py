"""What kind of module a network is, and how it is told that it is trained or evaluated."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any

_TRAINING = {
    "deterministic": False,
    "use_running_average": False,
    "train": True,
    "training": True,
    "is_training": True,
}


def is_a(value: Any, library: str, name: str) -> bool:
    """Whether ``value`` is of that class; a library nobody imported has no instances."""
    kind = getattr(sys.modules.get(library), name, None)
    return kind is not None and isinstance(value, kind)


def mode_options(function: Callable, *, training: bool) -> dict[str, bool]:
    """Those of flax's usual keywords for training or evaluation that ``function`` takes."""
    known = inspect.signature(function).parameters
    return {k: v == training for k, v in _TRAINING.items() if k in known}


def takes(function: Callable, keyword: str) -> bool:
    """Whether ``function`` has an argument of that name."""
    return keyword in inspect.signature(function).parameters
