"""A tile counts only at its own place in its own store; a manifest's claims cost nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from store_cases import JOB, Tiles, layout_of, snapshot, stored, values

import ntk_air as na
from ntk_air.kernels.store._writer import fill, open_kernel, open_store

TILES = {(i, j) for i in range(3) for j in range(i, 3)}


def at(path, i, j):
    """The file of a tile, with axes in front or not."""
    inner = path / "c/0" if (path / "c/0/0").is_dir() else path / "c"
    return inner / str(i) / str(j)


def swap(path, other=None):
    one, two = at(path, 0, 1), at(path, 0, 2)
    one.rename(path / "moved")
    two.rename(one)
    (path / "moved").rename(two)


def link(path, other):
    at(path, 1, 2).unlink()
    at(path, 1, 2).symlink_to(at(path, 0, 2))


def swap_with_seals(path, other):
    swap(path)
    swap_seals(path)


def copy_all(path, other):
    for name in ("c", "seals"):
        shutil.copytree(other / name, path / name, dirs_exist_ok=True)


MOVED = {
    "swapped": (swap, {(0, 1), (0, 2)}),
    "of another store": (lambda p, o: shutil.copy(at(o, 0, 1), at(p, 0, 1)), {(0, 1)}),
    "diagonal tile duplicated": (lambda p, o: shutil.copy(at(p, 0, 0), at(p, 1, 1)), {(1, 1)}),
    "a link to another": (link, {(1, 2)}),
    "swapped with their seals": (swap_with_seals, {(0, 1), (0, 2)}),
    "whole store but the manifest": (copy_all, TILES),
}


def swap_seals(path):
    one, two = path / "seals/0/1", path / "seals/0/2"
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)


@pytest.mark.parametrize("leading", [(), (2,)])
@pytest.mark.parametrize("case", MOVED)
def test_tiles_that_are_not_theirs_are_found_and_computed_again(tmp_path, case, leading):
    path, kernel = tmp_path / "k", values((12, 12), leading, symmetric=True)
    other = values((12, 12), leading, symmetric=True, seed=1)
    stored(path, kernel, 4, symmetric=True)
    stored(tmp_path / "other", other, 4, symmetric=True, job={**JOB, "inputs": "y"})
    before = snapshot(path)
    change, wrong = MOVED[case]
    change(path, tmp_path / "other")
    with pytest.raises(OSError, match="repeat the call that made the store"):
        np.asarray(open_kernel(path))
    tiles = Tiles(kernel)
    with pytest.warns(UserWarning, match=rf"{len(wrong)} of 6 tiles .* another place or store"):
        fill(open_store(path, job=JOB, layout=layout_of(kernel, 4, True)), tiles)
    assert {(r.start // 4, c.start // 4) for r, c in tiles.asked} == wrong
    assert snapshot(path) == before
    np.testing.assert_array_equal(np.asarray(open_kernel(path)), kernel)


def test_a_tile_that_changes_while_the_kernel_is_open_is_seen(tmp_path):
    kernel = values((8, 8))
    reader = stored(tmp_path, kernel, 4)
    np.testing.assert_array_equal(reader[:4, :4], kernel[:4, :4])
    shutil.copy(tmp_path / "c/1/1", tmp_path / "c/0/0")
    with pytest.raises(OSError, match=r"tile \(0, 0\) .* not what was computed for that place"):
        reader[:4, :4]


def test_one_leading_index_of_another_is_seen(tmp_path):
    """Their entries lie in one file; a digest for each tells them apart."""
    kernel = values((4, 4), (2,))
    stored(tmp_path / "a", kernel, 4)
    stored(tmp_path / "b", kernel[::-1], 4)
    shutil.copy(tmp_path / "b/c/0/0/0", tmp_path / "a/c/0/0/0")
    with pytest.raises(OSError, match="not what was computed for that place"):
        open_kernel(tmp_path / "a").select(1)[:, :]


def test_a_seal_that_is_torn_or_gone_makes_its_tile_missing(tmp_path):
    kernel = values((8, 8))
    stored(tmp_path, kernel, 4)
    (tmp_path / "seals/0/0").unlink()
    (tmp_path / "seals/1/0").write_bytes((tmp_path / "seals/1/0").read_bytes()[:30])
    with pytest.raises(ValueError, match="unfinished kernel: 2 of 4 tiles"):
        open_kernel(tmp_path)
    tiles = Tiles(kernel)
    fill(open_store(tmp_path, job=JOB, layout=layout_of(kernel, 4)), tiles)
    assert len(tiles.asked) == 2
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path)), kernel)


def test_stores_without_seals_are_read_with_a_word_and_filled_anew(tmp_path):
    kernel = values((8, 8))
    stored(tmp_path, kernel, 4)
    shutil.rmtree(tmp_path / "seals")
    rewrite(tmp_path / "manifest.json", version=1)
    with pytest.warns(UserWarning, match="format version 1.*not bound to their places"):
        old = open_kernel(tmp_path)
    np.testing.assert_array_equal(np.asarray(old), kernel)
    tiles = Tiles(kernel)
    with pytest.warns(UserWarning, match="its tiles are computed again"):
        store = open_store(tmp_path, job=JOB, layout=layout_of(kernel, 4))
    fill(store, tiles)
    assert len(tiles.asked) == 4
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path)), kernel)


def test_two_kernels_that_swap_tiles_are_computed_right(tmp_path):
    x, z = np.random.default_rng(0).normal(size=(2, 10, 3)).astype(np.float32)
    net = na.kernels.fully_connected(depth=1, width=8)

    def kernel(name, inputs):
        return np.asarray(na.kernels.infinite_ntk(net, inputs, store=tmp_path / name, tile_size=5))

    whole = kernel("x", x)
    kernel("z", z)
    shutil.copy(tmp_path / "z/c/0/1", tmp_path / "x/c/0/1")
    with pytest.warns(UserWarning, match="1 of 3 tiles"):
        again = kernel("x", x)
    np.testing.assert_array_equal(again, whole)


def rewrite(path, **changes):
    document = json.loads(path.read_text())
    for key, value in changes.items():
        inner = document
        for part in key.split("__")[:-1]:
            inner = inner[part]
        inner[key.split("__")[-1]] = value
    path.write_text(json.dumps(document))
    return document


def claim(path, shape, chunk, leading=()):
    """A manifest and an array that agree on a shape that the folder does not hold."""
    manifest = rewrite(path / "manifest.json", kernel__shape=shape, chunk=chunk)
    manifest["kernel"]["leading"] = list(leading)
    named = {key: manifest[key] for key in ("job", "kernel")}
    manifest["hash"] = hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    if all(isinstance(size, int) for size in (*shape, *chunk)):
        array = path / "zarr.json"
        grid = "chunk_grid__configuration__chunk_shape"
        rewrite(array, shape=[*leading, *shape], **{grid: [*leading, *chunk]})


@pytest.mark.parametrize(
    ("shape", "chunk", "leading", "message"),
    [
        ([5000, 5000], [1, 1], (), "25000000 files"),
        ([1400, 1400], [1, 1], (), "1959996 of 1960000 tiles are missing"),
        ([10**15, 10**15], [10**15, 10**15], (), "3 of|tile .* is damaged|missing"),
        ([10**30, 10**30], [1, 1], (), "expected at most"),
        ([8, 8], [4, 4], (10**12,), "damaged|missing"),
        ([8, 8], [4, 4], (1,) * 40, "at most 16 in front"),
        ([-8, 8], [4, 4], (), "shape is -8"),
        ([float("nan"), 8], [4, 4], (), "shape is nan"),
        (["8", "8"], [4, 4], (), "shape is '8'"),
        ([8, 8], ["4", 4], (), "chunk is '4'"),
        ([8], [4, 4], (), "two axes each"),
        ([8, 8], [4.0, 4.0], (), "chunk is 4.0"),
    ],
)
def test_claims_of_a_manifest_take_no_memory(tmp_path, shape, chunk, leading, message):
    stored(tmp_path, values((8, 8)), 4)
    claim(tmp_path, shape, chunk, leading)
    tracemalloc.start()
    with pytest.raises(ValueError, match=message):
        open_kernel(tmp_path)
    taken = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken < 2**20


def test_the_array_must_be_that_of_the_manifest(tmp_path):
    stored(tmp_path, values((8, 8)), 4)
    described = (tmp_path / "zarr.json").read_text()
    for text in ("[" * 100_000, "[]", "{}", described.replace('"shape":[8,8]', '"shape":[8,9]')):
        assert text != described
        (tmp_path / "zarr.json").write_text(text)
        with pytest.raises(ValueError, match=r"does not match its manifest\.json or is damaged"):
            open_kernel(tmp_path)
    (tmp_path / "zarr.json").write_text(described)
    for text in ("[" * 100_000, '{"format":' * 5000, "1" * 5000, "\udcff"):
        (tmp_path / "manifest.json").write_text(text, errors="surrogateescape")
        with pytest.raises(ValueError, match="is not a kernel store"):
            open_kernel(tmp_path)


def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path):
    kernel = values((8, 8))
    stored(tmp_path, kernel, 4)
    (tmp_path / "c/0/1").unlink()
    os.mkfifo(tmp_path / "c/0/1")
    with pytest.raises(ValueError, match=r"tile \(0, 1\) .* is damaged"):
        open_kernel(tmp_path)
    with pytest.raises(OSError, match="it is no file"):
        open_store(tmp_path, job=JOB, layout=layout_of(kernel, 4)).missing()
    (tmp_path / "manifest.json").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(ValueError, match="not a regular file"):
        open_kernel(tmp_path)
