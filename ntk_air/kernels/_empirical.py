"""Finite-width NTK of any network function, in tiles, by the cheapest implementation."""

from __future__ import annotations

import logging

import jax
import jax.numpy as jnp

from .._checks import check_choice, check_finite
from .._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ._implementations import IMPLEMENTATIONS, cheapest_implementation, program_of
from ._inputs import check_inputs
from ._plan import plan
from ._tiles import assemble

_OUTPUTS = ("trace", "per_output", "full")
_DEFAULT_TILE = 128
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
        implementation: how derivatives are contracted (Novak, Sohl-Dickstein, Schoenholz,
            arXiv:2206.08720); ``"auto"`` takes the one that XLA says needs the fewest operations
            and logs which (logger ``ntk_air.kernels``).
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
    _check_params(params)
    num_outputs = _check_network(apply_fn, params, a)
    if implementation == "auto":
        implementation = cheapest_implementation(apply_fn, params, a, outputs)
        _log.info("empirical_ntk takes implementation=%r for this network", implementation)
    program = program_of(apply_fn, outputs, implementation)
    layout = plan(
        program,
        params,
        a,
        b,
        dtype=a.dtype,
        default_tile=_DEFAULT_TILE,
        leading=(num_outputs,) if outputs == "per_output" else (),
        block=num_outputs if outputs == "full" else 1,
        tile_size=tile_size,
        memory_budget=memory_budget,
    )
    return assemble(program, params, a, b, layout, progress=progress)


_forward = jax.jit(lambda apply_fn, params, x: apply_fn(params, x), static_argnums=0)


def _check_params(params: PyTree) -> None:
    if bool(_all_finite(params)):
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        check_finite(f"params{jax.tree_util.keystr(path)}", leaf)


@jax.jit
def _all_finite(params: PyTree) -> Array:
    """One transfer for all parameters: asking each leaf apart would wait for each."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))


def _check_network(apply_fn: ApplyFn, params: PyTree, x: Array) -> int:
    """Returns C; raises ValueError on outputs that are not (n, C) or that mix the batch."""
    pair = x[:2] if len(x) > 1 else jnp.concatenate([x, x])
    shape = jax.eval_shape(apply_fn, params, pair)
    if not hasattr(shape, "shape") or len(shape.shape) != 2 or shape.shape[0] != 2:
        came = getattr(shape, "shape", type(shape).__name__)
        raise ValueError(
            f"apply_fn returns {came} for 2 inputs, expected outputs (2, C); flatten them, or add "
            "an axis for a single output."
        )
    together, alone = _forward(apply_fn, params, pair), _forward(apply_fn, params, pair[:1])
    scale = float(jnp.abs(together).max()) or 1.0
    tolerance = 1e3 * float(jnp.finfo(together.dtype).eps)
    if float(jnp.abs(together[:1] - alone).max()) > tolerance * scale:
        raise ValueError(
            "apply_fn gives a point other outputs when the batch changes, so it has no NTK per "
            "point; put BatchNorm in evaluation mode and switch dropout off."
        )
    return shape.shape[1]
