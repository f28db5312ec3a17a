"""The NTK layer by layer: per-point factors computed once, then matrix products only."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax import lax

from ..._jaxpr import Step, Variable
from ..._typing import ApplyFn, Array, PyTree
from .._row_products import by_rows
from ..tiling._request import struct_of
from ._parameter_sites import NetworkSites, Site, analyse, positions
from ._patches import by_position, patches

# Operations that a pass over memory is worth, for the choice between two forms.
_PASSES = 60
# Rows that a product over positions takes at once.
_ROWS = 512
# Entries of a Jacobian below which it is joined with others.
_SMALL = 4096


@dataclasses.dataclass(frozen=True)
class LayerwiseProgram:
    """Tiles from each layer's inputs and derivatives; points are the network's inputs.

    A dense layer W h contributes (h·h') Σ_c δ_c·δ'_c, the Hadamard product of two Gram matrices
    (δ_c: derivative of output c with respect to the layer's output); so does a convolution, summed
    over pairs of positions, where that is cheaper than its Jacobian. The Jacobians of all other
    parameters are contracted in one matrix product. Each point is differentiated once, not once
    per tile.

    Source: the outer-product form is that of Novak, Sohl-Dickstein, Schoenholz (arXiv:2206.08720,
    structured derivatives); here kept as per-point factors.
    """

    apply_fn: ApplyFn
    outputs: str
    cheap_features: ClassVar[bool] = False

    def network(self, params: PyTree, point: Any) -> NetworkSites:
        """The network's sites, from shapes alone."""
        leaves, structure = jax.tree.flatten(params)
        shapes = tuple(map(struct_of, leaves))
        return analyse(self.apply_fn, structure, shapes, point, jnp.result_type(float))

    def features(self, operands: PyTree, points: Array) -> PyTree:
        """Factors of each point.

        ``"dense"``: list of (inputs (t, k), derivatives (t, C, q)); ``"shared"``: list of the same
        by position, (t, P, k) and (t, P, C·q); ``"jacobian"``: list of (t, C, p), or (t, C·p) for
        the trace, of what is left.
        """
        point = jax.ShapeDtypeStruct(points.shape[1:], points.dtype)
        network = self.network(operands, point)
        leaves = jax.tree.leaves(operands)
        with jax.default_matmul_precision("float32"):
            return jax.vmap(lambda x: self._factors(network, leaves, x))(points)

    def _factors(self, network: NetworkSites, leaves: list, point: Array) -> PyTree:
        # The mean over outputs: each of two derivatives carries the root of 1/C.
        weight = network.num_outputs**-0.5 if self.outputs == "trace" else 1.0
        inputs, derivatives = differentiate(network, leaves, point, weight)
        dense, shared, jacobian = [], [], []
        for site in network.sites:
            b = derivatives[site]
            if site.kind == "direct":
                if site.leaf is not None:
                    jacobian.append(self._jacobian(site.scale * b.reshape(b.shape[0], -1)))
                continue
            h = inputs[site.step] * site.scale
            if positions(network.function, site) == (1, 1):
                dense.append(_with_bias(site, h.reshape(-1), b))
                continue
            h, b = by_group_and_position(network, site, h, b)
            if self.outputs != "trace":
                product = jnp.einsum("gpk,gpcq->cgqk", h, b)
                jacobian.append(self._jacobian(product.reshape(b.shape[2], -1)))
            elif _gram_is_cheaper(h, b):
                shared.append((h[0], b[0].reshape(*b.shape[1:2], -1)))
            else:
                jacobian.append(jnp.einsum("gpk,gpm->gkm", h, b.reshape(*h.shape[:2], -1)).ravel())
        if network.shared:
            jacobian.append(self._jacobian(_shared_jacobian(network, leaves, derivatives)))
        return {"dense": dense, "shared": shared, "jacobian": _join_small(jacobian)}

    def _jacobian(self, jacobian: Array) -> Array:
        """(C, p), or flat where outputs need not be told apart."""
        return jacobian.ravel() if self.outputs == "trace" else jacobian

    def tile(self, operands: PyTree, rows: PyTree, columns: PyTree) -> Array:
        """(t1, t2), (C, t1, t2) or (t1·C, t2·C)."""
        contract = {"trace": _trace, "per_output": _per_output, "full": _full}[self.outputs]
        total: Any = 0.0
        with jax.default_matmul_precision("float32"):
            for (h1, b1), (h2, b2) in zip(rows["dense"], columns["dense"], strict=True):
                total += contract(b1, b2, by_rows(h1, h2))
            for one, other in zip(rows["shared"], columns["shared"], strict=True):
                total += _over_positions(*one, *other)
            for j1, j2 in zip(rows["jacobian"], columns["jacobian"], strict=True):
                total += contract(j1, j2, None)
        return total


def _over_positions(h1: Array, b1: Array, h2: Array, b2: Array) -> Array:
    """Σ_pr (h1_ip·h2_jr)(b1_ip·b2_jr), (t1, t2), a few positions p at a time.

    Both Gram matrices of all pairs of positions at once would be many times larger than the cache
    needs to hold; those of few rows at a time are products too small to be fast.
    """
    t1, (t2, count) = len(h1), h2.shape[:2]
    few = max(p for p in range(1, count + 1) if count % p == 0 and (p == 1 or p * t1 <= _ROWS))
    h2, b2 = h2.reshape(t2 * count, -1), b2.reshape(t2 * count, -1)

    def one(p: Array, total: Array) -> Array:
        h, b = (
            lax.dynamic_slice_in_dim(factor, p * few, few, axis=1).reshape(t1 * few, -1)
            for factor in (h1, b1)
        )
        pairs = (h @ h2.T) * (b @ b2.T)
        return total + pairs.reshape(t1, few, -1).sum(1)

    start = jnp.zeros((t1, t2 * count), jnp.result_type(h1, b1, h2, b2))
    total = lax.fori_loop(0, count // few, one, start)
    return total.reshape(-1, t2, count).sum(-1)


def _trace(b1: Array, b2: Array, inputs: Array | None) -> Array:
    gram = by_rows(b1.reshape(len(b1), -1), b2.reshape(len(b2), -1))
    return gram if inputs is None else gram * inputs


def _per_output(b1: Array, b2: Array, inputs: Array | None) -> Array:
    gram = jnp.einsum("icq,jcq->cij", b1, b2)
    return gram if inputs is None else gram * inputs


def _full(b1: Array, b2: Array, inputs: Array | None) -> Array:
    t1, c, q = b1.shape
    t2 = b2.shape[0]
    gram = by_rows(b1.reshape(t1 * c, q), b2.reshape(t2 * c, q))
    if inputs is None:
        return gram
    spread = gram.reshape(t1, c, t2, c) * inputs[:, None, :, None]
    return spread.reshape(t1 * c, t2 * c)


def differentiate(
    network: NetworkSites, leaves: list, point: Array, weight: float = 1.0
) -> tuple[dict[int, Array], dict[Site, Array]]:
    """Each product's data operand by step, and each site's derivative (C, ...) of the C outputs.

    The derivatives are multiplied by ``weight``.

    The derivative with respect to a product's result, or to a direct site's parameters, is taken
    by adding zero to it and differentiating with respect to that zero.
    """
    function = network.function
    perturbed = [s.bias[0] if s.bias else s for s in network.sites]
    owners = {p: s for p, s in zip(perturbed, network.sites, strict=True)}
    avals = [
        function.steps[s.step].operands[s.operand].aval
        if s.kind == "direct"
        else function.steps[s.step].results[0].aval
        for s in perturbed
    ]
    zeros = [jnp.zeros(a.shape, a.dtype) for a in avals]

    def run(zeros: list[Array]) -> tuple[Array, dict[int, Array]]:
        shift = {(s.step, s.operand): z for s, z in zip(perturbed, zeros, strict=True)}
        return _run(network, leaves, point, shift)

    output, pullback, inputs = jax.vjp(run, zeros, has_aux=True)
    basis = weight * jnp.eye(output.shape[0], dtype=output.dtype)
    (found,) = jax.vmap(pullback)(basis)
    return inputs, {owners[s]: b for s, b in zip(perturbed, found, strict=True)}


def _run(
    network: NetworkSites, leaves: list, point: Array, shift: dict[tuple[int, int], Array]
) -> tuple[Array, dict[int, Array]]:
    function = network.function
    products = {s.step: s for s in network.sites if s.kind != "direct"}
    env: dict[Any, Any] = dict(zip(function.inputs, [*leaves, point], strict=True))
    inputs = {}
    for index, step in enumerate(function.steps):
        values = _values(env, step)
        site = products.get(index)
        if site is not None:
            inputs[index] = values[1 - site.operand]
            result = _product(step, site, values)
            moved = shift.get((index, site.operand))
            env[step.results[0]] = result if moved is None else result + moved
            continue
        for position in range(len(values)):
            if (index, position) in shift:
                values[position] = values[position] + shift[index, position]
        env.update(zip(step.results, step.run(values), strict=True))
    return env[function.outputs[0]], inputs


def _product(step: Step, site: Site, values: list[Any]) -> Array:
    """The result of a site's product, its data the first factor where on CPU that is faster.

    Data that comes second, as in W h, makes of many points W Hᵀ: XLA writes Hᵀ out before each such
    product, and what follows reads the result across its rows.
    """
    if site.kind != "dot" or site.operand == 1 or jax.default_backend() != "cpu":
        return step.run(values)[0]
    (contract, others), (batch, others_batch) = step.params["dimension_numbers"]
    numbers = ((others, contract), (others_batch, batch))
    swapped = dataclasses.replace(step, params=step.params | {"dimension_numbers": numbers})
    (result,) = swapped.run(values[::-1])
    free = values[1].ndim - len(others) - len(others_batch)
    axes = range(len(batch), result.ndim)
    return jnp.transpose(result, (*range(len(batch)), *axes[free:], *axes[:free]))


def _values(env: dict[Any, Any], step: Step) -> list[Any]:
    return [env[v] if isinstance(v, Variable) else v for v in step.operands]


def _with_bias(site: Site, h: Array, b: Array) -> tuple[Array, Array]:
    if site.bias is not None:
        bias, factor = site.bias
        h = jnp.concatenate([h * factor, jnp.full((1,), bias.scale, h.dtype)])
    return h, b.reshape(b.shape[0], -1)


def by_group_and_position(
    network: NetworkSites, site: Site, h: Array, b: Array
) -> tuple[Array, Array]:
    """A product's input (groups, P, k) and derivative (groups, P, C, q)."""
    step = network.function.steps[site.step]
    if site.kind == "conv":
        derivative = jax.vmap(lambda z: by_position(z, step.params), out_axes=2)
        return patches(h, step.operands[1].aval.shape, step.params), derivative(b)
    contract, batch = step.params["dimension_numbers"]
    side = 1 - site.operand
    free = [d for d in range(h.ndim) if d not in (*contract[side], *batch[side])]
    order = (*batch[side], *free, *contract[side])
    groups = math.prod(h.shape[d] for d in batch[side])
    count = math.prod(h.shape[d] for d in free)
    h = jnp.transpose(h, order).reshape(groups, count, -1)
    if side == 0:
        return h, jnp.moveaxis(b.reshape(b.shape[0], groups, count, -1), 0, 2)
    return h, jnp.transpose(b.reshape(b.shape[0], groups, -1, count), (1, 3, 0, 2))


def _gram_is_cheaper(h: Array, b: Array) -> bool:
    """Whether products over pairs of positions cost less per pair of points than the Jacobian."""
    groups, count, k = h.shape
    m = b.shape[2] * b.shape[3]
    return groups == 1 and count**2 * (2 * k + 2 * m + _PASSES) < 2 * k * m


def _join_small(jacobian: list[Array]) -> list[Array]:
    """One product instead of many where each would be too small to be worth a call."""
    small = [j for j in jacobian if j.size < _SMALL]
    large = [j for j in jacobian if j.size >= _SMALL]
    return [*large, jnp.concatenate(small, axis=-1)] if small else large


def _shared_jacobian(network: NetworkSites, leaves: list, derivatives: dict[Site, Array]) -> Array:
    """Jacobian (C, p) of the parameters that reach the outputs by several ways."""
    function = network.function
    sites = [s for s in network.sites if s.kind == "direct" and s.leaf is None]

    def operands(shared: list[Array]) -> list[Array]:
        values = list(leaves)
        for index, leaf in zip(network.shared, shared, strict=True):
            values[index] = leaf
        env: dict[Any, Any] = dict(zip(function.inputs, values, strict=False))
        for step in function.steps:
            if all(v in env for v in step.operands if isinstance(v, Variable)):
                env.update(zip(step.results, step.run(_values(env, step)), strict=True))
        return [env[function.steps[s.step].operands[s.operand]] for s in sites]

    _, pullback = jax.vjp(operands, [leaves[i] for i in network.shared])
    (found,) = jax.vmap(pullback)([derivatives[s] for s in sites])
    return jnp.concatenate([g.reshape(g.shape[0], -1) for g in found], axis=1)
