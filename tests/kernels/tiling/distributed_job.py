"""One of several processes that compute kernels together; run by test_distributed.py.

python distributed_job.py PORT COUNT INDEX FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

import ntk_air as na


def inputs(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


def network():
    arch = na.kernels.fully_connected(2, 16, num_outputs=3)
    _, params = arch.init_fn(jax.random.key(0), (-1, 6))
    return arch, params


def kernels(mesh: Mesh | None, folder: Path | None) -> dict[str, np.ndarray]:
    """The same kernels whatever computes them; on one process mesh and folder may be None."""
    arch, params = network()
    options = {"mesh": mesh, "tile_size": 4}
    found = {
        "even": na.kernels.infinite_ntk(arch, inputs(16), **options),
        "uneven": na.kernels.infinite_ntk(arch, inputs(19), **options),
        "rectangle": na.kernels.infinite_ntk(arch, inputs(10), inputs(7, 1), **options),
        "finite": na.kernels.empirical_ntk(arch.apply_fn, params, inputs(16), **options),
        "full": na.kernels.empirical_ntk(
            arch.apply_fn, params, inputs(5), outputs="full", **options
        ),
    }
    gathered = {name: na.kernels.gather(kernel) for name, kernel in found.items()}
    if folder is not None:
        options["store"] = folder / "store"
    stored = na.kernels.infinite_ntk(arch, inputs(19), **options)
    return gathered | {"stored": np.asarray(stored)}


def main() -> None:
    port, count, index, folder = sys.argv[1], *map(int, sys.argv[2:4]), Path(sys.argv[4])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=count, process_id=index)
    assert jax.process_count() == count
    mesh = Mesh(np.array(jax.devices()), ("data",))
    assert mesh.size == 2 * count
    np.savez(folder / f"process{index}.npz", **kernels(mesh, folder))


if __name__ == "__main__":
    main()
