"""Whether a result rests on eigenvalues that the arithmetic does not know.

Beyond an eigensystem's ``trusted_rank`` an eigenvalue is known to δ = eps · λ_1 plus its own
measured residual, and no better; of what is smaller than δ even the sign is rounding. That does no
harm where a filter hardly acts, or acts on all such directions alike: training stopped early, or a
ridge above them. It does where g(λ) changes within λ ± δ: to first order the outputs then change by
(Σ_k (g(λ_k ± δ_k) − g(λ_k))² ‖u_kᵀz‖²)^½.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from .._typing import Array
from ..spectral import Eigensystem
from ._partial_spectrum import Bank, Flows, Spectrum, rank_counted, spectrum

# Outputs that may be off by more than this share of their norm are warned of.
_TOLERANCE = 0.01


def warn_where_untrusted(
    eigensystem: Eigensystem,
    bank: Bank,
    coefficients: Array,
    *,
    fitted: Array | None = None,
    weights: Array | None = None,
    per_eigenvalue: bool = False,
    held: Spectrum | None = None,
) -> None:
    """Warns once if a filter acts beyond the trusted rank in a way that changes the outputs.

    Args:
        eigensystem: of the training kernel.
        bank: the filters.
        coefficients: u_kᵀz (r, C) of what is fitted.
        fitted: the filters' values (F, r), where they are at hand.
        weights: (r,) what each direction is multiplied with on its way to the outputs; default 1.
        per_eigenvalue: whether the outputs hold g(λ)/λ, as those at test points do, and not g(λ).
        held: the spectrum, where it is at hand.
    """
    first = eigensystem.trusted_rank
    if first >= eigensystem.rank:
        return
    held, values, spread = _known(eigensystem, held)
    sizes = np.linalg.norm(_of_unit_size(coefficients), axis=1)
    if weights is not None:
        sizes = sizes * _of_unit_size(weights)
    if isinstance(bank, Flows) and not per_eigenvalue:
        if _most_changed(values, spread, sizes) <= _TOLERANCE:
            return
        here = np.asarray(bank(held.values) if fitted is None else fitted)
        changed = _change_of_flows(bank, values[first:], spread, here[:, first:])
    else:
        read = _divided if per_eigenvalue else _plain
        here = read(bank, held.values, values)
        changed = _largest_change(bank, held.values, spread, first, read, here[:, first:])
    # Over the largest of each filter: squares of very small fractions would be zero.
    scale = np.abs(here).max(axis=1, initial=0.0, keepdims=True)
    scale[scale == 0] = 1.0
    energies = np.square(sizes).astype(here.dtype)
    parts = np.square(here / scale)
    total = np.sqrt(parts @ energies)
    moved = np.sqrt(np.square(changed / scale) @ energies[first:])
    share = moved / np.where(total > 0, total, 1.0)
    worst = int(np.argmax(share)) if len(share) else 0
    if not len(share) or share[worst] <= _TOLERANCE:
        return
    beyond = np.sqrt(parts[worst, first:] @ energies[first:]) / (total[worst] or 1.0)
    level = eigensystem.num_points * held.floor
    which = f" of filter {worst}" if len(share) > 1 else ""
    warnings.warn(
        f"{beyond:.0%} of the outputs{which} lie in directions beyond the {first} whose "
        f"eigenvalues stand above round-off (trusted_rank), and rounding there may change the "
        f"outputs by {share[worst]:.1%}; compute the kernel and its eigensystem in float64 "
        f"(precision='float64'), or take a time below {1 / level:.3g} or a ridge above "
        f"{level:.3g}.",
        stacklevel=4,
    )


def warn_where_uncounted(eigensystem: Eigensystem, bank: Bank) -> None:
    """Warns once if Σ g(λ) rests on eigenvalues beyond the trusted rank by more than 1 %."""
    first = eigensystem.trusted_rank
    if first >= eigensystem.rank:
        return
    held, values, spread = _known(eigensystem)
    here = _plain(bank, held.values, values)
    changed = _largest_change(bank, held.values, spread, first, _plain, here[:, first:])
    moved, total = np.sum(changed, axis=1), np.sum(here, axis=1)
    share = moved / np.where(total > 0, total, 1.0)
    if not len(share) or share.max() <= _TOLERANCE:
        return
    warnings.warn(
        f"up to {moved[int(np.argmax(share))]:.3g} of the degrees of freedom "
        f"({share.max():.0%}) lie in directions beyond the {first} whose eigenvalues stand above "
        "round-off (trusted_rank), and are rounding; compute the kernel and its eigensystem in "
        "float64 (precision='float64').",
        stacklevel=4,
    )


def _known(
    eigensystem: Eigensystem, held: Spectrum | None = None
) -> tuple[Spectrum, np.ndarray, np.ndarray]:
    """The spectrum, its eigenvalues (r,) and the δ (r − trusted rank,) of those beyond."""
    held = spectrum(eigensystem) if held is None else held
    residuals = np.asarray(eigensystem.residuals, np.float64)
    return (
        held,
        np.asarray(held.values, np.float64),
        held.floor + residuals[eigensystem.trusted_rank :],
    )


_Reading = Callable[[Bank, Array, np.ndarray], np.ndarray]


def _plain(bank: Bank, values: Array, _: np.ndarray) -> np.ndarray:
    return np.asarray(bank(values), np.float64)


def _divided(bank: Bank, values: Array, exact: np.ndarray) -> np.ndarray:
    known = exact > 0
    return np.where(known, _plain(bank, values, exact) / np.where(known, exact, 1.0), 0.0)


def _most_changed(values: np.ndarray, spread: np.ndarray, sizes: np.ndarray) -> float:
    """A bound at all times on the share of the outputs of gradient flow that rounding may change.

    With δ < λ, g(λ ± δ) differs from g(λ) by at most δ/λ · g(λ), with any δ by at most g(λ + δ);
    and g grows with λ, so that all directions above the largest λ + δ are fitted further.
    """
    first = len(values) - len(spread)
    beyond = values[first:]
    above = np.linalg.norm(sizes[values >= np.max(beyond + spread)])
    moved = np.linalg.norm(spread / np.maximum(beyond, spread) * sizes[first:])
    return float(moved / above) if above > 0 else np.inf


def _change_of_flows(
    flows: Flows, values: np.ndarray, spread: np.ndarray, here: np.ndarray
) -> np.ndarray:
    """`_largest_change` of gradient flow, which grows with every eigenvalue by itself."""
    above, below = (
        flows.on_host(np.maximum(values + sign * spread, 0.0).astype(here.dtype))
        for sign in (1.0, -1.0)
    )
    return np.maximum(above - here, here - below)


def _largest_change(
    bank: Bank, values: Array, spread: np.ndarray, first: int, read: _Reading, here: np.ndarray
) -> np.ndarray:
    """How far (F, r − first) the filters can be from ``here`` with eigenvalues ``spread`` off."""
    exact = np.asarray(values, np.float64)
    found = np.zeros_like(here)
    for sign in (1.0, -1.0):
        moved = np.maximum(exact[first:] + sign * spread, 0.0)
        if rank_counted(bank):
            # A filter that counts directions: any of those within reach may be in this one's place.
            index = np.searchsorted(-exact, -moved, side="left" if sign > 0 else "right")
            index = np.clip(index, 0, len(exact) - 1)
            shifted = read(bank, values, exact)[:, index]
        else:
            every = np.concatenate([exact[:first], moved])
            shifted = read(bank, jnp.asarray(every, values.dtype), every)[:, first:]
        found = np.maximum(found, np.abs(shifted - here))
    return found


def _of_unit_size(array: Array) -> np.ndarray:
    """In float64, over the largest magnitude."""
    host = np.asarray(array, np.float64)
    largest = np.abs(host).max(initial=0.0)
    return host / (largest or 1.0)
