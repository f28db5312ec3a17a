"""Finite-width NTKs by hand in torch: one pass forward, one back for every output, Gram matrices.

A dense layer contributes (h·h') Σ_c g_c·g_c', with its inputs h and the derivatives g_c of output c
with respect to its outputs; a convolution the same summed over pairs of positions, or the product
of its Jacobians, whichever costs less.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._harness import Run
from benchmarks._torch_training import threads_of_torch

_BIAS = 0.1


def fully_connected(inputs: tuple[Callable, Any, jax.Array], *, threads: int | None = None) -> Run:
    """The trace NTK of weights (in, out) and biases with standard deviations √2 and 0.1."""
    import torch  # pyright: ignore[reportMissingImports]

    _, params, points = inputs
    leaves, x = _tensors(jax.tree.leaves(params)), _tensors([points])[0]
    weights = [(2.0 / len(w)) ** 0.5 * w for w in leaves[::2]]
    biases = [_BIAS * b.flatten() for b in leaves[1::2]]
    scales = [2.0 / len(w) for w in weights]

    def kernel() -> Any:
        entering, z = [], x
        for layer, (w, b) in enumerate(zip(weights, biases, strict=True)):
            entering.append(torch.relu(z) if layer else z)
            z = torch.addmm(b, entering[-1], w)
        # The derivatives of the outputs are the identity: the mean of its squares is 1.
        total = entering[-1] @ entering[-1].T * scales[-1] + _BIAS**2
        outputs = weights[-1].shape[1]
        back = weights[-1].T * (entering[-1] > 0)[:, None]
        for layer in range(len(weights) - 2, -1, -1):
            flat = back.flatten(1)
            gram = entering[layer] @ entering[layer].T * (scales[layer] / outputs)
            total.addcmul_(flat @ flat.T, gram.add_(_BIAS**2 / outputs))
            if layer:
                back = (back @ weights[layer].T).mul_((entering[layer] > 0)[:, None])
        return total

    return _run(kernel, threads)


def convolutional(
    inputs: tuple[Callable, Any, jax.Array],
    *,
    threads: int | None = None,
    channels_last: bool = False,
) -> Run:
    """The trace NTK of strided convolutions (height, width, in, out), all without biases."""
    import torch  # pyright: ignore[reportMissingImports]

    _, params, points = inputs
    *filters, readout = map(np.asarray, jax.tree.leaves(params))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, *filters = (
        leaf.contiguous(memory_format=layout)
        for leaf in _tensors(
            [
                np.asarray(points).transpose(0, 3, 1, 2),
                *(w.transpose(3, 2, 0, 1) / w[..., 0].size ** 0.5 for w in filters),
            ]
        )
    )
    (readout,) = _tensors([readout / len(readout) ** 0.5])

    def kernel() -> Any:
        entering, z = [], x
        for layer, w in enumerate(filters):
            hidden = torch.relu(z) if layer else z
            # What JAX's "SAME" is for stride 2 on even sides; torch's padding is on both sides.
            entering.append(torch.nn.functional.pad(hidden, (0, 1, 0, 1)))
            z = torch.nn.functional.conv2d(entering[-1], w, stride=2)
        n, channels, side, _ = z.shape
        # JAX flattens with the channels last.
        flat = torch.relu(z).permute(0, 2, 3, 1).flatten(1)
        total = flat @ flat.T / flat.shape[1]
        outputs = readout.shape[1]
        back = readout.T.reshape(1, outputs, side, side, channels).permute(0, 1, 4, 2, 3)
        back = back * (z > 0)[:, None]
        for layer in range(len(filters) - 1, -1, -1):
            w, h = filters[layer], entering[layer]
            total += _over_positions(h, back, w.shape[2]) / (outputs * w[0].numel())
            if layer:
                images = back.flatten(0, 1).contiguous(memory_format=layout)
                back = torch.nn.functional.conv_transpose2d(images, w, stride=2)
                # The last row and column belong to the padding.
                back = back[:, :, :-1, :-1].unflatten(0, (n, outputs))
                back = back * (h[:, None, :, :-1, :-1] > 0)
        return total

    return _run(kernel, threads)


def _over_positions(h: Any, back: Any, side: int) -> Any:
    """Σ_c of products of the filters' derivatives (n, n), from padded images and ``back``."""
    import torch  # pyright: ignore[reportMissingImports]

    n, outputs, channels = back.shape[:3]
    patches = torch.nn.functional.unfold(h, side, stride=2)
    k, count = patches.shape[1:]
    back = back.reshape(n, outputs * channels, count)
    m = outputs * channels
    if n * count**2 * (k + m) < count * k * m + n * k * m:
        total = patches.new_zeros(n, n)
        rows, columns = patches.mT.reshape(-1, k), back.mT.reshape(-1, m)
        for p in range(count):
            pairs = (patches[:, :, p] @ rows.T).mul_(back[:, :, p] @ columns.T)
            total += pairs.view(n, n, count).sum(2)
        return total
    jacobian = (back @ patches.mT).flatten(1)
    return jacobian @ jacobian.T


def _run(kernel: Callable[[], Any], threads: int | None) -> Run:
    import torch  # pyright: ignore[reportMissingImports]

    # As all the contestants; matrix products are in full float32 already.
    torch.backends.cudnn.allow_tf32 = False

    def run() -> Any:
        with threads_of_torch(threads), torch.inference_mode():
            # The copy to the host waits for the device, as block_until_ready does.
            return kernel().cpu().numpy()

    return run


def _tensors(arrays: list) -> list:
    import torch  # pyright: ignore[reportMissingImports]

    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    return [torch.tensor(np.ascontiguousarray(array), device=device) for array in arrays]
