"""A kernel computed to disk, to be killed; run by test_disk.py: python disk_job.py FOLDER."""

from __future__ import annotations

import sys

import numpy as np

import ntk_air as na

POINTS, TILE = 700, 32


def kernel(**options):
    x = np.random.default_rng(0).normal(size=(POINTS, 16)).astype(np.float32)
    network = na.kernels.fully_connected(depth=3)
    return na.kernels.infinite_ntk(network, x, tile_size=TILE, **options)


if __name__ == "__main__":
    kernel(store=sys.argv[1])
