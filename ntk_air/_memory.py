"""How much memory there is, and the one error for what does not fit."""

from __future__ import annotations

import os
import sys
from typing import Any

import jax
import numpy as np

_DEFAULT_FRACTION = 0.5
_UNKNOWN_FREE = 4 * 2**30
# The kernel, its eigenvectors and LAPACK's workspace of dsyevd; for some pairs, the kernel and
# what iterates.
_DENSE_COPIES, _PARTIAL_COPIES = 5, 2


def free_memory() -> int:
    """Bytes that the default device can still allocate (the host's on CPU)."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        if "bytes_limit" in stats:
            return int(stats["bytes_limit"]) - int(stats.get("bytes_in_use", 0))
        return _UNKNOWN_FREE
    try:
        with open("/proc/meminfo") as lines:
            available = next(line for line in lines if line.startswith("MemAvailable"))
        return int(available.split()[1]) * 1024
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_FREE


def resolve_budget(memory_budget: float | None) -> int:
    """The budget in bytes: as given, or half of what is free.

    Raises:
        ValueError: if it is not positive.
    """
    if memory_budget is None:
        return int(_DEFAULT_FRACTION * free_memory())
    number = isinstance(memory_budget, int | float | np.number) and not isinstance(
        memory_budget, bool
    )
    if not number or not memory_budget > 0:
        raise ValueError(
            f"memory_budget is {memory_budget!r}, expected a positive number of bytes."
        )
    return int(min(memory_budget, sys.maxsize))


def tree_bytes(tree: Any) -> int:
    """Bytes of the arrays of a tree, or of what their shapes stand for."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def human(num_bytes: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(num_bytes) < 1024:
            return f"{num_bytes:.4g} {unit}"
        num_bytes /= 1024
    return f"{num_bytes:.4g} TiB"


class BudgetError(ValueError):
    """A kernel needs more memory than it may take.

    Attributes:
        needed: the least number of bytes that works.
    """

    def __init__(self, message: str, needed: int) -> None:
        super().__init__(message)
        self.needed = needed


def check_fits(shape: tuple[int, ...], held: int, workspace: int, budget: int) -> None:
    """Raises BudgetError naming the bytes a kernel needs when they exceed the budget.

    Args:
        shape: of the kernel, for the message.
        held: bytes of it that are in memory at once.
        workspace: bytes beside them.
        budget: bytes there are.
    """
    needed = held + workspace
    if needed > budget:
        raise BudgetError(
            f"a kernel of shape {shape} needs {needed} bytes ({human(needed)}) with its smallest "
            f"workspace, the budget is {budget} bytes ({human(budget)}); use fewer points "
            f"(train_size) or set memory_budget to at least {needed}.",
            needed,
        )


def eigensystem_budget(
    what: str,
    size: int,
    itemsize: int,
    memory_budget: float | None,
    *,
    rank: int | None = None,
    advice: str = "use fewer points (train_size), or set memory_budget",
) -> int:
    """The budget in bytes, see `resolve_budget`, if a kernel and its eigensystem fit.

    Args:
        what: the kernel, for the message.
        size: its rows.
        itemsize: bytes of an entry.
        memory_budget: bytes there are; None is half of what is free.
        rank: eigenpairs; None is all.
        advice: what to do if it does not fit, for the message.

    Raises:
        ValueError: if it does not fit.
    """
    budget = resolve_budget(memory_budget)
    needed = eigensystem_bytes(size, itemsize, rank)
    if needed > budget:
        raise ValueError(
            f"{what} and its eigensystem need about {needed} bytes ({human(needed)}), the budget "
            f"is {budget} bytes ({human(budget)}); {advice}."
        )
    return budget


def eigensystem_bytes(size: int, itemsize: int, rank: int | None) -> int:
    """About what a kernel of so many rows and its eigenpairs take; None is all."""
    copies = _DENSE_COPIES if rank in (None, size) else _PARTIAL_COPIES
    return copies * size * size * itemsize
