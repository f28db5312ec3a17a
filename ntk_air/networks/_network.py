"""What all networks share: parameterisation, precision, layers, and BatchNorm on padded batches."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from .._checks import check_choice, check_in_range, check_ndim, check_size, shape_of
from .._typing import Array
from ._convolution import as_flax
from ._layers import HE, NTKConv, NTKDense

PARAMETERIZATIONS = ("standard", "ntk")
_MOMENTUM, _EPSILON = 0.9, 1e-5


class Network(nn.Module, kw_only=True):
    """Base of the networks; see `MLP` for what the attributes mean.

    Raises:
        ValueError: if ``num_outputs`` is no whole number from 1 up.

    Example:
        >>> import ntk_air as na
        >>> isinstance(na.networks.create("mlp", num_outputs=2), na.networks.Network)
        True
    """

    num_outputs: int
    parameterization: str = "standard"
    weight_std: float = HE
    bias_std: float = 0.1
    dtype: Any = None

    def __post_init__(self) -> None:
        check_size("num_outputs", self.num_outputs, 1)
        check_choice("parameterization", self.parameterization, PARAMETERIZATIONS)
        check_in_range("weight_std", self.weight_std, 0.0, math.inf, low_open=True, high_open=True)
        check_in_range("bias_std", self.bias_std, 0.0, math.inf, high_open=True)
        super().__post_init__()

    def layers(self, train: bool, mask: Array | None) -> Layers:
        """The layers of one call."""
        return Layers(
            self.parameterization, self.weight_std, self.bias_std, self.dtype, train, mask
        )


@dataclasses.dataclass(frozen=True)
class Layers:
    """Makes and applies layers inside a compact ``__call__``."""

    parameterization: str
    weight_std: float
    bias_std: float
    dtype: Any
    train: bool
    mask: Array | None

    def dense(self, x: Array, features: int, name: str, dtype: Any = None) -> Array:
        """A dense layer with biases."""
        if self.parameterization == "ntk":
            layer = NTKDense(
                features=features,
                weight_std=self.weight_std,
                bias_std=self.bias_std,
                dtype=dtype or self.dtype,
                name=name,
            )
        else:
            layer = nn.Dense(
                features,
                kernel_init=self._kernel_init(),
                bias_init=nn.initializers.normal(self.bias_std),
                dtype=dtype or self.dtype,
                name=name,
            )
        return layer(x)

    def conv(
        self,
        x: Array,
        features: int,
        name: str,
        *,
        side: int = 3,
        stride: int = 1,
        use_bias: bool = False,
    ) -> Array:
        """A convolution, padded by (side - 1) / 2 on every edge."""
        if self.parameterization == "ntk":
            layer = NTKConv(
                features=features,
                side=side,
                stride=stride,
                weight_std=self.weight_std,
                bias_std=self.bias_std,
                use_bias=use_bias,
                dtype=self.dtype,
                name=name,
            )
        else:
            layer = nn.Conv(
                features,
                (side, side),
                strides=stride,
                padding=side // 2,
                use_bias=use_bias,
                kernel_init=self._kernel_init(),
                bias_init=nn.initializers.normal(self.bias_std),
                dtype=self.dtype,
                conv_general_dilated=as_flax,
                name=name,
            )
        return layer(x)

    def norm(self, x: Array, name: str, *, zero: bool = False) -> Array:
        """BatchNorm over all axes but the last (Ioffe & Szegedy, arXiv:1502.03167).

        In training the statistics are those of the rows in the mask, computed in float32 or wider,
        and the running ones move by a tenth towards them; in evaluation the running ones are used.
        ``zero`` starts its scale at 0.
        """
        rows = None
        if self.mask is not None:
            rows = jnp.asarray(self.mask, bool).reshape(-1, *[1] * (x.ndim - 1))
        layer = nn.BatchNorm(
            use_running_average=not self.train,
            momentum=_MOMENTUM,
            epsilon=_EPSILON,
            dtype=self.dtype,
            scale_init=nn.initializers.zeros if zero else nn.initializers.ones,
            name=name,
        )
        return layer(x, mask=rows)

    def readout(self, x: Array, num_outputs: int) -> Array:
        """The output layer, (n, num_outputs); in float32 where the network computes in less."""
        dtype = None if self.dtype is None else jnp.promote_types(self.dtype, jnp.float32)
        return self.dense(x, num_outputs, "readout", dtype)

    def _kernel_init(self) -> Any:
        return nn.initializers.variance_scaling(self.weight_std**2, "fan_in", "normal")


def check_features(name: str, features: Any) -> None:
    """Raises ValueError unless ``features`` is a tuple of whole numbers from 1 up."""
    if not isinstance(features, tuple):
        wanted = tuple(features) if isinstance(features, list) else (features,)
        raise ValueError(
            f"{name} is {features!r}, expected a tuple of whole numbers; pass {name}={wanted!r}."
        )
    for index, width in enumerate(features):
        check_size(f"{name}[{index}]", width, 1)


def check_batch(x: Array, mask: Array | None) -> None:
    """Raises ValueError unless the mask, where there is one, has one entry per row of ``x``."""
    if mask is not None and shape_of(mask) != shape_of(x)[:1]:
        raise ValueError(
            f"mask has shape {shape_of(mask)} for inputs of shape {shape_of(x)}, expected (n,) = "
            f"{shape_of(x)[:1]}: True for points, False for padding."
        )


def check_images(x: Array, mask: Array | None, halvings: int) -> None:
    """Raises ValueError unless ``x`` is (n, H, W, channels), with sides that can be halved."""
    check_ndim("images", x, 4, "(n, H, W, channels)")
    if min(x.shape[1:3]) < 2**halvings:
        raise ValueError(
            f"images have shape {x.shape}, (n, H, W, channels), expected sides of at least "
            f"{2**halvings}: the network halves them {halvings} times."
        )
    check_batch(x, mask)
