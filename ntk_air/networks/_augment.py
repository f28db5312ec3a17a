"""Random crops and flips of images, on the device."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from .._checks import check_choice, check_ndim, check_size
from .._typing import Array, Float, PRNGKeyArray

_MODES = ("reflect", "constant")

Augmentation = Callable[[PRNGKeyArray, Array], Array]
"""``(key, images (b, H, W, channels)) -> images`` of the same shape and dtype, pure."""


@functools.lru_cache(maxsize=16)
def pad_crop_flip(padding: int = 4, *, flip: bool = True, mode: str = "reflect") -> Augmentation:
    """Pads, crops back at a random place, mirrors half of the images left to right.

    Each image has its own offsets, uniform in 0..2·padding along each axis, and its own coin. The
    same arguments give the same function object, so that compilations are kept.

    Args:
        padding: pixels added on every edge; 0 leaves the crop out.
        flip: whether to mirror; not for digits or letters.
        mode: what the padding shows: ``"reflect"`` the image mirrored about its outermost pixels
            (Zagoruyko & Komodakis, arXiv:1605.07146), ``"constant"`` zeros (He et al.,
            arXiv:1512.03385).

    Returns:
        ``augment(key, images) -> images``, (b, H, W, channels) of any dtype to the same shape and
        dtype; pure, for use under ``jax.jit``. It raises ValueError on arrays of another shape and
        on images too small to be reflected.

    Raises:
        ValueError: on a negative padding or an unknown mode.

    Example:
        >>> import jax, jax.numpy as jnp, ntk_air as na
        >>> augment = na.networks.pad_crop_flip(2)
        >>> augment(jax.random.key(0), jnp.ones((5, 8, 8, 3))).shape
        (5, 8, 8, 3)
    """
    check_size("padding", padding, 0)
    check_choice("mode", mode, _MODES)

    def augment(key: PRNGKeyArray, images: Float[Array, "b H W channels"]) -> Array:
        images = jnp.asarray(images)
        check_ndim("images", images, 4, "(b, H, W, channels)")
        if mode == "reflect" and min(images.shape[1:3]) <= padding:
            raise ValueError(
                f"images have shape {images.shape}, (b, H, W, channels), expected sides of more "
                f"than the padding of {padding} to be reflected; pad less, or with zeros by "
                'mode="constant".'
            )
        offsets, mirrored = draw(key, len(images), padding)
        edges = ((0, 0), (padding, padding), (padding, padding), (0, 0))
        padded = jnp.pad(images, edges, mode=mode)

        def crop(image: Array, offset: Array, mirror: Array) -> Array:
            image = jax.lax.dynamic_slice(image, (*offset, 0), images.shape[1:])
            return jnp.where(mirror, image[:, ::-1], image) if flip else image

        return jax.vmap(crop)(padded, offsets, mirrored)

    return augment


def draw(key: PRNGKeyArray, count: int, padding: int) -> tuple[Array, Array]:
    """Offsets (count, 2) in 0..2·padding and coins (count,) of one batch."""
    for_offsets, for_coins = jax.random.split(key)
    offsets = jax.random.randint(for_offsets, (count, 2), 0, 2 * padding + 1)
    return offsets, jax.random.bernoulli(for_coins, 0.5, (count,))
