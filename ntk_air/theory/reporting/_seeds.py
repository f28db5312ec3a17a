"""How many initialisations a report runs, or which."""

from __future__ import annotations

from collections.abc import Sequence

from ..._checks import check_seed


def seed_list(seeds: int | Sequence[int], at_most: int | None = None) -> tuple[int, ...]:
    """The seeds that a number of seeds or a sequence names, cut to the first ``at_most``.

    Raises:
        ValueError: if there is none, or one is not a whole number in 0..2³² - 1.
    """
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen:
        raise ValueError(f"seeds is {seeds!r}, expected at least one initialisation.")
    return tuple(check_seed("seeds", seed) for seed in chosen[:at_most])
