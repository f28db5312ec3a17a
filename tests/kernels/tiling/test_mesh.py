"""Kernels over several devices and several processes equal those of one."""

from __future__ import annotations

from pathlib import Path

import distributed_job
import jax
import numpy as np
import pytest
from jax.sharding import Mesh
from processes import finish, free_port, run, start

import ntk_air as na
from ntk_air._numerics import relative_error

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def alone():
    return distributed_job.kernels(None, None)


def test_two_processes_equal_one(alone, tmp_path):
    port = free_port()
    script = HERE / "distributed_job.py"
    both = [start([script, port, 2, index, tmp_path], devices=2) for index in (0, 1)]
    for code, _, errors in finish(*both):
        assert code == 0, errors
    for index in (0, 1):
        found = np.load(tmp_path / f"process{index}.npz")
        assert sorted(found) == sorted(alone)
        for name, kernel in alone.items():
            assert found[name].shape == kernel.shape
            assert relative_error(found[name], kernel) < 1e-6, name
            if name != "rectangle":
                assert np.array_equal(found[name], found[name].T), name
    # Each process computed about half of the tiles of the store, and it is whole.
    assert np.array_equal(np.asarray(na.kernels.open_kernel(tmp_path / "store")), found["stored"])


FOUR = """
import itertools, jax, numpy as np, ntk_air as na, distributed_job as job
from jax.sharding import Mesh, PartitionSpec as P
arch, params = job.network()
line = jax.make_mesh((4,), ("data",))
grid = Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "model"))
close = lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-6 * np.abs(b).max()
CASES = (
    # even, uneven, fewer points than devices; rectangles
    (8, None, ("infinite", "trace", "per_output")),
    (9, None, ("both", "full", "trace")),
    (3, None, ("trace",)),
    (8, 5, ("infinite", "full")),
    (7, 4, ("per_output",)),
)
for n, m, kinds in CASES:
    x, y = job.inputs(n), None if m is None else job.inputs(m, 1)
    for outputs in kinds:
        def kernel(**options):
            if outputs == "infinite":
                return na.kernels.infinite_ntk(arch, x, y, tile_size=2, **options)
            if outputs == "both":
                both = na.kernels.infinite_ntk(
                    arch, x, y, kind=("nngp", "ntk"), tile_size=2, **options
                )
                return both.ntk
            return na.kernels.empirical_ntk(
                arch.apply_fn, params, x, y, outputs=outputs, tile_size=2, **options
            )
        expected = np.asarray(kernel())
        for mesh, axes in ((line, None), (grid, "model"), (grid, None))[: 2 + (n == 9)]:
            found = kernel(mesh=mesh, mesh_axes=axes)
            size = 4 if axes is None else 2
            assert found.shape == expected.shape
            assert close(found, expected), (n, m, outputs, axes)
            assert close(na.kernels.gather(found), expected)
            held = found if n % size == 0 else found.padded
            assert isinstance(held, jax.Array) and len(held.sharding.device_set) == 4
            rows = {s.data.shape[-2] for s in held.addressable_shards}
            assert rows == {held.shape[-2] // size}
            if m is None:
                whole = np.asarray(found)
                assert np.array_equal(whole, np.swapaxes(whole, -1, -2)), (n, outputs)
            if n % size and outputs in ("infinite", "trace"):
                v = np.arange(2.0 * expected.shape[1]).reshape(-1, 2)
                assert isinstance(found, na.kernels.ShardedKernel)
                assert close(found @ v, expected @ v) and close(found @ v[:, 0], expected @ v[:, 0])
                assert close(found.diagonal(), np.diagonal(expected))
# Where the features of all points do not fit, they are computed again for each tile.
small = na.kernels.empirical_ntk(
    arch.apply_fn, params, job.inputs(16), implementation="layerwise", mesh=line,
    memory_budget=20_000,
)
assert close(small, na.kernels.empirical_ntk(arch.apply_fn, params, job.inputs(16)))
spectrum = na.spectral.eigendecompose(
    na.kernels.infinite_ntk(arch, job.inputs(9), mesh=line), rank=3, method="lanczos"
)
dense = np.linalg.eigvalsh(np.asarray(na.kernels.infinite_ntk(arch, job.inputs(9))))[::-1]
assert np.allclose(spectrum.eigenvalues, dense[:3], rtol=1e-4)
"""


def test_four_devices_equal_one(tmp_path):
    run(["-c", FOUR], devices=4, folder=HERE)


def test_a_store_over_devices(tmp_path):
    code = f"""
import jax, numpy as np, ntk_air as na, distributed_job as job
arch, params = job.network()
mesh = jax.make_mesh((4,), ("data",))
for n, m in ((13, None), (9, 6)):
    x, y = job.inputs(n), None if m is None else job.inputs(m, 1)
    make = lambda **o: na.kernels.empirical_ntk(arch.apply_fn, params, x, y, tile_size=3, **o)
    stored = make(mesh=mesh, store={str(tmp_path)!r} + f"/{{n}}")
    assert np.array_equal(np.asarray(stored), np.asarray(make()))
"""
    run(["-c", code], devices=4, folder=HERE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mesh": "gpu"}, "mesh is a str, expected a jax.sharding.Mesh"),
        ({"mesh": "one", "mesh_axes": "model"}, r"'model', expected .*\('data',\)"),
        ({"mesh": "one", "mesh_axes": ("data", "data")}, "expected distinct names"),
        ({"mesh": "one", "mesh_axes": ()}, "expected distinct names"),
        ({"mesh_axes": "data"}, "there is no mesh"),
    ],
)
def test_bad_meshes(options, message):
    if options.get("mesh") == "one":
        options = options | {"mesh": Mesh(np.array(jax.devices()[:1]), ("data",))}
    arch, params = distributed_job.network()
    x = distributed_job.inputs(4)
    with pytest.raises(ValueError, match=message):
        na.kernels.infinite_ntk(arch, x, **options)
    with pytest.raises(ValueError, match=message):
        na.kernels.empirical_ntk(arch.apply_fn, params, x, **options)


def test_a_mesh_of_one_device():
    arch, _ = distributed_job.network()
    x = distributed_job.inputs(5)
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    kernel = na.kernels.infinite_ntk(arch, x, mesh=mesh)
    assert relative_error(kernel, na.kernels.infinite_ntk(arch, x)) < 1e-6


CONTEXT = """
import contextlib, jax, numpy as np, ntk_air as na, distributed_job as job
from jax.sharding import AxisType
arch, params = job.network()
line = jax.make_mesh((4,), ("data",), axis_types=(AxisType.KIND,))
close = lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max() < 1e-5 * np.abs(b).max()
make = {
    "infinite": lambda x, **o: na.kernels.infinite_ntk(arch, x, **o),
    "finite": lambda x, **o: na.kernels.empirical_ntk(arch.apply_fn, params, x, **o),
}
expected = {(n, k): np.asarray(f(job.inputs(n))) for n in (8, 9) for k, f in make.items()}
for context in (contextlib.nullcontext(), jax.set_mesh(line)):
    with context:
        for (n, name), kernel in expected.items():
            x = job.inputs(n)
            found = make[name](x, mesh=line)
            assert close(na.kernels.gather(found), kernel), (n, name)
            if isinstance(found, jax.Array):
                pairs = na.spectral.eigendecompose(found, rank=3)
                dense = np.linalg.eigvalsh(kernel)[::-1]
                assert np.allclose(pairs.eigenvalues, dense[:3], rtol=1e-4)
                rebuilt = (pairs.eigenvectors * pairs.eigenvalues).T @ pairs.eigenvectors
                assert np.allclose(rebuilt, np.diag(dense[:3]), atol=1e-3 * dense[0])
            assert close(make[name](x), kernel)
            store = make[name](x, mesh=line, store=f"FOLDER/{n}{name}")
            assert close(store, kernel)
        for n in (8, 9):
            op = na.kernels.NTKOperator(arch.apply_fn, params, job.inputs(n), mesh=line)
            assert close(op @ np.eye(n), expected[n, "finite"])
            assert close(op.diagonal(), np.diagonal(expected[n, "finite"]))
            values = na.spectral.eigendecompose(op, rank=3).eigenvalues
            dense = np.linalg.eigvalsh(expected[n, "finite"])[::-1]
            assert np.allclose(values, dense[:3], rtol=1e-4)
"""


@pytest.mark.parametrize("kind", ["Auto", "Explicit"])
def test_meshes_of_either_kind_also_as_the_current_one(kind, tmp_path):
    code = CONTEXT.replace("KIND", kind).replace("FOLDER", str(tmp_path))
    run(["-c", code], devices=4, folder=HERE)
