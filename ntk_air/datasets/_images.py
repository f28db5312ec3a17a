"""One form for all images of a dataset, and their decoding by a pool of threads."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from .._checks import check_choice, check_size
from ._source import Known

INSTALL = "pip install 'ntk_air[readers]'"
# Named, since Pillow would also try those that hand a file to other programs (EPS: Ghostscript),
# and those that it cuts down to 8 bits without a word (JPEG 2000).
FORMATS = ("PNG", "JPEG", "BMP", "PPM", "WEBP", "GIF", "TIFF", "TGA", "PCX", "SGI")
ENDINGS = frozenset((
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".pbm", ".pgm", ".ppm", ".pnm",
    ".webp", ".gif", ".tif", ".tiff", ".tga", ".pcx", ".sgi", ".rgb", ".bw",
))  # fmt: skip
# A byte of deflated pixels stands for at most so many; and what any image may take.
_LARGEST_RATIO, _ALWAYS_ALLOWED = 1032, 2**20
_MOST_PIXELS = 2**26
# Modes without a meaning of their own beyond grey and colour, and whether they are grey.
_MODES = {"1": True, "L": True, "LA": True, "La": True, "P": False, "PA": False, "RGB": False}
_MODES |= {"RGBA": False, "RGBa": False, "RGBX": False, "YCbCr": False, "CMYK": False}


@dataclass(frozen=True)
class Form:
    """What all images of a dataset are made.

    Attributes:
        shape: (H, W, ch).
        resized: whether images of another size are resized, or refused.
        source: what the shape comes from, for messages.
    """

    shape: tuple[int, int, int]
    resized: bool = False
    source: str = "like the others"


def common_form(
    images: Iterable[tuple[str, Callable[[], contextlib.AbstractContextManager[IO[bytes]]]]],
    origin: str,
    *,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
) -> Form:
    """The one form of a user's own images, from the headers of all of them.

    Args:
        images: name for messages and what opens the file, of every image of every set.
        origin: of the images, for messages.
        image_size: what all are resized to, one number or (H, W); None: they must be of one size.
        channels: 1 or 3; None: 1 if all are grey.

    Raises:
        ImportError: without Pillow.
        ValueError: for images that cannot be read, or that are of several sizes.

    Warns:
        UserWarning: if some images are grey and others are not.
    """
    size = _asked_size(image_size)
    check_choice("channels", channels, (None, 1, 3))
    sizes: dict[tuple[int, int], str] = {}
    grey: Counter[bool] = Counter()
    unread: list[str] = []
    for name, opener in images:
        try:
            found, is_grey = _header(opener)
        except ValueError as error:
            unread.append(f"{name} {error}")
            continue
        sizes.setdefault(found, name)
        grey[is_grey] += 1
    if unread:
        more = f"; and {len(unread) - 1} more of {origin}" if len(unread) > 1 else ""
        raise ValueError(f"{unread[0]}; replace the file{more}.")
    if size is None and len(sizes) > 1:
        (first, name), (other, second) = list(sizes.items())[:2]
        raise ValueError(
            f"{name} is {_size(first)} and {second} {_size(other)}, expected images of one size; "
            f"resize them, or pass image_size={min(first)} to have all resized."
        )
    if channels is None:
        channels = 1 if not grey[False] else 3
        if grey[True] and grey[False]:
            warnings.warn(
                f"{grey[True]} of the {grey.total()} images of {origin} are grey and the others "
                "coloured: all are read as colour; pass channels=1 to have all grey.",
                stacklevel=2,
            )
    height, width = size or next(iter(sizes), (0, 0))
    return Form((height, width, channels), size is not None)


def _asked_size(image_size: int | Sequence[int] | None) -> tuple[int, int] | None:
    if image_size is None:
        return None
    if isinstance(image_size, str) or np.ndim(image_size) > 1 or np.size(image_size) > 2:
        raise ValueError(f"image_size is {image_size!r}, expected a number or (height, width).")
    sides = np.atleast_1d(np.asarray(image_size)).tolist()
    height, width = (check_size("image_size", side, 1, 2**13) for side in (sides * 2)[:2])
    return height, width


def _header(
    opener: Callable[[], contextlib.AbstractContextManager[IO[bytes]]],
) -> tuple[tuple[int, int], bool]:
    """Size of an image and whether it is grey, from its first bytes.

    Raises:
        ValueError: if it cannot be read as it is, in words that follow its name.
    """
    Image = pillow()
    try:
        with opener() as file:
            num_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            if not num_bytes:
                raise ValueError("holds no image bytes")
            return _size_and_mode(Image, file, num_bytes)
    except OSError as error:
        raise ValueError(f"cannot be read as an image ({error.strerror or error})") from error


def _size_and_mode(Image: Any, file: IO[bytes], num_bytes: int) -> tuple[tuple[int, int], bool]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                size = (image.height, image.width)
                _check_size(size, num_bytes)
                _check_mode(image)
                return size, _MODES[image.mode]
    # Pillow reports damage as OSError, SyntaxError (PNG), struct.error, EOFError, ...
    except Exception as error:
        raise ValueError(f"is not a readable image ({_reason(error)})") from error


def pillow() -> Any:
    """The module ``PIL.Image``; ImportError, with what to install, if there is none."""
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError(f"reading images needs Pillow: {INSTALL}.") from error
    return Image


def decode_images(
    blobs: Sequence[bytes | None],
    place: Callable[[int], str],
    known: Known | None,
    form: Form | None = None,
) -> np.ndarray:
    """Decodes PNG, JPEG or other compressed images to one array.

    Args:
        blobs: the bytes of each image.
        place: position in ``blobs`` to the words an error names it by.
        known: gives the shape that the images must have, if there is no ``form``.
        form: what they are made. Grey and colour are converted to what it asks for.

    Returns:
        (k, H, W, ch) uint8.

    Raises:
        ImportError: without Pillow.
        ValueError: for an image that is damaged, truncated, of 16 bits, of several frames, of a
            format not in `FORMATS`, or of another size, or whose size its bytes cannot hold.
    """
    Image = pillow()
    if form is None:
        assert known is not None
        form = Form(known.shape, source=f"as in {known.name}")
    if not len(blobs):
        return np.zeros((0, *form.shape), np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        first = _decoded(blobs[0], place(0), form)
        if not form.resized:
            _check_total(blobs, first, place(0))
        images = np.empty((len(blobs), *first.shape), np.uint8)

        def fill(position: int) -> None:
            blob = blobs[position]
            images[position] = _decoded(blob, place(position), form) if position else first

        # Pillow lets go of the interpreter lock while it decodes; threads share the output array.
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            for _ in pool.map(fill, range(len(blobs))):
                pass
    return images


def _decoded(blob: Any, name: str, form: Form) -> np.ndarray:
    """One image (H, W, ch) of the form."""
    from PIL import Image

    if not isinstance(blob, bytes) or not blob:
        raise ValueError(f"{name} holds no image bytes; replace the file.")
    try:
        with Image.open(io.BytesIO(blob), formats=FORMATS) as image:
            size = (image.height, image.width)
            if form.resized or size == form.shape[:2]:
                _check_size(size, len(blob))
                return _pixels(image, form)
    # Pillow reports damage as OSError, SyntaxError (PNG), struct.error, EOFError, ...
    except Exception as error:
        raise ValueError(
            f"{name} is not a readable image ({_reason(error)}); replace the file."
        ) from error
    raise ValueError(f"{name} is {_size(size)}, expected {_size(form.shape)} {form.source}.")


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


def _check_mode(image: Any) -> None:
    """Before anything is decoded: what would lose something if it were read as 8 bits."""
    if image.mode not in _MODES or _is_deep(image):
        raise ValueError(
            f"its mode is {image.mode}, of 16 bits or more; expected 8 bits per channel"
        )
    if getattr(image, "n_frames", 1) > 1:
        raise ValueError(f"it holds {image.n_frames} frames, expected one image")


def _pixels(image: Any, form: Form) -> np.ndarray:
    """(H, W, ch) uint8."""
    _check_mode(image)
    if "transparency" in image.info or image.mode.upper() in ("LA", "PA", "RGBA"):
        least, _ = image.convert("RGBA").getchannel("A").getextrema()
        if least < 255:  # what lies behind is for the user to say
            raise ValueError("it has transparent pixels; lay it on a background")
    height, width, channels = form.shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        # Pillow's bilinear filter averages over what it shrinks.
        image = image.resize((width, height), pillow().Resampling.BILINEAR)
    return np.asarray(image).reshape(form.shape)


def _is_deep(image: Any) -> bool:
    """Whether Pillow would cut colours of 16 bits down to 8."""
    for name, _, _, arguments in image.tile:
        if name.startswith("ppm") and arguments[-1] > 255:
            return True
        if image.format == "PNG" and "16" in str(arguments):
            return True
        # Others have numbers beside the mode of the raw pixels, which may be 16.
        raw = arguments if isinstance(arguments, str) else (arguments or ("",))[0]
        if image.format in ("TIFF", "SGI") and ";16" in str(raw):
            return True
    return False


def _size(shape: Sequence[int] | None) -> str:
    return "x".join(map(str, (shape or ())[:2]))
