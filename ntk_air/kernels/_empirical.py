"""Finite-width NTK of any network function, in tiles, by the cheapest implementation."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from .._checks import check_choice
from .._memory import resolve_budget
from .._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ._implementations import IMPLEMENTATIONS, default_tile, implementation_costs, program_of
from ._inputs import check_inputs, check_network, check_params
from ._plan import plan
from ._tiles import Layout, Program, assemble

_OUTPUTS = ("trace", "per_output", "full")
_log = logging.getLogger("ntk_air.kernels")


def empirical_ntk(
    apply_fn: ApplyFn,
    params: PyTree,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    outputs: str = "trace",
    implementation: str = "auto",
    memory_budget: float | None = None,
    tile_size: int | None = None,
    progress: bool = False,
) -> Float[Array, ...]:
    """The NTK of a network at its current parameters, J(x1) J(x2)ᵀ.

    Args:
        apply_fn: ``apply_fn(params, inputs) -> outputs (n, C)``; each output row may depend on its
            own input row only (BatchNorm in evaluation mode, dropout off).
        params: parameters, any pytree of arrays.
        x1: inputs (n1, ...).
        x2: inputs (n2, ...), or None for the symmetric kernel of ``x1``, at half the work.
        outputs: ``"trace"``: mean over outputs, (n1, n2). ``"per_output"``: each output's own
            kernel, (C, n1, n2). ``"full"``: (n1·C, n2·C), entry (i·C + a, j·C + b) is the product
            of the gradients of output a at x1_i and of output b at x2_j.
        implementation: how derivatives are contracted. ``"layerwise"``: each point's layer inputs
            and derivatives once, then matrix products; the others are neural-tangents' (Novak,
            Sohl-Dickstein, Schoenholz, arXiv:2206.08720). ``"auto"`` takes the one that XLA says
            needs the fewest operations, of those that fit the memory, and logs which (logger
            ``ntk_air.kernels``).
        memory_budget: bytes that the result and the workspace of a tile may take together;
            default half of what is free.
        tile_size: points of a tile along each axis, an upper bound.
        progress: show a bar on a terminal.

    Returns:
        The kernel, in the shape that ``outputs`` says and the dtype of the inputs.

    Raises:
        ValueError: inputs or parameters that are not finite, outputs that are not (n, C), a
            network whose rows depend on each other, or a kernel that exceeds the budget.
    """
    check_choice("outputs", outputs, _OUTPUTS)
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    a, b = check_inputs(x1, x2)
    check_params(params)
    num_outputs = check_network(apply_fn, params, a)
    cut = functools.partial(
        plan,
        operands=params,
        points1=a,
        points2=b,
        dtype=a.dtype,
        default_tile=default_tile(),
        leading=(num_outputs,) if outputs == "per_output" else (),
        block=num_outputs if outputs == "full" else 1,
        tile_size=tile_size,
        memory_budget=memory_budget,
    )
    if implementation == "auto":
        program, layout = _cheapest(apply_fn, params, a, b, outputs, memory_budget, cut)
    else:
        program = program_of(apply_fn, outputs, implementation)
        layout = cut(program)
    return assemble(program, params, a, b, layout, progress=progress)


def _cheapest(
    apply_fn: ApplyFn,
    params: PyTree,
    a: Array,
    b: Array | None,
    outputs: str,
    memory_budget: float | None,
    cut: Callable[[Program], Layout],
) -> tuple[Program, Layout]:
    """The implementation with the fewest operations of those that fit the budget."""
    columns = None if b is None else len(b)
    costs = implementation_costs(apply_fn, params, a, outputs, num_columns=columns)
    *others, last = costs.ranked(resolve_budget(memory_budget))
    for name in (*others, last):
        program = program_of(apply_fn, outputs, name)
        try:
            layout = cut(program)
        except ValueError:
            # Another implementation may need less memory; the last one says what is missing.
            if name == last:
                raise
            continue
        _log.info(
            "empirical_ntk takes implementation=%r: %s operations; %s",
            name,
            f"{costs.operations[name]:.3g}",
            ", ".join(f"{n}: {c:.3g}" for n, c in costs.operations.items() if n != name),
        )
        return program, layout
    raise AssertionError("unreachable: the loop returns or raises")


_check_network, _check_params = check_network, check_params
