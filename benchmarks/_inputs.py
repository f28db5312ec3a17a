"""The points that cases are computed on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def scaled(size: int, scale: float, least: int) -> int:
    """``size`` times ``scale``, at least ``least``."""
    return max(least, round(size * scale))


def white(n: int, *shape: int) -> jax.Array:
    """Points (n, *shape) of standard normal entries."""
    return jnp.asarray(np.random.default_rng(0).standard_normal((n, *shape), dtype=np.float32))


def decaying(n: int, d: int) -> jax.Array:
    """Points (n, d) whose k-th coordinate has variance 1/k, as the power spectrum of images has.

    The kernel of white points has no leading directions to find.
    """
    return white(n, d) * jnp.arange(1.0, d + 1.0) ** -0.5
