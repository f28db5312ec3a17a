"""Which implementation contracts the derivatives, and which of them is the cheapest."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from .. import _neural_tangents
from .._typing import ApplyFn, Array, PyTree
from ._tiles import Program, tile_of

IMPLEMENTATIONS = (
    "auto",
    "jacobian_contraction",
    "ntk_vector_products",
    "structured_derivatives",
)
_PROBE = 4
_log = logging.getLogger("ntk_air.kernels")


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
            compiled = tile_of.lower(program_of(apply_fn, outputs, name), params, x, x)
            analysis = compiled.cost_analysis() or {}
            costs[name] = float(analysis.get("flops", math.inf))
        except Exception as error:
            _log.debug("implementation %s does not take this network: %s", name, error)
            errors.append(error)
    if not costs:
        raise errors[-1]
    return min(costs, key=lambda name: costs[name])


def program_of(apply_fn: ApplyFn, outputs: str, implementation: str) -> Program:
    """The tiles of an implementation by name."""
    return NeuralTangentsProgram(apply_fn, outputs, implementation)


@dataclasses.dataclass(frozen=True)
class NeuralTangentsProgram:
    """Tiles by neural-tangents' three implementations (arXiv:2206.08720); points are inputs."""

    apply_fn: ApplyFn
    outputs: str
    implementation: str
    cheap_features: ClassVar[bool] = True

    def features(self, operands: PyTree, points: Array) -> Array:
        """A point itself: each tile differentiates anew."""
        return points

    def tile(self, operands: PyTree, rows: Array, columns: Array) -> Array:
        """(t1, t2), (C, t1, t2) or (t1·C, t2·C)."""
        nt = _neural_tangents.load()
        axes = {
            "trace": {"trace_axes": (-1,)},
            "per_output": {"trace_axes": (), "diagonal_axes": (-1,)},
            "full": {"trace_axes": ()},
        }[self.outputs]
        ntk_fn = nt.empirical_ntk_fn(
            lambda p, x: self.apply_fn(p, x),
            vmap_axes=0,
            implementation=nt.NtkImplementation[self.implementation.upper()],
            **axes,
        )
        with jax.default_matmul_precision("float32"):
            kernel = ntk_fn(rows, columns, operands)
        if self.outputs == "per_output":
            return jnp.moveaxis(kernel, -1, 0)
        if self.outputs == "full":
            n1, n2, c, _ = kernel.shape
            return jnp.moveaxis(kernel, 2, 1).reshape(n1 * c, n2 * c)
        return kernel
