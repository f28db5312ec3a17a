"""The architectures by name, for commands and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..._checks import check_choice

VECTORS, IMAGES = ("n", "d"), ("n", "H", "W", "channels")
SEQUENCES = ("n", "positions", "features")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class ArchitectureMaker:
    """A function that makes an `Architecture`, as commands and tables list it.

    Attributes:
        name: of the function.
        make: the function; its first argument is the depth, or what sets it.
        input_axes: names of the axes of the inputs it takes.
        forms: short names by which commands know it, and what each of them fixes.

    Example:
        >>> import ntk_air as na
        >>> na.kernels.ARCHITECTURES["convolutional"].input_axes
        ('n', 'H', 'W', 'channels')
    """

    name: str
    make: Callable[..., Any]
    input_axes: tuple[str, ...]
    forms: Mapping[str, Mapping[str, Any]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the function."""
        return self.make(*args, **kwargs)


ARCHITECTURES: dict[str, ArchitectureMaker] = {}
"""Every maker by the name of its function, in the order in which `ntk_air.kernels` imports them."""


def architecture(input_axes: tuple[str, ...], **forms: Mapping[str, Any]) -> Callable[[_F], _F]:
    """Decorator: puts a maker into `ARCHITECTURES`, by which every command knows it.

    Args:
        input_axes: names of the axes of the inputs it takes.
        **forms: short names, and the options that each of them fixes; ``-`` is written ``_``.

    Raises:
        ValueError: if there is another of that name.

    Example:
        >>> import ntk_air as na
        >>> @na.kernels.architecture(("n", "d"))
        ... def two_layers(width=64, **options):
        ...     return na.kernels.fully_connected(2, width, **options)
        >>> na.kernels.ARCHITECTURES.pop("two_layers")(8).name
        'fully_connected(depth=2, width=8, activation=relu)'
    """

    def register(function: _F) -> _F:
        named = {short.replace("_", "-"): options for short, options in forms.items()}
        maker = ArchitectureMaker(function.__name__, function, input_axes, named)
        for name in (maker.name, *named):
            if name in architecture_names():
                raise ValueError(f"there is another architecture {name!r}; choose another name.")
        ARCHITECTURES[maker.name] = maker
        return function

    return register


def architecture_names() -> tuple[str, ...]:
    """Short names and full names of all architectures.

    Example:
        >>> import ntk_air as na
        >>> "fc" in na.kernels.architecture_names()
        True
    """
    return tuple(n for maker in ARCHITECTURES.values() for n in (*maker.forms, maker.name))


def find_architecture(name: str) -> tuple[ArchitectureMaker, dict[str, Any]]:
    """The maker of a name, short or full, and the options that the name fixes.

    Raises:
        ValueError: if there is none.

    Example:
        >>> import ntk_air as na
        >>> maker, options = na.kernels.find_architecture("conv-gap")
        >>> maker.name, options
        ('convolutional', {'pooling': 'gap'})
    """
    check_choice("architecture", name, architecture_names())
    maker = next(one for one in ARCHITECTURES.values() if name in (one.name, *one.forms))
    return maker, dict(maker.forms.get(name, {}))
