"""Networks of self-attention layers on sequences."""

from __future__ import annotations

import functools
import math

from ... import _neural_tangents
from ..._checks import check_in_range, check_size
from ._architectures import Architecture, activation_layer, check_sizes, is_closed_form, quiet
from ._registry import SEQUENCES, architecture


@architecture(SEQUENCES)
@functools.lru_cache(maxsize=64)
def self_attention(
    depth: int = 1,
    width: int = 64,
    *,
    num_heads: int = 64,
    num_outputs: int = 1,
    activation: str = "relu",
    weight_std: float = math.sqrt(2.0),
    query_key_std: float = 1.0,
    bias_std: float = 0.1,
) -> Architecture:
    """Softmax self-attention layers on sequences (n, positions, features), averaged at the end.

    Each of the ``depth`` layers is multi-head attention over all positions, then an activation;
    the mean over positions goes through a dense layer. So that the kernel is in closed form, the
    queries are the keys and their products are divided by their size, not its root. No positional
    encoding: the network does not see the order of positions unless the features tell it. Kernel
    memory is n1·n2·positions².

    Args:
        depth: number of attention layers.
        width: features of each layer, and of the keys and values of each head (the
            infinite-width kernel is the limit of both, and ignores them).
        num_heads: heads of each layer (it is the limit of these too).
        num_outputs: outputs C.
        activation: one of `ACTIVATIONS`.
        weight_std: standard deviation of the values' weights, before division by sqrt(fan-in).
        query_key_std: factor of the products of queries and keys: 0 attends to all alike.
        bias_std: standard deviation of the biases.

    Raises:
        ValueError: on sizes below 1, an unknown activation or a standard deviation out of range.
        ImportError: if neural-tangents and JAX are of versions that do not fit.

    Source: Hron, Bahri, Sohl-Dickstein, Novak (arXiv:2006.10540).

    Example:
        >>> import numpy as np, ntk_air as na
        >>> network = na.kernels.self_attention(depth=1)
        >>> na.kernels.infinite_ntk(network, np.ones((2, 3, 4))).shape
        (2, 2)
    """
    check_size("depth (attention layers)", depth, 1)
    check_size("num_heads", num_heads, 1)
    check_sizes(depth, width, num_outputs, weight_std, bias_std)
    check_in_range("query_key_std", query_key_std, 0.0, math.inf, high_open=True)
    stax = _neural_tangents.load().stax
    attention = functools.partial(
        stax.GlobalSelfAttention,
        n_chan_out=width,
        n_chan_key=width,
        n_chan_val=width,
        n_heads=num_heads,
        W_query_std=query_key_std,
        W_value_std=weight_std,
        b_std=bias_std,
    )
    layers = []
    for _ in range(depth):
        layers += [attention(), activation_layer(activation)]
    layers += [stax.GlobalAvgPool(), stax.Dense(num_outputs, W_std=weight_std, b_std=bias_std)]
    name = f"self_attention(depth={depth}, width={width}, num_heads={num_heads}, {activation})"
    network = quiet(stax.serial(*layers))
    return Architecture(name, *network, is_closed_form(activation), SEQUENCES)
