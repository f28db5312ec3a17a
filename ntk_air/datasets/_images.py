"""Decoding of compressed images by a pool of threads."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ._source import Known

INSTALL = "pip install 'ntk_air[readers]'"


def decode_images(
    blobs: Sequence[bytes | None], place: Callable[[int], str], known: Known | None
) -> np.ndarray:
    """Decodes PNG, JPEG or other compressed images to one array.

    Args:
        blobs: the bytes of each image.
        place: position in ``blobs`` to the words an error names it by.
        known: gives the shape that the images must have; None takes that of the first image.
            Grey and colour are converted to what the shape asks for.

    Returns:
        (k, H, W, ch) uint8.

    Raises:
        ImportError: without Pillow.
        ValueError: for an image that is damaged, truncated, of 16 bits, or of another size.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"reading images needs Pillow: {INSTALL}.") from error
    if not len(blobs):
        return np.zeros((0, *(known.shape if known else (0, 0, 1))), np.uint8)

    def decode(position: int, channels: int | None) -> np.ndarray:
        blob = blobs[position]
        if not blob:
            raise ValueError(f"{place(position)} holds no image bytes; replace the file.")
        try:
            with Image.open(io.BytesIO(blob)) as image:
                return _pixels(image, channels)
        # Pillow reports damage as OSError, SyntaxError (PNG), struct.error, EOFError, ...
        except Exception as error:
            raise ValueError(
                f"{place(position)} is not a readable image ({error}); replace the file."
            ) from error

    first = decode(0, known.shape[2] if known else None)
    shape = known.shape if known else first.shape
    images = np.empty((len(blobs), *shape), np.uint8)

    def fill(position: int) -> None:
        pixels = first if position == 0 else decode(position, shape[2])
        if pixels.shape != shape:
            raise ValueError(
                f"{place(position)} is {_size(pixels.shape)}, expected {_size(shape)}"
                + (f" as in {known.name}." if known else " like the first image; resize it.")
            )
        images[position] = pixels

    # Pillow lets go of the interpreter lock while it decodes; threads share the output array.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(len(blobs))):
            pass
    return images


def _pixels(image: Any, channels: int | None) -> np.ndarray:
    """(H, W, channels) uint8; ``channels=None`` keeps grey images grey."""
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"its mode is {image.mode}, expected 8 bits per channel")
    if channels is None:
        channels = 1 if image.mode in ("1", "L", "LA") else 3
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels[..., None] if channels == 1 else pixels


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]}x{shape[1]}"
