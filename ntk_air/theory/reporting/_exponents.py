"""Sweeps as conclusions: values per size and seed, against the exponent that a theorem predicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ._report import Check, Scaling
from ._scaling import PowerLaw, exponent_alone, power_law

ROUND_OFF = 1e-4
"""Distance from its interval at which an exponent counts as inside: runs in float32 leave less."""

RESOLUTION = 0.25
"""Largest half-width of an interval that decides: a wider one may hold both 0 and a half."""

FEWEST = 3
"""Seeds below which there is no interval: two slopes hardly tell how far slopes scatter."""


def scaling_check(
    name: str,
    quantity: str,
    size: str,
    sizes: Any,
    values: Any,
    predicted: float,
    *,
    correction: Any = 1.0,
    because: str = "",
    next_order: float | None = None,
    replicates: bool = False,
    slack: float = ROUND_OFF,
) -> Check:
    """The interval of the fitted exponent holds the predicted one.

    Args:
        name: a few words.
        quantity: what is measured, in symbols.
        size: what is varied, in symbols.
        sizes: (W,) or (W, S).
        values: (W, S), one column per seed, each with its own constant in the fit. Fewer than three
            give no interval, and no exponent is left out of it. Values that no power law can
            follow, such as those of a run that diverged, fail the check.
        predicted: the exponent.
        correction: (W,), (W, S) or a number: derived factor by which the values leave the power
            law at these sizes; the law is fitted to values / correction.
        because: the correction in symbols.
        next_order: q of a derived next term x^(predicted + q), see `power_law`.
        replicates: columns are independent draws at every size and share one constant.
        slack: distance from the interval that counts as inside: what finite sizes leave of the
            law for which no correction is derived.
    """
    scaling, law = _measured(
        quantity, size, sizes, values, predicted, correction, next_order, replicates
    )
    law_text = f"{quantity}{f' / {because}' if because else ''} ~ {size}^{_exponent(predicted)}"
    if next_order is not None:
        law_text += f" (1 + c {size}^{_exponent(next_order)})"
    beside = f", within {slack:g}" if slack > ROUND_OFF else ""
    return Check(
        name,
        f"{law_text}: in the 95 % interval of the fitted exponent{beside}",
        required=predicted,
        measured=str(law),
        holds=isinstance(law, PowerLaw) and law.low - slack <= predicted <= law.high + slack,
        scaling=scaling,
    )


def decay_check(
    name: str,
    quantity: str,
    size: str,
    sizes: Any,
    values: Any,
    bound: float,
    verb: str = "falling",
    replicates: bool = False,
) -> Check:
    """The exponent may be at most ``bound``: the lower end of its interval is not above it.

    Args:
        name: a few words.
        quantity: what is measured, in symbols.
        size: what is varied, in symbols.
        sizes: (W,) or (W, S).
        values: (W, S), as in `scaling_check`.
        bound: the largest exponent that the theorem allows.
        verb: how the quantity moves.
        replicates: as in `scaling_check`.
    """
    scaling, law = _measured(quantity, size, sizes, values, bound, 1.0, None, replicates)
    return Check(
        name,
        f"{quantity} {verb} at least as fast as {size}^{_exponent(bound)}: lower end of "
        "the 95 % interval of the fitted exponent",
        required=f"<= {bound:g}",
        measured=str(law),
        holds=isinstance(law, PowerLaw) and law.low <= bound + ROUND_OFF,
        scaling=scaling,
    )


def resolution_checks(
    conclusions: Sequence[Check], others: Mapping[str, Check] | None = None
) -> tuple[Check, ...]:
    """The assumptions that what runs measure of themselves is known well enough to decide.

    They withhold the conclusions that are not, and no other: none is asked where a conclusion that
    is decided fails, for a fault of the runs is not excused by how widely their results scatter.

    Args:
        conclusions: those with a sweep need an interval that is narrow enough, of `FEWEST` seeds
            at least. A sweep that follows no power law is a finding of its own, and no interval is
            asked of it.
        others: name of a conclusion to the assumption that it is decided, where that is measured
            in another way.
    """
    others = others or {}
    reaches = {
        c.name: (c.scaling.high - c.scaling.low) / 2 for c in conclusions if c.scaling is not None
    }
    open_ = {name for name, reach in reaches.items() if reach > RESOLUTION}
    open_ |= {name for name, assumption in others.items() if not assumption.holds}
    if any(not c.holds for c in conclusions if c.name not in open_):
        return ()
    widest = max((r for r in reaches.values() if not np.isnan(r)), default=0.0)
    resolved = Check.at_most(
        "exponents are resolved",
        f"half-width of every interval of an exponent; infinite below {FEWEST} seeds",
        required=RESOLUTION,
        measured=widest,
    )
    return (*others.values(), resolved)


def _measured(
    quantity: str,
    size: str,
    sizes: Any,
    values: Any,
    predicted: float,
    correction: Any,
    next_order: float | None,
    replicates: bool,
) -> tuple[Scaling, PowerLaw | str]:
    values = np.asarray(values, np.float64)
    sizes = np.asarray(sizes, np.float64)
    sizes = np.broadcast_to(sizes.reshape(len(values), -1), values.shape).copy()
    seeds = np.broadcast_to(0 if replicates else np.arange(values.shape[1]), values.shape)
    factor = np.asarray(correction, np.float64)
    factor = np.broadcast_to(factor[:, None] if factor.ndim == 1 else factor, values.shape)
    law: PowerLaw | str = "no power law: a size or value is zero, negative or not finite"
    with np.errstate(divide="ignore", invalid="ignore"):
        fitted = values / factor
    if np.isfinite(fitted).all() and (fitted > 0).all() and (sizes > 0).all():
        if values.shape[1] < FEWEST:
            law = exponent_alone(sizes, fitted)
        else:
            law = power_law(sizes.ravel(), fitted.ravel(), seeds.ravel(), next_order=next_order)
    known = isinstance(law, PowerLaw)
    return Scaling(
        quantity=quantity,
        size=size,
        predicted=predicted,
        fitted=law.exponent if known else np.nan,
        sizes=sizes,
        values=values,
        low=law.low if known else np.nan,
        high=law.high if known else np.nan,
        correction=None if np.all(factor == 1.0) else factor.copy(),
    ), law


def _exponent(value: float) -> str:
    return f"{value:g}" if value >= 0 and float(value).is_integer() else f"({value:g})"
