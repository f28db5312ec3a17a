"""The finite networks in torch: Jacobians by vmap(jacrev), contracted parameter by parameter."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._harness import Run


def installed() -> bool:
    """Whether torch can be imported; it is not, since that takes seconds."""
    return importlib.util.find_spec("torch") is not None


def fully_connected(inputs: tuple[Callable, Any, jax.Array]) -> Run:
    """The trace NTK of weights (in, out) and biases with standard deviations √2 and 0.1."""
    import torch  # pyright: ignore[reportMissingImports]

    _, params, x = inputs

    def outputs(leaves: list, point: Any) -> Any:
        hidden = point
        for layer, (w, b) in enumerate(zip(leaves[::2], leaves[1::2], strict=True)):
            hidden = torch.relu(hidden) if layer else hidden
            hidden = (2.0 / len(w)) ** 0.5 * hidden @ w + 0.1 * b.flatten()
        return hidden

    return _trace_ntk(outputs, jax.tree.leaves(params), np.asarray(x))


def convolutional(inputs: tuple[Callable, Any, jax.Array]) -> Run:
    """The trace NTK of strided convolutions (height, width, in, out), all without biases."""
    import torch  # pyright: ignore[reportMissingImports]

    _, params, x = inputs
    *filters, readout = map(np.asarray, jax.tree.leaves(params))

    def outputs(leaves: list, point: Any) -> Any:
        hidden = point
        for w in leaves[:-1]:
            # What JAX's "SAME" is for stride 2 on even sides; torch's padding is on both sides.
            padded = torch.nn.functional.pad(hidden, (0, 1, 0, 1))
            hidden = torch.nn.functional.conv2d(padded, w, stride=2) / w[0].numel() ** 0.5
            hidden = torch.relu(hidden)
        # JAX flattens with the channels last.
        return hidden.permute(1, 2, 0).flatten() @ leaves[-1] / len(leaves[-1]) ** 0.5

    leaves = [w.transpose(3, 2, 0, 1) for w in filters]
    return _trace_ntk(outputs, [*leaves, readout], np.asarray(x).transpose(0, 3, 1, 2))


def _trace_ntk(outputs: Callable, leaves: list, points: np.ndarray) -> Run:
    import torch  # pyright: ignore[reportMissingImports]

    # As all the contestants; matrix products are in full float32 already.
    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"

    def tensor(array: Any) -> Any:
        return torch.tensor(np.ascontiguousarray(array), device=device)

    params, x = [tensor(leaf) for leaf in leaves], tensor(points)
    jacobian = torch.func.vmap(torch.func.jacrev(outputs), in_dims=(None, 0))

    def run() -> Any:
        blocks = [j.flatten(2) for j in jacobian(params, x)]
        kernel = sum(torch.einsum("ncp,mcp->nm", j, j) for j in blocks) / blocks[0].shape[1]
        # The copy to the host waits for the device, as block_until_ready does.
        return kernel.cpu().numpy()

    return run
