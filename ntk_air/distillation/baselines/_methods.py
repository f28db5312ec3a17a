"""What the baselines share: a method for each network, means over a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._typing import Array
from ..training._method import Method


def per_network(
    make: Callable[..., Method], replicas: int | None, **numbers: Any
) -> Method | list[Method]:
    """``make(**numbers)``, or one method for each network where numbers are lists over networks.

    Raises:
        ValueError: if a list has not one number for each network.
    """
    lists = {name: list(v) for name, v in numbers.items() if np.ndim(v) == 1}
    for name, values in lists.items():
        if len(values) != replicas:
            raise ValueError(
                f"{name} is a list of {len(values)} numbers for replicas={replicas}; expected one "
                "number, or with replicas a list of one for each network."
            )
    if not lists:
        return make(**numbers)
    assert replicas is not None
    return [make(**numbers | {k: v[i] for k, v in lists.items()}) for i in range(replicas)]


def weighted_mean(rows: Array, weights: Array) -> Array:
    """Mean of the values (b,) of the rows of a batch, without its padding."""
    return jnp.sum(weights * rows) / jnp.sum(weights)
