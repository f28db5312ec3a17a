"""One small program that the faulty fusion gets wrong, and what keeps a probe to itself."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

_LIMIT = 1e-3
_SHAPE = (4, 300, 8)
_T = TypeVar("_T")


def sums_are_right(device: Any) -> bool:
    """Whether a compiled batch of quadratic forms has NumPy's values on this device."""
    try:
        return apart(lambda: _deviation(device)) <= _LIMIT
    except Exception:
        # Whatever forbids the program, nothing is known to be right then.
        return False


def apart(compute: Callable[[], _T]) -> _T:
    """Its value from a thread of its own, compiled: what the caller traces or has set stays out."""

    def run() -> _T:
        with jax.disable_jit(False), jax.transfer_guard("allow"):
            return compute()

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def _deviation(device: Any) -> float:
    inputs = np.random.default_rng(0).normal(size=_SHAPE).astype(np.float32)
    value = np.asarray(_quadratic_forms(jax.device_put(inputs, device)), np.float64)
    exact = inputs.astype(np.float64)
    reference = 0.5 * exact.sum(-1) ** 2
    return float(np.abs(value - reference).max() / np.abs(reference).max())


@jax.jit
def _quadratic_forms(inputs: jax.Array) -> jax.Array:
    # A matrix of one repeated number, which XLA never writes out: past it the library reads on.
    matrix = jnp.full((_SHAPE[-1], _SHAPE[-1]), 0.5, inputs.dtype)
    return jnp.sum((inputs @ matrix) * inputs, -1)
