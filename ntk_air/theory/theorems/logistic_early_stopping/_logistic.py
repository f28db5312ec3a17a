"""Logistic regression by gradient descent and by ridge, and its exact risks under Gaussian data."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import special

from ...._numerics import double_precision
from ...._typing import Array
from ...reporting._records import record

CHECKED_STEPS = 100
"""Steps of gradient descent that are held against the algorithm one by one."""


class LogisticProblem(NamedTuple):
    """Several seeds at once: signed points (S, n, d), truth (d,), variances (d,), step size (S,).

    Row i of the signed points is y_i x_i. ``smoothness`` (S,) is the largest eigenvalue of the
    Hessian of the mean loss anywhere, |X|^2 / (4 n).
    """

    signed: np.ndarray
    truth: np.ndarray
    variances: np.ndarray
    learning_rate: np.ndarray
    smoothness: np.ndarray


@record
class Risks(NamedTuple):
    """Under the true distribution, with p = sigmoid(x w) and p* = P(y = 1 | x).

    ``logistic`` is the mean loss, ``error`` the probability of an error, ``calibration`` the
    calibration error C(w) = E |p - p*|^2 of arXiv:2502.13283, ``distance`` E |p - p*| and
    ``undecided`` E min(p, 1 - p)^2, 0 for weights that have diverged.
    """

    logistic: float
    error: float
    calibration: float
    distance: float
    undecided: float


def draw(
    num_points: int, truth: np.ndarray, variances: np.ndarray, seeds: tuple[int, ...], step: float
) -> LogisticProblem:
    """Points x ~ N(0, diag(variances)), P(y = 1 | x) = sigmoid(x w*); step = eta x smoothness."""
    signed = []
    for seed in seeds:
        rng = np.random.default_rng([seed, *b"logistic"])
        inputs = rng.standard_normal((num_points, len(truth))) * np.sqrt(variances)
        labels = np.where(rng.random(num_points) < special.expit(inputs @ truth), 1.0, -1.0)
        signed.append(labels[:, None] * inputs)
    stacked = np.stack(signed)
    smoothness = np.linalg.norm(stacked, ord=2, axis=(1, 2)) ** 2 / (4 * num_points)
    return LogisticProblem(stacked, truth, variances, step / smoothness, smoothness)


def descend(problem: LogisticProblem, steps: list[int]) -> np.ndarray:
    """Weights (T, S, d) of gradient descent from 0 on the mean loss at the given steps."""
    with double_precision():
        signed, rate = jnp.asarray(problem.signed), jnp.asarray(problem.learning_rate)
        weights = jnp.zeros(problem.signed[:, 0].shape)
        path, done = [], 0
        for step in steps:
            weights = _advance(signed, rate, weights, step - done)
            path.append(np.asarray(weights))
            done = step
    return np.stack(path)


@jax.jit
@partial(jax.vmap, in_axes=(0, 0, 0, None))
def _advance(signed: Array, rate: Array, weights: Array, count: Array) -> Array:
    def step(_: Array, weights: Array) -> Array:
        return weights + rate * (jax.nn.sigmoid(-(signed @ weights)) @ signed) / len(signed)

    return jax.lax.fori_loop(0, count, step, weights)


def off_the_algorithm(
    signed: np.ndarray, rate: float, weights: np.ndarray, steps: np.ndarray
) -> float:
    """Largest relative deviation of the records (T, d) of early steps (T,) from NumPy's descent."""
    right, off, done = np.zeros(signed.shape[1]), [], 0
    for step, found in zip(steps[steps <= CHECKED_STEPS], weights, strict=False):
        for _ in range(step - done):
            right = right + rate * (special.expit(-(signed @ right)) @ signed) / len(signed)
        off.append(float(np.linalg.norm(found - right) / np.linalg.norm(right)))
        done = step
    return float(np.max(off))


def losses(signed: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean training loss (T,) of weights (T, d)."""
    return np.logaddexp(0.0, -(weights @ signed.T)).mean(1)


def loss_bounds(signed: np.ndarray, direction: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Least L(u) + |u|^2 / (2 t) over u along a direction (d,), at each time (T,).

    Gradient descent from 0 on a convex loss L with eta <= 1 / smoothness has L(w_t) at most that,
    for every u.
    """
    sizes = np.geomspace(1e-3, 1e4, 400)
    path = sizes[:, None] * direction / max(float(np.linalg.norm(direction)), 1e-300)
    bounds = losses(signed, path)[:, None] + sizes[:, None] ** 2 / (2 * times)
    return np.minimum(bounds.min(0), float(np.log(2)))


def ridge_path(signed: np.ndarray, strengths: np.ndarray, tolerance: float = 1e-7) -> np.ndarray:
    """Minimisers (T, d) of mean loss + strength / 2 |u|^2, by Newton steps in the span of the data.

    Strengths in falling order: each starts from the one before. Newton steps end once one changes
    the weights by less than ``tolerance`` of their size; its error is of the order of the square.
    """
    count = len(signed)
    left, scale, right = np.linalg.svd(signed, full_matrices=False)
    features = left * scale
    current, path = np.zeros(len(scale)), []
    for strength in strengths:
        for _ in range(200):
            slope = special.expit(-(features @ current))
            gradient = strength * current - slope @ features / count
            hessian = (features.T * (slope * (1 - slope))) @ features / count
            hessian[np.diag_indices_from(hessian)] += strength
            move = np.linalg.solve(hessian, gradient)
            size = 1.0
            value = _objective(features, current, strength)
            # A full step can overshoot where most losses are flat.
            while _objective(features, current - size * move, strength) > value and size > 1e-10:
                size /= 2
            current = current - size * move
            if np.abs(move).max() <= tolerance * max(np.abs(current).max(), 1e-12):
                break
        path.append(current @ right)
    return np.stack(path)


def _objective(features: np.ndarray, weights: np.ndarray, strength: float) -> float:
    loss = np.logaddexp(0.0, -(features @ weights)).mean()
    return float(loss + 0.5 * strength * weights @ weights)


def risks(problem: LogisticProblem, weights: np.ndarray) -> Risks:
    """Exact risks of weights (d,), by quadrature over the two scores x w and x w*.

    The scores are jointly Gaussian: x w* given x w has mean slope x w and its own variance.
    Uniform grids of standardised scores converge exponentially, as the integrands are analytic in
    a strip around the real line; where sigmoid(x w) is nearly a step, it is between grid points.
    """
    own = float(np.sqrt(problem.variances @ weights**2))
    both = float(problem.variances @ (weights * problem.truth))
    true = float(problem.variances @ problem.truth**2)
    # In units of x w over its deviation; without one, x w* is independent of it.
    slope = both / own if own > 0 else 0.0
    spread = float(np.sqrt(max(true - slope**2, 0.0)))
    # An even number: the step of sigmoid(x w) at 0, however steep, is half way between two points.
    outer, density = _normal_grid(2000)
    inner, mass = _normal_grid(_nodes(spread))
    truth = special.expit(slope * outer[:, None] + spread * inner)
    positive = truth @ mass
    scores = own * outer
    gaps = special.expit(scores)[:, None] - truth
    loss = positive * np.logaddexp(0, -scores) + (1 - positive) * np.logaddexp(0, scores)
    error = np.where(scores > 0, 1 - positive, positive)
    return Risks(
        logistic=float(density @ loss),
        error=float(density @ np.where(scores == 0, 0.5, error)),
        calibration=float(density @ (gaps**2 @ mass)),
        distance=float(density @ (np.abs(gaps) @ mass)),
        undecided=float(density @ special.expit(-np.abs(scores)) ** 2),
    )


def limit_calibration(problem: LogisticProblem) -> float:
    """E min(p*, 1 - p*)^2: what C(w) of weights that grow without bound cannot get below.

    Their p(w; x) goes to 0 or 1 at almost every x, and C(w) to the distance of p* from it.
    """
    true = float(np.sqrt(problem.variances @ problem.truth**2))
    # The integrand has a corner at 0, where the grid converges like its spacing squared.
    grid, mass = _normal_grid(20 * _nodes(true) + 1)
    return float(mass @ special.expit(-np.abs(true * grid)) ** 2)


def _nodes(spread: float) -> int:
    """Points of a grid that resolves sigmoid(spread z): its poles are pi / spread away."""
    return max(201, 2 * int(np.ceil(12 * spread)) + 1)  # odd: 0 is one of them


def _normal_grid(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Points on [-8, 8] and standard normal masses that sum to 1."""
    grid = np.linspace(-8, 8, count)
    density = np.exp(-(grid**2) / 2)
    return grid, density / density.sum()
