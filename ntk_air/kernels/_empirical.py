"""Finite-width NTK of any network function, in tiles, by the cheapest implementation."""

from __future__ import annotations

import functools
import logging
import math
from typing import Any

import jax
import jax.numpy as jnp

from .. import _neural_tangents
from .._checks import check_choice, check_finite
from .._memory import check_fits, resolve_budget
from .._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ._infinite import check_inputs
from ._tiles import assemble

IMPLEMENTATIONS = (
    "auto",
    "jacobian_contraction",
    "ntk_vector_products",
    "structured_derivatives",
)
_OUTPUTS = ("trace", "per_output", "full")
_PROBE = 4
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
    block = num_outputs if outputs == "full" else 1
    leading = (num_outputs,) if outputs == "per_output" else ()
    tile_size = _tile_size(
        apply_fn, params, a, b, outputs, implementation, num_outputs, memory_budget, tile_size
    )

    def tile(rows: slice, columns: slice) -> Array:
        other = (a if b is None else b)[columns]
        return _tile(apply_fn, outputs, implementation, params, a[rows], other)

    return assemble(
        tile,
        (len(a), len(a if b is None else b)),
        tile_size=tile_size,
        symmetric=b is None,
        block=block,
        leading=leading,
        dtype=a.dtype,
        progress=progress,
    )


def cheapest_implementation(
    apply_fn: ApplyFn, params: PyTree, x: Array, outputs: str = "trace"
) -> str:
    """The implementation whose compiled tile needs the fewest operations, by XLA's own count.

    Structured derivatives are taken where XLA counts nothing; an implementation that cannot
    differentiate this network is passed over.
    """
    probe = jax.ShapeDtypeStruct((min(_PROBE, len(x)), *x.shape[1:]), x.dtype)
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(jax.ShapeDtypeStruct(jnp.shape(p), jnp.result_type(p)) for p in leaves)
    return _cheapest(apply_fn, outputs, structure, shapes, probe)


@functools.lru_cache(maxsize=128)
def _cheapest(
    apply_fn: ApplyFn,
    outputs: str,
    structure: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    x: jax.ShapeDtypeStruct,
) -> str:
    params = jax.tree.unflatten(structure, shapes)
    costs: dict[str, float] = {}
    errors: list[Exception] = []
    # Structured derivatives first: they win ties and the case in which XLA counts nothing.
    for name in reversed(IMPLEMENTATIONS[1:]):
        try:
            compiled = _tile.lower(apply_fn, outputs, name, params, x, x).compile()
            analysis = compiled.cost_analysis() or {}
            costs[name] = float(analysis.get("flops", math.inf))
        except Exception as error:
            _log.debug("implementation %s does not take this network: %s", name, error)
            errors.append(error)
    if not costs:
        raise errors[-1]
    return min(costs, key=lambda name: costs[name])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _tile(
    apply_fn: ApplyFn, outputs: str, implementation: str, params: PyTree, x1: Array, x2: Array
) -> Array:
    nt = _neural_tangents.load()
    axes = {
        "trace": {"trace_axes": (-1,)},
        "per_output": {"trace_axes": (), "diagonal_axes": (-1,)},
        "full": {"trace_axes": ()},
    }[outputs]
    ntk_fn = nt.empirical_ntk_fn(
        lambda p, x: apply_fn(p, x),
        vmap_axes=0,
        implementation=nt.NtkImplementation[implementation.upper()],
        **axes,
    )
    with jax.default_matmul_precision("float32"):
        kernel = ntk_fn(x1, x2, params)
    if outputs == "per_output":
        return jnp.moveaxis(kernel, -1, 0)
    if outputs == "full":
        n1, n2, c, _ = kernel.shape
        return jnp.moveaxis(kernel, 2, 1).reshape(n1 * c, n2 * c)
    return kernel


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


def _tile_size(
    apply_fn: ApplyFn,
    params: PyTree,
    a: Array,
    b: Array | None,
    outputs: str,
    implementation: str,
    num_outputs: int,
    memory_budget: float | None,
    tile_size: int | None,
) -> int:
    """The largest tile up to the default whose workspace, as XLA counts it, fits the budget."""
    n1, n2 = len(a), len(a if b is None else b)
    factor = {"trace": 1, "per_output": num_outputs, "full": num_outputs**2}[outputs]
    budget = resolve_budget(memory_budget)
    check_fits((factor, n1, n2), a.dtype.itemsize, 0, budget)
    room = budget - factor * n1 * n2 * a.dtype.itemsize
    size = min(tile_size or _DEFAULT_TILE, max(n1, n2))
    if size < 1:
        raise ValueError(f"tile_size is {tile_size}, expected at least 1.")
    while True:
        x = jax.ShapeDtypeStruct((size, *a.shape[1:]), a.dtype)
        compiled = _tile.lower(apply_fn, outputs, implementation, params, x, x).compile()
        analysis = compiled.memory_analysis()
        used = int(getattr(analysis, "temp_size_in_bytes", 0)) if analysis is not None else 0
        if used <= room:
            return size
        if size == 1:
            check_fits((factor, n1, n2), a.dtype.itemsize, used, budget)
        # At least linear in the tile: go where a linear workspace would fit, or to half.
        size = max(1, min(size // 2, int(size * room / used)))
