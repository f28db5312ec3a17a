"""Whose store it is: other jobs, other kernels, racing creators, what is no store at all."""

from __future__ import annotations

import json
import os
import threading

import numpy as np
import pytest
from store_cases import JOB, Tiles, layout_of, snapshot, stored, values

from ntk_air.kernels.store._writer import DiskLayout, fill, open_kernel, open_store


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({**JOB, "function": "g" * 8}, r"job\.function \('ffffffff' in the store, 'gggggggg' now"),
        ({**JOB, "versions": {"jax": "1.1", "numpy": "2.0"}}, r"job\.versions\.jax \('1.0'"),
        ({"function": "f" * 8}, r"job\.inputs .*job\.versions"),
    ],
)
def test_another_job_is_refused_with_both_hashes(tmp_path, other, named):
    path, kernel = tmp_path / "k", values((8, 8))
    stored(path, kernel, 4)
    before = snapshot(path)
    open_store(tmp_path / "other", job=other, layout=layout_of(kernel, 4))
    with pytest.raises(ValueError, match=named) as refusal:
        open_store(path, job=other, layout=layout_of(kernel, 4))
    for folder in (path, tmp_path / "other"):
        assert json.loads((folder / "manifest.json").read_text())["hash"] in str(refusal.value)
    assert "Give another path" in str(refusal.value)
    assert snapshot(path) == before


@pytest.mark.parametrize(
    ("kernel", "symmetric", "named"),
    [
        (values((8, 9)), False, r"kernel\.shape \(\[8, 8\] in the store, \[8, 9\] now\)"),
        (values((8, 8), (2,)), False, r"kernel\.leading"),
        (values((8, 8), dtype="float64"), False, r"kernel\.dtype"),
        (values((8, 8)), True, r"kernel\.symmetric"),
    ],
)
def test_another_kernel_of_the_same_job_is_refused(tmp_path, kernel, symmetric, named):
    stored(tmp_path / "k", values((8, 8)), 4)
    with pytest.raises(ValueError, match=named):
        open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 4, symmetric))


def test_the_chunk_of_the_store_wins(tmp_path):
    kernel = values((10, 10))
    first = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, (4, 3)))
    first.write(1, 1, kernel[4:8, 3:6])
    first.finish()
    again = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 7))
    assert again.layout.chunk == (4, 3)
    tiles = Tiles(kernel)
    fill(again, tiles)
    assert len(tiles.asked) == 11
    np.testing.assert_array_equal(np.asarray(open_kernel(tmp_path / "k")), kernel)


def test_one_of_many_creators_wins(tmp_path):
    kernel, barrier, chunks = values((40, 40)), threading.Barrier(8), []

    def create(chunk):
        barrier.wait()
        chunks.append(open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, chunk)).layout)

    threads = [threading.Thread(target=create, args=(c,)) for c in range(3, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(chunks) == 8
    assert len(set(chunks)) == 1
    assert sorted(os.listdir(tmp_path / "k")) == ["manifest.json", "zarr.json"]


def test_a_folder_without_hard_links_works(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    kernel = values((8, 8))
    np.testing.assert_array_equal(np.asarray(stored(tmp_path / "k", kernel, 4)), kernel)


def test_a_creator_killed_before_the_manifest_leaves_a_usable_folder(tmp_path):
    (tmp_path / ".manifest.json.0123").write_text('{"format":')
    kernel = values((8, 8))
    np.testing.assert_array_equal(np.asarray(stored(tmp_path, kernel, 4)), kernel)


def test_what_is_not_a_store_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    layout = layout_of(values((8, 8)), 4)
    with pytest.raises(ValueError, match=r"not a kernel store, and it holds 1 .*'thesis.tex'"):
        open_store(tmp_path, job=JOB, layout=layout)
    assert snapshot(tmp_path) == {"thesis.tex": b"mine"}
    with pytest.raises(ValueError, match="is a file, expected a folder"):
        open_store(tmp_path / "thesis.tex", job=JOB, layout=layout)
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(ValueError, match="is not a kernel store"):
            open_kernel(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {**m, "version": 3, "kernel": "?"}, "version 3, this ntk_air reads up to 2"),
        (lambda m: {**m, "format": "x"}, "its format is 'x'"),
        (lambda m: {**m, "job": {}}, "its hash does not fit its content"),
        (lambda m: {k: m[k] for k in ("format", "version")}, "KeyError: 'hash'"),
        (lambda m: [], "TypeError"),
    ],
)
def test_bad_manifests(tmp_path, change, message):
    stored(tmp_path / "k", values((8, 8)), 4)
    manifest = tmp_path / "k" / "manifest.json"
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text()))))
    for call in (
        lambda: open_kernel(tmp_path / "k"),
        lambda: open_store(tmp_path / "k", job=JOB, layout=layout_of(values((8, 8)), 4)),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_damaged_array_description_is_refused(tmp_path):
    stored(tmp_path / "k", values((8, 8)), 4)
    (tmp_path / "k" / "zarr.json").write_text("{")
    with pytest.raises(ValueError, match=r"does not match its manifest\.json or is damaged"):
        open_kernel(tmp_path / "k")


def test_bad_layouts_and_tiles(tmp_path):
    for arguments, message in [
        (((4, 0), (), "float32", (2, 2), False), "shape is 0"),
        (((4, 4), (), "float32", (2, 0), False), "chunk is 0"),
        (((4, 4), (), "int32", (2, 2), False), "expected a floating-point type"),
        (((4, 5), (), "float32", (2, 2), True), "expected both square"),
        (((4, 4), (), "float32", (2, 3), True), "expected both square"),
    ]:
        with pytest.raises(ValueError, match=message):
            DiskLayout(*arguments)
    kernel = values((6, 6))
    store = open_store(tmp_path / "k", job=JOB, layout=layout_of(kernel, 4, True))
    with pytest.raises(ValueError, match=r"shape \(4, 4\), expected \(4, 2\)"):
        store.write(0, 1, kernel[:4, :4])
    for tile in ((1, 0), (0, 2), (-1, 0)):
        with pytest.raises(ValueError, match="none of the tiles"):
            store.write(*tile, kernel[:4, :4])
    with pytest.raises(ValueError, match=r"has shape \(3, 4\), expected \(4, 4\)"):
        fill(store, lambda rows, columns: kernel[:3, :4])
