"""Kinds of fuzzed inputs: data sets in every format, files of settings, command lines."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

import ntk_air as na
from benchmarks._fuzz_mutations import _VALUES, damaged_bytes
from ntk_air.cli import main


class _Data:
    """A data set whose files are damaged one at a time."""

    name = ""

    def __init__(self, folder: Path):
        self._folder = folder / "data"
        self._folder.mkdir()
        self._files = {self._folder / name: data for name, data in self.files().items()}
        for path, data in self._files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        self._last: Path | None = None

    def files(self) -> dict[str, bytes]:
        """Name below the folder to the bytes of an undamaged file."""
        raise NotImplementedError

    def one(self, rng: np.random.Generator) -> None:
        if self._last is not None:
            self._last.write_bytes(self._files[self._last])
        self._last = list(self._files)[int(rng.integers(0, len(self._files)))]
        self._last.write_bytes(self.damaged(rng, self._files[self._last]))
        if self.name:
            found = na.datasets.load(self.name, root=self._folder)
        else:
            found = na.datasets.load(str(self._target()))
        assert np.isfinite(np.asarray(found.train_inputs)).all(), "inputs that are no numbers"
        assert int(found.train_labels.max()) < found.num_classes, "a label without a class"

    def damaged(self, rng: np.random.Generator, data: bytes) -> bytes:
        return damaged_bytes(rng, data)

    def _target(self) -> Path:
        return self._folder


class Images(_Data):
    """Folders of images: PNG, JPEG, BMP, PPM and others, damaged or of formats not read."""

    def files(self) -> dict[str, bytes]:
        from PIL import Image

        rng = np.random.default_rng(0)
        out = {}
        for index, (kind, end) in enumerate([("PNG", "png"), ("JPEG", "jpg"), ("BMP", "bmp")] * 2):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).save(buffer, kind)
            out[f"train/{'ab'[index % 2]}/{index}.{end}"] = buffer.getvalue()
        out["train/a/9.ppm"] = b"P6 5 5 255\n" + rng.bytes(75)
        return out

    def damaged(self, rng: np.random.Generator, data: bytes) -> bytes:
        others = (b"%!PS-Adobe-3.0 EPSF-3.0\n", b"GIF89a", b"II*\0", b"%PDF-1.4\n", b"<svg>", b"")
        if rng.random() < 0.1:
            return others[int(rng.integers(0, len(others)))] + rng.bytes(40)
        return damaged_bytes(rng, data)


class Archives(_Data):
    """.npz archives, compressed and not."""

    def files(self) -> dict[str, bytes]:
        rng = np.random.default_rng(0)
        arrays = {
            "train_inputs": rng.normal(size=(8, 3)).astype(np.float32),
            "train_labels": np.arange(8) % 2,
            "class_names": np.array(["a", "b"]),
            "extra_worst": np.arange(8) % 2,
        }
        out = {}
        for name, save in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
            buffer = io.BytesIO()
            save(buffer, **arrays)
            out[name] = buffer.getvalue()
        return out

    def _target(self) -> Path:
        assert self._last is not None
        return self._last


class Idx(_Data):
    """IDX files of MNIST, gzipped and not."""

    name = "mnist"

    def files(self) -> dict[str, bytes]:
        rng = np.random.default_rng(0)
        images = struct.pack(">4I", 2051, 12, 28, 28) + rng.bytes(12 * 784)
        labels = struct.pack(">2I", 2049, 12) + bytes(range(10)) + b"\0\1"
        return {
            "train-images-idx3-ubyte.gz": gzip.compress(images),
            "train-labels-idx1-ubyte": labels,
            "t10k-images-idx3-ubyte": images,
            "t10k-labels-idx1-ubyte.gz": gzip.compress(labels),
        }


class Cifar(_Data):
    """The binary version of CIFAR-10."""

    name = "cifar10"

    def files(self) -> dict[str, bytes]:
        rng = np.random.default_rng(0)
        names = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
        rows = (b"".join(bytes([k]) + rng.bytes(3072) for k in range(4)) for _ in names)
        return dict(zip(names, rows, strict=True))


class Parquet(_Data):
    """Parquet folders as Hugging Face writes them."""

    def files(self) -> dict[str, bytes]:
        import pyarrow
        import pyarrow.parquet
        from PIL import Image

        rng, cells = np.random.default_rng(0), []
        for _ in range(6):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (4, 4), dtype=np.uint8)).save(buffer, "PNG")
            cells.append({"bytes": buffer.getvalue(), "path": None})
        features = {"info": {"features": {"label": {"names": ["a", "b"]}}}}
        table = pyarrow.table({"image": cells, "label": [0, 1] * 3})
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(table, buffer)
        return {"train-00000-of-00001.parquet": buffer.getvalue()}


class _Commands:
    """Command lines that end before any work: their data set is not there."""

    def __init__(self, folder: Path):
        self._folder = folder

    def ends(self, arguments: list[str]) -> None:
        """Raises unless the command ends with exit code 2 and one line."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            try:
                code = main(arguments)
            except SystemExit as end:
                code = end.code
        if code == 0 and {"-h", "--help", "--version", "--list"} & set(arguments):
            return
        text = said.getvalue()
        assert (code, text.count("\n")) == (2, 1), f"exit code {code}, {text!r}"
        assert text[:-1].isprintable(), f"not fit for a terminal: {text!r}"
        raise ValueError(text)


_KEYS = [
    "dataset", "root", "classes", "train_size", "test_size", "noise", "architecture", "depth",
    "width", "weight_std", "bias_std", "rank", "steps", "learning_rate", "momentum",
    "time_constant", "memory_budget", "seed", "out", "network", "method", "alpha", "label_fn",
    "loss", "teacher", "optimizer", "schedule", "weight_decay", "batch_size", "epochs", "seeds",
    "one_by_one", "validation", "augment", "precision", "checkpoint", "labels", "all",
    "noise_rate", "rule", "config", "run", "parser", "command", "purpose",
]  # fmt: skip
_TEXTS = ["none", "symmetric:0.4", "fc", "gce", "hard", "adam", "cosine", "1", "nan", "", "x\x1b"]


class Settings(_Commands):
    """Files of settings of air, distill, stop and labels: TOML of any type, and damaged."""

    def one(self, rng: np.random.Generator) -> None:
        command = str(rng.choice(["air", "distill", "stop", "labels"]))
        lines = [
            f"{_KEYS[int(rng.integers(0, len(_KEYS)))]} = {_toml(rng)}"
            for _ in range(int(rng.integers(1, 4)))
        ]
        data = "\n".join(lines).encode(errors="replace")
        path = self._folder / "c.toml"
        path.write_bytes(damaged_bytes(rng, data) if rng.random() < 0.3 else data)
        self.ends([command, "--config", str(path), "--dataset", str(self._folder / "none.npz")])


def _toml(rng: np.random.Generator) -> str:
    value: Any = _VALUES[int(rng.integers(0, len(_VALUES)))]
    if rng.random() < 0.4:
        value = str(rng.choice(_TEXTS))
    if value is None:
        return "1979-05-27"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, dict):
        return "{a = 1}"
    return json.dumps(value)


class Lines(_Commands):
    """Command lines of every command."""

    def one(self, rng: np.random.Generator) -> None:
        commands = ["air", "distill", "stop", "labels", "kernel", "report", "check", "fly", ""]
        command = str(rng.choice(commands))
        flags = []
        for _ in range(int(rng.integers(0, 4))):
            key = _KEYS[int(rng.integers(0, len(_KEYS)))].replace("_", "-")
            value = str(_VALUES[int(rng.integers(0, len(_VALUES)))])
            if rng.random() < 0.5:
                value = str(rng.choice(_TEXTS))
            flags += [f"--{key}={value}"] if rng.random() < 0.7 else [f"--{key}", value]
        absent = str(self._folder / "none.npz")
        last = {
            "check": ["no_such_theorem"],
            "report": [absent, "--out", str(self._folder / "o")],
            "kernel": ["--store", str(self._folder / "s"), "--dataset", absent],
        }
        self.ends([command, *flags, *last.get(command, ["--dataset", absent])])
