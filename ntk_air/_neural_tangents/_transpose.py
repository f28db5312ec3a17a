"""Transpose or apply a single linear equation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.interpreters import ad

from ntk_air._jaxpr import Equation, struct
from ntk_air._neural_tangents._complex import is_complex


def is_linear(operand: Any) -> bool:
    """Whether `operand` marks a linear input rather than carrying a value.

    neural-tangents writes `UndefinedPrimal` for a linear input, and a bare
    `ShapedArray` for an operand of which only the (trimmed) shape matters.
    """
    return isinstance(operand, ShapedArray) or ad.is_undefined_primal(operand)


def aval_of(operand: Any) -> Any:
    """Return shape and dtype of a linear operand."""
    return operand if isinstance(operand, ShapedArray) else operand.aval


def transpose(eqn: Equation, cotangent: jax.Array, operands: Sequence[Any]) -> list[Any]:
    """Pull `cotangent` back to the linear operands of `eqn`.

    JAX's own rule for the primitive is used where there is one of the form this
    knows; the public `jax.linear_transpose` does the rest, more slowly to trace.

    Args:
        eqn: the equation.
        cotangent: cotangent of its output.
        operands: one per input of the equation, see `is_linear`.

    Returns:
        One entry per operand: its cotangent, or None.
    """
    result = _by_rule(eqn, cotangent, operands)
    return _by_linear_transpose(eqn, cotangent, operands) if result is None else result


def _by_rule(eqn: Equation, cotangent: jax.Array, operands: Sequence[Any]) -> list[Any] | None:
    rule = getattr(ad, "primitive_transposes", {}).get(eqn.primitive)
    if rule is None or eqn.primitive.multiple_results:
        return None
    marked = [ad.UndefinedPrimal(aval_of(x)) if is_linear(x) else x for x in operands]
    try:
        result = list(rule(cotangent, *marked, **eqn.params))
    except Exception:  # a rule of another form; a real error comes again from the fallback
        return None
    if len(result) != len(operands):
        return None
    for i, (out, x) in enumerate(zip(result, operands, strict=True)):
        if out is None or isinstance(out, ad.Zero) or not is_linear(x):
            result[i] = None
        elif jnp.shape(out) != tuple(aval_of(x).shape):
            return None
        elif is_complex(out) and not is_complex(aval_of(x)):  # of operands of mixed types
            result[i] = out.real
    return result


def _by_linear_transpose(eqn: Equation, cotangent: jax.Array, operands: Sequence[Any]) -> list[Any]:
    positions = [i for i, x in enumerate(operands) if is_linear(x)]

    def function(*values: Any) -> Any:
        full = list(operands)
        for i, value in zip(positions, values, strict=True):
            full[i] = value
        return eqn.apply(*full)

    inputs = [struct(aval_of(operands[i])) for i in positions]
    cotangents = jax.linear_transpose(function, *inputs)(
        cotangent.astype(eqn.outvars[0].aval.dtype)
    )
    result: list[Any] = [None] * len(operands)
    for i, value in zip(positions, cotangents, strict=True):
        result[i] = value
    return result


def push(eqn: Equation, position: int, tangent: jax.Array, operands: Sequence[Any]) -> jax.Array:
    """Apply `eqn` to `tangent` at `position` and zero at its other linear operands."""
    values = [
        jnp.zeros(aval_of(x).shape, aval_of(x).dtype) if is_linear(x) else x for x in operands
    ]
    values[position] = tangent
    return eqn.apply(*values)
