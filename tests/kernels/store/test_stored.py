"""Kernels read back from disk: indexing, products, which tiles are read."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from store_cases import stored, values

from ntk_air.kernels import StoredKernel

INDICES = [
    3,
    -1,
    slice(None),
    slice(2, 9),
    slice(None, None, -3),
    slice(5, 5),
    [7, 0, 7, 10],
    np.arange(11) % 3 == 0,
    (2, 9),
    (9, 2),
    (slice(1, 8), 4),
    (4, slice(1, 8)),
    (slice(8, 1, -2), [10, 0, 5]),
    ([10, 0, 5], slice(3, 8)),
    ([10, 0, 5], [1, 9, 5]),
    ([10, 0, 5], 6),
    np.ix_([10, 0, 5], [1, 9]),
    np.ix_([10, 0, 5, 6], [3]),
    ([[10, 0], [5, 2]], [[1, 9], [5, 6]]),
    ...,
    (..., 3),
    ([], []),
]


@pytest.mark.parametrize("symmetric", [True, False])
def test_indexing_is_numpy_s(tmp_path, symmetric):
    kernel = values((11, 11), symmetric=symmetric)
    reader = stored(tmp_path / "k", kernel, 4 if symmetric else (4, 3), symmetric)
    for index in INDICES:
        expected, result = kernel[index], reader[index]
        assert np.shape(result) == np.shape(expected), index
        np.testing.assert_array_equal(result, expected, err_msg=str(index))
    np.testing.assert_array_equal(reader.diagonal(), np.diag(kernel))
    np.testing.assert_array_equal(np.stack(list(reader)), kernel)
    for bad in (11, -12, (0, [11]), (0, 0, 0), 1.5, [True] * 3, (slice(None), [[0]])):
        with pytest.raises(IndexError):
            reader[bad]


def count_reads(monkeypatch):
    read, tiles = StoredKernel._read, []

    def counted(self, tile):
        tiles.append(tile)
        return read(self, tile)

    monkeypatch.setattr(StoredKernel, "_read", counted)
    return tiles


def test_only_the_tiles_needed_are_read_and_once(tmp_path, monkeypatch):
    kernel = values((12, 12), symmetric=True)
    reader = stored(tmp_path / "k", kernel, 3, True)
    every = [(i, j) for i in range(4) for j in range(i, 4)]
    for call, expected in [
        (lambda: reader[7], [(0, 2), (1, 2), (2, 2), (2, 3)]),
        (lambda: reader[:6, :6], [(0, 0), (0, 1), (1, 1)]),
        (lambda: reader[9:, :3], [(0, 3)]),
        (lambda: reader[[0, 11], [11, 0]], [(0, 3)]),
        (lambda: reader.diagonal(), [(i, i) for i in range(4)]),
        (lambda: np.asarray(reader), every),
        (lambda: reader @ kernel, every),
    ]:
        with monkeypatch.context() as patch:
            tiles = count_reads(patch)
            call()
        assert sorted(tiles) == expected


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("columns", [None, 1, 3])
def test_products(tmp_path, symmetric, dtype, columns):
    kernel = values((23, 23 if symmetric else 17), dtype=dtype, symmetric=symmetric)
    reader = stored(tmp_path / "k", kernel, 5, symmetric)
    right = values((kernel.shape[1], columns or 1), seed=1)
    right = right[:, 0] if columns is None else right
    expected = kernel.astype(np.float64) @ right
    result = reader @ right
    assert result.dtype == (np.float64 if dtype == "float64" else np.float32)
    tolerance = 1e-12 if dtype == "float64" else 3e-5
    np.testing.assert_allclose(result, expected, rtol=tolerance, atol=tolerance)
    on_device = reader @ jnp.asarray(right)
    assert isinstance(on_device, jax.Array)
    np.testing.assert_allclose(on_device, expected, rtol=3e-5, atol=3e-5)


def test_bfloat16_products_accumulate_in_float32(tmp_path):
    reader = stored(tmp_path / "k", np.ones((5, 1000), jnp.bfloat16), (5, 10))
    result = reader @ np.ones(1000, jnp.bfloat16)
    assert result.dtype == jnp.bfloat16
    # 1000 is a bfloat16 number, but 530 on the way there is not.
    np.testing.assert_array_equal(result.astype(np.float32), 1000)


def test_axes_in_front(tmp_path, monkeypatch):
    kernel = values((7, 7), (2, 3), symmetric=True)
    reader = stored(tmp_path / "k", kernel, 4, True)
    assert (reader.shape, reader.ndim, len(reader)) == (kernel.shape, 4, 2)
    assert reader.nbytes == kernel.nbytes
    one = reader.select(1, -1)
    assert one.shape == (7, 7)
    np.testing.assert_array_equal(one[2:, 3], kernel[1, 2, 2:, 3])
    np.testing.assert_allclose(one @ kernel[0, 0], kernel[1, 2] @ kernel[0, 0], rtol=1e-4)
    np.testing.assert_array_equal(np.asarray(reader, np.float64), kernel.astype(np.float64))
    for call in (lambda: reader[0], lambda: reader @ kernel[0, 0], lambda: reader.diagonal()):
        with pytest.raises(ValueError, match=r"kernel.select\(0, 0\)"):
            call()
    with pytest.raises(ValueError, match="got 1 indices, expected 2"):
        reader.select(0)
    with pytest.raises(IndexError):
        reader.select(0, 3)


def test_what_a_stored_kernel_says(tmp_path):
    reader = stored(tmp_path / "k", values((7, 5)), 4)
    assert repr(reader) == (
        f"StoredKernel({str(tmp_path / 'k')!r}, shape=(7, 5), dtype=float32, symmetric=False, "
        "140 B)"
    )
    assert (len(reader), reader.ndim, reader.nbytes, reader.dtype) == (7, 2, 140, np.float32)
    for right in (np.ones(7), np.ones((7, 2)), np.ones(()), np.ones((5, 1, 1))):
        with pytest.raises(ValueError, match=r"expected \(5,\) or \(5, r\)"):
            reader @ right
    with pytest.raises(ValueError, match="without a copy"):
        np.array(reader, copy=False)
    with pytest.raises(IndexError, match=r"^an index is out of bounds for an axis of 7 points\.$"):
        reader[np.array([0, 7])]
    with pytest.raises(IndexError, match=r"^an index array beside a slice has two axes, expected"):
        reader[np.zeros((2, 2), int), :]
