"""The network of the theorems: two layers, softplus, only the first one trained."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from .._checks import check_in_range
from .._typing import Array, ArrayLike, Float, PRNGKeyArray


def two_layer_init(
    key: PRNGKeyArray, width: int, dimension: int, dtype: jnp.dtype | None = None
) -> Float[Array, "k d"]:
    """First-layer weights W (width, dimension), independent standard normal.

    Raises:
        ValueError: if ``width`` is not an even number >= 2 (half of the output weights are
            positive, half negative) or ``dimension`` is less than 1.
    """
    check_in_range("dimension", dimension, 1)
    if width < 2 or width % 2:
        raise ValueError(f"width is {width}, expected an even number >= 2.")
    return _normal(key, (width, dimension), dtype or jnp.result_type(float))


_normal = jax.jit(jax.random.normal, static_argnums=(1, 2))


@jax.jit
def two_layer_apply(weights: Float[Array, "k d"], inputs: Float[Array, "n d"]) -> Array:
    """f(W, x) = v^T softplus(W x), (n, 1), with v half +1/sqrt(k) and half -1/sqrt(k), fixed.

    The network of arXiv:1903.11680 and of the theorems of arXiv:1910.01255.
    """
    width = weights.shape[0]
    hidden = jax.nn.softplus(inputs @ weights.T)
    # A sum of products, not of two slices: their gradients are padded and added, which takes three
    # times as long as all the rest; nor a matrix product, which accelerators round.
    signs = jnp.where(jnp.arange(width) < width // 2, 1.0, -1.0).astype(hidden.dtype)
    return (hidden * signs).sum(1, keepdims=True) / width**0.5


@jax.jit
def two_layer_ntk(
    weights: Float[ArrayLike, "k d"],
    x1: Float[ArrayLike, "n1 d"],
    x2: Float[ArrayLike, "n2 d"] | None = None,
) -> Float[Array, "n1 n2"]:
    """Empirical NTK of the two-layer network in closed form, (n1, n2).

    (x1 x2^T) * (phi'(W x1) phi'(W x2)^T) / k elementwise; the signs of v cancel.
    """
    weights, x1 = jnp.asarray(weights), jnp.asarray(x1)
    x2 = x1 if x2 is None else jnp.asarray(x2)
    slopes1, slopes2 = jax.nn.sigmoid(x1 @ weights.T), jax.nn.sigmoid(x2 @ weights.T)
    return (x1 @ x2.T) * (slopes1 @ slopes2.T) / weights.shape[0]
