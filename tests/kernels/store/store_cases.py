"""Small kernels and their stores, for the tests of kernels on disk."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ntk_air.kernels.store._writer import DiskLayout, fill, open_kernel, open_store

JOB = {"function": "f" * 8, "inputs": "x", "versions": {"jax": "1.0", "numpy": "2.0"}}


def values(shape, leading=(), dtype="float32", symmetric=False, seed=0):
    out = np.random.default_rng(seed).normal(size=(*leading, *shape))
    if symmetric:
        out = out + out.swapaxes(-1, -2)
    return out.astype(jnp.dtype(dtype))


def layout_of(kernel, chunk, symmetric=False):
    chunk = (chunk, chunk) if isinstance(chunk, int) else chunk
    return DiskLayout(kernel.shape[-2:], kernel.shape[:-2], kernel.dtype, chunk, symmetric)


class Tiles:
    """A tile function that keeps what it was asked for."""

    def __init__(self, kernel, as_array=np.asarray):
        self.kernel = kernel
        self.as_array = as_array
        self.asked = []

    def __call__(self, rows, columns):
        self.asked.append((rows, columns))
        return self.as_array(self.kernel[..., rows, columns])


def stored(path, kernel, chunk, symmetric=False, job=JOB):
    fill(open_store(path, job=job, layout=layout_of(kernel, chunk, symmetric)), Tiles(kernel))
    return open_kernel(path)


def snapshot(path):
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}
