"""Files that claim what they do not hold, or want more than to be read: one line, no memory."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from dataset_files import images_of, png, write_idx, write_parquet
from PIL import Image

from ntk_air.datasets import load

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\nshowpage\n%%EOF\n"


def refused(path, words, **options):
    """The error has one line, and what it took to find out is less than the claims."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words) as caught:
            load(str(path), **options)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert taken < 2**26, taken
    return str(caught.value)


def folder_of(path, blob, good=True):
    for name in ("a", "b"):
        (path / "train" / name).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(np.full((4, 4, 3), 7, np.uint8))
        if good:
            image.save(path / "train" / name / "0.png")
        (path / "train" / name / "1.png").write_bytes(blob)
    return path


def chunk(kind, data):
    checked = kind + data
    return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))


def png_of(width, height, pixels, depth=8, colour=2):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("place", ["folder", "parquet"])
def test_postscript_starts_no_program(tmp_path, monkeypatch, place):
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (fake / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake}:{os.environ['PATH']}")
    if place == "folder":
        refused(folder_of(tmp_path / "data", EPS, good=False), "none of PNG, JPEG, BMP, PPM")
    else:
        for split in ("train", "test"):
            write_parquet(tmp_path / "data", "cifar10", split, [EPS] * 4, np.arange(4))
        refused("cifar10", "none of PNG, JPEG, BMP, PPM", root=tmp_path / "data")
    assert not (tmp_path / "ran").exists()


def bmp_of(width, height):
    fields = (54, 0, 0, 54, 40, width, height, 1, 24, *[0] * 6)
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", *fields)


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        # Above Pillow's own limit, and below it.
        (png_of(60_000, 60_000, b"\0"), "exceeds limit"),
        (png_of(8000, 8000, bytes(100)), "claim to be 8000x8000 pixels"),
        (b"P6 50000 50000 255\n" + bytes(100), "exceeds limit"),
        (b"P6 8000 8000 255\n" + bytes(100), "claim to be 8000x8000 pixels"),
        (bmp_of(30_000, 30_000), "exceeds limit"),
        (bmp_of(8000, 8000), "claim to be 8000x8000 pixels"),
    ],
    ids=["png", "a smaller png", "ppm", "a smaller ppm", "bmp", "a smaller bmp"],
)
def test_sizes_that_the_bytes_cannot_hold(tmp_path, blob, words):
    refused(folder_of(tmp_path, blob, good=False), words)
    refused(folder_of(tmp_path, blob), words)


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        (png_of(4, 4, bytes(4 * 25), depth=16), "16 bits"),
        (b"P6 4 4 65535\n" + bytes(96), "16 bits"),
        (b"P5 4 4 65535\n" + bytes(32), "16 bits"),
        (png_of(4, 4, b"".join(b"\0" + bytes(16) for _ in range(4)), colour=6), "transparent"),
        (png_of(4, 4, bytes(5)), "not a readable image"),
        (b"8BPS" + bytes(40), "none of PNG"),
        (b"", "no image bytes"),
    ],
)
def test_images_that_would_lose_something(tmp_path, blob, words):
    refused(folder_of(tmp_path, blob), words)


def test_several_frames_are_not_one_image(tmp_path):
    frames = [Image.fromarray(np.full((4, 4, 3), v, np.uint8)) for v in (1, 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    refused(folder_of(tmp_path, buffer.getvalue()), "2 frames")


def test_colours_of_other_modes_are_converted(tmp_path):
    colour = (200, 40, 90)
    rgb = Image.new("RGB", (4, 4), colour)
    opaque = rgb.convert("RGBA")
    for name, image in (("0.png", rgb.quantize(4)), ("1.png", opaque), ("2.bmp", rgb)):
        (tmp_path / "train" / "ab"[name == "1.png"]).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "train" / "ab"[name == "1.png"] / name)
    data = load(str(tmp_path))
    expected = np.broadcast_to(np.float32(colour) / np.float32(255), data.train_inputs.shape)
    np.testing.assert_allclose(data.train_inputs, expected, atol=1e-6)


def test_pipes_and_folders_are_no_images(tmp_path):
    folder = folder_of(tmp_path, png(np.zeros((4, 4, 3), np.uint8)))
    (folder / "train/a/1.png").unlink()
    os.mkfifo(folder / "train/a/1.png")
    refused(folder, "not a regular file")
    (folder / "train/a/1.png").unlink()
    (folder / "train/a/1.png").mkdir()
    refused(folder, "cannot be read as an image")


def npz(path, members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return path


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape, descr="<f4"):
    buffer = io.BytesIO()
    described = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


GOOD = [
    ("train_inputs.npy", npy(np.ones((4, 2), np.float32))),
    ("train_labels.npy", npy(np.arange(4) % 2)),
]


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([("train_inputs.npy", header((10**6, 10**6))), GOOD[1]], "takes 4000000000000 bytes"),
        ([("train_inputs.npy", header((4, 2), "|O") + b"cos\n."), GOOD[1]], "type object"),
        ([("train_inputs.npy", header((10**12,), "|S0")), GOOD[1]], "expected numbers or text"),
        ([("train_inputs.npy", b"text"), GOOD[1]], "not a readable .npz"),
        ([*GOOD, GOOD[0]], "a member twice"),
        ([GOOD[0], ("train_labels.npy", npy(np.array(list("ab b"))))], "1 empty label"),
        ([("train_inputs.npy", npy(np.array([["a"]] * 4))), GOOD[1]], "expected real numbers"),
        ([("train_inputs.npy", npy(np.full((4, 2), 1j))), GOOD[1]], "expected real numbers"),
        ([*GOOD, ("class_names.npy", npy(np.ones((2, 2))))], "class_names of .*shape"),
        ([*GOOD, ("extra_x.npy", npy(np.array(list("abab"))))], "extra|'x'"),
        ([*GOOD, ("extra_x.npy", npy(np.arange(3)))], r"'x' .* shape \(3,\)"),
        ([*GOOD, ("extra_x.npy", npy(np.array([-2, 0, 0, 1])))], "holds -2"),
        ([("train_labels.npy", GOOD[1][1])], "only one of"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_archives(tmp_path, members, words):
    refused(npz(tmp_path / "w.npz", members), words)


def test_an_archive_that_is_none(tmp_path):
    with open(tmp_path / "w.npz", "wb") as file:
        np.save(file, np.ones(3))
    refused(tmp_path / "w.npz", "not a readable .npz archive")


def test_archives_that_expand(tmp_path):
    """Deflated zeros shrink a thousandfold; data do not."""
    path = tmp_path / "w.npz"
    zeros = np.zeros((2, 10**7), np.float32)
    np.savez_compressed(path, train_inputs=zeros, train_labels=np.arange(2))
    assert path.stat().st_size < 10**5
    refused(path, "claim to hold .*write it uncompressed")
    grey = np.random.default_rng(0).integers(0, 2, (20, 50)).astype(np.float32)
    np.savez_compressed(path, train_inputs=grey, train_labels=np.arange(20) % 2)
    assert load(str(path)).train_inputs.shape == (20, 50)


def test_idx_headers_that_promise_too_much(tmp_path):
    for split in ("train", "test"):
        write_idx(tmp_path, "mnist", split, *images_of("mnist", 30))
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(struct.pack(">4I", 2051, 2**31, 2**15, 2**15))
    refused("mnist", "promises an array of shape", root=tmp_path)
    path.rename(tmp_path / "away")
    bomb = gzip.compress(struct.pack(">4I", 2051, 30, 28, 28) + bytes(10**8))
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(bomb)
    refused("mnist", "holds more than 23536 bytes", root=tmp_path)


def test_a_root_that_nothing_looks_at_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", train_inputs=np.ones((4, 2)), train_labels=np.arange(4) % 2)
    for name in ("digits", tmp_path / "w.npz"):
        refused(name, "root is .*leave root out", root=tmp_path)
