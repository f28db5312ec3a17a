"""Which layers a finite network's kernel comes from, in each direction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import kernels
from ..._numerics import share
from ..._results import result, static
from ..._typing import ApplyFn, Array, Float, PyTree
from ...spectral import Eigensystem
from ._targets import Targets


@result
class LayerShares:
    """Shares of a network's layers in its empirical NTK, Θ = Σ_l Θ_l.

    A layer is what one key, or one position, of the parameters holds, such as a module's kernel and
    bias. The sum runs over its parameters only, the others fixed.

    Attributes:
        share: (L, r), u_kᵀΘ_l u_k / λ_k of the eigenvectors of the whole; the layers sum to 1. NaN
            beyond the trusted rank.
        trace: (L,), tr Θ_l / tr Θ.
        signal: (L,), yᵀΘ_l y / yᵀΘ y with the clean targets: who fits the signal first.
        noise: (L,), the same of the noise; zero if there is none.
        num_parameters: (L,), of each layer.
        names: of the layers.
    """

    share: Float[Array, "L r"]
    trace: Float[Array, " L"]
    signal: Float[Array, " L"]
    noise: Float[Array, " L"]
    num_parameters: tuple[int, ...] = static()
    names: tuple[str, ...] = static()


def layers_of(params: PyTree) -> dict[str, tuple[int, ...]]:
    """Names of the layers, and which leaves of ``params`` each holds, in order.

    Leaves of one parent are one layer; None in place of a parameter is none.
    """
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    found: dict[str, list[int]] = {}
    for index, (path, _leaf) in enumerate(paths):
        parts = [_key(part) for part in path]
        # Of nnx, a variable's value lies one step further down.
        parts = [part for part in parts if part not in ("value", "raw_value")]
        found.setdefault(".".join(parts[:-1]) or ".".join(parts) or "params", []).append(index)
    return {name: tuple(indices) for name, indices in found.items()}


def _key(part: Any) -> str:
    for attribute in ("key", "idx", "name"):
        if hasattr(part, attribute):
            return str(getattr(part, attribute))
    return str(part)


def layer_shares(
    network: tuple[ApplyFn, PyTree],
    inputs: Array,
    es: Eigensystem,
    targets: Targets,
    how: dict[str, Any],
) -> LayerShares:
    """Shares of the layers, whose kernels are computed one after another.

    Args:
        network: ``apply_fn`` and parameters.
        inputs: (n, ...).
        es: eigensystem of the whole kernel.
        targets: clean ones and noise.
        how: memory budget and implementation of the kernels.
    """
    apply_fn, params = network
    leaves, structure = jax.tree.flatten(params)
    rows, sizes = [], []
    layers = layers_of(params)
    for indices in layers.values():
        part, of_part = _only(apply_fn, leaves, structure, indices)
        kernel: Any = kernels.empirical_ntk(part, of_part, inputs, **how)
        rows.append(jax.device_get(_forms(kernel, es.eigenvectors, targets.clean, targets.noise)))
        sizes.append(sum(int(np.size(leaves[i])) for i in indices))
    quadratic, trace, signal, noise = (np.stack(column) for column in zip(*rows, strict=True))
    trusted = np.arange(es.rank) < es.trusted_rank
    return LayerShares(
        share=jnp.where(trusted, share(quadratic, np.asarray(es.eigenvalues)), jnp.nan),
        trace=share(trace, trace.sum(axis=0)),
        signal=share(signal, signal.sum(axis=0)),
        noise=share(noise, noise.sum(axis=0)),
        num_parameters=tuple(sizes),
        names=tuple(layers),
    )


def _only(
    apply_fn: ApplyFn, leaves: list[Any], structure: Any, indices: tuple[int, ...]
) -> tuple[Callable[..., Array], list[Any]]:
    """The network as a function of those leaves alone."""

    def part(chosen: list[Any], inputs: Array) -> Array:
        whole = list(leaves)
        for index, leaf in zip(indices, chosen, strict=True):
            whole[index] = leaf
        return apply_fn(jax.tree.unflatten(structure, whole), inputs)

    return part, [leaves[i] for i in indices]


@jax.jit
def _forms(kernel: Array, eigenvectors: Array, clean: Array, noise: Array) -> tuple[Array, ...]:
    """u_kᵀΘu_k (r,), tr Θ, and tr yᵀΘy of both signals."""

    def form(vectors: Array) -> Array:
        return jnp.sum(vectors * jnp.matmul(kernel, vectors, precision="highest"), axis=0)

    return form(eigenvectors), jnp.trace(kernel), form(clean).sum(), form(noise).sum()
