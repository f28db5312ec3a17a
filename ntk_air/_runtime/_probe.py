"""One small program that the faulty fusion gets wrong, and what keeps a probe to itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_LIMIT = 1e-3
_SHAPE = (4, 300, 8)


def sums_are_right(device: Any) -> bool:
    """Whether a compiled batch of quadratic forms has NumPy's values on this device."""
    found: list[float] = []

    def compute() -> None:
        # Whatever forbids the program, nothing is known to be right then.
        with contextlib.suppress(Exception):
            found.append(_deviation(device))

    apart(compute)
    return bool(found) and found[0] <= _LIMIT


def apart(compute: Callable[[], None]) -> None:
    """Runs it in a thread of its own, compiled: what the caller traces or has set stays outside."""

    def run() -> None:
        with jax.disable_jit(False), jax.transfer_guard("allow"):
            compute()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


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
