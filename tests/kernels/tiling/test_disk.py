"""Kernels computed to disk: equal to those in memory, resumed, repaired, refused."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import disk_job
import jax
import numpy as np
import pytest
from precision_table import allowed

import ntk_air as na

HERE = Path(__file__).resolve().parent


def tiles(folder):
    """Files of tiles; the manifests, the seals and what is being written are none."""
    return [
        p
        for p in Path(folder).rglob("*")
        if p.is_file()
        and "json" not in p.name
        and "lock" not in p.name
        and "seals" not in p.relative_to(folder).parts
    ]


def network():
    arch = na.kernels.fully_connected(2, 16, num_outputs=3)
    _, params = arch.init_fn(jax.random.key(0), (-1, 6))
    return arch, params


def inputs(n, seed=0):
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


@pytest.mark.parametrize("n2", [None, 7])
@pytest.mark.parametrize("outputs", ["infinite", "trace", "per_output", "full"])
def test_equal_to_memory(outputs, n2, tmp_path):
    arch, params = network()
    x, y = inputs(10), None if n2 is None else inputs(n2, 1)

    def kernel(**options):
        if outputs == "infinite":
            return na.kernels.infinite_ntk(arch, x, y, tile_size=3, **options)
        return na.kernels.empirical_ntk(
            arch.apply_fn, params, x, y, outputs=outputs, tile_size=3, **options
        )

    expected, stored = np.asarray(kernel()), kernel(store=tmp_path / "k")
    assert isinstance(stored, na.kernels.StoredKernel)
    assert stored.shape == expected.shape
    assert np.array_equal(np.asarray(stored), expected)
    assert np.array_equal(np.asarray(na.kernels.open_kernel(tmp_path / "k")), expected)


def test_both_kinds_in_one_store(tmp_path):
    arch, _ = network()
    both = na.kernels.infinite_ntk(
        arch, inputs(8), kind=("nngp", "ntk"), tile_size=3, store=tmp_path / "k"
    )
    for kind in ("nngp", "ntk"):
        alone = na.kernels.infinite_ntk(arch, inputs(8), kind=kind)
        assert np.allclose(np.asarray(getattr(both, kind)), alone, rtol=1e-6)


def test_killed_again_and_again_then_bit_identical(tmp_path):
    """The real job in a process of its own, killed without warning as its tiles appear."""
    folder = tmp_path / "k"
    total = (22 * 23) // 2
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(HERE.parents[2]), str(HERE)])}
    midway = 0
    for after in (5, 60, 150):
        job = subprocess.Popen([sys.executable, HERE / "disk_job.py", folder], env=env)
        while len(tiles(folder)) < after and job.poll() is None:
            time.sleep(0.001)
        job.kill()
        job.wait()
        midway += 0 < len(tiles(folder)) < total
    assert midway >= 2
    before = {p: p.stat().st_mtime_ns for p in tiles(folder)}
    stored = disk_job.kernel(store=folder)
    assert np.array_equal(np.asarray(stored), np.asarray(disk_job.kernel()))
    # What was there is kept, not computed again.
    kept = [p for p, changed in before.items() if p.stat().st_mtime_ns == changed]
    assert len(kept) >= len(before) - 1 > 0


def test_a_damaged_tile_alone_is_computed_again(tmp_path):
    arch, params = network()

    def kernel():
        return na.kernels.empirical_ntk(
            arch.apply_fn, params, inputs(12), tile_size=4, store=tmp_path / "k"
        )

    expected = np.asarray(kernel())
    files = sorted(tiles(tmp_path / "k"))
    assert len(files) == 6
    damaged = files[2]
    content = bytearray(damaged.read_bytes())
    content[7] ^= 1
    damaged.write_bytes(content)
    before = {p: p.stat().st_mtime_ns for p in files}
    with pytest.raises(OSError, match=r"damaged.*repeat the call"):
        np.asarray(na.kernels.open_kernel(tmp_path / "k"))
    with pytest.warns(UserWarning, match="1 of 6 tiles .* damaged"):
        assert np.array_equal(np.asarray(kernel()), expected)
    assert [p for p in files if p.stat().st_mtime_ns != before[p]] == [damaged]


def test_a_store_of_another_job_is_refused(tmp_path):
    arch, params = network()

    def kernel(params=params, x=None, **options):
        x = inputs(6) if x is None else x
        return na.kernels.empirical_ntk(
            arch.apply_fn, params, x, implementation="layerwise", store=tmp_path / "k", **options
        )

    first = np.asarray(kernel(tile_size=4))
    # Another tile size or budget is the same job.
    assert np.array_equal(np.asarray(kernel(tile_size=2, memory_budget=1e8)), first)
    moved = jax.tree.map(lambda p: p + 1e-3, params)
    other = na.kernels.fully_connected(2, 16, num_outputs=3, activation="erf")
    cases = {
        "parameters": lambda: kernel(params=moved),
        "inputs": lambda: kernel(x=inputs(6, 1)),
        "outputs": lambda: kernel(outputs="per_output"),
        "kernel": lambda: na.kernels.infinite_ntk(arch, inputs(6), store=tmp_path / "k"),
        "program": lambda: na.kernels.empirical_ntk(
            other.apply_fn, params, inputs(6), implementation="layerwise", store=tmp_path / "k"
        ),
    }
    for differs, call in cases.items():
        with pytest.raises(ValueError, match=rf"its hash is \w{{64}}, .* \w{{64}}.*job\.{differs}"):
            call()
    assert np.array_equal(np.asarray(kernel()), first)


def test_spectrum_of_a_store(tmp_path):
    arch, _ = network()
    x = inputs(60)
    stored = na.kernels.infinite_ntk(arch, x, tile_size=16, store=tmp_path / "k")
    found = na.spectral.eigendecompose(stored, rank=4)
    dense = na.spectral.eigendecompose(na.kernels.infinite_ntk(arch, x), rank=4, method="dense")
    tolerance = allowed("spectral.eigendecompose: eigenvalues", method="lanczos")
    off = np.abs(np.asarray(found.eigenvalues) - np.asarray(dense.eigenvalues))
    assert off.max() < tolerance * float(dense.eigenvalues[0])
    assert np.allclose(found.eigenvalues, dense.eigenvalues, rtol=1e-4)
    assert np.isclose(found.trace, dense.trace, rtol=1e-5)
    assert float(na.spectral.subspace_overlap(found, dense, 4)) > 0.999
