"""Pickles of neural-tangents' objects that bring the repairs along."""

from __future__ import annotations

from typing import Any


class PackageName(str):
    """The `__package__` of a module whose functions are pickled by value.

    cloudpickle writes it ahead of all else that such a function refers to. To read it
    back is to import this module, and with it `ntk_air`, which installs the repairs.
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return PackageName, (str(self),)


def reduce_kernel(kernel: Any) -> tuple[Any, ...]:
    """Take a `Kernel` apart for `pickle` and `copy`."""
    return rebuild_kernel, (kernel.asdict(),)


def rebuild_kernel(fields: dict[str, Any]) -> Any:
    """Put a `Kernel` together again, of the repaired neural-tangents."""
    from ntk_air._neural_tangents import load

    return load().Kernel(**fields)
