"""Folders of images: train/<class>/*.png and test/<class>/*.png, or <class>/*.png."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .._archive import open_regular
from ._images import ENDINGS, Form, common_form, decode_images
from ._labels import in_order
from ._source import Known, Source, Split, reader
from ._split import check_fraction, split_rows

_SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
# Left by file managers everywhere.
_LITTER = {"thumbs.db", "desktop.ini"}
_DEFAULT_TEST = 0.2
_NAMED = 3


@dataclass
class _Found:
    """The files below a folder of class folders: images with their class, and what is none."""

    paths: list[Path]
    labels: list[int]
    skipped: list[Path]
    rows: np.ndarray | None = None


@reader("train/<class>/*.png (or <class>/*.png)", takes=("image_size", "channels", "test"))
def read_image_folder(
    folder: Path,
    known: Known | None,
    *,
    image_size: int | Sequence[int] | None = None,
    channels: int | None = None,
    test: float | str | None = None,
) -> Source | None:
    """Reads one folder per class below train/ and test/, or at the top; see `Reader`.

    Classes of a known dataset take its numbering, whether the folders are called by name or by
    number. Others are numbered in the order of their names, numbers in numerical order. Validation
    images are the test set where there is no other. Without either, a fraction ``test`` of each
    class is. Images may lie in folders within that of their class.
    """
    places = _places(folder, known)
    if places is None:
        return None
    names = _class_folders(places["train"])
    if known is not None:
        numbers = {**{str(i): i for i in range(len(known.class_names))}}
        numbers |= {name: i for i, name in enumerate(known.class_names)}
        class_names = known.class_names
    else:
        class_names = tuple(names)
        numbers = {name: i for i, name in enumerate(names)}
    found = {split: _listed(place, numbers) for split, place in places.items()}
    _say_skipped(folder, [path for one in found.values() for path in one.skipped])
    if "test" not in found:
        if test is not None or "train" not in {p.name.lower() for p in folder.iterdir()}:
            fraction = _DEFAULT_TEST if test is None else check_fraction("test", test)
            found |= _cut(folder, found["train"], fraction)
    elif test is not None:
        raise ValueError(f"test is {test!r} and {folder} has a test set; leave test out.")
    everything = [path for one in found.values() for path in one.paths]

    @functools.cache
    def form() -> Form | None:
        if known is not None:
            return None
        named = ((str(path), functools.partial(open_regular, path)) for path in everything)
        return common_form(named, str(folder), image_size=image_size, channels=channels)

    def split(one: _Found) -> Split:
        def read(rows: np.ndarray) -> np.ndarray:
            wanted = form()
            chosen = [one.paths[row] for row in rows]
            blobs = [_bytes_of(path) for path in chosen]
            return decode_images(blobs, lambda i: str(chosen[i]), known, wanted)

        called = [path.relative_to(folder).as_posix() for path in one.paths]
        labels = np.asarray(one.labels, np.int32)
        return Split(labels, read, identifiers=np.asarray(called), rows=one.rows)

    tested = split(found["test"]) if "test" in found else None
    return Source(folder, split(found["train"]), tested, class_names, "images")


def _places(folder: Path, known: Known | None) -> dict[str, Path] | None:
    """Where the class folders of each split are; None if there are none."""
    inside = {p.name.lower(): p for p in folder.iterdir() if p.is_dir()}
    found = {
        split: next((inside[name] for name in names if name in inside), None)
        for split, names in _SPLITS.items()
    }
    places = {split: place for split, place in found.items() if place and _class_folders(place)}
    if "train" in places:
        if known is not None:
            places.pop("val", None)
        if "val" in places:
            val = places.pop("val")
            said = "are left out, since there are test images"
            if "test" not in places:
                said = "are taken for the test images, since there are no others"
            warnings.warn(f"{folder}: the images in {val.name}/ {said}.", stacklevel=2)
            places.setdefault("test", val)
        return places
    named = {name for names in _SPLITS.values() for name in names}
    if known is not None or named & inside.keys():
        return None
    # One folder per class, two at least; a folder of datasets is none.
    classes = [folder / name for name in _class_folders(folder)]
    classes = [place for place in classes if any(_is_image(p) for p in _files(place))]
    nested = any(
        p.is_dir() and p.name.lower() in named for place in classes for p in place.iterdir()
    )
    return None if len(classes) < 2 or nested else {"train": folder}


def _class_folders(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return in_order(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    """All files below a folder, in order, and what is no file but stands for some.

    That is a folder that is called like an image, and a link to a folder, which is not followed.
    """
    return sorted(
        path
        for path in folder.rglob("*")
        if _is_image(path) or not path.is_dir() or path.is_symlink()
        if not path.name.startswith(".") and path.name.lower() not in _LITTER
    )


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS


def _listed(folder: Path, numbers: dict[str, int]) -> _Found:
    found = _Found([], [], [])
    found.skipped += [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    for name in _class_folders(folder):
        if name not in numbers:
            raise ValueError(
                f"{folder / name} is not a class; expected folders named {', '.join(numbers)}."
            )
        files = _files(folder / name)
        images = [path for path in files if _is_image(path)]
        if not images:
            raise ValueError(f"{folder / name} holds no images ({', '.join(sorted(ENDINGS))}).")
        found.paths += images
        found.labels += [numbers[name]] * len(images)
        found.skipped += [path for path in files if not _is_image(path)]
    return found


def _say_skipped(folder: Path, skipped: list[Path]) -> None:
    skipped = [path for path in skipped if path.name.lower() not in _LITTER]
    if skipped:
        names = [path.relative_to(folder).as_posix() for path in skipped]
        more = ", ..." if len(names) > _NAMED else ""
        warnings.warn(
            f"{len(names)} file(s) below {folder} are left out, since they are no images that are "
            f"read or lie in no class: {', '.join(names[:_NAMED])}{more}.",
            stacklevel=2,
        )


def _cut(folder: Path, found: _Found, fraction: float) -> dict[str, _Found]:
    """Training and test images of a folder that has one set."""
    chosen = split_rows(len(found.labels), fraction, labels=np.asarray(found.labels))
    warnings.warn(
        f"{folder} has no test set: {chosen.sum()} of its {len(chosen)} images, drawn within the "
        "classes, are taken for one; pass test= for another fraction.",
        stacklevel=2,
    )

    def of(mask: np.ndarray) -> _Found:
        rows = np.flatnonzero(mask)
        return _Found([found.paths[i] for i in rows], [found.labels[i] for i in rows], [], rows)

    return {"train": of(~chosen), "test": of(chosen)}


def _bytes_of(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read as an image ({error.strerror or error}); replace it."
        ) from error
