"""Folders of images: train/<class>/*.png and test/<class>/*.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .._archive import open_regular
from ._images import decode_images
from ._source import Known, Source, Split, reader

_ENDINGS = {".png", ".jpg", ".jpeg", ".bmp", ".pgm", ".ppm"}


@reader("train/<class>/*.png")
def read_image_folder(folder: Path, known: Known | None) -> Source | None:
    """Reads one folder per class below train/ and test/; see `Reader`.

    Classes of a known dataset take its numbering, whether the folders are called by name or by
    number. Others are numbered in the order of their names, numbers in numerical order.
    """
    names = _class_folders(folder / "train")
    if not names:
        return None
    if known is not None:
        numbers = {**{str(i): i for i in range(len(known.class_names))}}
        numbers |= {name: i for i, name in enumerate(known.class_names)}
        class_names = known.class_names
    else:
        class_names = tuple(names)
        numbers = {name: i for i, name in enumerate(names)}
    train = _split(folder / "train", numbers, known)
    test = folder / "test"
    return Source(
        folder, train, _split(test, numbers, known) if _class_folders(test) else None, class_names
    )


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    names = [p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return sorted(names, key=lambda name: (0, int(name), "") if name.isdecimal() else (1, 0, name))


def _split(folder: Path, numbers: dict[str, int], known: Known | None) -> Split:
    paths: list[Path] = []
    labels: list[int] = []
    for name in _class_folders(folder):
        if name not in numbers:
            raise ValueError(
                f"{folder / name} is not a class; expected folders named {', '.join(numbers)}."
            )
        found = sorted(p for p in (folder / name).iterdir() if p.suffix.lower() in _ENDINGS)
        if not found:
            raise ValueError(f"{folder / name} holds no images ({', '.join(sorted(_ENDINGS))}).")
        paths += found
        labels += [numbers[name]] * len(found)

    def read(rows: np.ndarray) -> np.ndarray:
        chosen = [paths[row] for row in rows]
        return decode_images([_bytes_of(p) for p in chosen], lambda i: str(chosen[i]), known)

    return Split(np.asarray(labels, np.int32), read)


def _bytes_of(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error.strerror or error}); replace it."
        ) from error
