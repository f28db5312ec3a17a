"""Activations by the names of `ntk_air.kernels.ACTIVATIONS`."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._checks import check_choice
from .._typing import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "relu": jax.nn.relu,
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=0.1),
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "erf": jax.scipy.special.erf,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "identity": lambda x: x,
}


def as_activation(activation: str | Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function of a name in `ACTIVATIONS`; a function is returned as it is.

    Raises:
        ValueError: on an unknown name.
    """
    if callable(activation):
        return activation
    check_choice("activation", activation, tuple(ACTIVATIONS))
    return ACTIVATIONS[activation]
