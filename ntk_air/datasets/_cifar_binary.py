"""The binary versions of CIFAR-10 and CIFAR-100.

The pickled "python version" is not read: unpickling runs whatever code the file holds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ._source import Known, Source, Split, reader

# name -> training files, test file, label bytes before the pixels (the last one is the class).
_LAYOUTS = {
    "cifar10": (tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", 1),
    "cifar100": (("train.bin",), "test.bin", 2),
}
_PICKLES = {"cifar10": "data_batch_1", "cifar100": "train"}


@reader()
def read_cifar_binary(folder: Path, known: Known | None) -> Source | None:
    """Reads data_batch_*.bin or train.bin, and the test file beside them; see `Reader`."""
    if known is None or known.name not in _LAYOUTS:
        return None
    train, test, num_labels = _LAYOUTS[known.name]
    if not any((folder / name).is_file() for name in train):
        return None
    missing = [name for name in train if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} lacks {', '.join(missing)} of {known.name}; add the rest.")
    tested = [folder / test] if (folder / test).is_file() else None
    return Source(
        folder,
        _split([folder / name for name in train], num_labels, known),
        _split(tested, num_labels, known) if tested else None,
    )


def find_pickles(folder: Path, name: str) -> Path | None:
    """The path of a pickled batch in the folder, to say in an error why it was not read."""
    if name not in _PICKLES:
        return None
    path = folder / _PICKLES[name]
    return path if path.is_file() else None


def _split(paths: list[Path], num_labels: int, known: Known) -> Split:
    height, width, channels = known.shape
    row_size = num_labels + height * width * channels
    files = []
    for path in paths:
        size = path.stat().st_size
        if size == 0 or size % row_size:
            raise ValueError(
                f"{path} holds {size} bytes, expected a multiple of {row_size}: it is truncated "
                f"or not the binary version of {known.name}; replace it."
            )
        files.append(np.memmap(path, np.uint8, "r").reshape(-1, row_size))
    labels = np.concatenate([file[:, num_labels - 1] for file in files]).astype(np.int32)
    starts = np.cumsum([0, *(len(file) for file in files)])

    def read(rows: np.ndarray) -> np.ndarray:
        # A file stores each image channel by channel: (ch, H, W).
        pixels = np.empty((len(rows), channels, height, width), np.uint8)
        for start, file in zip(starts, files, strict=False):
            here = (rows >= start) & (rows < start + len(file))
            pixels[here] = file[rows[here] - start, num_labels:].reshape(-1, *pixels.shape[1:])
        return pixels.transpose(0, 2, 3, 1)

    return Split(labels, read)
