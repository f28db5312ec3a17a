"""One filter or several, in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from .._checks import check_same_length
from .._typing import FilterLike
from ._partial_spectrum import Bank, Filters, Flows, bank_of


def some_bank(filters: Filters) -> Bank:
    """The bank of one filter, or of one or more of them; ValueError on none."""
    bank = bank_of(filters)
    if not callable(filters) and not len(filters):
        raise ValueError("filter is an empty sequence, expected at least one filter.")
    return bank


def like(filter: Filters, out: Any) -> Any:
    """The first of a stack where one filter was given, else the stack."""
    return jax.tree.map(lambda leaf: leaf[0], out) if callable(filter) else out


def bank_at(times: list[float], filters: Sequence[FilterLike] | None) -> Bank:
    """Gradient flow to each time, or the filters given in its place, one per time."""
    if filters is None:
        return Flows(times)
    check_same_length("times", times, "filters", [0.0] * len(filters))
    return bank_of(filters)
