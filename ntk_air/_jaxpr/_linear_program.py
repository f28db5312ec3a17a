"""A linear function as a flat list of equations, in the shape neural-tangents walks.

neural-tangents' backward pass reads a handful of attributes of a jaxpr: `invars`,
`constvars`, `outvars` and `eqns`, and of an equation its `primitive`, `params`,
`invars`, `outvars` and `replace`. The classes here have just these, so that nothing
depends on how JAX builds its own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax import lax
from jax.core import ShapedArray


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Variable:
    """One value; compared by identity."""

    aval: ShapedArray


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Equation:
    """One application of a primitive, of which one output is kept.

    Attributes:
        primitive: the JAX primitive.
        params: its parameters.
        invars: operands, linear inputs and constants alike.
        outvars: a one-element tuple.
        output: which output is kept, for a primitive with several.
    """

    primitive: Any
    params: dict[str, Any]
    invars: tuple[Variable, ...]
    outvars: tuple[Variable]
    output: int = 0

    def replace(self, **changes: Any) -> Equation:
        """Return a copy with `changes` made."""
        return dataclasses.replace(self, **changes)

    def apply(self, *operands: Any) -> Any:
        """Evaluate the equation on arrays."""
        return bind(self.primitive, self.params, operands)[self.output]


@dataclasses.dataclass(frozen=True, slots=True)
class Program:
    """Equations from `invars` to `outvars`, with constants already evaluated."""

    invars: list[Variable]
    constvars: list[Variable]
    consts: list[Any]
    outvars: list[Variable]
    eqns: list[Equation]


def bind(primitive: Any, params: dict[str, Any], operands: Sequence[Any]) -> list[Any]:
    """Evaluate `primitive` and return the list of its outputs."""
    outputs = primitive.bind(*operands, **params)
    return list(outputs) if primitive.multiple_results else [outputs]


def shaped(value: Any) -> ShapedArray:
    """Return shape and dtype of an array, a tracer or an abstract value."""
    return ShapedArray(tuple(value.shape), value.dtype)


def struct(aval: Any) -> jax.ShapeDtypeStruct:
    """Return the public stand-in for an array of the shape and dtype of `aval`."""
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype)


def prune(program: Program) -> Program:
    """Drop equations and constants that no output depends on."""
    live = set(program.outvars)
    kept = []
    for eqn in reversed(program.eqns):
        if eqn.outvars[0] in live:
            kept.append(eqn)
            live.update(eqn.invars)
    pairs = [(v, c) for v, c in zip(program.constvars, program.consts, strict=True) if v in live]
    return Program(
        invars=program.invars,
        constvars=[v for v, _ in pairs],
        consts=[c for _, c in pairs],
        outvars=program.outvars,
        eqns=kept[::-1],
    )


def shield(program: Program, has_rule: Callable[[Equation, int], bool]) -> Program:
    """Put a copy between an input and each equation that has no rule for it.

    neural-tangents takes the Jacobian of each equation that reads a parameter. Where
    it has no rule, that Jacobian would be formed densely, which for indexing a
    stack of layers is huge. The Jacobian of a copy is the identity, handled by a rule
    at no cost, and what remains is the ordinary Jacobian of the output with respect
    to that one parameter.

    Args:
        program: the linear program.
        has_rule: whether the equation's operand at the given position is covered.

    Returns:
        An equivalent program.
    """
    copies: dict[Variable, Variable] = {}
    inputs = set(program.invars)
    eqns = []
    for eqn in program.eqns:
        invars = list(eqn.invars)
        for i, v in enumerate(invars):
            if v in inputs and not has_rule(eqn, i):
                copies.setdefault(v, Variable(v.aval))
                invars[i] = copies[v]
        eqns.append(eqn.replace(invars=tuple(invars)))
    first = [Equation(lax.copy_p, {}, (v,), (copy,)) for v, copy in copies.items()]
    return dataclasses.replace(program, eqns=first + eqns)
