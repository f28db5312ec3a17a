"""Sweeps as conclusions: values per size and seed, against the exponent that a theorem predicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._report import Check, Scaling
from ._scaling import TOLERANCE, PowerLaw, power_law


def scaling_check(
    name: str, quantity: str, size: str, sizes: Any, values: Any, predicted: float
) -> Check:
    """The fitted exponent is the predicted one within `TOLERANCE`.

    Args:
        name: a few words.
        quantity: what is measured, in symbols.
        size: what is varied, in symbols.
        sizes: (W,) or (W, S).
        values: (W, S), one column per seed, each with its own constant in the fit. Values that no
            power law can follow, such as those of a run that diverged, fail the check.
        predicted: the exponent.
    """
    scaling, law = _measured(quantity, size, sizes, values, predicted)
    return Check(
        name=name,
        statement=f"{quantity} ~ {size}^{_exponent(predicted)}: fitted exponent with 95 % interval",
        required=f"{predicted:g} +- {TOLERANCE:g}",
        measured=str(law),
        holds=isinstance(law, PowerLaw) and abs(law.exponent - predicted) <= TOLERANCE,
        scaling=scaling,
    )


def decay_check(
    name: str, quantity: str, size: str, sizes: Any, values: Any, bound: float
) -> Check:
    """The fitted exponent is at most ``bound`` + `TOLERANCE`: an upper bound may decay faster."""
    scaling, law = _measured(quantity, size, sizes, values, bound)
    return Check(
        name=name,
        statement=f"{quantity} at least as fast as {size}^{_exponent(bound)}: fitted exponent with "
        "95 % interval",
        required=f"<= {bound:g} + {TOLERANCE:g}",
        measured=str(law),
        holds=isinstance(law, PowerLaw) and law.exponent <= bound + TOLERANCE,
        scaling=scaling,
    )


def _measured(
    quantity: str, size: str, sizes: Any, values: Any, predicted: float
) -> tuple[Scaling, PowerLaw | str]:
    values = np.asarray(values, np.float64)
    sizes = np.asarray(sizes, np.float64)
    sizes = np.broadcast_to(sizes.reshape(len(values), -1), values.shape).copy()
    seeds = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    law: PowerLaw | str = "no power law: a size or value is zero, negative or not finite"
    if np.isfinite(values).all() and (values > 0).all() and (sizes > 0).all():
        law = power_law(sizes.ravel(), values.ravel(), seeds.ravel())
    fitted = law.exponent if isinstance(law, PowerLaw) else np.nan
    return Scaling(
        quantity=quantity,
        size=size,
        predicted=predicted,
        fitted=fitted,
        sizes=sizes,
        values=values,
    ), law


def _exponent(value: float) -> str:
    return f"{value:g}" if value >= 0 and float(value).is_integer() else f"({value:g})"
