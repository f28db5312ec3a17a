"""What networks put out: in evaluation mode, one batch after another."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from .._checks import check_size
from .._typing import Array, ArrayLike, PyTree
from .training import _engine
from .training._network import adapted_to, as_network, in_double


@in_double
def evaluate(
    network: Any,
    params: PyTree,
    inputs: ArrayLike,
    *,
    batch_size: int | None = None,
    precision: str | None = None,
) -> Array:
    """Outputs of a network in evaluation mode, as the training functions compute them.

    Args:
        network: what `self_distill` takes: a function ``f(params, x)``, or a module of flax or of
            equinox.
        params: its parameters (of a linen module: all that ``init`` returned; of an nnx module its
            state), such as ``result.params`` of a trained network.
        inputs: (n, ...).
        batch_size: points at once, which bounds the memory; None is all.
        precision: ``"bfloat16"``, ``"float16"``, ``"float32"`` or ``"float64"`` to compute in; None
            is that of the parameters.

    Returns:
        Outputs (n, C).

    Raises:
        ValueError: on a network that there is no way to call, or a batch size out of range.

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> def network(params, x):
        ...     return x @ params
        >>> na.distillation.evaluate(network, jnp.ones((2, 1)), jnp.eye(2), batch_size=1).shape
        (2, 1)
    """
    adapted, params, state = adapted_to(precision, as_network(network, params))
    inputs = jnp.asarray(inputs)
    batch = None
    if batch_size is not None:
        batch = min(check_size("batch_size", batch_size, 1), max(len(inputs), 1))
    settings = _engine.LoopSettings(adapted, None, batch, None, False, None, ())
    return _compiled(settings, params, state, inputs)


_compiled = jax.jit(_engine.evaluate, static_argnums=0)
