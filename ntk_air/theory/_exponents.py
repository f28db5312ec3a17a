"""Sweeps as conclusions: values per size and seed, against the exponent that a theorem predicts."""

from __future__ import annotations

from typing import Any

import numpy as np

from ._report import Check
from ._scaling import TOLERANCE, PowerLaw, exponent_check, power_law


def scaling_check(name: str, law: str, sizes: Any, values: Any, predicted: float) -> Check:
    """The fitted exponent is the predicted one within `TOLERANCE`.

    Args:
        name: a few words.
        law: the claim, e.g. "sigma_{K+1}(J) ~ epsilon_0^1".
        sizes: (W,) or (W, S).
        values: (W, S), one column per seed, each with its own constant in the fit. Values that no
            power law can follow, such as those of a run that diverged, fail the check.
        predicted: the exponent.
    """
    fitted = _fit(sizes, values)
    statement = f"{law}: fitted exponent with 95 % interval"
    if isinstance(fitted, str):
        return Check(name, statement, f"{predicted:g} +- {TOLERANCE:g}", fitted, False)
    return exponent_check(name, statement, fitted, predicted)


def decay_check(name: str, law: str, sizes: Any, values: Any, bound: float) -> Check:
    """The fitted exponent is at most ``bound`` + `TOLERANCE`: an upper bound may decay faster."""
    fitted = _fit(sizes, values)
    return Check(
        name=name,
        statement=f"{law}: fitted exponent with 95 % interval",
        required=f"<= {bound:g} + {TOLERANCE:g}",
        measured=str(fitted),
        holds=isinstance(fitted, PowerLaw) and fitted.exponent <= bound + TOLERANCE,
    )


def _fit(sizes: Any, values: Any) -> PowerLaw | str:
    values = np.asarray(values, np.float64)
    sizes = np.asarray(sizes, np.float64)
    sizes = np.broadcast_to(sizes.reshape(len(values), -1), values.shape)
    seeds = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    if not (np.isfinite(values).all() and (values > 0).all() and (sizes > 0).all()):
        return "no power law: a size or value is zero, negative or not finite"
    return power_law(sizes.ravel(), values.ravel(), seeds.ravel())
