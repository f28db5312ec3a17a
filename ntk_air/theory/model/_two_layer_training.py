"""The two-layer network with any activation: outputs, Jacobian Gram matrices, gradient descent."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..._numerics import double_precision
from ..._typing import Array
from ..reporting._records import record
from ._activations import Activation
from ._two_layer import two_layer_init

CHECKED_STEPS = 3
"""Steps of a run that are held against the algorithm one by one."""

ALGORITHM = 1e-3
"""Relative deviation from float64 that runs in float32 are allowed."""


@record
class Descent(NamedTuple):
    """Gradient descent of one network, or of several along a leading axis.

    outputs (T + 1, n) and distance |W_t - W_0| (T + 1,) from step 0 to T; weights (k, d) at T.
    """

    outputs: Array
    distance: Array
    weights: Array


def draw(seeds: tuple[int, ...], width: int, dimension: int) -> np.ndarray:
    """First-layer weights (S, width, dimension) in float64, standard normal, one draw per seed.

    Draws of different widths are independent: a narrow network is not part of a wide one.

    Raises:
        ValueError: if ``width`` is not an even number >= 2.
    """
    # Only for its checks: NumPy draws without a compilation for every width.
    jax.eval_shape(lambda key: two_layer_init(key, width, dimension), jax.random.key(0))
    shape = (width, dimension)
    return np.stack([np.random.default_rng((s, width)).standard_normal(shape) for s in seeds])


def outputs(weights: Array, inputs: Array, phi: Activation) -> Array:
    """f(W, x) = v^T phi(W x), (n,); v is half +1/sqrt(k), half -1/sqrt(k)."""
    return phi.function(inputs @ weights.T) @ _signs(weights)


def jacobian_gram(
    weights: np.ndarray, x1: np.ndarray, x2: np.ndarray, phi: Activation
) -> np.ndarray:
    """J(x1) J(x2)^T in float64, (n1, n2): the network's NTK; J is (n, width x d)."""
    slopes = [_slopes(weights, x, phi) for x in (x1, x2)]
    return (x1 @ x2.T) * (slopes[0] @ slopes[1].T) / len(weights)


@partial(jax.jit, static_argnames=("num_steps", "phi"))
def descend(
    weights: Array,
    inputs: Array,
    targets: Array,
    learning_rate: Array,
    *,
    num_steps: int,
    phi: Activation,
) -> Descent:
    """Full-batch gradient descent on half the squared distance, summed over points, S at once.

    Args:
        weights: (S, k, d), where each starts.
        inputs: (S, n, d).
        targets: (S, n).
        learning_rate: (S,).
        num_steps: T; time = learning_rate x step.
        phi: the activation.
    """
    run = partial(_descend_one, num_steps=num_steps, phi=phi)
    return jax.lax.map(lambda one: run(*one), (weights, inputs, targets, learning_rate))


def _descend_one(
    start: Array, inputs: Array, targets: Array, rate: Array, num_steps: int, phi: Activation
) -> Descent:
    signs = _signs(start)

    def step(weights: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        hidden = inputs @ weights.T
        output = phi.function(hidden) @ signs
        pull = (output - targets)[:, None] * phi.slope(hidden) * signs
        moved = weights - rate * (pull.T @ inputs)
        return moved, (output, jnp.linalg.norm(weights - start))

    last, (path, distance) = jax.lax.scan(step, start, length=num_steps)
    final = outputs(last, inputs, phi)
    return Descent(
        jnp.concatenate([path, final[None]]),
        jnp.append(distance, jnp.linalg.norm(last - start)),
        last,
    )


def first_steps(
    weights: np.ndarray,
    inputs: np.ndarray,
    targets: np.ndarray,
    rate: float,
    num_steps: int,
    phi: Activation,
) -> tuple[np.ndarray, np.ndarray]:
    """The same steps one by one in NumPy and float64, for one network of weights (k, d).

    Returns outputs (T + 1, n) and distance (T + 1,).
    """
    signs = np.where(np.arange(len(weights)) < len(weights) // 2, 1.0, -1.0) / len(weights) ** 0.5
    current, path, moved = np.asarray(weights, np.float64), [], []
    for _ in range(num_steps + 1):
        path.append(_values(current, inputs, phi) @ signs)
        moved.append(np.linalg.norm(current - weights))
        pull = (path[-1] - targets)[:, None] * _slopes(current, inputs, phi) * signs
        current = current - rate * (pull.T @ inputs)
    return np.stack(path), np.asarray(moved)


def off_the_algorithm(
    weights: np.ndarray,
    inputs: np.ndarray,
    targets: np.ndarray,
    rate: float,
    phi: Activation,
    path: Array,
    moved: Array,
) -> float:
    """Largest deviation of a run's first steps from NumPy's, relative to how far these move.

    Args:
        weights: (k, d), where it started.
        inputs: (n, d).
        targets: (n,).
        rate: learning rate.
        phi: the activation.
        path: (T + 1, n) its outputs.
        moved: (T + 1,) its distance from the start.
    """
    count = min(CHECKED_STEPS, len(moved) - 1)
    right, far = first_steps(weights, inputs, targets, rate, count, phi)
    size = np.linalg.norm(right - right[0], axis=1).max()
    off = np.linalg.norm(np.asarray(path[: count + 1]) - right, axis=1).max()
    return float(
        np.max([off / size, np.abs(np.asarray(moved[: count + 1]) - far).max() / far.max()])
    )


def _signs(weights: Array) -> Array:
    width = weights.shape[0]
    return jnp.where(jnp.arange(width) < width // 2, 1.0, -1.0).astype(weights.dtype) / width**0.5


def _values(weights: np.ndarray, x: np.ndarray, phi: Activation) -> np.ndarray:
    with double_precision():
        return np.asarray(phi.function(jnp.asarray(x @ weights.T)))


def _slopes(weights: np.ndarray, x: np.ndarray, phi: Activation) -> np.ndarray:
    with double_precision():
        return np.asarray(_jitted_slope(jnp.asarray(x @ weights.T), phi))


_jitted_slope = jax.jit(lambda x, phi: phi.slope(x), static_argnums=1)


GAUSS_NEWTON_ERROR = 1e-9
"""Below it a fit counts as exact: the steps converge quadratically, the next would be round-off."""


@record
class Interpolation(NamedTuple):
    """Weights (k, d) that fit targets, and the largest |f - target| that is left."""

    weights: np.ndarray
    error: float


def interpolate(
    start: np.ndarray, inputs: np.ndarray, targets: np.ndarray, phi: Activation, num_steps: int = 30
) -> Interpolation:
    """Fits every target by Gauss-Newton steps of least norm, in float64: W + J^+ (target - f).

    Each step is the smallest move of the weights that fits the linearised network, so the end lies
    close to the interpolating weights nearest to ``start``. The best iterate is returned; where it
    does not fit, ``error`` says so.

    Args:
        start: (k, d).
        inputs: (n, d).
        targets: (n,).
        phi: the activation.
        num_steps: at most so many steps.
    """
    best = Interpolation(start, np.inf)
    weights = start
    for _ in range(num_steps + 1):
        with double_precision():
            residual, slopes = _linearise(
                *(jnp.asarray(v) for v in (weights, inputs, targets)), phi
            )
        residual, slopes = np.asarray(residual), np.asarray(slopes)
        error = float(np.abs(residual).max())
        if not np.isfinite(error):
            break
        if error < best.error:
            best = Interpolation(weights, error)
        if error < GAUSS_NEWTON_ERROR:
            break
        gram = (inputs @ inputs.T) * (slopes @ slopes.T)
        coefficients = np.linalg.lstsq(gram, residual, rcond=None)[0]
        weights = weights - (slopes * coefficients[:, None]).T @ inputs
    return best


@partial(jax.jit, static_argnames=("phi",))
def _linearise(
    weights: Array, inputs: Array, targets: Array, phi: Activation
) -> tuple[Array, Array]:
    """Residuals f - target (n,), and v_j phi'(w_j x) (n, k), which times x are the Jacobian."""
    hidden, signs = inputs @ weights.T, _signs(weights)
    return phi.function(hidden) @ signs - targets, phi.slope(hidden) * signs
