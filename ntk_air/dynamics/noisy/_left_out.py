"""A kernel method without one of its points, and what of it a spectrum determines.

Without point i the kernel loses a row and a column. Ridge regression of the rest, of strength z,
gives at point i (Golub, Heath, Wahba, Technometrics 21, 1979)

    f^{(−i)}(z) = ỹ_i − R_i(z)/Q_i(z),  R_i = Σ_k U_ik (u_kᵀỹ)/(λ_k + z),  Q_i = Σ_k U_ik²/(λ_k + z)

for every complex z off the reduced spectrum, and every other method is a combination of such z. All
of it is in float64 whatever the eigensystem's precision, so that only the eigensystem's own errors
are left.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_finite
from ..._numerics import as_float
from ..._typing import Array, ArrayLike, Float
from ...spectral import Eigensystem
from .._partial_spectrum import spectrum

REMAINDERS = ("bounded", "mean")
# Largest error of a value that is given, over the largest output at that time.
TOLERANCES = {np.dtype("float32"): 1e-3, np.dtype("float64"): 1e-8}
# Measured errors reach 4.3 times the estimate (docs/stopping.md).
SAFETY = 6.0
# Eigenvalues counted as zero are taken for exactly zero where the others end far above them.
_CLEAR_GAP = 10.0
# Zero's eigenvalues come out at up to 1.6 times their residual, others at 14 times and more.
_RESOLVED = 4.0
# Rounding of the contour's sums, in units of the terms that cancel.
_ROUNDING = 100 * float(np.finfo(np.float64).eps)


class Parts(NamedTuple):
    """Eigenpairs in float64, eigenvalues over the largest; one more for all that is outside.

    Attributes:
        vectors: (n, r).
        squares: (n, r + 1), weight of each point in each direction, and outside.
        values: (r + 1,).
        coefficients: (r, C), of the targets.
        part: (n, C), the targets outside the directions held.
        energy: (r + 1, C), squared coefficients.
        observed: (n, C).
        errors: (r + 1,), uncertainty of each direction, of random sign.
        reach: (r + 1,), how far an eigenvalue that is not known can lie from where it counts.
    """

    vectors: Float[Array, "n r"]
    squares: Float[Array, "n s"]
    values: Float[Array, " s"]
    coefficients: Float[Array, "r C"]
    part: Float[Array, "n C"]
    energy: Float[Array, "s C"]
    observed: Float[Array, "n C"]
    errors: Float[Array, " s"]
    reach: Float[Array, " s"]


@dataclasses.dataclass(frozen=True)
class LeftOutProblem:
    """What leaving points out is computed from.

    Attributes:
        parts: see `Parts`.
        scale: λ_1, by which times are multiplied and strengths divided.
        eps: of the eigensystem's precision.
        tolerance: largest error of a value that is given, over the largest output.
        outside: how many directions are not held.
    """

    parts: Parts
    scale: float
    eps: float
    tolerance: float
    outside: int

    @property
    def directions(self) -> int:
        """How many of the parts' directions there are: without the last if none is outside."""
        return len(self.parts.values) - (self.outside == 0)


class Told(NamedTuple):
    """Eigenvalues over the largest, one more for all that is outside, and how well each is told.

    Attributes:
        values: (r + 1,); zero where they count as zero.
        errors: (r + 1,), uncertainty of each direction, of random sign.
        reach: (r + 1,), how far an eigenvalue that is not known can lie from where it counts.
    """

    values: Float[np.ndarray, " s"]
    errors: Float[np.ndarray, " s"]
    reach: Float[np.ndarray, " s"]


def told(eigensystem: Eigensystem, remainder: str) -> Told:
    """What the eigensystem tells of each direction; see `uncertainty` for where it comes from."""
    held = spectrum(eigensystem)
    scale, eps = float(eigensystem.eigenvalues[0]), _eps(eigensystem)
    n, rank = eigensystem.eigenvectors.shape
    raw = np.asarray(eigensystem.eigenvalues, np.float64) / scale
    values = np.asarray(held.values, np.float64) / scale
    residuals = np.asarray(eigensystem.residuals, np.float64) / scale
    # What rounding the kernel's entries does to a direction, if they are of one size.
    rounding = 0.3 * eps * np.sqrt(np.sum(raw**2) / n)
    errors = np.append(np.hypot(residuals, rounding), 0.0)
    reach = np.zeros(rank + 1)
    resolved = _resolved(eigensystem)
    if _clear(np.abs(raw[resolved]), n * eps):
        values = np.where(resolved, values, 0.0)
        errors[:-1][~resolved] = 0.0
    else:
        reach[:-1][values == 0] = np.maximum(residuals, eps)[values == 0]
    mean = held.mean / scale
    if held.count and remainder == "bounded":
        reach[-1] = max(held.top / scale - mean, mean)
    return Told(np.append(values, mean), errors, reach)


def _resolved(eigensystem: Eigensystem) -> np.ndarray:
    """Which eigenvalues (r,) residuals tell from zero: also far below round-off of the largest."""
    values = np.abs(np.asarray(eigensystem.eigenvalues, np.float64))
    residuals = np.asarray(eigensystem.residuals, np.float64)
    return values > np.maximum(_RESOLVED * residuals, _rounded(eigensystem) * values[0])


def smallest_trusted(eigensystem: Eigensystem) -> float:
    """The last eigenvalue above round-off; below a gap, the last one that its residual tells."""
    values = np.asarray(eigensystem.eigenvalues, np.float64)
    trusted = max(eigensystem.trusted_rank, 1)
    floor = len(eigensystem.eigenvectors) * _eps(eigensystem) * values[0]
    beyond = _resolved(eigensystem) & (np.asarray(spectrum(eigensystem).values) > 0)
    beyond[:trusted] = False
    if beyond.any() and _clear(values[:trusted], floor):
        return float(values[beyond][-1])
    return float(values[trusted - 1])


def _eps(eigensystem: Eigensystem) -> float:
    return max(float(jnp.finfo(eigensystem.eigenvalues.dtype).eps), eigensystem.resolution)


def _rounded(eigensystem: Eigensystem) -> float:
    """The eps of the kernel's entries if coarser than that of its residuals, else 0."""
    eps = float(jnp.finfo(eigensystem.eigenvalues.dtype).eps)
    return eigensystem.resolution if eigensystem.resolution > eps else 0.0


def problem_of(eigensystem: Eigensystem, observed: ArrayLike, remainder: str) -> LeftOutProblem:
    """The problem in float64; to be called, and used, where float64 is enabled."""
    check_finite("observed", observed)
    values, errors, reach = map(jnp.asarray, told(eigensystem, remainder))
    outside = eigensystem.num_points - eigensystem.rank
    vectors = jnp.asarray(eigensystem.eigenvectors, jnp.float64)
    targets = jnp.asarray(as_float(observed), jnp.float64)
    parts = _parts(vectors, targets, values, errors, reach, outside > 0)
    eps, scale = _eps(eigensystem), float(eigensystem.eigenvalues[0])
    tolerance = TOLERANCES[np.dtype("float32" if eps > 1e-10 else "float64")]
    return LeftOutProblem(parts, scale, eps, tolerance, outside)


def _clear(resolved: np.ndarray, floor: float) -> bool:
    """Whether the spectrum ends so abruptly that what follows is zero and no smooth decay."""
    if not len(resolved):
        return False
    falling = -np.sort(-resolved)
    steepest = float(np.max(falling[:-1] / falling[1:], initial=1.0))
    return bool(falling[-1] / floor > _CLEAR_GAP * max(steepest, _CLEAR_GAP))


def _parts(
    vectors: Array, targets: Array, values: Array, errors: Array, reach: Array, partial: bool
) -> Parts:
    # TᵀU and not UᵀT, see `ntk_air.spectral.project`; a transpose of U would be a copy of it here.
    coefficients = jnp.matmul(targets.T, vectors, precision="highest").T
    squares = vectors**2
    weight, part = jnp.zeros(len(vectors)), jnp.zeros_like(targets)
    if partial:
        weight = jnp.maximum(1 - jnp.sum(squares, axis=1), 0.0)
        part = targets - jnp.matmul(vectors, coefficients, precision="highest")
    squares = jnp.concatenate([squares, weight[:, None]], axis=1)
    energy = jnp.append(coefficients**2, jnp.sum(part**2, axis=0)[None], axis=0)
    return Parts(vectors, squares, values, coefficients, part, energy, targets, errors, reach)


def sums(parts: Parts, factors: Array) -> tuple[Array, Array]:
    """Σ U_ik² x_k (n,) and Σ U_ik x_k u_kᵀỹ (n, C) for real or complex factors x (r + 1,)."""
    inside = factors[:-1, None] * parts.coefficients

    def product(matrix: Array, columns: Array) -> Array:
        if not jnp.iscomplexobj(columns):
            return jnp.matmul(matrix, columns, precision="highest")
        both = jnp.concatenate([columns.real, columns.imag], axis=1)
        real, imaginary = jnp.split(jnp.matmul(matrix, both, precision="highest"), 2, axis=1)
        return real + 1j * imaginary

    own = product(parts.squares, factors[:, None])[:, 0]
    return own, product(parts.vectors, inside) + factors[-1] * parts.part


def ridge_outputs(problem: LeftOutProblem, strengths: np.ndarray) -> Float[Array, "Z n C"]:
    """Outputs without the point of ridge fits of several strengths, over λ_1."""
    parts = problem.parts
    if not len(strengths):
        return jnp.zeros((0, *parts.observed.shape))
    return jnp.stack([_ridge(parts, jnp.asarray(z), bool(z > 1)) for z in strengths])


def node_outputs(parts: Parts, z: Array, weak: bool) -> tuple[Array, Array]:
    """f^{(−i)}(z) (n, C) in the form that does not cancel: as a sum of the two."""
    if weak:  # Little is fitted: 1 − A_ii is near 1, and ỹ − R/Q would cancel.
        own, top = sums(parts, parts.values / (parts.values + z))
        return (top - own[:, None] * parts.observed) / (1 - own)[:, None], jnp.zeros(())
    own, top = sums(parts, 1 / (parts.values + z))
    return -top / own[:, None], parts.observed


@jax.jit(static_argnums=2)
def _ridge(parts: Parts, z: Array, weak: bool) -> Array:
    rest, targets = node_outputs(parts, z, weak)
    return targets + rest


def smallest(problem: LeftOutProblem) -> float:
    """The strength that stands for full convergence: far below any eigenvalue that counts."""
    return 1e-3 * problem.eps


def uncertainty(problem: LeftOutProblem, strengths: np.ndarray) -> Float[np.ndarray, "Z n C"]:
    """How far the outputs of ridge fits, over λ_1, may be from those of n retrainings.

    A perturbation E of the kernel moves them by −gᵀE w/Q to first order, g = (Θ + z)⁻¹ e_i and w
    the weights of the fit without point i. The eigensystem's own E is estimated by its measured
    residuals and by the rounding of the kernel's entries, each spread evenly over directions; an
    eigenvalue that is not known may lie anywhere within its reach. Gradient flow to t is as
    sensitive as ridge of strength 1/t.
    """
    found = [np.asarray(_uncertainty(problem.parts, jnp.asarray(z))) for z in strengths]
    return np.stack(found) if found else np.zeros((0, *problem.parts.observed.shape))


@jax.jit
def _uncertainty(parts: Parts, z: Array) -> Array:
    inverse = 1 / (parts.values + z)
    own, top = sums(parts, inverse)
    residual = top / own[:, None]

    def norms(factors: Array) -> tuple[Array, Array]:
        """Norms (n, 1) of g and (n, C) of w, each direction weighted by the factor's root."""
        g, crossed = sums(parts, factors)
        w = factors @ parts.energy - 2 * residual * crossed + residual**2 * g[:, None]
        return jnp.sqrt(g)[:, None], jnp.sqrt(jnp.maximum(w, 0.0))

    g, w = norms(inverse**2)
    g_error, w_error = norms((parts.errors * inverse) ** 2)
    g_reach, w_reach = norms(parts.reach * inverse**2)
    random = jnp.sqrt((g_error * w) ** 2 + (g * w_error) ** 2) / jnp.sqrt(len(g))
    moved = (SAFETY * random + g_reach * w_reach) / own[:, None]
    cancelled = jnp.sqrt((inverse @ parts.energy) / own[:, None])
    return moved + jnp.where(z < 1, _ROUNDING * cancelled, 0.0)


def what_helps(eigensystem: Eigensystem, remainder: str) -> str:
    """What would make more values known."""
    outside = eigensystem.num_points - eigensystem.rank
    if outside and remainder == "bounded":
        return (
            f"{outside} directions are outside the eigensystem; decompose all of them, or pass "
            "remainder='mean' for an estimate"
        )
    if _eps(eigensystem) > 1e-10:
        return "compute and decompose the kernel in float64 (jax.enable_x64), or train less"
    return "the kernel's small eigenvalues are below round-off; train less"
