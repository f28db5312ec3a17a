"""The noise rate that labels and tail energy tell together, and how well."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from ..._typing import Array, Float
from ._noise import NORMAL_95, NoiseEstimate

# No estimate is sure enough to call a label certain, right or wrong.
LEAST_RATE = 1e-3
# Half of χ² with one degree of freedom at 95 %.
DROP = 1.92
_SHARPNESSES = np.geomspace(0.1, 100.0, 40)
_RATES, _MARGIN, _ZOOMS = 60, 1.5, 2


@dataclasses.dataclass(frozen=True)
class TailEvidence:
    """What the energy of the labels' tail says of a noise, as a negative log-likelihood.

    The tail holds the noise and what signal the kernel leaves there. So a noise of more energy than
    measured is unlikely as a normal variable beyond its upper limit is; one of less is so within
    the signal that may be there, and in the heavy tail of a Cauchy variable: a poor kernel must not
    outvote labels that agree.

    Attributes:
        rate: ρ of symmetric noise of the energy measured.
        below: scale of what signal takes off it.
        above: scale of its upper limit, which allows for the choice of the tail.
        lower: least ρ that the energies allow.
        upper: largest one.
    """

    rate: float
    below: float
    above: float
    lower: float
    upper: float

    @classmethod
    def of(cls, found: NoiseEstimate, classes: int) -> TailEvidence:
        """Of an estimate for labels of so many classes."""
        most = 1.0 - 1.0 / classes - LEAST_RATE
        rate = float(found.rate)
        above = max((float(found.upper) - rate) / NORMAL_95, LEAST_RATE)
        upper = float(np.clip(found.upper, 2 * LEAST_RATE, most))
        lower = float(np.clip(found.lower, LEAST_RATE, upper - LEAST_RATE))
        below = max(rate - float(found.extrapolated), above)
        return cls(rate, below, above, lower, upper)

    @classmethod
    def none(cls) -> TailEvidence:
        """No evidence: every rate is as good."""
        return cls(0.0, np.inf, np.inf, 0.0, 1.0)

    def cost(self, rates: Float[np.ndarray, " R"]) -> Float[np.ndarray, " R"]:
        """Negative log-likelihood of rates of symmetric noise, up to a constant."""
        return self.cost_and_slope(rates)[0]

    def cost_and_slope(self, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same and its derivative."""
        off = np.asarray(rates, np.float64) - self.rate
        z = off / np.where(off < 0, self.below, self.above)
        cost = np.where(off < 0, np.log1p(z**2), z**2 / 2)
        slope = np.where(off < 0, 2 * z / (1 + z**2) / self.below, z / self.above)
        return cost, slope


@dataclasses.dataclass(frozen=True)
class ToldRate:
    """How much noise of one kind there is.

    Attributes:
        scale: share s of the noise's matrix in (1 − s) I + s T, the mean over its interval weighted
            by the likelihood: the largest jumps from end to end where the likelihood is flat.
        lower: ends of the 95 % interval of s.
        upper:
        sharpness: β of the softmax.
        loss: labels' mean negative log-likelihood plus the tail's part, at the best s.
        contradicted: whether labels and tail pull apart: the best lies at a limit of the tail, or
            the labels alone rule out, with 95 % confidence, every s that it allows.
    """

    scale: float
    lower: float
    upper: float
    sharpness: float
    loss: float
    contradicted: bool


def told_rate(
    outputs: Float[Array, "n C"],
    labels: np.ndarray,
    matrix: Float[np.ndarray, "C C"],
    evidence: TailEvidence,
    rates: tuple[np.ndarray, np.ndarray],
) -> ToldRate:
    """The scale s of noise (1 − s) I + s T that its likelihood tells, with its interval.

    The likelihood is that of the labels under softmax(β f), β at its best for each s, times that of
    their tail energy. The labels alone confound s with β where outputs are all of one size, as with
    two classes and a kernel that fits both alike; the interval then is wide, and the tail decides.

    Args:
        outputs: f that do not depend on the label they are judged by (n, C).
        labels: observed classes (n,).
        matrix: T (C, C).
        evidence: of the tail.
        rates: scales s, ascending, and the ρ of symmetric noise of the same energy at each. Those
            outside the evidence's limits are searched for a contradiction only.
    """
    scales, equal = rates
    n = len(labels)
    mixing = jnp.asarray(matrix[:, labels].T, outputs.dtype)
    own = jnp.asarray(labels)
    size = float(jnp.sqrt(jnp.mean(outputs**2))) or 1.0
    allowed = (equal >= evidence.lower - 1e-9) & (equal <= evidence.upper + 1e-9)
    if not allowed.any():
        allowed = np.arange(len(equal)) == int(np.argmin(evidence.cost(equal)))

    def losses(at: np.ndarray, sharpnesses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        grid = jnp.asarray(sharpnesses / size, outputs.dtype)
        table = _losses(outputs, mixing, own, grid, jnp.asarray(at, outputs.dtype))
        return _least(np.asarray(table, np.float64), sharpnesses)

    def searched(ends: tuple[float, float], grid: np.ndarray) -> tuple[np.ndarray, ...]:
        low, high = ends
        at = np.linspace(low, high, _RATES) if high > low else np.full(1, low)
        values, sharpnesses = losses(at, grid)
        joint = n * values + evidence.cost(np.interp(at, scales, equal))
        return at, joint, sharpnesses, np.flatnonzero(joint <= joint.min() + DROP)

    alone, _ = losses(scales, _SHARPNESSES)
    contradicted = bool(n * (alone[allowed].min() - alone.min()) > DROP)
    ends = float(scales[allowed][0]), float(scales[allowed][-1])
    at, joint, sharpnesses, inside = searched(ends, _SHARPNESSES)
    for _ in range(_ZOOMS):
        below, above = at[max(inside[0] - 2, 0)], at[min(inside[-1] + 2, len(at) - 1)]
        some = sharpnesses[inside]
        grid = np.geomspace(some.min() / _MARGIN, some.max() * _MARGIN, len(_SHARPNESSES))
        at, joint, sharpnesses, inside = searched((float(below), float(above)), grid)
    best = int(np.argmin(joint))
    weights = np.exp(joint[best] - joint[inside[0] : inside[-1] + 1])
    mean = float(np.average(at[inside[0] : inside[-1] + 1], weights=weights))
    lower = float(at[inside[0]])
    at_limit = (at[best] == ends[0] and ends[0] > LEAST_RATE) or at[best] == ends[1]
    return ToldRate(
        mean,
        # Rates below the least that is searched are as likely as that one.
        lower if lower > LEAST_RATE else 0.0,
        float(at[inside[-1]]),
        float(np.interp(mean, at, sharpnesses) / size),
        float(joint[best] / n),
        bool(contradicted or at_limit),
    )


def _least(
    table: Float[np.ndarray, "B R"], grid: Float[np.ndarray, " B"]
) -> tuple[np.ndarray, np.ndarray]:
    """Least loss over log β for each rate, by a parabola through the best three; and that β."""
    index = np.clip(np.argmin(table, axis=0), 1, len(table) - 2)
    columns = np.arange(table.shape[1])
    left, middle, right = (table[index + step, columns] for step in (-1, 0, 1))
    curvature = left - 2 * middle + right
    proper = (middle <= left) & (middle <= right) & (curvature > 0)
    shift = np.where(proper, (left - right) / np.where(proper, 2 * curvature, 1.0), 0.0)
    at_end = np.where(left < right, -1.0, 1.0) * ~proper
    values = np.where(proper, middle - (left - right) * shift / 4, np.minimum(left, right))
    return values, grid[index] * np.exp(np.log(grid[1] / grid[0]) * (shift + at_end))


@jax.jit
def _losses(
    outputs: Array, mixing: Array, labels: Array, sharpnesses: Array, scales: Array
) -> Array:
    """Mean negative log-likelihood of the observed labels, (sharpnesses, scales)."""
    tiny = jnp.finfo(outputs.dtype).tiny

    def one(sharpness: Array) -> Array:
        clean = jax.nn.softmax(sharpness * outputs, axis=1)
        kept = jnp.take_along_axis(clean, labels[:, None], axis=1)[:, 0]
        mixed = jnp.sum(clean * mixing, axis=1)
        seen = (1.0 - scales[:, None]) * kept + scales[:, None] * mixed
        return -jnp.mean(jnp.log(jnp.maximum(seen, tiny)), axis=1)

    return jax.lax.map(one, sharpnesses)
