"""What every reader of files returns: labels at once, images only for the rows asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np


@dataclass(frozen=True)
class Known:
    """A dataset with a name: what its files must hold, and where its originals are."""

    name: str
    class_names: tuple[str, ...]
    shape: tuple[int, int, int]
    label_columns: tuple[str, ...]
    hub: str
    homepage: str


@dataclass(frozen=True)
class Split:
    """One split of a source.

    Attributes:
        labels: (n,) integers.
        read: rows (k,) to images (k, H, W, ch), uint8 or float32, or (k, d) for a user's arrays.
        extra_labels: further labels (n,) by name.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]
    extra_labels: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """Both splits of a dataset and where they came from; no class names means numbers."""

    origin: Path | str
    train: Split
    test: Split | None
    class_names: tuple[str, ...] | None = None


_Read = TypeVar("_Read", bound=Callable[[Path, Known | None], Source | None])


@dataclass(frozen=True)
class Reader:
    """A format of data.

    Attributes:
        read: from a folder, or the file of its suffix, to a source; None where there is no data of
            this format. A file that it takes is never None.
        files: what in a folder tells the format, for messages; empty: of known data only.
        suffix: of the single file that it reads; None: it reads folders.
    """

    read: Callable[[Path, Known | None], Source | None]
    files: str = ""
    suffix: str | None = None

    def read_file(self, path: Path, known: Known | None) -> Source:
        """The source of a file of its suffix."""
        source = self.read(path, known)
        assert source is not None
        return source


READERS: list[Reader] = []
"""Every format, in the order in which it is looked for: that of the imports in `_find`."""


def reader(files: str = "", suffix: str | None = None) -> Callable[[_Read], _Read]:
    """Decorator: puts a function that reads a format into `READERS`; arguments as of `Reader`."""

    def register(read: _Read) -> _Read:
        READERS.append(Reader(read, files, suffix))
        return read

    return register


_CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
_CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange
orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit
raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel
streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip
turtle wardrobe whale willow_tree wolf woman worm
"""

KNOWN = {
    known.name: known
    for known in (
        Known(
            name="mnist",
            class_names=tuple("0123456789"),
            shape=(28, 28, 1),
            label_columns=("label",),
            hub="ylecun/mnist",
            homepage="http://yann.lecun.com/exdb/mnist",
        ),
        Known(
            name="cifar10",
            class_names=tuple(_CIFAR10.split()),
            shape=(32, 32, 3),
            label_columns=("label",),
            hub="uoft-cs/cifar10",
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        ),
        Known(
            name="cifar100",
            class_names=tuple(_CIFAR100.split()),
            shape=(32, 32, 3),
            label_columns=("fine_label",),
            hub="uoft-cs/cifar100",
            homepage="https://www.cs.toronto.edu/~kriz/cifar.html",
        ),
    )
}
