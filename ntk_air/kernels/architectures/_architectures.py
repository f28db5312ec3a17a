"""Which network: named architectures, each a triple of neural-tangents functions."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from ... import _neural_tangents
from ..._checks import check_choice, check_in_range, check_size
from ._activations import accurate_activation, fast_activation
from ._convolution import convolution
from ._expectations import elu, smooth
from ._registry import IMAGES, VECTORS, architecture

_CLOSED_FORM = {
    "relu": "Relu",
    "leaky_relu": "LeakyRelu",
    "erf": "Erf",
    "gelu": "Gelu",
    "abs": "Abs",
    "sin": "Sin",
    "cos": "Cos",
    "rbf": "Rbf",
    "sigmoid_like": "Sigmoid_like",
    "identity": "Identity",
}
# No closed form is known; `_expectations` has them by series and quadrature.
_QUADRATURE = ("tanh", "softplus", "silu", "sigmoid", "elu")
ACTIVATIONS = (*_CLOSED_FORM, *_QUADRATURE)
# Of neural-tangents' own quadrature, which masked inputs are left to.
_QUADRATURE_DEGREE = 25


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network and its infinite-width kernel, in NTK parameterisation.

    Attributes:
        name: what the network is, e.g. ``"fully_connected(depth=4, width=512)"``.
        init_fn: ``init_fn(key, input_shape) -> (output_shape, params)``.
        apply_fn: ``apply_fn(params, inputs) -> outputs (n, C)``.
        kernel_fn: ``kernel_fn(x1, x2, get) -> kernel (n1, n2)``, infinite width.
        closed_form: whether the kernel is in closed form. Others are series or quadrature in the
            precision of the inputs, with no cancellation on the diagonal: tanh, softplus, silu,
            sigmoid and elu within 1e-12 of the exact kernel in float64 where the variances of a
            layer are up to 1, tanh within 1e-7 up to 4 and 1e-3 up to 16, the rest within 1e-6.
        input_axes: names of the axes of its inputs, or None if it takes others.
    """

    name: str
    init_fn: Callable[..., Any]
    apply_fn: Callable[..., Any]
    kernel_fn: Callable[..., Any]
    closed_form: bool = True
    input_axes: tuple[str, ...] | None = None


def as_architecture(value: Any) -> Architecture:
    """Accepts an `Architecture`, anything with its three functions, or a neural-tangents triple.

    Raises:
        ValueError: if ``value`` is none of these.

    Example:
        >>> import neural_tangents.stax as stax, ntk_air as na
        >>> na.kernels.as_architecture(stax.serial(stax.Dense(8), stax.Relu(), stax.Dense(1))).name
        'custom'
    """
    if isinstance(value, Architecture):
        return value
    if isinstance(value, tuple) and len(value) == 3 and all(map(callable, value)):
        return Architecture("custom", *value)
    parts = [getattr(value, name, None) for name in ("init_fn", "apply_fn", "kernel_fn")]
    if not all(map(callable, parts)):
        raise ValueError(
            f"architecture is a {type(value).__name__}; expected ntk_air.kernels.fully_connected"
            "(...) or another Architecture, or an (init_fn, apply_fn, kernel_fn) triple."
        )
    return Architecture(str(getattr(value, "name", "custom")), *parts)  # pyright: ignore


def activation_layer(name: str) -> Any:
    """The neural-tangents layer of one of `ACTIVATIONS`.

    Raises:
        ValueError: if ``name`` is none of them.
    """
    stax = _neural_tangents.load().stax
    check_choice("activation", name, ACTIVATIONS)
    if name in _CLOSED_FORM:
        layer = getattr(stax, _CLOSED_FORM[name])(*((0.1,) if name == "leaky_relu" else ()))
        return fast_activation(name, layer)
    function = getattr(jax.nn, name)
    with warnings.catch_warnings():
        # It warns of quadrature as such, and of derivatives of functions with jnp.where.
        warnings.simplefilter("ignore", UserWarning)
        plain = [stax.ElementwiseNumerical(function, deg=_QUADRATURE_DEGREE) for _ in range(2)]
    return accurate_activation(
        _of_either_precision(*plain), elu if name == "elu" else smooth(function)
    )


def _of_either_precision(single: Any, double: Any) -> Any:
    """One layer of two that are equal: quadrature keeps its nodes in the precision of first use."""
    stax = _neural_tangents.load().stax
    init_fn, apply_fn, in_single = single

    @stax.requires(diagonal_spatial=stax.Diagonal())
    def kernel_fn(kernel: Any, **reqs: Any) -> Any:
        layer = double[2] if kernel.nngp.dtype == jnp.float64 else in_single
        return layer(kernel, **reqs)

    return stax.layer(lambda: (init_fn, apply_fn, kernel_fn))()


def quiet(network: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    """The same triple without neural-tangents' warnings of what our docstrings say already."""

    def without_warnings(function: Callable[..., Any]) -> Callable[..., Any]:
        # The wrapper carries the attributes in which neural-tangents keeps its requirements.
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Linear scaling attention", UserWarning)
                warnings.filterwarnings("ignore", "`FanIn` layers assume", UserWarning)
                return function(*args, **kwargs)

        return call

    init_fn, apply_fn, kernel_fn = map(without_warnings, network)
    return init_fn, apply_fn, kernel_fn


def check_sizes(depth: int, width: int, num_outputs: int, w: float, b: float) -> None:
    """Raises ValueError unless a network of these sizes and standard deviations exists."""
    check_size("depth (hidden layers)", depth, 0)
    check_size("width", width, 1)
    check_size("num_outputs", num_outputs, 1)
    check_in_range("weight_std", w, 0.0, math.inf, low_open=True, high_open=True)
    check_in_range("bias_std", b, 0.0, math.inf, high_open=True)


def is_closed_form(activation: str) -> bool:
    """Whether the kernel of networks with this activation is in closed form."""
    return activation in _CLOSED_FORM


@architecture(VECTORS, fc={})
@functools.lru_cache(maxsize=64)
def fully_connected(
    depth: int = 1,
    width: int = 512,
    *,
    num_outputs: int = 1,
    activation: str = "relu",
    weight_std: float = math.sqrt(2.0),
    bias_std: float = 0.1,
) -> Architecture:
    """A fully connected network; the same arguments give the same object, so jit caches hold.

    Every layer is ``weight_std / sqrt(fan_in) * W x + bias_std * b`` with standard normal W and b
    (NTK parameterisation), the output layer included.

    Args:
        depth: number of hidden layers; 0 is a linear model.
        width: units of each hidden layer (the infinite-width kernel ignores it).
        num_outputs: outputs C.
        activation: one of `ACTIVATIONS`.
        weight_std: the default keeps the variance of ReLU layers constant.
        bias_std: 0 leaves the biases without effect.

    Raises:
        ValueError: on sizes below 1, an unknown activation or a standard deviation out of range.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> network = na.kernels.fully_connected(depth=1, weight_std=2**0.5, bias_std=0.0)
        >>> print(na.kernels.infinite_ntk(network, np.eye(2), kind="nngp").round(4))  # 1 and 1 / pi
        [[1. 0.3183]
         [0.3183 1. ]]
    """
    check_sizes(depth, width, num_outputs, weight_std, bias_std)
    stax = _neural_tangents.load().stax
    dense = functools.partial(stax.Dense, W_std=weight_std, b_std=bias_std)
    layers = []
    for _ in range(depth):
        layers += [dense(width), activation_layer(activation)]
    name = f"fully_connected(depth={depth}, width={width}, activation={activation})"
    network = stax.serial(*layers, dense(num_outputs))
    return Architecture(name, *network, closed_form=is_closed_form(activation), input_axes=VECTORS)


@architecture(IMAGES, conv={"pooling": "flatten"}, conv_gap={"pooling": "gap"})
@functools.lru_cache(maxsize=64)
def convolutional(
    depth: int = 3,
    channels: int = 64,
    *,
    num_outputs: int = 1,
    activation: str = "relu",
    weight_std: float = math.sqrt(2.0),
    bias_std: float = 0.1,
    filter_size: int = 3,
    pooling: str = "flatten",
) -> Architecture:
    """A convolutional network of ``depth`` same-size layers on images (n, H, W, channels).

    Args:
        depth: number of hidden (convolutional) layers.
        channels: channels of each hidden layer (the infinite-width kernel ignores it).
        num_outputs: outputs C.
        activation: one of `ACTIVATIONS`.
        weight_std: standard deviation of the weights, before division by sqrt(fan-in).
        bias_std: standard deviation of the biases.
        filter_size: side of the square filters; zero padding keeps the image size.
        pooling: ``"flatten"`` (one readout weight per position; kernel memory n1·n2·H·W) or
            ``"gap"`` (global average; kernel memory n1·n2·(H·W)²).

    Raises:
        ValueError: on sizes below 1, an unknown activation or pooling.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> network = na.kernels.convolutional(depth=1, pooling="gap")
        >>> na.kernels.infinite_ntk(network, np.ones((2, 4, 4, 3))).shape
        (2, 2)
    """
    check_sizes(depth, channels, num_outputs, weight_std, bias_std)
    check_size("filter_size", filter_size, 1)
    check_choice("pooling", pooling, ("flatten", "gap"))
    stax = _neural_tangents.load().stax
    layers = []
    for _ in range(depth):
        conv = convolution(channels, filter_size, weight_std=weight_std, bias_std=bias_std)
        layers += [conv, activation_layer(activation)]
    layers.append(stax.Flatten() if pooling == "flatten" else stax.GlobalAvgPool())
    name = f"convolutional(depth={depth}, channels={channels}, {activation}, pooling={pooling})"
    network = stax.serial(*layers, stax.Dense(num_outputs, W_std=weight_std, b_std=bias_std))
    return Architecture(name, *network, closed_form=is_closed_form(activation), input_axes=IMAGES)


_MYRTLE_LAYERS = {5: (1, 1, 1), 7: (1, 2, 2), 10: (2, 3, 3)}


@architecture(IMAGES)
@functools.lru_cache(maxsize=16)
def myrtle(
    depth: int = 5,
    channels: int = 64,
    *,
    num_outputs: int = 10,
    weight_std: float = math.sqrt(2.0),
    bias_std: float = 0.1,
) -> Architecture:
    """The Myrtle network of Shankar et al. (arXiv:2003.02237) with average pooling.

    Args:
        depth: 5, 7 or 10, as named in that paper.
        channels: channels of each layer.
        num_outputs: outputs C.
        weight_std: standard deviation of the weights, before division by sqrt(fan-in).
        bias_std: standard deviation of the biases.

    Raises:
        ValueError: if ``depth`` is not one of the three.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> network = na.kernels.myrtle(channels=4)
        >>> params = jax.eval_shape(lambda key: network.init_fn(key, (1, 32, 32, 3))[1],
        ...                         jax.random.key(0))
        >>> images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
        >>> jax.eval_shape(network.apply_fn, params, images).shape
        (2, 10)
    """
    check_choice("depth", depth, tuple(_MYRTLE_LAYERS))
    check_sizes(depth, channels, num_outputs, weight_std, bias_std)
    stax = _neural_tangents.load().stax
    conv = convolution(channels, 3, weight_std=weight_std, bias_std=bias_std)
    relu = activation_layer("relu")
    layers = []
    if depth == 5:
        layers += [conv, relu]
    for repeats in _MYRTLE_LAYERS[depth]:
        for _ in range(repeats):
            layers += [conv, relu]
        layers.append(stax.AvgPool((2, 2), strides=(2, 2)))
    layers += [stax.GlobalAvgPool(), stax.Dense(num_outputs, W_std=weight_std, b_std=bias_std)]
    return Architecture(f"myrtle({depth})", *stax.serial(*layers), input_axes=IMAGES)
