"""Where parameters meet data in a network, found in its jaxpr.

A parameter reaches the outputs only through *sites*: steps with one operand made of parameters
alone and another made of data. The output's derivative with respect to that operand, for each
point apart, is all the NTK needs; for products (dense and convolutional layers) it is an outer
product of the layer's input and of the derivative with respect to the layer's output.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..._jaxpr import FlatFunction, Step, Variable, flatten
from ..._typing import ApplyFn

_SAME_ENTRIES = frozenset({"reshape", "transpose", "squeeze", "expand_dims", "rev", "copy"})


@dataclasses.dataclass(frozen=True, eq=False)
class Site:
    """One meeting of parameters and data.

    Attributes:
        step: index of the step.
        operand: which operand holds the parameters.
        kind: ``"dot"`` or ``"conv"``: the derivative is taken with respect to the step's result
            and contracted with its data operand; ``"direct"``: with respect to the operand itself.
        leaf: the one parameter the operand is made of, if its entries are that parameter's, up to
            order and ``scale``, and nothing else uses it; otherwise None.
        scale: see ``leaf``.
        bias: for a dense layer whose bias is added right after it: the site of the bias, whose
            derivative is the layer's, and the factor between the two.
    """

    step: int
    operand: int
    kind: str
    leaf: int | None
    scale: float
    bias: tuple[Site, float] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkSites:
    """A network of one point, and its sites.

    Attributes:
        function: inputs are the parameters' leaves, then the point; one output (C,).
        sites: all sites but the biases that are merged into their layer.
        shared: parameters that are not one site's own: used twice, or through a function.
        num_outputs: C.
    """

    function: FlatFunction
    sites: tuple[Site, ...]
    shared: tuple[int, ...]
    num_outputs: int


@functools.lru_cache(maxsize=128)
def analyse(
    apply_fn: ApplyFn,
    structure: Any,
    leaves: tuple[jax.ShapeDtypeStruct, ...],
    point: jax.ShapeDtypeStruct,
    default_dtype: Any,
) -> NetworkSites:
    """Finds the sites of ``apply_fn(params, point[None])[0]``.

    ``default_dtype`` is that of Python numbers: it changes how the network is traced.

    Raises:
        ValueError: outputs that do not depend on the point, or complex parameters on the way.
    """

    def single(leaves: tuple, point: Any) -> Any:
        return apply_fn(jax.tree.unflatten(structure, leaves), point[None])[0]

    # A step keeps the precision that it was traced with.
    with jax.default_matmul_precision("float32"):
        function = flatten(jax.make_jaxpr(single)(leaves, point))
    output = function.outputs[0]
    dependence = _dependence(function, leaves)
    if not isinstance(output, Variable) or not dependence[output].data:
        raise ValueError(
            "the outputs do not depend on the inputs, so nothing can be computed layer by layer; "
            "expected a network of its inputs, or another implementation."
        )
    sites = _find(function, dependence)
    used = [leaf for site, leaves_ in sites for leaf in leaves_]
    own = [s if s.leaf is not None and used.count(s.leaf) == 1 else _as_direct(s) for s, _ in sites]
    mixed = {leaf for s, (_, ls) in zip(own, sites, strict=True) if s.leaf is None for leaf in ls}
    merged = _merge_biases(function, own)
    return NetworkSites(function, tuple(merged), tuple(sorted(mixed)), output.aval.shape[0])


def _as_direct(site: Site) -> Site:
    return dataclasses.replace(site, kind="direct", leaf=None, scale=1.0)


@dataclasses.dataclass(frozen=True)
class _Dependence:
    """What a value is made of: data, parameters, and perhaps one parameter's own entries."""

    data: bool = False
    leaves: frozenset[int] = frozenset()
    leaf: int | None = None
    scale: float = 1.0


_CONSTANT = _Dependence()


def _dependence(function: FlatFunction, leaves: tuple) -> dict[Variable, _Dependence]:
    found: dict[Variable, _Dependence] = {}
    *params, point = function.inputs
    for i, (variable, leaf) in enumerate(zip(params, leaves, strict=True)):
        if jnp.issubdtype(leaf.dtype, jnp.inexact):
            found[variable] = _Dependence(False, frozenset({i}), i)
    found[point] = _Dependence(True)
    for step in function.steps:
        parts = [_of(found, operand) for operand in step.operands]
        if any(part.data for part in parts):
            result = _Dependence(True)
        else:
            union = frozenset().union(*(part.leaves for part in parts))
            leaf, scale = _own_entries(step, parts)
            result = _Dependence(False, union, leaf, scale)
        found.update(dict.fromkeys(step.results, result))
    return found


def _of(found: dict[Variable, _Dependence], operand: Any) -> _Dependence:
    return found.get(operand, _CONSTANT) if isinstance(operand, Variable) else _CONSTANT


def _own_entries(step: Step, parts: list[_Dependence]) -> tuple[int | None, float]:
    """The parameter whose entries a step's result holds, up to order and the scale returned."""
    index, factor = _entrywise(step)
    if index is None or parts[index].leaf is None:
        return None, 1.0
    return parts[index].leaf, parts[index].scale * factor


def _entrywise(step: Step) -> tuple[int | None, float]:
    """Which operand a step only reorders and scales, and by how much; None if it does more."""
    size = step.results[0].aval.size
    first = step.operands[0] if step.operands else None
    if step.name in _SAME_ENTRIES or step.name in ("broadcast_in_dim", "convert_element_type"):
        inexact = jnp.issubdtype(step.results[0].aval.dtype, jnp.floating)
        same = isinstance(first, Variable) and first.aval.size == size and inexact
        return (0, 1.0) if same else (None, 1.0)
    if step.name == "neg":
        return 0, -1.0
    if step.name in ("mul", "div"):
        a, b = step.operands
        if _is_number(b) and isinstance(a, Variable) and a.aval.size == size:
            number = float(np.asarray(b).item())
            return 0, number if step.name == "mul" else 1.0 / number
        if step.name == "mul" and _is_number(a) and isinstance(b, Variable) and b.aval.size == size:
            return 1, float(np.asarray(a).item())
    return None, 1.0


def _is_number(value: Any) -> bool:
    known = isinstance(value, int | float | np.ndarray | np.generic | jax.Array)
    if not known or isinstance(value, Tracer) or np.size(value) != 1:
        return False
    return bool(np.isfinite(value)) and np.asarray(value).item() != 0.0


def _find(
    function: FlatFunction, dependence: dict[Variable, _Dependence]
) -> list[tuple[Site, frozenset[int]]]:
    sites = []
    for index, step in enumerate(function.steps):
        parts = [_of(dependence, operand) for operand in step.operands]
        if not any(part.data for part in parts):
            continue
        for position, part in enumerate(parts):
            if part.leaves and not part.data:
                values = (step.operands[position], *step.results)
                if any(jnp.issubdtype(v.aval.dtype, jnp.complexfloating) for v in values):
                    raise ValueError(
                        "parameters become complex numbers in this network, which is not computed "
                        "layer by layer; use another implementation."
                    )
                kind = _kind(step, position)
                sites.append((Site(index, position, kind, part.leaf, part.scale), part.leaves))
    return sites


def _kind(step: Step, position: int) -> str:
    if step.name == "dot_general":
        return "dot"
    if step.name == "conv_general_dilated" and position == 1:
        return "conv" if step.params["batch_group_count"] == 1 else "direct"
    return "direct"


def _merge_biases(function: FlatFunction, sites: list[Site]) -> list[Site]:
    """Joins each bias with the dense layer whose result it is added to.

    Their derivatives with respect to the layer's output are the same, so one product of them
    serves both: the bias is one more input of the layer, which is constant.
    """
    uses: dict[Variable, int] = {}
    for value in [v for step in function.steps for v in step.operands] + function.outputs:
        if isinstance(value, Variable):
            uses[value] = uses.get(value, 0) + 1
    # The dense layer whose result a variable holds, up to order and a factor.
    carried: dict[Variable, tuple[Site, float]] = {}
    dense = {s.step: s for s in sites if s.kind == "dot" and positions(function, s) == (1, 1)}
    biases = {s.step: s for s in sites if s.kind == "direct" and s.leaf is not None}
    merged: dict[Site, Site] = {}
    for index, step in enumerate(function.steps):
        if index in dense:
            carried[step.results[0]] = (dense[index], 1.0)
            continue
        site = biases.get(index)
        if site is not None and step.name == "add":
            value, bias = step.operands[1 - site.operand], step.operands[site.operand]
            origin = carried.get(value) if isinstance(value, Variable) else None
            if origin is not None and uses[value] == 1 and bias.aval.size == value.aval.size:
                layer, factor = origin
                merged[layer] = dataclasses.replace(layer, bias=(site, factor))
                merged[site] = merged[layer]
            continue
        operand, factor = _entrywise(step)
        value = step.operands[operand] if operand is not None else None
        if isinstance(value, Variable) and value in carried and uses[value] == 1:
            layer, before = carried[value]
            carried[step.results[0]] = (layer, before * factor)
    biases_merged = {site for site in merged if site.kind == "direct"}
    return [merged.get(site, site) for site in sites if site not in biases_merged]


def positions(function: FlatFunction, site: Site) -> tuple[int, int]:
    """(groups, positions) over which a product's parameters are shared by one point."""
    step = function.steps[site.step]
    if site.kind == "dot":
        contract, batch = step.params["dimension_numbers"]
        data = step.operands[1 - site.operand].aval.shape
        side = 1 - site.operand
        groups = math.prod(data[d] for d in batch[side])
        inner = math.prod(data[d] for d in contract[side])
        return groups, math.prod(data) // max(1, groups * inner)
    out = step.results[0].aval.shape
    features = out[step.params["dimension_numbers"].out_spec[1]]
    return step.params["feature_group_count"], math.prod(out) // features
