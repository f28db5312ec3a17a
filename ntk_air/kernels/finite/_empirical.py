"""Finite-width NTK of any network function, in tiles, by the cheapest implementation."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any

from jax.sharding import Mesh

from ..._checks import check_choice
from ..._memory import BudgetError
from ..._numerics import in_precision
from ..._typing import ApplyFn, ArrayLike, Float, PyTree
from .._inputs import check_inputs, check_network, checked_params, kernel_dtype
from .._patterns import check_patterns, packed
from ..tiling._destination import Kernel, compute
from ..tiling._request import RequestOptions, Task
from ..tiling._tile_size import plan
from ..tiling._tiles import Layout
from ._implementations import IMPLEMENTATIONS, default_tile, implementation_costs, program_of

_OUTPUTS = ("trace", "per_output", "full")
_log = logging.getLogger("ntk_air.kernels")


@in_precision
def empirical_ntk(
    apply_fn: ApplyFn,
    params: PyTree,
    x1: Float[ArrayLike, "n1 ..."],
    x2: Float[ArrayLike, "n2 ..."] | None = None,
    *,
    outputs: str = "trace",
    implementation: str = "auto",
    pattern: Any = None,
    memory_budget: float | None = None,
    tile_size: int | None = None,
    mesh: Mesh | None = None,
    mesh_axes: str | Sequence[str] | None = None,
    store: str | os.PathLike[str] | None = None,
    progress: bool = False,
    precision: str | None = None,
) -> Kernel:
    """The NTK of a network at its current parameters, J(x1) J(x2)ᵀ.

    Args:
        apply_fn: ``apply_fn(params, inputs) -> outputs (n, C)``; each output row may depend on its
            own input row only (BatchNorm in evaluation mode, dropout off). It is compiled once
            for each function object, and what it closes over is taken as it is then: pass the same
            object again, and a new one where that has changed.
        params: parameters, any pytree of arrays.
        x1: inputs (n1, ...); integers, such as tokens, stay integers.
        x2: inputs (n2, ...), or None for the symmetric kernel of ``x1``, at half the work.
        outputs: ``"trace"``: mean over outputs, (n1, n2). ``"per_output"``: each output's own
            kernel, (C, n1, n2). ``"full"``: (n1·C, n2·C), entry (i·C + a, j·C + b) is the product
            of the gradients of output a at x1_i and of output b at x2_j.
        implementation: how derivatives are contracted. ``"layerwise"``: each point's layer inputs
            and derivatives once, then matrix products; the others are neural-tangents' (Novak,
            Sohl-Dickstein, Schoenholz, arXiv:2206.08720). ``"auto"`` counts the operations of
            each for this network and size, takes the one with the fewest of those that fit the
            memory, and logs which (logger ``ntk_air.kernels``).
        pattern: graphs of the points, (n1, N, N) for N nodes, with ``x2`` a pair of them: the
            network is then ``apply_fn(params, inputs, pattern=graphs)``.
        memory_budget: bytes that the result and the workspace of a tile may take together;
            default half of what is free.
        tile_size: points of a tile along each axis, an upper bound.
        mesh: devices to spread the rows of the kernel over; each keeps its own, nothing is
            gathered (`gather` does). Rows that do not divide evenly come as a `ShardedKernel`.
        mesh_axes: names of the axes of the mesh to use; default all.
        store: folder to write the tiles to, for kernels larger than the memory; a call that was
            interrupted resumes there. Several processes (``jax.distributed.initialize``) share
            the work.
        progress: show a bar on a terminal.
        precision: ``"float64"`` casts inputs and parameters and computes in float64 whatever JAX's
            default is; ``"float32"`` likewise. Arrays that ``apply_fn`` closes over keep theirs.

    Returns:
        The kernel, in the shape that ``outputs`` says and the dtype of the inputs, or of the
        parameters where inputs are integers, half precision (of either) widened to float32 first;
        with ``store`` a `StoredKernel`. Inside ``jax.jit``, ``grad`` and ``vmap``, by parameters
        or inputs, it is computed in memory, and values are not checked.

    Raises:
        ValueError: inputs or parameters that are not finite, collections beside the parameters
            such as running statistics (`functional` keeps them fixed), outputs that are not
            (n, C), a network whose rows depend on each other, a kernel that exceeds the budget, a
            mesh without the axes named, or a store of another kernel.
        OSError: a full disk.

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> x = jnp.array([[1.0, 0.0], [1.0, 2.0]])
        >>> print(na.kernels.empirical_ntk(lambda w, x: x @ w, jnp.ones((2, 1)), x))  # x @ x.T
        [[1. 1.]
         [1. 5.]]
    """
    check_choice("outputs", outputs, _OUTPUTS)
    check_choice("implementation", implementation, IMPLEMENTATIONS)
    a, b = check_inputs(x1, x2, whole=True)
    params = checked_params(params)
    apply_fn, a, b = packed(apply_fn, a, b, check_patterns(pattern, a, b))
    options = RequestOptions.checked(memory_budget, tile_size, mesh, mesh_axes, store, progress)
    num_outputs = check_network(apply_fn, params, a)
    task = Task(
        operands=params,
        points1=a,
        points2=b,
        dtype=kernel_dtype(params, a),
        leading=(num_outputs,) if outputs == "per_output" else (),
        block=num_outputs if outputs == "full" else 1,
        description={"kernel": "empirical_ntk", "outputs": outputs},
    )
    if implementation == "auto":
        implementation, layout = _cheapest(apply_fn, task, outputs, options)
        program = program_of(apply_fn, outputs, implementation)
    else:
        program = program_of(apply_fn, outputs, implementation)
        layout = plan(program, task, default_tile(), options)
    task = dataclasses.replace(
        task, description=task.description | {"implementation": implementation}
    )
    return compute(program, task, layout, options)


def _cheapest(
    apply_fn: ApplyFn, task: Task, outputs: str, options: RequestOptions
) -> tuple[str, Layout]:
    """The implementation with the fewest operations of those that fit the budget."""
    columns = None if task.points2 is None else len(task.points2)
    costs = implementation_costs(
        apply_fn, task.operands, task.points1, outputs, num_columns=columns
    )
    refused: list[BudgetError] = []
    for name in costs.ranked():
        try:
            layout = plan(program_of(apply_fn, outputs, name), task, default_tile(), options)
        except BudgetError as error:
            refused.append(error)
            continue
        break
    else:
        raise min(refused, key=lambda error: error.needed)
    _log.info(
        "empirical_ntk takes implementation=%r; operations: %s",
        name,
        ", ".join(f"{n} {c:.3g}" for n, c in costs.operations.items()),
    )
    return name, layout
