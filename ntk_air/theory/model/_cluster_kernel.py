"""The NTK of cluster centres at infinite width: closed form, quadrature and Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_choice, check_finite, check_ndim, check_size
from ..._numerics import double_precision
from ..._results import result, static
from ..._typing import Array, ArrayLike, Float
from ._activations import Activation, find_activation

_METHODS = ("auto", "closed_form", "quadrature", "monte_carlo")
_PAIRS = 256
_BATCH = 4096


@result
class ClusterKernel:
    """Sigma(C) = (C C^T) * E[phi'(C g) phi'(C g)^T], g standard normal, of arXiv:1903.11680.

    Attributes:
        matrix: (K, K) float64.
        standard_error: (K, K) of each entry; zero unless the method is Monte Carlo.
        least_eigenvalue: lambda(C).
        least_eigenvalue_error: standard error of u^T Sigma u along its eigenvector u.
        method: "closed_form", "quadrature" or "monte_carlo".
    """

    matrix: Float[Array, "K K"]
    standard_error: Float[Array, "K K"]
    least_eigenvalue: float = static()
    least_eigenvalue_error: float = static()
    method: str = static()


def cluster_kernel(
    centers: Float[ArrayLike, "K d"],
    activation: str | Callable[[Any], Any] | Activation = "softplus",
    method: str = "auto",
    *,
    num_nodes: int = 64,
    num_samples: int = 100_000,
    seed: int = 0,
) -> ClusterKernel:
    """The cluster NTK of the two-layer network of which only the first layer is trained.

    It is that network's infinite-width NTK at any points, cluster centres or not.

    Args:
        centers: points, of unit norm in the theorems.
        activation: "softplus", "relu", "erf", "tanh", "gelu", or an elementwise JAX function.
        method: "closed_form" for relu (arc-cosine kernel of order 0) and erf; "quadrature" is
            Gauss-Hermite over pairs of correlated normals, for smooth activations (it is refused
            for relu, whose slope jumps); "monte_carlo" draws ``num_samples`` rows g, in
            batches; "auto" takes the closed form where there is one, else quadrature.
        num_nodes: of the quadrature, in each of two dimensions.
        num_samples: of the Monte Carlo, at least 2.
        seed: of the Monte Carlo.

    Raises:
        ValueError: for an unknown name, or a method that the activation does not have.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> kernel = na.theory.cluster_kernel(np.eye(2), "relu")
        >>> print(kernel.matrix.round(4), kernel.method)
        [[0.5 0. ]
         [0. 0.5]] closed_form
    """
    check_ndim("centers", centers, 2, "(K, d)")
    check_finite("centers", centers)
    check_choice("method", method, _METHODS)
    check_size("num_nodes", num_nodes, 2)
    check_size("num_samples", num_samples, 2)
    phi = activation if isinstance(activation, Activation) else find_activation(activation)
    points = np.asarray(centers, np.float64)
    if method == "auto":
        method = "closed_form" if phi.name in _CLOSED else "quadrature"
    if method == "monte_carlo":
        return _monte_carlo(points, phi, num_samples, seed)
    if method == "closed_form":
        if phi.name not in _CLOSED:
            raise ValueError(
                f"method is 'closed_form', known for {', '.join(_CLOSED)}, not for {phi.name}; "
                "use 'quadrature'."
            )
        expectation = _CLOSED[phi.name](points @ points.T)
    else:
        if phi.name == "relu":
            raise ValueError(
                "method is 'quadrature', which does not converge for the jump in the slope of "
                "relu; use 'closed_form'."
            )
        expectation = _quadrature(points @ points.T, phi, num_nodes)
    matrix = (points @ points.T) * expectation
    least = float(np.linalg.eigvalsh(matrix)[0])
    return _made(matrix, np.zeros_like(matrix), least, 0.0, method)


def _made(
    matrix: np.ndarray, error: np.ndarray, least: float, least_error: float, method: str
) -> ClusterKernel:
    with double_precision():
        return ClusterKernel(jnp.asarray(matrix), jnp.asarray(error), least, least_error, method)


def _relu(gram: np.ndarray) -> np.ndarray:
    """E[1(u > 0) 1(v > 0)] = (pi - angle) / (2 pi), exactly 1/2 on the diagonal."""
    norms = np.sqrt(np.diag(gram))
    if not norms.all():
        raise ValueError("a centre is the zero vector, at which the slope of relu is undefined.")
    cosine = np.clip(gram / np.outer(norms, norms), -1.0, 1.0)
    np.fill_diagonal(cosine, 1.0)
    return (np.pi - np.arccos(cosine)) / (2 * np.pi)


def _erf(gram: np.ndarray) -> np.ndarray:
    """4/pi E[exp(-u^2 - v^2)] = 4/pi / sqrt((1 + 2 uu)(1 + 2 vv) - 4 uv^2)."""
    squares = 1 + 2 * np.diag(gram)
    return 4 / np.pi / np.sqrt(np.outer(squares, squares) - 4 * gram**2)


_CLOSED: dict[str, Callable[[np.ndarray], np.ndarray]] = {"relu": _relu, "erf": _erf}


def _quadrature(gram: np.ndarray, phi: Activation, num_nodes: int) -> np.ndarray:
    """E[phi'(u) phi'(v)] for every pair, with v = (uv / |u|) z_1 + rest z_2."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(num_nodes)
    weights = weights / weights.sum()
    rows, columns = np.triu_indices(len(gram))
    first = np.sqrt(np.diag(gram))[rows]
    along = np.divide(gram[rows, columns], first, out=np.zeros_like(first), where=first > 0)
    rest = np.sqrt(np.maximum(gram[columns, columns] - along**2, 0.0))
    # At |u| = 0, u = 0 whatever z_1 is, and v = rest z_2 with rest = |v|: right as it is.
    pairs = np.stack([first, along, rest], axis=1)
    values = []
    with double_precision():
        for start in range(0, len(pairs), _PAIRS):
            block = pairs[start : start + _PAIRS]
            # Padded, so that every block is the same compiled program.
            padded = np.pad(block, ((0, _PAIRS - len(block)), (0, 0)))
            done = _pair_means(jnp.asarray(padded), jnp.asarray(nodes), jnp.asarray(weights), phi)
            values.append(np.asarray(done)[: len(block)])
    mean = np.empty_like(gram)
    mean[rows, columns] = np.concatenate(values)
    mean[columns, rows] = mean[rows, columns]
    return mean


@partial(jax.jit, static_argnames=("phi",))
def _pair_means(pairs: Array, nodes: Array, weights: Array, phi: Activation) -> Array:
    """(P,) means for P rows of (first, along, rest)."""

    def one(pair: Array) -> Array:
        u = phi.slope(pair[0] * nodes)
        v = phi.slope(pair[1] * nodes[:, None] + pair[2] * nodes[None, :])
        return (weights * u) @ (v @ weights)

    return jax.lax.map(one, pairs, batch_size=32)


def _monte_carlo(points: np.ndarray, phi: Activation, num_samples: int, seed: int) -> ClusterKernel:
    """Mean and standard error over rows g, in two passes over the same draws."""
    gram = points @ points.T
    total, squares = np.zeros_like(gram), np.zeros_like(gram)
    for slopes in _drawn_slopes(points, phi, num_samples, seed):
        total += slopes.T @ slopes
        squares += (slopes**2).T @ slopes**2
    mean = total / num_samples
    spread = np.sqrt(np.maximum(squares / num_samples - mean**2, 0.0) / (num_samples - 1))
    matrix, error = gram * mean, np.abs(gram) * spread
    values, vectors = np.linalg.eigh(matrix)
    # u^T Sigma u is the mean over g of |sum_i u_i phi'(x_i g) x_i|^2.
    forms = np.concatenate(
        [
            np.sum(((slopes * vectors[:, 0]) @ points) ** 2, axis=1)
            for slopes in _drawn_slopes(points, phi, num_samples, seed)
        ]
    )
    least_error = float(forms.std(ddof=1) / np.sqrt(num_samples))
    return _made(matrix, error, float(values[0]), least_error, "monte_carlo")


def _drawn_slopes(
    points: np.ndarray, phi: Activation, num_samples: int, seed: int
) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for start in range(0, num_samples, _BATCH):
        size = min(_BATCH, num_samples - start)
        drawn = generator.standard_normal((size, points.shape[1])) @ points.T
        with double_precision():
            slopes = np.asarray(phi.slope(jnp.asarray(drawn)))
        yield slopes
