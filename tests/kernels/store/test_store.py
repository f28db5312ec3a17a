"""Kernels written to disk: tiled = whole, killed and resumed, shared, damaged, out of disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import JOB, Tiles, layout_of, snapshot, stored, values

from ntk_air.kernels.store._format import tile_file
from ntk_air.kernels.store._writer import DiskLayout, fill, open_kernel, open_store


def run_job(name, folder, *wrapper):
    script = Path(__file__).with_name("store_job.py")
    root = str(Path(__file__).parents[3])
    command = [*wrapper, sys.executable, str(script), name, str(folder)]
    environment = {**os.environ, "PYTHONPATH": root, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@settings(max_examples=40, deadline=None)
@given(
    n1=st.integers(1, 12),
    n2=st.integers(1, 12),
    chunk=st.tuples(st.integers(1, 14), st.integers(1, 14)),
    symmetric=st.booleans(),
    leading=st.sampled_from([(), (1,), (3,), (2, 2)]),
    dtype=st.sampled_from(["float32", "float64", "bfloat16", "float16"]),
)
def test_tiled_equals_whole(n1, n2, chunk, symmetric, leading, dtype):
    if symmetric:
        n2, chunk = n1, (chunk[0], chunk[0])
    kernel = values((n1, n2), leading, dtype, symmetric)
    tiles = Tiles(kernel)
    with tempfile.TemporaryDirectory() as folder:
        fill(open_store(folder, job=JOB, layout=layout_of(kernel, chunk, symmetric)), tiles)
        result = np.asarray(open_kernel(folder))
    assert result.dtype == kernel.dtype
    np.testing.assert_array_equal(result, kernel)
    assert len({(r.stop - r.start, c.stop - c.start) for r, c in tiles.asked}) == 1
    assert all(min(r.start, c.start) >= 0 and r.stop <= n1 and c.stop <= n2 for r, c in tiles.asked)


def test_jax_tiles_and_zeros_are_kept_and_nan_is_refused(tmp_path):
    kernel = values((9, 9))
    kernel[:3, :3] = 0
    store = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 3))
    fill(store, Tiles(kernel, jnp.asarray))
    assert store.missing() == []
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)
    kernel[3:6, 3:6] = np.nan
    store = open_store(tmp_path / "nan", job=JOB, layout=layout_of(kernel, 3))
    with pytest.raises(ValueError, match=r"tile of rows 3\.\. and columns 3\.\. holds 9 value"):
        fill(store, Tiles(kernel, jnp.asarray))
    # Tiles before it are in the store, itself is not.
    assert (0, 0) not in store.missing()
    assert (1, 1) in store.missing()


def test_diagonal_tiles_are_symmetrised_and_half_is_computed(tmp_path):
    kernel = values((10, 10))
    tiles = Tiles(kernel)
    fill(open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 4, True)), tiles)
    result = np.asarray(open_kernel(tmp_path / "k"))
    np.testing.assert_array_equal(result, result.T)
    np.testing.assert_array_equal(result[:4, :4], (kernel[:4, :4] + kernel[:4, :4].T) / 2)
    np.testing.assert_array_equal(result[:4, 4:], kernel[:4, 4:])
    assert len(tiles.asked) == 6


def test_tile_functions_may_reuse_their_memory(tmp_path):
    kernel, buffer = values((64, 64)), np.empty((8, 8), np.float32)

    def tile(rows, columns):
        buffer[:] = kernel[rows, columns]
        return buffer

    fill(open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 8)), tile)
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)


def test_tiles_in_flight_are_bounded(tmp_path):
    assert DiskLayout((10**5, 10**5), (), "float32", (8192, 8192), True).in_flight == 1
    kernel = values((40, 40))
    store = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 2))
    for i, j in store.layout.tiles():
        store.write(i, j, kernel[store.layout.part(i, j)])
        assert len(store._writing) <= store.layout.in_flight == 8
    store.finish()
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)


def test_tiles_come_in_the_order_asked_for(tmp_path):
    kernel = values((6, 6), symmetric=True)
    store = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 2, True))
    tiles = Tiles(kernel)
    fill(store, tiles, order=store.layout.tiles()[::-1], ahead_by=3)
    asked = [(r.start // 2, c.start // 2) for r, c in tiles.asked]
    assert asked == store.layout.tiles()[::-1]
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)


def test_shares_divide_the_tiles(tmp_path):
    kernel = values((10, 10), symmetric=True)
    layout = layout_of(kernel, 3, True)
    stores = [open_store(tmp_path / "k", job=JOB, layout=layout) for _ in range(3)]
    parts = [store.missing((i, 3)) for i, store in enumerate(stores)]
    assert sorted(tile for part in parts for tile in part) == layout.tiles()
    for i in (2, 0):
        fill(stores[i], Tiles(kernel), share=(i, 3))
    with pytest.raises(ValueError, match=f"unfinished kernel: {len(parts[1])} of 10 tiles"):
        open_kernel(tmp_path / "k")
    assert stores[0].missing() == parts[1]
    fill(stores[1], Tiles(kernel), share=(1, 3))
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)
    with pytest.raises(ValueError, match="index of a share is 3"):
        stores[0].missing((3, 3))


def test_killed_twenty_times_ends_bit_identical(tmp_path):
    result = run_job("kill", tmp_path)
    midway = [n for n in result["done_at_kill"] if 0 < n < result["total"]]
    assert len(result["done_at_kill"]) == 20
    assert len(midway) >= 8, result["done_at_kill"]
    assert result["identical"]
    assert all(result["identical"])


def test_a_draft_of_a_killed_process_is_cleared_away(tmp_path):
    """Killed while it wrote the manifest, before or after another one made the store."""
    kernel = values((6, 6))
    for made in (False, True):
        path = tmp_path / str(made)
        if made:
            stored(path, kernel, 3)
        path.mkdir(exist_ok=True)
        (path / ".manifest.json.0123").write_text('{"format": "ntk')
        assert np.array_equal(np.asarray(stored(path, kernel, 3)), kernel)
        assert not list(path.glob(".manifest*"))


def test_two_processes_create_and_share_one_store(tmp_path):
    result = run_job("share", tmp_path)
    assert result["codes"] == [[0, 0]] * 3
    assert result["equal"] == [True] * 3


def assert_stopped_cleanly(result, reason):
    assert reason in result["message"]
    found = re.search(r"(\d+) of (\d+) tiles are done.* need (\d+) bytes", result["message"])
    assert found, result["message"]
    done, total, needed = map(int, found.groups())
    assert (done, total) == (result["done"], result["total"])
    assert 0 < done < total
    assert needed == (total - done) * 128 * 128 * 4
    assert "the same call resumes" in result["message"]
    assert result["again"] == total - done
    assert result["equal"]
    assert not result["leftover"]


def test_a_file_size_limit_stops_cleanly(tmp_path):
    assert_stopped_cleanly(run_job("full_file", tmp_path), "File too large")


def test_a_full_disk_stops_cleanly(tmp_path):
    mount = f"mount -t tmpfs -o size=8m none {tmp_path}"
    wrapper = ["unshare", "-rm", "sh", "-c", f'{mount} && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*wrapper, "true"]).returncode:
        pytest.skip("no small disk can be mounted here")
    assert_stopped_cleanly(run_job("full_disk", tmp_path, *wrapper), "No space left")


def test_too_small_a_disk_is_seen_before_computing(tmp_path, monkeypatch):
    kernel, usage = values((8, 8)), shutil.disk_usage(tmp_path)
    store = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 4))
    store.write(0, 0, kernel[:4, :4])
    tiles = Tiles(kernel)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3 * 64 - 1))
    with pytest.raises(OSError, match="1 of 4 tiles are done, the others need 192 bytes"):
        fill(store, tiles)
    assert tiles.asked == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=3 * 64))
    fill(store, tiles)
    assert len(tiles.asked) == 3


def test_an_interrupt_leaves_a_store_that_resumes(tmp_path):
    kernel = values((12, 12))
    tiles = Tiles(kernel)

    def interrupted(rows, columns):
        if len(tiles.asked) == 10:
            raise KeyboardInterrupt
        return tiles(rows, columns)

    store = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 3))
    with pytest.raises(KeyboardInterrupt):
        fill(store, interrupted)
    fill(store, tiles)
    assert 16 <= len(tiles.asked) <= 17
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)


def test_a_failed_write_surfaces(tmp_path):
    kernel = values((8, 8))
    store = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 4))
    (tmp_path / "k" / "c").write_text("in the way")
    store.write(0, 0, kernel[:4, :4])
    with pytest.raises(OSError, match=r"cannot be written: .*the same call resumes"):
        store.finish()
    (tmp_path / "k" / "c").unlink()
    fill(store, Tiles(kernel))
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


DAMAGE = {
    "flipped": flip,
    "truncated": lambda data: data[: len(data) // 2],
    "short": lambda data: data[:-1],
    "empty": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tiles_are_found_and_only_they_recomputed(tmp_path, damage, leading):
    path, kernel = tmp_path / "k", values((10, 10), leading, symmetric=True)
    reader = stored(path, kernel, 4, symmetric=True)
    before = snapshot(path)
    for tile in ((0, 1), (2, 2)):
        file = tile_file(path, layout_of(kernel, 4, True), *tile)
        file.write_bytes(DAMAGE[damage](file.read_bytes()))
    with pytest.raises(OSError, match="repeat the call that made the store"):
        np.asarray(reader)
    tiles = Tiles(kernel)
    store = open_store(path, job=JOB, layout=layout_of(kernel, 4, True))
    with pytest.warns(UserWarning, match="2 of 6 tiles .* are damaged"):
        fill(store, tiles)
    assert tiles.asked == [(slice(0, 4), slice(4, 8)), (slice(6, 10), slice(6, 10))]
    assert snapshot(path) == before
    np.testing.assert_array_equal(np.asarray(reader), kernel)


def test_what_cannot_be_read_is_not_deleted(tmp_path):
    path, kernel = tmp_path / "k", values((8, 8))
    reader = stored(path, kernel, 4)
    (path / "c/0/1").unlink()
    (path / "c/0/1").mkdir()
    with pytest.raises(OSError, match=r"tile \(0, 1\) .* cannot be read"):
        open_store(path, job=JOB, layout=layout_of(kernel, 4)).missing()
    assert (path / "c/0/1").is_dir()
    with pytest.raises(OSError, match=r"tile \(0, 1\)"):
        reader[0, 5]
