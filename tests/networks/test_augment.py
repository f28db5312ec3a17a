"""Padding, cropping and flipping against NumPy slicing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_air.networks import pad_crop_flip
from ntk_air.networks._augment import draw

IMAGES = np.random.default_rng(0).normal(size=(12, 7, 6, 3)).astype(np.float32)


def crops(image, padding, mode):
    """Every crop and its mirror image, by (row, column, mirrored)."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), mode=mode)
    height, width, _ = image.shape
    found = {}
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = padded[row : row + height, column : column + width]
            found[row, column, False], found[row, column, True] = crop, crop[:, ::-1]
    return found


@pytest.mark.parametrize("mode", ["reflect", "constant"])
@pytest.mark.parametrize("flip", [True, False])
def test_images_are_the_crops_at_the_offsets_drawn(mode, flip):
    augment = pad_crop_flip(4, flip=flip, mode=mode)
    key = jax.random.key(3)
    out = np.asarray(augment(key, IMAGES))
    offsets, mirrored = map(np.asarray, draw(key, len(IMAGES), 4))
    for image, moved, (row, column), mirror in zip(IMAGES, out, offsets, mirrored, strict=True):
        expected = crops(image, 4, mode)[int(row), int(column), bool(mirror and flip)]
        assert np.array_equal(moved, expected)
    assert np.array_equal(out, jax.jit(augment)(key, IMAGES))
    assert not np.array_equal(out, augment(jax.random.key(4), IMAGES))


def test_all_offsets_and_both_sides_occur_as_often():
    """Found by trying every crop of an image whose pixels all differ."""
    image = np.arange(4 * 5, dtype=np.float32).reshape(4, 5, 1) + 1
    possible = crops(image, 2, "constant")
    by_content = {crop.tobytes(): place for place, crop in possible.items()}
    assert len(by_content) == len(possible) == 50
    total = 5000
    out = np.asarray(
        pad_crop_flip(2, mode="constant")(jax.random.key(0), np.stack([image] * total))
    )
    places = np.array([by_content[moved.tobytes()] for moved in out])
    row, column, mirrored = places.T
    counts = np.bincount(row * 10 + column * 2 + mirrored, minlength=50)
    assert len(counts) == 50
    # Chi-squared with 49 degrees of freedom: 85.35 is exceeded once in a thousand keys.
    assert ((counts - total / 50) ** 2 / (total / 50)).sum() < 85.35


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32", "bool"])
def test_shape_and_dtype_stay(dtype):
    images = jnp.asarray(IMAGES * 40 + 100).astype(dtype)
    out = pad_crop_flip(2)(jax.random.key(0), images)
    assert (out.shape, out.dtype) == (images.shape, images.dtype)


def test_nothing_to_do_leaves_images_as_they_are():
    assert np.array_equal(pad_crop_flip(0, flip=False)(jax.random.key(0), IMAGES), IMAGES)


def test_equal_arguments_compile_once():
    assert pad_crop_flip(3, mode="constant") is pad_crop_flip(3, mode="constant")
    assert pad_crop_flip(3) is not pad_crop_flip(3, flip=False)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="padding is -1"):
        pad_crop_flip(-1)
    with pytest.raises(ValueError, match="mode is 'wrap', expected one of 'reflect', 'constant'"):
        pad_crop_flip(mode="wrap")
    key = jax.random.key(0)
    for shape in ((12, 42), (7, 6, 3), (2, 3, 7, 6, 3)):
        with pytest.raises(ValueError, match=r"images has shape .*expected \(b, H, W, channels\)"):
            pad_crop_flip()(key, np.zeros(shape))
    with pytest.raises(ValueError, match="sides of more than the padding of 4"):
        pad_crop_flip()(key, np.zeros((2, 4, 9, 1)))
    assert pad_crop_flip(mode="constant")(key, np.zeros((2, 4, 9, 1))).shape == (2, 4, 9, 1)
