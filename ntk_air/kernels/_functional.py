"""Networks of other libraries as plain functions of parameters."""

from __future__ import annotations

from typing import Any

from .._typing import ApplyFn, Array, PyTree


def functional(module: Any) -> tuple[ApplyFn, PyTree]:
    """Splits a flax nnx module into ``(apply_fn, params)``, frozen in evaluation mode.

    Args:
        module: a ``flax.nnx.Module`` that maps inputs (n, ...) to outputs (n, C).

    Returns:
        ``apply_fn(params, inputs) -> outputs`` and the module's parameters. BatchNorm uses its
        running statistics, dropout is off, other state keeps its present value.

    Raises:
        ValueError: if ``module`` is not an nnx module (a linen module needs no conversion: pass
            ``module.apply``).
    """
    from flax import nnx

    if not isinstance(module, nnx.Module):
        raise ValueError(
            f"functional takes a flax nnx module, got {type(module).__name__}; for linen pass "
            "module.apply, for anything else a function apply_fn(params, inputs)."
        )
    graph, params, rest = nnx.split(module, nnx.Param, ...)

    def apply_fn(params: PyTree, inputs: Array) -> Array:
        rebuilt = nnx.merge(graph, params, rest)
        rebuilt.eval()
        return rebuilt(inputs)  # pyright: ignore[reportCallIssue]

    return apply_fn, params
