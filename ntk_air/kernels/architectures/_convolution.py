"""Convolutions whose infinite-width kernels are sums of shifted covariances.

Averaging covariances over a filter moves both positions of a pair together. neural-tangents has
XLA convolve them with a filter that is a diagonal, which takes a CPU some thirty times as long as
the additions. Networks and masked inputs remain neural-tangents'.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from ... import _neural_tangents
from ..._typing import Array


def convolution(
    channels: int,
    filter_size: int,
    *,
    weight_std: float,
    bias_std: float,
    stride: int = 1,
) -> Any:
    """neural-tangents' `stax.Conv` on images (n, H, W, C): square filters, zero padding.

    Args:
        channels: of the output.
        filter_size: side of the filters.
        weight_std: standard deviation of the weights, before division by sqrt(fan-in).
        bias_std: standard deviation of the biases.
        stride: along both sides.

    Returns:
        The layer, ``(init_fn, apply_fn, kernel_fn)``.
    """
    stax = _neural_tangents.load().stax
    square = (filter_size, filter_size), (stride, stride), "SAME"
    options = {"W_std": weight_std, "b_std": bias_std}
    init_fn, apply_fn, kernel_reference = stax.Conv(channels, *square, **options)

    @stax.requires(
        batch_axis=0, channel_axis=3, diagonal_spatial=stax.Diagonal(output=stax.Bool.NO)
    )
    def kernel_fn(kernel: Any, **reqs: Any) -> Any:
        masked = kernel.mask1 is not None or kernel.mask2 is not None
        if masked or kernel.diagonal_spatial:
            return kernel_reference(kernel, **reqs)

        def weigh(covariances: Array) -> Array:
            return weight_std**2 * _average(covariances, filter_size, stride)

        nngp = weigh(kernel.nngp) + bias_std**2
        ntk = kernel.ntk
        if ntk is not None:
            # Of the inputs it is a scalar, 0.
            ntk = nngp if ntk.ndim == 0 else weigh(ntk) + nngp
        cov1, cov2 = (
            cov if cov is None else weigh(cov) + bias_std**2 for cov in (kernel.cov1, kernel.cov2)
        )
        return kernel.replace(
            cov1=cov1, cov2=cov2, nngp=nngp, ntk=ntk, is_gaussian=True, is_input=False
        )

    return stax.layer(lambda: (init_fn, apply_fn, kernel_fn))()


def _average(covariances: Array, size: int, stride: int) -> Array:
    """Mean (..., X', X', Y', Y') of covariances (..., X, X, Y, Y) over the offsets of a filter."""
    sides = (covariances.shape[-4], covariances.shape[-2])
    pads = lax.padtype_to_pads(sides, (size, size), (stride, stride), "SAME")
    before = [0] * (covariances.ndim - 4) + [low for low, _ in pads for _ in range(2)]
    after = [0] * (covariances.ndim - 4) + [high for _, high in pads for _ in range(2)]
    shape = [sum(sizes) for sizes in zip(before, covariances.shape, after, strict=True)]
    # Written into zeros, not padded: XLA would compute all that led here again for each offset.
    padded = lax.dynamic_update_slice(jnp.zeros(shape, covariances.dtype), covariances, before)
    reach = [stride * (-(-side // stride) - 1) + 1 for side in sides]
    for axis in (-4, -2):
        terms = []
        for offset in range(size):
            window = slice(offset, offset + reach[axis // 2], stride)
            index = (..., window, window, *(slice(None),) * (-2 - axis))
            terms.append(padded[index])
        padded = sum(terms[1:], terms[0])
    return padded / size**2
