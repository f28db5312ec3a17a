"""A network function as a flat list of steps that can be run again with changes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr

from ntk_air._jaxpr._linear_program import Variable, shaped
from ntk_air._jaxpr._linearize import CALLS, _body, interpret

# A rule of the user's for derivatives is kept whole.
_INLINED = CALLS - {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}
_SMALL = 1024


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class Step:
    """One application of a primitive; operands are variables or known values."""

    primitive: Any
    params: dict[str, Any]
    operands: tuple[Any, ...]
    results: tuple[Variable, ...]

    @property
    def name(self) -> str:
        """Of the primitive."""
        return self.primitive.name

    def run(self, operands: Sequence[Any]) -> list[Any]:
        """Evaluates the step on arrays."""
        params = self.primitive.get_bind_params(self.params)
        results = self.primitive.bind(*operands, **params)
        return list(results) if self.primitive.multiple_results else [results]


@dataclasses.dataclass(frozen=True, eq=False, slots=True)
class FlatFunction:
    """Steps from ``inputs`` to ``outputs``, without those that no output needs."""

    inputs: list[Variable]
    steps: list[Step]
    outputs: list[Any]


def flatten(closed: ClosedJaxpr) -> FlatFunction:
    """Inlines the calls of a jaxpr, except rules for derivatives, and drops dead steps."""
    steps: list[Step] = []

    def results_of(eqn: Any, operands: list[Any]) -> list[Any]:
        body = _body(eqn) if eqn.primitive.name in _INLINED else None
        if body is not None:
            return interpret(*body, operands, results_of)
        default = _default_branch(eqn)
        if default is not None:
            return interpret(default.jaxpr, default.consts, operands[1:], results_of)
        results = [Variable(shaped(v.aval)) for v in eqn.outvars]
        step = Step(eqn.primitive, dict(eqn.params), tuple(operands), tuple(results))
        if _is_small_constant(step):
            with jax.ensure_compile_time_eval():
                return step.run(operands)
        steps.append(step)
        return results

    inputs = [Variable(shaped(v.aval)) for v in closed.jaxpr.invars]
    outputs = interpret(closed.jaxpr, closed.consts, inputs, results_of)
    live = {v for v in outputs if isinstance(v, Variable)}
    kept = []
    for step in reversed(steps):
        if live.intersection(step.results):
            kept.append(step)
            live.update(v for v in step.operands if isinstance(v, Variable))
    return FlatFunction(inputs, kept[::-1], outputs)


def _default_branch(eqn: Any) -> ClosedJaxpr | None:
    """What ``jax.lax.platform_dependent`` does on all other platforms: the plainest of its forms.

    Others may hide what a network is made of: a convolution in the form of a matrix product.
    """
    platforms = eqn.params.get("branches_platforms") if eqn.primitive.name == "cond" else None
    if platforms is None or None not in platforms:
        return None
    return eqn.params["branches"][platforms.index(None)]


def _is_small_constant(step: Step) -> bool:
    """Whether a step can be done once and for all, such as the square root of a fan-in."""
    known = not any(isinstance(v, Variable | Tracer) for v in step.operands)
    return known and all(v.aval.size <= _SMALL for v in step.results)
