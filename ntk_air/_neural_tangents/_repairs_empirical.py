"""Repairs of `neural_tangents._src.empirical`: structured derivatives and AUTO."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad
from jax.tree_util import tree_flatten, tree_leaves, tree_map, tree_unflatten

from ntk_air._jaxpr import Equation, linearize, shield
from ntk_air._neural_tangents import _auto, _complex, _placement, _transpose
from ntk_air._neural_tangents._patcher import Patcher
from ntk_air._neural_tangents._views import View


def structured_linearization(patch: Patcher) -> None:
    """`ad.linearize` changed its arguments and results (JAX 0.4.36 to 0.5).

    Structured derivatives walk the equations of the linearised function. The public
    `jax.linearize` gives that function, and `_jaxpr.linearize` its equations.
    """
    empirical, rules = patch.module("empirical"), patch.module("utils.rules")
    backward_pass = patch.get(empirical, "_backward_pass")
    has_rule = _rule_lookup(patch, rules)

    def _get_primals_out_and_pullback(
        fn: Callable[[Any], Any],
        mode: Any,
        _j_rules: bool,
        _s_rules: bool,
        _fwd: bool | None,
        *primals_in: Any,
    ) -> tuple[Any, Callable[..., Any]]:
        primals, in_tree = tree_flatten(primals_in)
        out_tree = None

        def flat(*leaves: Any) -> list[Any]:
            nonlocal out_tree
            outputs, out_tree = tree_flatten(fn(*tree_unflatten(in_tree, leaves)))
            return outputs

        outputs, program, linear = linearize(flat, primals)
        program = shield(program, has_rule)

        def pullback_fn(*cts_in: Any) -> Any:
            cts = tree_leaves(cts_in)
            cts_out = backward_pass(
                program,
                mode=mode,
                consts=program.consts,
                primals_in=[ad.UndefinedPrimal(v.aval) for v in program.invars],
                cotangents_in=tuple(
                    cts[i].astype(v.aval.dtype)
                    for i, v in zip(linear, program.outvars, strict=True)
                ),
                _j_rules=_j_rules,
                _s_rules=_s_rules,
                _fwd=_fwd,
            )
            return tree_unflatten(in_tree, cts_out)

        return tree_unflatten(out_tree, outputs), pullback_fn

    patch.function(empirical, "_get_primals_out_and_pullback", _get_primals_out_and_pullback)


def _rule_lookup(patch: Patcher, rules: ModuleType) -> Callable[[Equation, int], bool]:
    jacobian_rules = patch.get(rules, "JACOBIAN_RULES")
    get_structure = patch.get(rules, "get_structure")

    def has_rule(eqn: Equation, position: int) -> bool:
        if eqn.primitive not in jacobian_rules:
            return False
        # Derivatives of y by w and of f by y are multiplied and only then added up, but a
        # real w takes the real part of the sum: y must be real where w is, and vice versa.
        if _complex.is_complex(eqn.invars[position].aval) != _complex.is_complex(
            eqn.outvars[0].aval
        ):
            return False
        try:
            get_structure(eqn=eqn, invals=[v.aval for v in eqn.invars], idx=position, _s_rules=True)
        except (NotImplementedError, ValueError, AssertionError):
            return False  # for instance a parameter convolved by a constant
        return True

    return has_rule


def equation_derivatives(patch: Patcher) -> None:
    """`ad.reducing_transposes`, `ad.source_info_util` and `map_primitive` are gone.

    They went between JAX 0.4.36 and 0.10. A single equation is transposed by the
    primitive's rule or by `jax.linear_transpose`, and pushed forward by evaluating it.
    """
    empirical = patch.module("empirical")

    def _eqn_vjp_fn(eqn: Equation | None, cts_in: Any, *invals: Any) -> Any:
        if eqn is None:  # the identity
            return (cts_in,)
        if isinstance(cts_in, ad.Zero):
            return [None] * len(invals)
        return _transpose.transpose(eqn, cts_in, invals)

    def _eqn_jvp_fn(eqn: Equation | None, idx: int, tangents: Any, *invals: Any) -> Any:
        return tangents if eqn is None else _transpose.push(eqn, idx, tangents, invals)

    patch.function(empirical, "_eqn_vjp_fn", _eqn_vjp_fn)
    patch.function(empirical, "_eqn_jvp_fn", _eqn_jvp_fn)


def primal_and_cotangent_access(patch: Patcher) -> None:
    """`core.DShapedArray`, `core.get_aval`, `core.lattice_join`, `ad.config` are gone.

    They went between JAX 0.4.36 and 0.8. All they served were dynamic shapes and a
    debugging check.
    """
    empirical = patch.module("empirical")

    def _read_primal(env: dict[Any, Any], v: Any) -> Any:
        return env[v] if v in env else ad.UndefinedPrimal(v.aval)

    def _write_cotangent(prim: Any, ct_env: dict[Any, Any], v: Any, ct: Any) -> None:
        if ct is not None and not isinstance(ct, ad.Zero):
            ct_env[v] = ct_env[v] + ct if v in ct_env else ct

    patch.function(empirical, "_read_primal", _read_primal)
    patch.function(empirical, "_write_cotangent", _write_cotangent)


def name_stack(patch: Patcher) -> None:
    """`ad.source_info_util.transform_name_stack` is gone (JAX 0.8 or earlier).

    It labelled the operations of the backward pass; `jax.named_scope` is its public form.
    """
    empirical = patch.module("empirical")
    labels = View("source_info_util", None, transform_name_stack=jax.named_scope)
    original = patch.get(empirical, "ad")
    patch.value(empirical, "ad", View("ad", original, source_info_util=labels))


def implementations(patch: Patcher) -> None:
    """`Compiled.cost_analysis` returns a dict, no list of one (JAX 0.5); AUTO prints.

    Some backends give no FLOPs at all: then the choice follows a fixed order. Whichever
    is chosen gives J Jᵀ of complex functions too (see `_complex`).
    """
    empirical = patch.module("empirical")
    names = patch.get(empirical, "NtkImplementation")
    split_kwargs = patch.get(patch.module("utils.utils"), "split_kwargs")
    registry = patch.get(empirical, "_implementation_to_ntk_fn")
    empirical_ntk_fn = patch.get(empirical, "empirical_ntk_fn")

    def _empirical_auto_ntk_fn(**kwargs: Any) -> Callable[..., Any]:
        return _auto.cheapest(
            [empirical_ntk_fn(**kwargs, implementation=names[n]) for n in _auto.PREFERENCE]
        )

    factories = {
        **registry,
        names.NTK_VECTOR_PRODUCTS: _complex.with_imaginary_part(
            registry[names.NTK_VECTOR_PRODUCTS]
        ),
    }
    patch.function(empirical, "_get_flops", _auto.get_flops)
    patch.function(empirical, "_empirical_auto_ntk_fn", _empirical_auto_ntk_fn)
    patch.value(
        empirical,
        "_implementation_to_ntk_fn",
        {k: _complex.plain_transpose(v, split_kwargs) for k, v in factories.items()}
        | {names.AUTO: _empirical_auto_ntk_fn},
    )


def kernel_vector_products(patch: Patcher) -> None:
    """`jax.vjp` inside `jax.shard_map` adds up over devices what they share (JAX 0.6 or so)."""
    empirical = patch.module("empirical")
    original = patch.get(empirical, "empirical_ntk_vp_fn")

    @functools.wraps(original)
    def empirical_ntk_vp_fn(
        f: Any, x1: Any, x2: Any, params: Any, **apply_fn_kwargs: Any
    ) -> Callable[[Any], Any]:
        def ntk_vp_fn(cotangents: Any) -> Any:
            everything = (x1, x2, params, apply_fn_kwargs, cotangents)
            axes = _placement.varying_axes(everything)
            x1_, x2_, params_, kwargs, cts = _placement.vary(everything, axes)
            return original(f, x1_, x2_, params_, **kwargs)(cts)

        return ntk_vp_fn

    patch.function(empirical, "empirical_ntk_vp_fn", empirical_ntk_vp_fn)
    patch.function(patch.root, "empirical_ntk_vp_fn", empirical_ntk_vp_fn)


def shapes_and_dtypes(patch: Patcher) -> None:
    """`jnp.size` of a shape-only object and `jnp.dtype` of an array are on their way out.

    Both warn on JAX 0.10 and are announced to become errors.
    """
    empirical = patch.module("empirical")

    def _get_fx_axis_and_dtype(fx: Any, fx_axis: Any, params: Any) -> tuple[Any, Any]:
        if fx_axis is None:
            fx_axis = tree_map(lambda _: None, fx)
        dtypes = [jnp.result_type(p) for p in tree_leaves(params)]
        return fx_axis, functools.reduce(jnp.promote_types, dtypes) if dtypes else None

    def _std_basis(pytree: Any) -> Any:
        leaves = tree_leaves(pytree)
        size = sum(math.prod(x.shape) for x in leaves)
        basis = jnp.eye(size, dtype=jnp.result_type(*(x.dtype for x in leaves)))
        basis = _placement.vary(basis, _placement.varying_axes(leaves))
        return _unravel_array_into_pytree(pytree, 1, basis)

    def _unravel_array_into_pytree(pytree: Any, axis: int, arr: Any) -> Any:
        leaves, treedef = tree_flatten(pytree)
        axis = axis % arr.ndim if arr.ndim else axis
        ends = list(itertools.accumulate(math.prod(x.shape) for x in leaves))
        parts = [
            part.reshape(arr.shape[:axis] + tuple(x.shape) + arr.shape[axis + 1 :])
            for part, x in zip(jnp.split(arr, ends[:-1], axis), leaves, strict=True)
        ]
        return tree_unflatten(treedef, parts)

    for replacement in (_get_fx_axis_and_dtype, _std_basis, _unravel_array_into_pytree):
        patch.function(empirical, replacement.__name__, replacement)


REPAIRS = [
    structured_linearization,
    equation_derivatives,
    primal_and_cotangent_access,
    name_stack,
    shapes_and_dtypes,
    implementations,
    kernel_vector_products,
]
