"""Kinds of fuzzed inputs: results, kernel stores, cells and checkpoints of training."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax

import ntk_air as na
from benchmarks import _noisy_labels_cells
from benchmarks._fuzz_mutations import as_json, damaged_bytes, damaged_tree


def _results() -> list[Any]:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(6, 3)).astype(np.float32)
    system = na.spectral.eigendecompose(jnp.asarray(points @ points.T))
    check = na.theory.Check(name="a", statement="b", required=1.0, measured="c", holds=True)
    report = na.theory.TheoremReport(
        name="n", source="s", assumptions=(check,), conclusions=(check, check),
        tables={"t": [{"x": 1, "y": 0.5}]}, histories={},
    )  # fmt: skip
    kept = {name: np.zeros(3) for name in na.distillation.History.__dataclass_fields__}
    history = na.distillation.History(**{**kept, "outputs": None})
    training = na.distillation.DistillationResult(params={"w": points}, history=history)
    tree = {"a": [1, 2.5, None, True], "b": (points, "x"), "c": jnp.ones(2, jnp.bfloat16)}
    return [system, report, training, tree]


class ResultBytes:
    """Files of `na.save`, their bytes changed."""

    def __init__(self, folder: Path):
        self._path = folder / "x.ntkair"
        self._files = [na.save(r, folder / "good").read_bytes() for r in _results()]

    def one(self, rng: np.random.Generator) -> None:
        data = self._files[int(rng.integers(0, len(self._files)))]
        self._path.write_bytes(damaged_bytes(rng, data))
        na.load(self._path)


class ResultTrees:
    """Files of `na.save`, nodes of their trees of another type, place or depth."""

    def __init__(self, folder: Path):
        self._path = folder / "x.ntkair"
        self._files = []
        for result in _results():
            with zipfile.ZipFile(na.save(result, folder / "good")) as archive:
                members = {name: archive.read(name) for name in archive.namelist()}
            self._files.append((json.loads(members.pop("manifest.json")), members))

    def one(self, rng: np.random.Generator) -> None:
        document, members = self._files[int(rng.integers(0, len(self._files)))]
        members = {k: v for k, v in members.items() if rng.random() < 0.98}
        if rng.random() < 0.9:
            document = document | {"tree": damaged_tree(rng, document["tree"])}
        else:
            document = damaged_tree(rng, document)
        _archived(self._path, as_json(document), members, zipfile.ZIP_STORED)
        na.load(self._path)


class ResultArchives:
    """Files of `na.save`: members compressed, repeated, renamed, with headers that lie."""

    def __init__(self, folder: Path):
        self._trees = ResultTrees(folder)
        self._path = folder / "x.ntkair"

    def one(self, rng: np.random.Generator) -> None:
        document, members = self._trees._files[int(rng.integers(0, len(self._trees._files)))]
        members = dict(members)
        for name in list(members):
            if rng.random() < 0.5:
                members[name] = _lying(rng, members[name])
            if rng.random() < 0.1:
                members[str(rng.choice(["../x.npy", "manifest.json", name]))] = members.pop(name)
        kinds = (zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA)
        kind = kinds[int(rng.integers(0, len(kinds)))]
        _archived(self._path, json.dumps(document), members, kind)
        if rng.random() < 0.5:
            self._path.write_bytes(damaged_bytes(rng, self._path.read_bytes()))
        na.load(self._path)


def _lying(rng: np.random.Generator, data: bytes) -> bytes:
    """A header that promises another array than follows."""
    shape = rng.choice([b"(1000000000, 1000000000)", b"(-1,)", b"()", b"(0, 9223372036854775807)"])
    old = data[data.find(b"'shape': ") + 9 : data.find(b"), }") + 1]
    kinds = (b"'|O'", b"'<U0'", b"'<c16'", b"[('a', '<i4')]", b"'<f4'")
    kind = kinds[int(rng.integers(0, len(kinds)))]
    out = data.replace(old, shape, 1) if rng.random() < 0.7 and old else data
    return out.replace(b"'<f4'", kind, 1)


def _archived(path: Path, manifest: str, members: dict[str, bytes], kind: int) -> None:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("manifest.json", manifest)
        for name, data in members.items():
            archive.writestr(name, data)


class _Store:
    """A small store, laid down anew for each input; reading it gives its kernel or an error."""

    def __init__(self, folder: Path):
        points = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
        network = na.kernels.fully_connected(1, 8)
        self.path, self._good = folder / "store", folder / "good"
        made = na.kernels.infinite_ntk(network, points, store=self._good, tile_size=4)
        self._kernel = np.asarray(made)
        self.files = sorted(p for p in self._good.rglob("*") if p.is_file())
        shutil.copytree(self._good, self.path)

    def restore(self) -> None:
        """Undoes the change of one input."""
        for file in self.files:
            place = self.path / file.relative_to(self._good)
            if not place.is_file() or place.read_bytes() != file.read_bytes():
                place.write_bytes(file.read_bytes())

    def read(self) -> None:
        found = np.asarray(na.kernels.open_kernel(self.path))
        assert found.shape == self._kernel.shape, "a kernel of another shape"
        assert (found == self._kernel).all(), "a kernel with other entries"


class Manifests(_Store):
    """Kernel stores: manifest and array description of other types, sizes and bytes."""

    def one(self, rng: np.random.Generator) -> None:
        self.restore()
        path = self.path / str(rng.choice(["manifest.json", "manifest.json", "zarr.json"]))
        document = json.loads(path.read_text())
        if rng.random() < 0.3:
            path.write_bytes(damaged_bytes(rng, path.read_bytes()))
        else:
            path.write_text(as_json(damaged_tree(rng, document)))
            self._sign(rng)
        self.read()

    def _sign(self, rng: np.random.Generator) -> None:
        """As who wants the manifest to be believed."""
        path = self.path / "manifest.json"
        try:
            document = json.loads(path.read_text())
        except RecursionError:
            return
        if isinstance(document, dict) and {"job", "kernel"} <= set(document) and rng.random() < 0.8:
            identity = {key: document[key] for key in ("job", "kernel")}
            text = json.dumps(identity, sort_keys=True)
            document["hash"] = hashlib.sha256(text.encode()).hexdigest()
            path.write_text(json.dumps(document))


class Tiles(_Store):
    """Kernel stores: tiles and seals damaged, swapped, copied, removed."""

    def one(self, rng: np.random.Generator) -> None:
        self.restore()
        inner = [self.path / f.relative_to(self._good) for f in self.files if len(f.name) < 3]
        one, two = (inner[int(rng.integers(0, len(inner)))] for _ in range(2))
        match int(rng.integers(0, 4)):
            case 0:
                one.write_bytes(damaged_bytes(rng, one.read_bytes()))
            case 1:
                first, second = one.read_bytes(), two.read_bytes()
                one.write_bytes(second)
                two.write_bytes(first)
            case 2:
                one.write_bytes(two.read_bytes())
            case _:
                one.unlink()
        self.read()


class TheoryCells:
    """Cells of a report: damaged, or under the name of another."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._expected = self._report()
        self._paths = sorted(folder.glob("*.ntkair"))
        self._files = [p.read_bytes() for p in self._paths]

    def one(self, rng: np.random.Generator) -> None:
        count = len(self._paths)
        for path, data in zip(self._paths, self._files, strict=True):
            path.write_bytes(data)
        data = self._files[int(rng.integers(0, count))]
        damaged = damaged_bytes(rng, data) if rng.random() < 0.7 else data
        self._paths[int(rng.integers(0, count))].write_bytes(damaged)
        assert self._report() == self._expected, "another cell"

    def _report(self) -> str:
        return na.theory.check_ntk_concentration(quick=True, checkpoint=self._folder).to_json()


class BenchmarkCells:
    """Cells of the noisy-label benchmark: other types, damaged, or those of other settings."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._options = _noisy_labels_cells.settings("symmetric:0.4", "gce")
        numbers = {"test_accuracy": {"mean": 0.5, "sd": None, "each": [0.5]}}
        self._cell = {"settings": _noisy_labels_cells._kept(self._options)}
        self._cell |= {"best": numbers, "final": numbers, "stopped": numbers}
        self._path = _noisy_labels_cells.path_of(folder, self._options)
        self._path.parent.mkdir(parents=True)

    def one(self, rng: np.random.Generator) -> None:
        text = as_json(damaged_tree(rng, self._cell))
        data = text.encode() if rng.random() < 0.7 else damaged_bytes(rng, text.encode())
        self._path.write_bytes(data)
        _noisy_labels_cells.load(self._folder, self._options)


class Checkpoints:
    """A run on disk: a file of it damaged, removed or exchanged with another."""

    def __init__(self, folder: Path):
        self._good, self._path = folder / "good", folder / "run"
        self._expected = self._train(self._good)
        self._files = sorted(p for p in self._good.rglob("*") if p.is_file())

    def one(self, rng: np.random.Generator) -> None:
        shutil.rmtree(self._path, ignore_errors=True)
        shutil.copytree(self._good, self._path)
        one, two = (
            self._path / self._files[int(rng.integers(0, len(self._files)))].relative_to(self._good)
            for _ in range(2)
        )
        match int(rng.integers(0, 3)):
            case 0:
                one.write_bytes(damaged_bytes(rng, one.read_bytes()))
            case 1:
                one.write_bytes(two.read_bytes())
            case _:
                one.unlink()
        found = self._train(self._path)
        assert (found == self._expected).all(), "another history"

    def _train(self, path: Path) -> np.ndarray:
        inputs = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
        trained = na.distillation.self_distill(
            _linear, {"w": jnp.ones((3, 2))}, inputs, np.eye(2)[[0, 1] * 3].astype(np.float32),
            optimizer=optax.sgd, learning_rate=0.05, num_steps=4, alpha=0.5,
            label_fn=na.distillation.hard, record_every=2, key=0, checkpoint=path,
        )  # fmt: skip
        return np.asarray(trained.history.loss)


def _linear(params: Any, inputs: Any) -> Any:
    return inputs @ params["w"]
