"""What is known of a baseline beside its function: everything that lists them reads it here."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from ..._typing import Array, PyTree
from ..training._options import training_call

_F = TypeVar("_F", bound=Callable[..., Any])


class NoisyRun(Protocol):
    """What a baseline may ask of a run on noisy labels, to choose what it was not given.

    Attributes:
        epochs: passes over the points.
        noise_rates: fraction of wrong labels for each of R networks.

    Example:
        >>> import ntk_air as na
        >>> class Short(na.distillation.baselines.NoisyRun):
        ...     epochs = 12
        >>> na.distillation.baselines.METHODS["gce"].settle(Short(), {"threshold": 0.5})
        {'start_epoch': 4, 'threshold': 0.5}
    """

    @property
    def epochs(self) -> int:
        """See the class."""
        ...

    @property
    def noise_rates(self) -> Sequence[float]:
        """See the class."""
        ...

    def fresh_params(self) -> PyTree:
        """Initial parameters of as many other networks; of one network without a first axis."""
        ...

    def early_outputs(self, share: float) -> Sequence[np.ndarray]:
        """Outputs (n, C) of cross-entropy, for each network.

        It is trained for a share of the epochs, and read where held-out labels are predicted best.
        """
        ...

    def kept(self, name: str, compute: Callable[[], Array]) -> Array:
        """What ``compute`` gives, kept beside the checkpoint of the run if there is one."""
        ...


Settle = Callable[[NoisyRun, dict[str, Any]], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Baseline:
    """A method for noisy labels: a function, and what tables and commands say of it.

    Attributes:
        name: by which `METHODS`, the command line and the benchmark know it.
        function: takes the call of `self_distill`; calling the record calls it.
        title: in tables.
        source: where it was published.
        numbers: that its name may be given, as in ``gce/q=0.5``.
        required: those without a default, with a value to try.
        remark: what its numbers are besides, for tables.
        settle: from a run and the numbers given to all of its own arguments: published values
            scaled to the length of training, and what else it needs.
        benchmarked: numbers that the benchmark gives it, one run each.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.baselines.METHODS["gce"].numbers
        ('q', 'threshold', 'start_epoch')
    """

    name: str
    function: Callable[..., Any]
    title: str
    source: str = ""
    numbers: tuple[str, ...] = ()
    required: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    remark: str = ""
    settle: Settle | None = None
    benchmarked: tuple[str, ...] = ("",)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """A call of the function."""
        return self.function(*args, **kwargs)

    @property
    def function_name(self) -> str:
        """Of the function, which several records may share."""
        return getattr(self.function, "func", self.function).__name__


METHODS: dict[str, Baseline] = {}
"""Every baseline by name, in the order in which `ntk_air.distillation.baselines` imports them."""


def baseline(
    title: str, *, variants: Mapping[str, Mapping[str, Any]] | None = None, **known: Any
) -> Callable[[_F], _F]:
    """Decorator: makes a function a training call, and puts its record into `METHODS`.

    Outside of this package it adds a method of one's own: with the record the command line, the
    benchmark and `ntk_air.analysis.noisy_training` know it by name.

    Args:
        title: what it is called in tables.
        variants: names of several records of one function, and what each gives it.
        **known: further fields of `Baseline`.

    Raises:
        ValueError: if there is another method of that name.
        TypeError: by the function made, on a keyword that it does not have.

    Example:
        >>> import ntk_air as na
        >>> b = na.distillation.baselines
        >>> @b.baseline("cross-entropy, under another name")
        ... def renamed(*args, **options):
        ...     return b.cross_entropy(*args, **options)
        >>> b.METHODS.pop("renamed").title
        'cross-entropy, under another name'
    """

    def register(function: _F) -> _F:
        call = training_call(function)
        for name, given in (variants or {function.__name__: {}}).items():
            if name in METHODS:
                raise ValueError(f"there is another method called {name!r}; choose another name.")
            bound = functools.partial(call, **given) if given else call
            METHODS[name] = Baseline(name, bound, title, **known)
        return call

    return register


def table() -> str:
    """The methods as a Markdown table: name, function, numbers with their defaults, source.

    Example:
        >>> import ntk_air as na
        >>> print(na.distillation.baselines.table().splitlines()[0])
        | method | name | its numbers (published values are the defaults) | source |
    """
    head = "| method | name | its numbers (published values are the defaults) | source |"
    rows: dict[str, list[Baseline]] = {}
    for one in METHODS.values():
        rows.setdefault(one.title, []).append(one)
    return "\n".join([head, "|---|---|---|---|", *map(_row, rows.values())])


def _row(records: Sequence[Baseline]) -> str:
    one = records[0]
    parameters = inspect.signature(one.function).parameters
    numbers = [
        f"`{name}` (required)" if name in one.required else f"`{name}={parameters[name].default!r}`"
        for name in one.numbers
    ]
    told = ", ".join(numbers) + (f"; {one.remark}" if one.remark else "")
    names = ", ".join(f"`{record.name}`" for record in records)
    return f"| {one.title} | {names} | {told.lstrip('; ')} | {one.source} |"
