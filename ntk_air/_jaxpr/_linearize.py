"""The linearisation of a function as a flat linear program."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from ntk_air._jaxpr._linear_program import Equation, Program, Variable, bind, prune, shaped, struct

# Primitives that only call the jaxpr among their parameters.
CALLS = frozenset(
    {
        "checkpoint",
        "closed_call",
        "core_call",
        "core_closed_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "custom_vjp_call_jaxpr",
        "eval_jaxpr",
        "jit",
        "pjit",
        "remat",
        "remat2",
        "xla_call",
    }
)

# Primitives whose outputs are their operands, up to placement or a label.
IDENTITIES = frozenset(
    {
        "copy",
        "copy_p",
        "device_put",
        "layout_constraint",
        "mesh_cast",
        "name",
        "optimization_barrier",
        "reshard",
        "sharding_constraint",
    }
)


def linearize(
    function: Callable[..., Sequence[Any]], primals: Sequence[Any]
) -> tuple[list[Any], Program, list[int]]:
    """Linearise `function` at `primals` into a flat program.

    Works inside other transformations: constants of the program may be tracers.

    Args:
        function: from a flat list of arrays to a flat list of arrays.
        primals: the arrays to linearise at. Those that are not of floating (or
            complex) type are held constant.

    Returns:
        The outputs; the program, with one input per primal; and the positions among
        the outputs of the program's outputs. An output that does not depend on the
        inputs is not among these.
    """
    moving = [i for i, p in enumerate(primals) if jnp.issubdtype(jnp.result_type(p), jnp.inexact)]

    def restricted(*values: Any) -> list[Any]:
        full = list(primals)
        for i, value in zip(moving, values, strict=True):
            full[i] = value
        return list(function(*full))

    # Loops are unrolled and calls inlined where that is possible: the rules of
    # structured derivatives are for single array operations.
    with jax.disable_jit():
        outputs, pushforward = jax.linearize(restricted, *(primals[i] for i in moving))
        # Of the primals' own types: inside `shard_map` shape and dtype are not all of it.
        closed = jax.make_jaxpr(pushforward)(*(jnp.asarray(primals[i]) for i in moving))

    invars = [Variable(shaped(jnp.asarray(p))) for p in primals]
    inliner = _Inliner()
    tangents = inliner.run(closed.jaxpr, closed.consts, [invars[i] for i in moving])
    linear = [i for i, t in enumerate(tangents) if isinstance(t, Variable)]
    program = Program(
        invars=invars,
        constvars=list(inliner.constants),
        consts=list(inliner.constants.values()),
        outvars=[tangents[i] for i in linear],
        eqns=inliner.eqns,
    )
    return list(outputs), prune(program), linear


def interpret(
    jaxpr: Jaxpr,
    consts: Sequence[Any],
    args: Sequence[Any],
    results_of: Callable[[Any, list[Any]], list[Any]],
) -> list[Any]:
    """The outputs of a jaxpr whose equations mean what ``results_of(equation, operands)`` says."""
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    env.update(zip(jaxpr.invars, args, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else env[atom]

    for eqn in jaxpr.eqns:
        operands = [read(atom) for atom in eqn.invars]
        env.update(zip(eqn.outvars, results_of(eqn, operands), strict=True))
    return [read(atom) for atom in jaxpr.outvars]


class _Inliner:
    """Runs a linear jaxpr, evaluating what is known and recording what is linear.

    A value is either known (an array or a tracer of an enclosing transformation) or a
    `Variable` that depends linearly on the inputs.
    """

    def __init__(self) -> None:
        self.eqns: list[Equation] = []
        self.constants: dict[Variable, Any] = {}

    def run(self, jaxpr: Jaxpr, consts: Sequence[Any], args: Sequence[Any]) -> list[Any]:
        return interpret(jaxpr, consts, args, self.step)

    def step(self, eqn: Any, operands: list[Any]) -> list[Any]:
        name = eqn.primitive.name
        body = _body(eqn) if name in CALLS else None
        if body is not None:
            return self.run(*body, operands)
        if not any(isinstance(x, Variable) for x in operands):
            return bind(eqn.primitive, eqn.params, operands)
        if name in IDENTITIES and len(operands) == len(eqn.outvars):
            return operands
        if name in REWRITES:
            return self.rewrite(REWRITES[name](eqn, operands), operands)
        return self.record(eqn, operands)

    def rewrite(self, function: Callable[..., Any], operands: list[Any]) -> list[Any]:
        """Run `function` of the linear operands in place of the equation."""
        linear = [x for x in operands if isinstance(x, Variable)]
        with jax.disable_jit():
            closed = jax.make_jaxpr(function)(*(struct(x.aval) for x in linear))
        return self.run(closed.jaxpr, closed.consts, linear)

    def record(self, eqn: Any, operands: list[Any]) -> list[Any]:
        """Append the equation once per output, as each equation has one output here."""
        invars = tuple(x if isinstance(x, Variable) else self.constant(x) for x in operands)
        outvars = [Variable(shaped(v.aval)) for v in eqn.outvars]
        self.eqns += [
            Equation(eqn.primitive, dict(eqn.params), invars, (v,), i)
            for i, v in enumerate(outvars)
        ]
        return list(outvars)

    def constant(self, value: Any) -> Variable:
        array = jnp.asarray(value)
        variable = Variable(shaped(array))
        self.constants[variable] = array
        return variable


def _body(eqn: Any) -> tuple[Jaxpr, Sequence[Any]] | None:
    """Return the jaxpr and constants that a call equation runs."""
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        body = eqn.params.get(key)
        if isinstance(body, ClosedJaxpr):
            body, consts = body.jaxpr, body.consts
        else:
            consts = ()
        if isinstance(body, Jaxpr) and len(body.invars) == len(eqn.invars):
            return body, consts
    return None


def _split(eqn: Any, operands: list[Any]) -> Callable[..., Any]:
    """`split` has several outputs: one slice for each."""
    axis = eqn.params["axis"]
    bounds = [0]
    for size in eqn.params["sizes"]:
        bounds.append(bounds[-1] + int(size))

    def function(x: jax.Array) -> list[jax.Array]:
        return [
            lax.slice_in_dim(x, start, stop, axis=axis)
            for start, stop in itertools.pairwise(bounds)
        ]

    return function


def _custom_lin(eqn: Any, operands: list[Any]) -> Callable[..., Any]:
    """The linear part of a `custom_vjp` function, known only by its transpose.

    JAX can pull cotangents back through it and nothing else. That pullback is itself
    linear and made of ordinary operations, so transposing it gives the pushforward.
    """
    linear = [x for x in operands if isinstance(x, Variable)]

    def original(*tangents: Any) -> list[Any]:
        remaining = iter(tangents)
        full = [next(remaining) if isinstance(x, Variable) else x for x in operands]
        return bind(eqn.primitive, eqn.params, full)

    pullback = jax.linear_transpose(original, *(struct(x.aval) for x in linear))
    cotangents = [struct(v.aval) for v in eqn.outvars]

    def function(*tangents: jax.Array) -> list[jax.Array]:
        transposed = jax.linear_transpose(lambda *cts: pullback(list(cts)), *cotangents)
        return list(transposed(tuple(tangents)))

    return function


REWRITES: dict[str, Callable[..., Callable[..., Any]]] = {
    "custom_lin": _custom_lin,
    "split": _split,
}
