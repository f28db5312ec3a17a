"""J Jᵀ v and the diagonal of J Jᵀ, batch by batch, on one device or the devices of a mesh."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from ..._memory import tree_bytes
from ..._typing import ApplyFn, Array, PyTree
from ..tiling._ring import Ring
from ._implementations import program_of


@dataclasses.dataclass(frozen=True)
class ProductPlan:
    """What is static about an operator: the network, and how the points are cut up.

    Attributes:
        apply_fn: the network.
        outputs: ``"trace"`` or ``"full"``.
        num_outputs: C.
        num_points: n.
        local: points on each device, n divided by the devices and rounded up.
        batch: points that run at once on a device.
        ring: the devices that the points are split over, or None.
        dtype: of products.
    """

    apply_fn: ApplyFn
    outputs: str
    num_outputs: int
    num_points: int
    local: int
    batch: int
    ring: Ring | None
    dtype: np.dtype

    @property
    def entries(self) -> tuple[int, ...]:
        """Axes of a column beside its points: (C,) where outputs are apart."""
        return (self.num_outputs,) if self.outputs == "full" else ()

    @property
    def size(self) -> int:
        """N, rows of the kernel."""
        return self.num_points * (self.num_outputs if self.outputs == "full" else 1)

    @property
    def split(self) -> PartitionSpec:
        """How points, and batches of them, are split over the mesh."""
        return PartitionSpec() if self.ring is None else PartitionSpec(self.ring.axes)

    @property
    def num_batches(self) -> int:
        """Batches on each device."""
        return -(-self.local // self.batch)

    def with_batch(self, longest: int) -> ProductPlan:
        """Batches of equal length, at most ``longest``."""
        count = -(-self.local // longest)
        return dataclasses.replace(self, batch=-(-self.local // count))


@functools.partial(jax.jit, static_argnums=(0, 1))
def product(
    plan: ProductPlan, group: int, params: PyTree, x: Array, v: Array, pushes: PyTree = None
) -> Array:
    """K v for v (n, r) or (n, C, r), ``group`` derivatives at a time; the shape of v.

    ``pushes`` are what `linearised` returns for the same plan, or None: forward passes anew.
    """

    def local(params: PyTree, pushes: PyTree, x: Array, v: Array) -> Array:
        return _local_product(plan, group, (params, pushes, x), v)

    with jax.default_matmul_precision("float32"):
        return _on_devices(plan, local, (params, pushes), x, v)


@functools.partial(jax.jit, static_argnums=0)
def linearised(plan: ProductPlan, params: PyTree, x: Array) -> PyTree:
    """J of each batch as a function of tangents, with what its forward pass leaves behind.

    A pytree whose leaves have a leading axis of all batches, of one device after the other.
    """

    def local(params: PyTree, x: Array) -> PyTree:
        def one_batch(start: Array) -> Callable:
            return _push(plan, params, jax.lax.dynamic_slice_in_dim(x, start, plan.batch))

        return jax.lax.map(one_batch, _starts(plan))

    with jax.default_matmul_precision("float32"):
        if plan.ring is None:
            return local(params, x)
        return _mapped(plan, local, (PartitionSpec(), plan.split))(params, x)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def diagonal(
    plan: ProductPlan, implementation: str, points: int, params: PyTree, x: Array
) -> Array:
    """The diagonal (N,), ``points`` at a time."""
    program = program_of(plan.apply_fn, "per_output", implementation)

    def block(params: PyTree, point: Array) -> Array:
        features = program.features(params, point[None])
        return program.tile(params, features, features).reshape(plan.num_outputs)

    def local(params: PyTree, _: None, x: Array) -> Array:
        return jax.lax.map(lambda point: block(params, point), x, batch_size=points)

    norms = _on_devices(plan, local, (params, None), x)
    return norms.mean(1) if plan.outputs == "trace" else norms.reshape(-1)


def residual_bytes(apply_fn: ApplyFn, params: PyTree, x: Array) -> tuple[int, int]:
    """Bytes that a derivative of the network holds, by the shapes of its trace.

    Those per point, its inputs included, and those per batch, such as weights.
    """

    def held(points: int) -> int:
        batch = jax.ShapeDtypeStruct((points, *x.shape[1:]), x.dtype)
        # The pullback is a pytree whose leaves are what it holds on to.
        pullback = jax.eval_shape(
            lambda p, b: jax.vjp(lambda q: apply_fn(q, b), p)[1], params, batch
        )
        return tree_bytes(pullback)

    point = (x.size // len(x)) * x.dtype.itemsize
    one, two = held(1), held(2)
    return max(two - one, 0) + point, max(2 * one - two, 0)


def _on_devices(
    plan: ProductPlan, function: Callable, kept: tuple[PyTree, PyTree], *split: Array
) -> Array:
    """Runs ``function(params, pushes, *split)`` with the points split over the mesh; (n, ...)."""
    if plan.ring is None:
        return function(*kept, *split)
    total = len(split[0])
    # Rows beyond n have zero cotangents, so they add nothing to Jᵀv.
    split = tuple(jnp.pad(s, [(0, total - len(s))] + [(0, 0)] * (s.ndim - 1)) for s in split)
    specs = (PartitionSpec(), plan.split, *[plan.split] * len(split))
    return _mapped(plan, function, specs)(*kept, *split)[: plan.num_points]


def _mapped(plan: ProductPlan, function: Callable, specs: tuple[PartitionSpec, ...]) -> Callable:
    """``function`` on every device of the mesh, its results one after the other."""
    assert plan.ring is not None
    # Unchecked: with replication tracked, JAX would sum the gradient over devices on its own.
    return jax.shard_map(
        function, mesh=plan.ring.mesh, in_specs=specs, out_specs=plan.split, check_vma=False
    )


_Network = tuple[PyTree, PyTree, Array]
"""Parameters, what `linearised` returns or None, and inputs, of one device."""


def _local_product(plan: ProductPlan, group: int, network: _Network, v: Array) -> Array:
    """This device's rows of K v; the groups of derivatives run one after the other.

    A derivative is a column of v, or for the trace a pair of column and output, column·C + a.
    """
    outputs_apart = plan.outputs == "trace"
    width = v.shape[-1] * (plan.num_outputs if outputs_apart else 1)
    indices = jnp.arange(-(-width // group) * group).reshape(-1, group)

    def one_group(result: Array, index: Array) -> tuple[Array, None]:
        live = (index < width).astype(v.dtype)
        index = jnp.minimum(index, width - 1)
        column = index // plan.num_outputs if outputs_apart else index
        chosen = jnp.moveaxis(v[..., column] * live, -1, 0)
        mask = jnp.ones((group, 1), v.dtype)
        if outputs_apart:
            mask = jax.nn.one_hot(index % plan.num_outputs, plan.num_outputs, dtype=v.dtype)
            chosen = chosen[..., None]
        # (group, n, C), or (group, n, 1) times the mask (group, C) that picks the output.
        gradient = _transposed(plan, network, chosen, mask)
        rows = _forward(plan, network, gradient, mask, chosen.shape)
        rows = jnp.moveaxis(rows[..., 0] if outputs_apart else rows, 0, -1)
        return result.at[..., column].add(rows), None

    result, _ = jax.lax.scan(one_group, jnp.zeros_like(v), indices)
    return result / plan.num_outputs if outputs_apart else result


def _starts(plan: ProductPlan) -> Array:
    """First rows of the batches; the last batch starts early enough to be full."""
    starts = jnp.arange(plan.num_batches) * plan.batch
    return jnp.minimum(starts, plan.local - plan.batch)


def _push(plan: ProductPlan, params: PyTree, inputs: Array) -> Callable:
    """J of a batch, as a function of tangents (a pytree, see `jax.linearize`)."""
    return jax.linearize(lambda p: plan.apply_fn(p, inputs), params)[1]


def _transposed(plan: ProductPlan, network: _Network, chosen: Array, mask: Array) -> PyTree:
    """Jᵀ of each cotangent: leaves (group, *parameter), summed over batches and devices."""
    params, pushes, x = network

    def one_batch(total: PyTree, batch: tuple[Array, Array, PyTree]) -> tuple[PyTree, None]:
        start, first_new, push = batch
        rows = jax.lax.dynamic_slice_in_dim(chosen, start, plan.batch, axis=1)
        # Rows that the batch before held already are counted once.
        new = start + jnp.arange(plan.batch) >= first_new
        rows = rows * new[:, None].astype(rows.dtype)
        if push is None:
            push = _push(plan, params, jax.lax.dynamic_slice_in_dim(x, start, plan.batch))
        pull = jax.linear_transpose(push, params)
        out = jax.eval_shape(push, params)

        # A loop, not vmap: large products gain nothing from a stack, and stacking copies.
        def one_column(j: Array, total: PyTree) -> PyTree:
            (gradient,) = pull((rows[j] * mask[j]).astype(out.dtype))
            return jax.tree.map(lambda t, g: t.at[j].add(g.astype(t.dtype)), total, gradient)

        return jax.lax.fori_loop(0, len(mask), one_column, total), None

    def zeros(leaf: Array) -> Array:
        # A sum over many batches is kept in at least the precision of the product.
        dtype = jnp.promote_types(leaf.dtype, plan.dtype)
        return jnp.zeros((len(mask), *leaf.shape), dtype)

    first_new = jnp.arange(plan.num_batches) * plan.batch
    batches = _starts(plan), first_new, pushes
    total, _ = jax.lax.scan(one_batch, jax.tree.map(zeros, params), batches)
    return total if plan.ring is None else jax.lax.psum(total, plan.ring.axes)


def _forward(
    plan: ProductPlan, network: _Network, gradient: PyTree, mask: Array, shape: tuple[int, ...]
) -> Array:
    """J times each gradient, (group, n, C), or (group, n, 1) of the output that the mask picks."""
    params, pushes, x = network
    tangents = jax.tree.map(lambda g, p: g.astype(p.dtype), gradient, params)

    def one_batch(result: Array, batch: tuple[Array, PyTree]) -> tuple[Array, None]:
        start, push = batch
        if push is None:
            push = _push(plan, params, jax.lax.dynamic_slice_in_dim(x, start, plan.batch))

        def one_column(column: tuple[PyTree, Array]) -> Array:
            rows = push(column[0]).astype(plan.dtype) * column[1]
            return rows.sum(-1, keepdims=True) if plan.outputs == "trace" else rows

        rows = jax.lax.map(one_column, (tangents, mask))
        return jax.lax.dynamic_update_slice_in_dim(result, rows, start, axis=1), None

    return jax.lax.scan(one_batch, jnp.zeros(shape, plan.dtype), (_starts(plan), pushes))[0]
