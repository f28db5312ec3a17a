"""Decoding of compressed images by a pool of threads."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ._source import Known

INSTALL = "pip install 'ntk_air[readers]'"
# Named, since Pillow would also try those that hand a file to other programs (EPS: Ghostscript).
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP")
# A byte of deflated pixels stands for at most so many; and what any image may take.
_LARGEST_RATIO, _ALWAYS_ALLOWED = 1032, 2**20
_MOST_PIXELS = 2**26
# Modes without a meaning of their own beyond grey and colour, and whether they are grey.
_MODES = {"1": True, "L": True, "LA": True, "La": True, "P": False, "PA": False, "RGB": False}
_MODES |= {"RGBA": False, "RGBa": False, "RGBX": False, "YCbCr": False, "CMYK": False}


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
        ValueError: for an image that is damaged, truncated, of 16 bits, of several frames, of a
            format not in `FORMATS`, or of another size, or whose size its bytes cannot hold.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"reading images needs Pillow: {INSTALL}.") from error
    if not len(blobs):
        return np.zeros((0, *(known.shape if known else (0, 0, 1))), np.uint8)

    def decode(position: int, shape: tuple[int, ...] | None) -> np.ndarray:
        return _decoded(blobs[position], place(position), shape, known)

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        first = decode(0, known.shape if known else None)
        _check_total(blobs, first, place(0))
        images = np.empty((len(blobs), *first.shape), np.uint8)

        def fill(position: int) -> None:
            images[position] = decode(position, first.shape) if position else first

        # Pillow lets go of the interpreter lock while it decodes; threads share the output array.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for _ in pool.map(fill, range(len(blobs))):
                pass
    return images


def _decoded(
    blob: Any, name: str, shape: tuple[int, ...] | None, known: Known | None
) -> np.ndarray:
    """One image (H, W, ch), of ``shape`` where that is given."""
    from PIL import Image

    if not isinstance(blob, bytes) or not blob:
        raise ValueError(f"{name} holds no image bytes; replace the file.")
    try:
        with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
            size = (image.height, image.width)
            if shape is None or size == shape[:2]:
                _check_size(size, len(blob))
                return _pixels(image, shape[2] if shape else None)
    # Pillow reports damage as OSError, SyntaxError (PNG), struct.error, EOFError, ...
    except Exception as error:
        raise ValueError(
            f"{name} is not a readable image ({_reason(error)}); replace the file."
        ) from error
    raise ValueError(
        f"{name} is {_size(size)}, expected {_size(shape)}"
        + (f" as in {known.name}." if known else " like the first image; resize it.")
    )


def _check_total(blobs: Sequence[bytes | None], first: np.ndarray, name: str) -> None:
    most = _LARGEST_RATIO * sum(len(blob) for blob in blobs if isinstance(blob, bytes))
    if first.size * len(blobs) > _ALWAYS_ALLOWED + most:
        raise ValueError(
            f"{len(blobs)} images of {_size(first.shape)} like {name} are more than the bytes of "
            "all can hold; replace the files."
        )


def _check_size(size: tuple[int, int], num_bytes: int) -> None:
    """Before anything is decoded: what a header of a few bytes claims is no reason for memory."""
    pixels = size[0] * size[1]
    if pixels > min(_MOST_PIXELS, _ALWAYS_ALLOWED + _LARGEST_RATIO * num_bytes) or not pixels:
        raise ValueError(f"its {num_bytes} bytes claim to be {_size(size)} pixels")


def _reason(error: Exception) -> str:
    # Pillow's own words name an object in memory.
    if type(error).__name__ == "UnidentifiedImageError":
        return f"it is none of {', '.join(FORMATS)}"
    return str(error) or type(error).__name__


def _pixels(image: Any, channels: int | None) -> np.ndarray:
    """(H, W, channels) uint8; ``channels=None`` keeps grey images grey."""
    if image.mode not in _MODES or _is_deep(image):
        raise ValueError(
            f"its mode is {image.mode}, of 16 bits or more; expected 8 bits per channel"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"it holds {image.n_frames} frames, expected one image")
    if channels is None:
        channels = 1 if _MODES[image.mode] else 3
    if "transparency" in image.info or image.mode.upper() in ("LA", "PA", "RGBA"):
        least, _ = image.convert("RGBA").getchannel("A").getextrema()
        if least < 255:  # what lies behind is for the user to say
            raise ValueError("it has transparent pixels; lay it on a background")
    pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return pixels[..., None] if channels == 1 else pixels


def _is_deep(image: Any) -> bool:
    """Whether Pillow would cut colours of 16 bits down to 8."""
    for name, _, _, arguments in image.tile:
        if image.format == "PNG" and "16" in str(arguments):
            return True
        if name.startswith("ppm") and arguments[-1] > 255:
            return True
    return False


def _size(shape: Sequence[int] | None) -> str:
    return "x".join(map(str, (shape or ())[:2]))
