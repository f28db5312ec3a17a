"""What the table of `benchmarks.precision` is measured on, and how an error is taken."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

SEEDS = (0, 1, 2)
CONDITIONS = (1e2, 1e5, 1e9)
DEPTHS = (1, 4, 16)
NUM_CLASSES = 3

# What an error is relative to.
ENTRY = "largest entry of |ΔΘ_ij| / sqrt(Θ_ii Θ_jj)"
NORM = "‖Δ‖ / ‖reference‖"
LARGEST = "largest |Δ| / largest |reference|"
EACH = "largest |Δ| / |reference|, each value by itself"
TOP = "largest |Δλ| / λ_1"
SHARE = "largest |Δ| of numbers in [0, 1]"
SINE = "sine of the largest angle between the leading 5-dimensional subspaces"
LOG = "largest |log(t / reference)|"

_SHARE_SAID = r"(?:change the outputs by |degrees of freedom \()([\d.]+)%"


class Row(NamedTuple):
    """One error of one public quantity.

    Attributes:
        quantity: ``room.name`` of the public function, with what of its result after a colon.
        case: the settings that the error depends on, by name.
        relative_to: what the error is a share of.
        error: NaN where float32 tells nothing.
        told: share of the values that float32 gives; the others are NaN, and are not compared.
        warned: what share of the outputs the warning about untrusted directions names, else None.
    """

    quantity: str
    case: dict[str, Any]
    relative_to: str
    error: float
    told: float = 1.0
    warned: float | None = None


Rows = Iterator[Row]


class Problem(NamedTuple):
    """A kernel of a known spectrum with labels that its leading directions carry.

    Attributes:
        kernel: Θ (n, n) float64, λ from 1 down to 1/condition in equal ratios.
        cross: (m, n), rows of Θ mixed: f(x*) is the same mixture of the outputs.
        clean: centred one-hot y (n, C).
        observed: ỹ (n, C), a fifth of the labels moved.
        given: observed classes (n,).
        condition: λ_1/λ_n.
    """

    kernel: np.ndarray
    cross: np.ndarray
    clean: np.ndarray
    observed: np.ndarray
    given: np.ndarray
    condition: float


def problem(points: int, condition: float, seed: int) -> Problem:
    """The kernel, the labels and the mixture of one seed."""
    rng = np.random.default_rng([seed, points])
    vectors = np.linalg.qr(rng.normal(size=(points, points)))[0]
    kernel = (vectors * np.geomspace(1.0, 1.0 / condition, points)) @ vectors.T
    kernel = (kernel + kernel.T) / 2
    scores = vectors[:, : min(6, points)] @ rng.normal(size=(min(6, points), NUM_CLASSES))
    labels = np.argmax(scores, axis=1)
    moved = rng.permutation(points)[: points // 5]
    given = labels.copy()
    given[moved] = (labels[moved] + rng.integers(1, NUM_CLASSES, len(moved))) % NUM_CLASSES
    mixture = rng.normal(size=(max(4, points // 10), points)) / math.sqrt(points)
    codes = np.eye(NUM_CLASSES) - 1 / NUM_CLASSES
    return Problem(kernel, mixture @ kernel, codes[labels], codes[given], given, condition)


def scattered(points: int, dimension: int, seed: int) -> np.ndarray:
    """Points (n, d) of norm √d in float32, in all directions."""
    x = np.random.default_rng([seed, points, dimension]).normal(size=(points, dimension))
    x *= np.sqrt(dimension) / np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32)


def near(points: int, dimension: int, seed: int) -> np.ndarray:
    """The same in groups of five whose points are 1e-3 of their norm apart."""
    centres = np.repeat(scattered(-(-points // 5), dimension, seed), 5, axis=0)[:points]
    rng = np.random.default_rng([seed, points])
    return (centres + 1e-3 * rng.normal(size=centres.shape)).astype(np.float32)


def entries(found: Any, exact: Any) -> float:
    """Error of a symmetric kernel in units of sqrt(Θ_ii Θ_jj)."""
    found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    return float(np.max(np.abs(found - exact) / size))


def norm(found: Any, exact: Any) -> float:
    """‖Δ‖/‖reference‖ over the values that both hold."""
    found, exact, known = _both(found, exact)
    if not known.any():
        return math.nan
    return float(np.linalg.norm((found - exact)[known]) / np.linalg.norm(exact[known]))


def largest(found: Any, exact: Any) -> float:
    """The largest error over the largest reference."""
    found, exact, known = _both(found, exact)
    if not known.any():
        return math.nan
    # Of nothing but zeros the error is that of a number near 1.
    size = np.max(np.abs(exact[known])) or 1.0
    return float(np.max(np.abs(found - exact)[known]) / size)


def each(found: Any, exact: Any) -> float:
    """The largest relative error of a value."""
    found, exact, known = _both(found, exact)
    if not known.any():
        return math.nan
    return float(np.max(np.abs(found - exact)[known] / np.abs(exact[known])))


def absolute(found: Any, exact: Any) -> float:
    """The largest error of numbers in [0, 1]."""
    found, exact, known = _both(found, exact)
    return float(np.max(np.abs(found - exact)[known])) if known.any() else math.nan


def logarithmic(found: Any, exact: Any) -> float:
    """The largest |log ratio|; times of 0 or infinity count where only one of the two has them."""
    found, exact, known = _both(found, exact)
    same = found == exact
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(same, 0.0, np.abs(np.log(found) - np.log(exact)))
    return float(np.max(ratio[known])) if known.any() else math.nan


def told(found: Any, exact: Any) -> float:
    """Share of the reference's values that the other gives as well."""
    found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    known = ~np.isnan(exact)
    return float(np.mean(~np.isnan(found[known]))) if known.any() else 0.0


def _both(found: Any, exact: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    if found.shape != exact.shape:
        raise ValueError(f"shapes {found.shape} and {exact.shape} differ")
    return found, exact, ~np.isnan(found) & ~np.isnan(exact)


_ERRORS: Mapping[str, Callable[[Any, Any], float]] = {
    ENTRY: entries,
    NORM: norm,
    LARGEST: largest,
    EACH: each,
    TOP: largest,
    SHARE: absolute,
    LOG: logarithmic,
}


def row(
    quantity: str,
    case: Mapping[str, Any],
    relative_to: str,
    found: Any,
    exact: Any,
    warned: float | None = None,
) -> Row:
    """The error of what float32 found."""
    error = _ERRORS[relative_to](found, exact)
    return Row(quantity, dict(case), relative_to, error, told(found, exact), warned)


def quietly(call: Callable[[], Any]) -> tuple[Any, float | None]:
    """A result and the largest share of it that a warning calls untrusted, None without one."""
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        found = call()
    shares = [
        float(share[1]) / 100
        for one in record
        if (share := re.search(_SHARE_SAID, str(one.message)))
    ]
    return found, max(shares) if shares else None


def or_nan(call: Callable[[], Any]) -> Any:
    """A number, NaN where the function refuses to give it: it then says what precision would."""
    try:
        return call()
    except ValueError:
        return math.nan


def in_double(call: Callable[[], Any]) -> Any:
    """A result computed with JAX's default float at 64 bits, its arrays on the host."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, call())
