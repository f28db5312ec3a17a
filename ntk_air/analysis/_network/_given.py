"""The network that is studied: a name, an architecture, a module, or a function with parameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ... import kernels, networks
from ..._checks import check_choice
from ..._modules import is_a, mode_options
from ..._typing import ApplyFn, Array, PyTree
from ...kernels import Architecture

# Of the fully connected network that is taken where none is named.
DEFAULTS: dict[str, Any] = {"depth": 1, "width": 2048, "weight_std": 1.4, "bias_std": 0.1}
Started = tuple[ApplyFn, PyTree]
_FEW_POINTS = 1000


@dataclasses.dataclass(frozen=True)
class GivenNetwork:
    """A network, before it has parameters.

    Attributes:
        name: what it is, for reports.
        start: from inputs (n, ...) and a seed to ``apply_fn`` and initial parameters; BatchNorm
            uses its running statistics and dropout is off.
        architecture: whose infinite-width kernel is known, or None.
        flat: whether it takes vectors.
        axes: names of the axes of its inputs, where they are known.
        own: whether it is a module or function of the caller's, whose inputs are used as they are.
    """

    name: str
    start: Callable[[Array, int], Started]
    architecture: Architecture | None = None
    flat: bool = False
    axes: Collection[str] | None = None
    own: bool = False


def given_network(
    network: Any, params: PyTree, options: Mapping[str, Any], num_classes: int
) -> GivenNetwork:
    """Reads a network in any of the forms that `air` takes.

    Args:
        network: None, a name, an `Architecture` or triple, a module of flax or equinox, or a
            function.
        params: parameters of a function; variables of a linen module.
        options: ``depth``, ``width``, ``weight_std``, ``bias_std`` of a network made here; None
            where they were not given.
        num_classes: its outputs C, where it is made here.

    Raises:
        ValueError: on another form, an unknown name, or options that it does not have.
    """
    said = {name: value for name, value in options.items() if value is not None}
    if network is None or isinstance(network, str):
        if params is not None:
            raise ValueError(
                "params are given and network is not a function or a module whose they are; pass "
                "it, or leave params out."
            )
        if network is None:
            return _of_architecture(_fully_connected(said, num_classes))
        return _named(network, said, num_classes)
    if said:
        what = f"a {type(network).__name__}"
        if isinstance(network, Architecture):
            what = f"the architecture {network.name}"
        raise ValueError(
            f"{', '.join(said)} and {what} are given, which has its own; pass one of them."
        )
    if type(network) is tuple and len(network) == 2 and params is None:
        network, params = network
    if _is_triple(network):
        made = kernels.as_architecture(network)
        given = _of_architecture(made)
        if params is None:
            return given
        return dataclasses.replace(given, start=lambda inputs, seed: (made.apply_fn, params))
    return _of_module(network, params)


def _is_triple(network: Any) -> bool:
    if isinstance(network, Architecture) or type(network) is tuple:
        return True
    return all(callable(getattr(network, f, None)) for f in ("init_fn", "apply_fn", "kernel_fn"))


def _fully_connected(said: Mapping[str, Any], num_classes: int) -> Architecture:
    made = {**DEFAULTS, **said}
    return kernels.fully_connected(
        made.pop("depth"), made.pop("width"), num_outputs=num_classes, **made
    )


def _of_architecture(made: Architecture) -> GivenNetwork:
    def start(inputs: Array, seed: int) -> Started:
        shape = (-1, *inputs.shape[1:])
        return made.apply_fn, made.init_fn(jax.random.key(seed), shape)[1]

    axes = made.input_axes
    flat = axes is not None and len(axes) == 2
    return GivenNetwork(made.name, start, made, flat=flat, axes=axes)


def _named(name: str, said: dict[str, Any], num_classes: int) -> GivenNetwork:
    known = (*kernels.architecture_names(), *networks.NETWORKS)
    check_choice("network", name, known)
    if name in networks.NETWORKS:
        module = networks.create(
            name, num_outputs=num_classes, parameterization="ntk", **_attributes(name, said)
        )
        described = f"{name}({', '.join(f'{k}={v}' for k, v in said.items())})" if said else name
        return dataclasses.replace(
            _of_module(module, None), name=described, flat=name == "mlp", own=False
        )
    make, fixed = kernels.find_architecture(name)
    arguments = _arguments(name, make.make, said)
    return _of_architecture(make(**fixed, **arguments, num_outputs=num_classes))


def _arguments(name: str, make: Callable[..., Any], said: dict[str, Any]) -> dict[str, Any]:
    """The options under the names that the maker has for them: depth and width come first."""
    own = list(inspect.signature(make).parameters)
    names: dict[str, str] = dict(zip(("depth", "width"), own, strict=False))
    renamed = {names.get(option, option): value for option, value in said.items()}
    unknown = [option for option in said if names.get(option, option) not in own]
    if unknown:
        raise ValueError(f"{name} has no {', '.join(unknown)}; leave it out.")
    return renamed


def _attributes(name: str, said: dict[str, Any]) -> dict[str, Any]:
    """Attributes of a module of `networks` for a depth and a width of its first stage."""
    said = dict(said)
    width, depth = said.pop("width", None), said.pop("depth", None)
    if name == "mlp":
        if width is not None or depth is not None:
            said["features"] = (width or 256,) * (2 if depth is None else depth)
        return said
    if depth is not None:
        raise ValueError(f"{name} has no depth of one's own; leave it out.")
    if width is None:
        return said
    if name == "small_cnn":
        return said | {"features": (width, 2 * width, 4 * width)}
    if name.startswith("wide_resnet"):
        raise ValueError(f"{name} has its width in its name; leave width out.")
    return said | {"stem_features": width}


def _of_module(network: Any, params: PyTree) -> GivenNetwork:
    """A module of flax or equinox, or a function with its parameters."""
    name = getattr(network, "__name__", type(network).__name__)
    if name == "<lambda>":
        name = "a function"
    if is_a(network, "flax.linen", "Module"):
        start = functools.partial(_start_linen, network, params)
        return GivenNetwork(name, start, own=True)
    is_function = inspect.isroutine(network) or isinstance(network, functools.partial)
    if params is None and not is_function and callable(network):
        split = kernels.functional(network)
        return GivenNetwork(name, lambda inputs, seed: split, own=True)
    if not callable(network):
        raise ValueError(
            f"network is a {type(network).__name__}, expected None, a name in "
            "ntk_air.kernels.ARCHITECTURES or ntk_air.networks.NETWORKS, an Architecture, a module "
            "of flax or equinox, or a function with params."
        )
    if params is None:
        raise ValueError(
            f"network is the function {name}, which has no parameters of its own; pass them as "
            "params."
        )
    if not is_function and is_a(network, "flax.nnx", "Module"):
        raise ValueError(f"{name} is an nnx module and holds its own parameters; leave params out.")
    function: Any = network
    return GivenNetwork(name, lambda inputs, seed: (function, params), own=True)


def _start_linen(module: Any, variables: PyTree, inputs: Array, seed: int) -> Started:
    if variables is None:
        names = ("params", "dropout")
        streams = dict(zip(names, jax.random.split(jax.random.key(seed)), strict=True))
        options = mode_options(module.__call__, training=False)
        init = jax.jit(functools.partial(module.init, **options))
        variables = init(streams, inputs[:1])
    elif "params" not in variables:
        variables = {"params": variables}
    return kernels.functional(module, variables)


def implementation_for(network: GivenNetwork, started: Started, inputs: Array) -> str:
    """How its finite kernels are computed, chosen once for all of them."""
    # Counting operations takes seconds for every kernel anew; of many points they are nothing, and
    # what is the cheapest may not fit.
    if len(inputs) > _FEW_POINTS:
        return "auto"
    if network.architecture is not None and network.flat:
        return "structured_derivatives"
    return kernels.cheapest_implementation(*started, inputs)


def count_outputs(started: Started, inputs: Array, name: str) -> int:
    """Outputs C of a network; its parameters and inputs fit each other.

    Raises:
        ValueError: if it gives no (n, C).
    """
    apply_fn, params = started
    some = jax.ShapeDtypeStruct((2, *inputs.shape[1:]), jnp.asarray(inputs).dtype)
    try:
        shape = jax.eval_shape(apply_fn, params, some).shape
    except (TypeError, ValueError) as error:
        first = str(error).strip().split("\n")[0]
        raise ValueError(
            f"{name} does not take inputs of shape {tuple(inputs.shape)} ({inputs.dtype}): {first}"
        ) from error
    if len(shape) != 2:
        raise ValueError(f"{name} gives outputs of shape {shape} for 2 points, expected (2, C).")
    return int(shape[1])
