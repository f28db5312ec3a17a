"""What every reader of files returns: labels at once, images only for the rows asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

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
        identifiers: (n,) text, what each point is called; None: nothing.
        groups: (n,) numbers of what must not be cut apart, such as patients; None: nothing.
        targets: (n, k) numbers to be predicted instead of the labels, which are then all 0.
        rows: (n,) numbers of their rows in the file, if this is a part of what it holds; None: all.
    """

    labels: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]
    extra_labels: dict[str, np.ndarray] = field(default_factory=dict)
    identifiers: np.ndarray | None = None
    groups: np.ndarray | None = None
    targets: np.ndarray | None = None
    rows: np.ndarray | None = None


@dataclass(frozen=True)
class Source:
    """Both splits of a dataset and where they came from.

    Attributes:
        origin: for messages.
        train: the training points.
        test: the test points; None where there are none.
        class_names: names of the classes; None means numbers.
        kind: as of `Dataset`; empty: by the axes of the inputs.
        prepare: what makes inputs of what was read of the training and of the test points, with
            numbers of the training points alone, such as means; None: they are what was read.
    """

    origin: Path | str
    train: Split
    test: Split | None
    class_names: tuple[str, ...] | None = None
    kind: str = ""
    prepare: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] | None = None


_Read = TypeVar("_Read", bound=Callable[..., Source | None])


@dataclass(frozen=True)
class Reader:
    """A format of data.

    Attributes:
        read: from a folder, or the file of its suffix, and the known dataset that it should hold,
            to a source; None where there is no data of this format. A file that it takes, and
            that need not hold known data, is never None.
        files: what in a folder tells the format, for messages; empty: of known data only.
        suffix: of the single file that it reads; None: it reads folders.
        takes: keywords of `load` that it reads, which are passed to it where they are given.
    """

    read: Callable[..., Source | None]
    files: str = ""
    suffix: str | None = None
    takes: Collection[str] = ()

    def source(self, path: Path, known: Known | None, options: Mapping[str, Any]) -> Source | None:
        """What it reads; None where there is no data of its format.

        Raises:
            ValueError: if an option was given that it does not read.
        """
        source = self.read(path, known, **{k: v for k, v in options.items() if k in self.takes})
        idle = [name for name in options if name not in self.takes]
        if source is not None and idle:
            verb, them = ("has", "it") if len(idle) == 1 else ("have", "them")
            raise ValueError(
                f"{', '.join(idle)} {verb} no effect on the data at {path}; leave {them} out."
            )
        return source

    def read_file(self, path: Path, known: Known | None, options: Mapping[str, Any]) -> Source:
        """The source of a file of its suffix; raises as `source` does."""
        source = self.source(path, known, options)
        assert source is not None
        return source


READERS: list[Reader] = []
"""Every format, in the order in which it is looked for: that of the imports in `_find`."""


def reader(
    files: str = "", suffix: str | None = None, takes: Collection[str] = ()
) -> Callable[[_Read], _Read]:
    """Decorator: puts a function that reads a format into `READERS`; arguments as of `Reader`."""

    def register(read: _Read) -> _Read:
        READERS.append(Reader(read, files, suffix, takes))
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
