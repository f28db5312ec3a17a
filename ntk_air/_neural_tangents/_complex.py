"""The kernel of complex functions and parameters: J Jᵀ, from every implementation alike.

neural-tangents defines its kernel as J Jᵀ, without conjugation. On the JAX it was written for its
implementations agree on that for real parameters and real outputs, whatever is complex in
between, and for holomorphic functions. Elsewhere they contradicted each other or refused.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_flatten, tree_leaves, tree_map, tree_unflatten

from ntk_air._neural_tangents import _placement

Factory = Callable[..., Callable[..., Any]]


def is_complex(value: Any) -> bool:
    """Whether an array, a number or an abstract value is complex."""
    dtype = value.dtype if hasattr(value, "dtype") else jnp.result_type(value)
    return jnp.issubdtype(dtype, jnp.complexfloating)


def plain_transpose(factory: Factory, split_kwargs: Callable[..., Any]) -> Factory:
    """Let an implementation give J Jᵀ of complex outputs and parameters.

    J of a real parameter is the derivative of the complex output; J of a complex one is
    what ``jax.vjp`` says of the real part of the output: the complex derivative, if the
    function is holomorphic, and ``jax.jacobian``'s convention, if the output is real.

    Args:
        factory: neural-tangents' function of `f`, axes and options that returns an `ntk_fn`.
        split_kwargs: neural-tangents' division of keyword arguments between two inputs.

    Returns:
        A factory with the same arguments.
    """

    @functools.wraps(factory)
    def wrapped(
        f: Any, trace_axes: Any, diagonal_axes: Any, vmap_axes: Any, **options: Any
    ) -> Callable[..., Any]:
        options |= {"trace_axes": trace_axes, "diagonal_axes": diagonal_axes}
        plain = factory(f=f, vmap_axes=vmap_axes, **options)

        @functools.wraps(plain)
        def ntk_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
            axes = _placement.varying_axes((x1, x2, params, kwargs))
            x1, x2, params, kwargs = _placement.vary((x1, x2, params, kwargs), axes)
            outputs = jax.eval_shape(f, params, x1, **split_kwargs(kwargs, x1, x2)[0])
            if not any(map(is_complex, tree_leaves(outputs))):
                return plain(x1, x2, params, **kwargs)
            leaves, tree = tree_flatten(params)
            kernels: list[Any] = [] if leaves else [plain(x1, x2, params, **kwargs)]
            for kind, kernel in ((True, _of_real_part), (False, _of_both_parts)):
                chosen = [i for i, p in enumerate(leaves) if is_complex(p) == kind]
                if chosen:
                    g = _restrict(f, leaves, tree, chosen)
                    ntk = kernel(factory, g, vmap_axes, options, outputs)
                    kernels.append(ntk(x1, x2, [leaves[i] for i in chosen], **kwargs))
            return functools.reduce(lambda a, b: tree_map(jnp.add, a, b), kernels)

        return ntk_fn

    return wrapped


def with_imaginary_part(factory: Factory) -> Factory:
    """Complete kernel-vector products of complex parameters.

    A product J v of a real output has lost its imaginary part. That is the real part
    of (-i) J v, hence of the kernel with respect to parameters scaled by the root of -i.
    """

    @functools.wraps(factory)
    def wrapped(f: Any, **options: Any) -> Callable[..., Any]:
        plain = factory(f=f, **options)

        @functools.wraps(plain)
        def ntk_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
            real = plain(x1, x2, params, **kwargs)
            leaves, tree = tree_flatten(params)
            chosen = [i for i, p in enumerate(leaves) if is_complex(p)]
            if not chosen:
                return real
            root = np.exp(-0.25j * np.pi)
            g = _restrict(f, leaves, tree, chosen)

            def scaled(p: list[Any], *args: Any, **kw: Any) -> Any:
                return g([_scale(q, root) for q in p], *args, **kw)

            p = [_scale(leaves[i], 1 / root) for i in chosen]
            imaginary = factory(f=scaled, **options)(x1, x2, p, **kwargs)
            return tree_map(lambda a, b: a + 1j * b, real, imaginary)

        return ntk_fn

    return wrapped


def _scale(value: Any, factor: complex) -> jax.Array:
    array = jnp.asarray(value)
    return array * jnp.asarray(factor, array.dtype)


def _restrict(f: Any, leaves: list[Any], tree: Any, chosen: list[int]) -> Callable[..., Any]:
    """`f` as a function of the chosen parameters, the others held."""

    def g(values: list[Any], *args: Any, **kwargs: Any) -> Any:
        full = list(leaves)
        for i, value in zip(chosen, values, strict=True):
            full[i] = value
        return f(tree_unflatten(tree, full), *args, **kwargs)

    return g


def _of_real_part(factory: Factory, g: Any, vmap_axes: Any, options: Any, _: Any) -> Any:
    return factory(
        f=lambda p, x, **kwargs: tree_map(jnp.real, g(p, x, **kwargs)),
        vmap_axes=vmap_axes,
        **options,
    )


def _of_both_parts(factory: Factory, g: Any, vmap_axes: Any, options: Any, outputs: Any) -> Any:
    """Real and imaginary part as a new last axis of the outputs: J = J_re + i J_im."""

    def parts(p: Any, x: Any, **kwargs: Any) -> Any:
        return tree_map(lambda y: jnp.stack([y.real, y.imag], -1), g(p, x, **kwargs))

    triple = isinstance(vmap_axes, tuple) and len(vmap_axes) == 3
    x_axis, y_axis, kw_axes = vmap_axes if triple else (vmap_axes, vmap_axes, {})
    ntk_fn = factory(
        f=parts,
        vmap_axes=(x_axis, tree_map(_shift, y_axis), kw_axes),
        **{k: tree_map(_shift, v) if k.endswith("_axes") else v for k, v in options.items()},
    )

    def join(k: Any, output: Any) -> Any:
        whole = k[..., 0, 0] - k[..., 1, 1] + 1j * (k[..., 0, 1] + k[..., 1, 0])
        return whole if is_complex(output) else whole.real

    return lambda *args, **kwargs: tree_map(join, ntk_fn(*args, **kwargs), outputs)


def _shift(axis: int) -> int:
    """An axis of an array as an axis of one with a new last axis."""
    return axis if axis >= 0 else axis - 1
