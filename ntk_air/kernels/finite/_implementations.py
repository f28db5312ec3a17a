"""Which implementation contracts the derivatives, and which of them is the cheapest."""

from __future__ import annotations

import dataclasses
import functools
import logging
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ... import _neural_tangents
from ..._typing import ApplyFn, Array, PyTree
from ..tiling._request import struct_of
from ..tiling._tiles import KernelProgram, starts
from ._layerwise import LayerwiseProgram
from ._operations import count_operations

IMPLEMENTATIONS = (
    "auto",
    "layerwise",
    "structured_derivatives",
    "ntk_vector_products",
    "jacobian_contraction",
)
_log = logging.getLogger("ntk_air.kernels")


def program_of(apply_fn: ApplyFn, outputs: str, implementation: str) -> KernelProgram:
    """The tiles of an implementation by name."""
    if implementation == "layerwise":
        return LayerwiseProgram(apply_fn, outputs)
    return NeuralTangentsProgram(apply_fn, outputs, implementation)


def default_tile() -> int:
    """Points of a tile where memory does not matter."""
    return 128 if jax.default_backend() == "cpu" else 512


@dataclasses.dataclass(frozen=True)
class Costs:
    """What each implementation needs for one kernel.

    Attributes:
        operations: implementation -> floating-point operations of the whole kernel.
    """

    operations: dict[str, float]

    def ranked(self) -> list[str]:
        """Implementations, cheapest first."""
        return sorted(self.operations, key=lambda name: self.operations[name])


def implementation_costs(
    apply_fn: ApplyFn,
    params: PyTree,
    x: Array | jax.ShapeDtypeStruct,
    outputs: str = "trace",
    *,
    num_columns: int | None = None,
) -> Costs:
    """What each implementation needs for the kernel of ``x`` (n, ...).

    An implementation that cannot differentiate this network is left out. Answers are kept per
    network, shapes and number of tiles.

    Args:
        apply_fn: the network.
        params: its parameters.
        x: inputs (n, ...), of which only shape and dtype count.
        outputs: as in `empirical_ntk`.
        num_columns: points n2 of the other side; None for the symmetric kernel.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> x = jax.ShapeDtypeStruct((100, 50), jnp.float32)
        >>> na.kernels.implementation_costs(lambda w, x: x @ w, jnp.ones((50, 10)), x).ranked()
        ['layerwise', 'structured_derivatives', 'jacobian_contraction', 'ntk_vector_products']
    """
    leaves, structure = jax.tree.flatten(params)
    shapes = tuple(map(struct_of, leaves))
    size, rows = starts(len(x), default_tile())
    if num_columns is None:
        tiles, blocks = len(rows) * (len(rows) + 1) // 2, len(rows)
    else:
        columns = len(starts(num_columns, default_tile())[1])
        tiles, blocks = len(rows) * columns, len(rows) + columns
    block = jax.ShapeDtypeStruct((size, *x.shape[1:]), x.dtype)
    return _costs(apply_fn, outputs, structure, shapes, block, tiles, blocks)


def cheapest_implementation(
    apply_fn: ApplyFn, params: PyTree, x: Array | jax.ShapeDtypeStruct, outputs: str = "trace"
) -> str:
    """The implementation that needs the fewest operations for the kernel of ``x``.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> x = jax.ShapeDtypeStruct((100, 50), jnp.float32)
        >>> na.kernels.cheapest_implementation(lambda w, x: x @ w, jnp.ones((50, 10)), x)
        'layerwise'
    """
    return implementation_costs(apply_fn, params, x, outputs).ranked()[0]


@functools.lru_cache(maxsize=128)
def _costs(
    apply_fn: ApplyFn,
    outputs: str,
    structure: Any,
    shapes: tuple[jax.ShapeDtypeStruct, ...],
    block: jax.ShapeDtypeStruct,
    tiles: int,
    blocks: int,
) -> Costs:
    params = jax.tree.unflatten(structure, shapes)
    operations: dict[str, float] = {}
    errors: list[Exception] = []
    for name in IMPLEMENTATIONS[1:]:
        program = program_of(apply_fn, outputs, name)
        try:
            features = jax.eval_shape(program.features, params, block)
            once = count_operations(program.features, params, block)
            each = count_operations(program.tile, params, features, features)
            operations[name] = blocks * once + tiles * each
        except Exception as error:
            _log.debug("implementation %s does not take this network: %s", name, error)
            errors.append(error)
    if not operations:
        raise errors[-1]
    return Costs(operations)


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
