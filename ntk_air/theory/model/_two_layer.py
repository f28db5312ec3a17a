"""The network of the theorems: two layers, softplus, only the first one trained."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from ..._checks import check_finite, check_ndim, check_size
from ..._numerics import as_float
from ..._seeds import one_key
from ..._typing import Array, ArrayLike, Float, PRNGKeyArray


def two_layer_init(
    key: PRNGKeyArray | int, width: int, dimension: int, dtype: jnp.dtype | None = None
) -> Float[Array, "k d"]:
    """First-layer weights W (width, dimension), independent standard normal.

    Args:
        key: a JAX key or a seed.
        width: hidden units, an even number.
        dimension: of the inputs.
        dtype: of the weights; None is JAX's default float.

    Raises:
        ValueError: if ``width`` is not an even number >= 2 (half of the output weights are
            positive, half negative), ``dimension`` is less than 1, or ``key`` or ``dtype`` is none.

    Example:
        >>> import jax, ntk_air as na
        >>> na.theory.two_layer_init(jax.random.key(0), 6, 3).shape
        (6, 3)
    """
    dimension = check_size("dimension", dimension, 1)
    if check_size("width", width, 1) % 2:
        raise ValueError(f"width is {width}, expected an even number >= 2.")
    one = one_key(key)
    if one is None:
        raise ValueError("key is None, expected a JAX key or a seed.")
    dtype = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype is {dtype}, expected one of floating point.")
    return _normal(one, (int(width), dimension), dtype)


_normal = jax.jit(jax.random.normal, static_argnums=(1, 2))


def two_layer_apply(weights: Float[ArrayLike, "k d"], inputs: Float[ArrayLike, "n d"]) -> Array:
    """f(W, x) = v^T softplus(W x), (n, 1), with v half +1/sqrt(k) and half -1/sqrt(k), fixed.

    The network of arXiv:1903.11680 and of the theorems of arXiv:1910.01255. Half precision is
    widened to float32.

    Raises:
        ValueError: on shapes that do not fit, an odd width, or values that are no finite numbers.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> weights = np.array([[1.0], [2.0]])  # the first half of the units counts +, the second -
        >>> print(na.theory.two_layer_apply(weights, np.array([[1.0]])).round(4))
        [[-0.5753]]
    """
    weights, inputs = _checked(weights=weights, inputs=inputs)
    return _apply(weights, inputs)


@jax.jit
def _apply(weights: Array, inputs: Array) -> Array:
    width = weights.shape[0]
    hidden = jax.nn.softplus(inputs @ weights.T)
    # A sum of products, not of two slices: their gradients are padded and added, which takes three
    # times as long as all the rest; nor a matrix product, which accelerators round.
    signs = jnp.where(jnp.arange(width) < width // 2, 1.0, -1.0).astype(hidden.dtype)
    return (hidden * signs).sum(1, keepdims=True) / width**0.5


def two_layer_ntk(
    weights: Float[ArrayLike, "k d"],
    x1: Float[ArrayLike, "n1 d"],
    x2: Float[ArrayLike, "n2 d"] | None = None,
) -> Float[Array, "n1 n2"]:
    """Empirical NTK of the two-layer network in closed form, (n1, n2).

    (x1 x2^T) * (phi'(W x1) phi'(W x2)^T) / k elementwise; the signs of v cancel. Half precision is
    widened to float32.

    Raises:
        ValueError: on shapes that do not fit, an odd width, or values that are no finite numbers.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> inputs = np.array([[1.0, 0.0], [1.0, 1.0]])
        >>> print(na.theory.two_layer_ntk(np.ones((4, 2)), inputs).round(4))
        [[0.5344 0.6439]
         [0.6439 1.5516]]
    """
    if x2 is None:
        weights, x1 = _checked(weights=weights, x1=x1)
        return _ntk(weights, x1, x1)
    return _ntk(*_checked(weights=weights, x1=x1, x2=x2))


@jax.jit
def _ntk(weights: Array, x1: Array, x2: Array) -> Array:
    slopes1, slopes2 = jax.nn.sigmoid(x1 @ weights.T), jax.nn.sigmoid(x2 @ weights.T)
    return (x1 @ x2.T) * (slopes1 @ slopes2.T) / weights.shape[0]


def _checked(**arrays: ArrayLike) -> list[Array]:
    """Weights and points as arrays of at least float32; tracers are checked for their shapes."""
    for name, value in arrays.items():
        check_ndim(name, value, 2, "(k, d)" if name == "weights" else "(n, d)")
        check_finite(name, value)
    width, dimension = jnp.shape(arrays["weights"])
    if width % 2 or not width:
        raise ValueError(f"weights has {width} rows, expected an even number >= 2.")
    for name, value in arrays.items():
        if jnp.shape(value)[1] != dimension:
            raise ValueError(
                f"{name} has shape {jnp.shape(value)}, expected {dimension} columns, the dimension "
                "of weights."
            )
    return [as_float(value, name) for name, value in arrays.items()]
