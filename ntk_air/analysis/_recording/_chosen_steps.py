"""At which steps of a training loop to do something."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from ..._checks import check_size


class ChosenSteps:
    """A set of steps: every so many, or these."""

    def __init__(self, name: str, steps: int | Sequence[int]) -> None:
        self._name, self._every, self._these = name, 0, frozenset[int]()
        if np.ndim(steps) == 0:
            self._every = check_size(name, steps, 1)  # pyright: ignore[reportArgumentType]
            return
        given = np.asarray(steps)
        if given.size and (
            given.ndim != 1 or not np.issubdtype(given.dtype, np.integer) or given.min() < 0
        ):
            raise ValueError(
                f"{name} is {steps!r}, expected a whole number from 1 up (every so many steps) or "
                "a sequence of steps, whole numbers from 0 up."
            )
        self._these = frozenset(given.astype(int).tolist())

    def __contains__(self, step: int) -> bool:
        return step % self._every == 0 if self._every else step in self._these

    def warn_of_missing(self, taken: list[int], last: int) -> None:
        """Warns of chosen steps up to ``last`` that are not among those ``taken``."""
        asked = range(0, last + 1, self._every) if self._every else self._these
        missing = sorted(step for step in set(asked) - set(taken) if step <= last)
        if missing:
            warnings.warn(
                f"{self._name} asked for step(s) {', '.join(map(str, missing[:5]))}"
                f"{' ...' if len(missing) > 5 else ''}, at which the recorder was not called.",
                stacklevel=3,
            )
