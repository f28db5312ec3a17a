"""Results survive a file; files from strangers run nothing; failures leave nothing."""

from __future__ import annotations

import io
import json
import pickle
import time
import zipfile

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import ntk_air as na


def test_trees_survive_a_file_exactly(tmp_path):
    tree = {
        "a": [1, 2.5, float("inf"), None, True, "text"],
        "b": (np.arange(6, dtype=np.int8).reshape(2, 3), jnp.float32(0.1)),
        "c": np.array([1.5, -2], ml_dtypes.bfloat16),
        "nothing": {},
        "empty": np.zeros((0, 3)),
    }
    back = na.load(na.save(tree, tmp_path / "tree"))
    assert back["a"] == tree["a"]
    assert isinstance(back["b"], tuple)
    for ours, theirs in ((tree["b"][0], back["b"][0]), (tree["c"], back["c"])):
        assert ours.dtype == theirs.dtype
        assert np.array_equal(ours, theirs)
    assert back["b"][1] == np.float32(0.1)
    assert back["empty"].shape == (0, 3)
    assert np.isnan(na.load(na.save(float("nan"), tmp_path / "nan")))


def test_equal_results_make_equal_files_at_any_time(tmp_path, monkeypatch):
    tree = {"a": np.arange(3.0)}
    first = na.save(tree, tmp_path / "first").read_bytes()
    monkeypatch.setattr(time, "time", lambda: 2e9)
    assert na.save(tree, tmp_path / "second").read_bytes() == first


def test_replaces_only_when_complete(tmp_path):
    path = na.save([1], tmp_path / "x")
    with pytest.raises(TypeError, match=r"cannot save result\.0 of type function"):
        na.save([lambda: 0], path)
    assert na.load(path) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def craft(path, manifest, arrays=()):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, data in arrays:
            archive.writestr(name, data)
    return path


def manifest(tree, version=1):
    return {"format": "ntk_air.result", "version": version, "tree": tree}


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


def test_bad_files_are_refused(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"not a zip")
    with pytest.raises(ValueError, match="not a readable ntk_air result"):
        na.load(path)
    with pytest.raises(ValueError, match="format version 99"):
        na.load(craft(path, manifest(1, version=99)))
    with pytest.raises(ValueError, match="does not know"):
        na.load(craft(path, manifest({"result": "os.system", "fields": {}})))
    with pytest.raises(ValueError, match="not a readable"):
        na.load(craft(path, manifest({"array": "gone", "dtype": "float32"})))
    with pytest.raises(ValueError, match="names format 'else'"):
        na.load(craft(path, {"format": "else"}))
    raw = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        raw, {"descr": "|O", "fortran_order": False, "shape": (1,)}
    )
    data = raw.getvalue() + pickle.dumps(Bomb())
    with pytest.raises(ValueError, match="not a readable"):
        na.load(craft(path, manifest({"array": "a", "dtype": "object"}), [("a.npy", data)]))
    good = na.save({"a": np.arange(1000)}, path).read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(ValueError, match="not a readable"):
        na.load(path)


def test_import_is_light():
    import subprocess
    import sys

    code = (
        "import sys, jax; before = set(sys.modules); import ntk_air;"
        "heavy = {'neural_tangents', 'matplotlib', 'sklearn', 'flax', 'optax', 'pyarrow', 'scipy',"
        " 'tensorflow'}; sys.exit(len(heavy & (set(sys.modules) - before)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
