"""Fully connected network."""

from __future__ import annotations

import math
from collections.abc import Callable

import flax.linen as nn

from .._typing import Array
from ._activations import as_activation
from ._network import Network, check_batch, check_features


class MLP(Network, kw_only=True):
    """A fully connected network on vectors, or on images, which it flattens.

    The two parameterisations draw the same functions at initialisation; they differ in how fast
    they learn. ``"standard"`` draws weights with standard deviation weight_std / sqrt(fan_in) (He,
    Zhang, Ren, Sun, arXiv:1502.01852, for the default) and biases with ``bias_std``. ``"ntk"``
    draws both standard normal and keeps the factors in the forward pass (Jacot, Gabriel, Hongler,
    arXiv:1806.07572): then the NTK tends to `ntk_air.kernels.fully_connected`'s as widths grow,
    and one learning rate suits all widths.

    Called as ``module.apply(variables, inputs, train=False, mask=None)``: inputs (n, ...) to
    outputs (n, num_outputs).

    Attributes:
        num_outputs: outputs C.
        features: width of each hidden layer; ``()`` is a linear model.
        activation: a name in ``ntk_air.networks.ACTIVATIONS``, or a function.
        parameterization: ``"standard"`` or ``"ntk"``.
        weight_std: of every layer, the output layer included, before division by sqrt(fan-in).
        bias_std: of every layer with biases; under ``"ntk"`` 0 leaves them without effect.
        dtype: of the computation, for example ``jnp.bfloat16``; parameters and outputs stay
            float32. Default: that of inputs and parameters.

    Raises:
        ValueError: on sizes below 1, an unknown activation or parameterisation, a standard
            deviation out of range, or inputs or a mask of another shape.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> module = na.networks.MLP(num_outputs=3, features=(16,), parameterization="ntk")
        >>> variables = module.init(jax.random.key(0), jnp.ones((1, 5)))
        >>> module.apply(variables, jnp.ones((2, 5))).shape
        (2, 3)
    """

    features: tuple[int, ...] = (256, 256)
    activation: str | Callable[[Array], Array] = "relu"

    def __post_init__(self) -> None:
        check_features("features", self.features)
        as_activation(self.activation)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, train: bool = False, *, mask: Array | None = None) -> Array:
        """Inputs (n, ...) to outputs (n, num_outputs); ``train`` and ``mask`` change nothing."""
        if x.ndim < 2:
            raise ValueError(f"inputs have shape {x.shape}, expected (n, d) or (n, ...).")
        check_batch(x, mask)
        layers, activation = self.layers(train, mask), as_activation(self.activation)
        x = x.reshape(len(x), math.prod(x.shape[1:]))
        for index, width in enumerate(self.features):
            x = activation(layers.dense(x, width, f"hidden_{index}"))
        return layers.readout(x, self.num_outputs)
