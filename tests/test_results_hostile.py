"""`load` raises what it documents, checks every field, and takes no more memory than the file."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import struct
import tracemalloc
import zipfile

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import ntk_air as na
from ntk_air import _results

ROOMS = ("datasets", "noise", "spectral", "dynamics", "distillation", "theory", "analysis")


def classes():
    """Every result type of the package, by the name that it has in a file."""
    for room in ROOMS:
        getattr(na, room)
    return dict(_results._RESULTS)


def craft(path, tree, arrays=(), kind=zipfile.ZIP_STORED):
    document = {"format": "ntk_air.result", "version": 1, "tree": tree}
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("manifest.json", tree if isinstance(tree, str) else json.dumps(document))
        for name, data in arrays:
            archive.writestr(f"{name}.npy", data)
    return path


def npy(array):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array)
    return buffer.getvalue()


def refused(path, words):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=words):
            na.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
    finally:
        tracemalloc.stop()


def value_for(annotation):
    """A value that a field takes, and one that it does not; None where any will do."""
    kinds = {
        "float": (1, {"list": []}), "int": (1, {"float": "1.5"}), "bool": (True, 1),
        "str": ("x", 3), "float | str": ("x", None), "int | None": (None, "x"),
    }  # fmt: skip
    if annotation in kinds:
        return kinds[annotation]
    if "Array" in annotation or "ndarray" in annotation:
        return (
            (1, "x") if not annotation.startswith("dict") else ({"dict": {}}, {"dict": {"a": "x"}})
        )
    if annotation.startswith("dict"):
        return {"dict": {}}, {"list": []}
    if annotation.startswith("tuple"):
        return {"tuple": []}, {"tuple": [{"float": "1.5"}]}
    if annotation.endswith("| None"):
        return None, 3
    return None


def results_with_one_wrong_field():
    for name, kind in classes().items():
        taken = {}
        for field in dataclasses.fields(kind):
            pair = value_for(field.type)
            if pair is None:
                break
            taken[field.name] = pair
        for wrong in taken:
            yield name, wrong, {k: good if k != wrong else bad for k, (good, bad) in taken.items()}


def test_every_field_of_every_result_is_of_its_type(tmp_path):
    count = 0
    for name, wrong, fields in results_with_one_wrong_field():
        craft(tmp_path / "x", {"result": name, "fields": fields})
        with pytest.raises(ValueError, match=f"{name}, and its field {wrong} is"):
            na.load(tmp_path / "x")
        count += 1
    assert count > 150, count


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ("[]", "names format"),
        ("3", "names format"),
        ("[" * 100_000, "recursion|Recursion|nested|Expecting"),
        ("\x00", "Expecting value"),
        ({"float": None}, "where a value belongs"),
        ({"float": "x"}, "could not convert"),
        (1.5, "where a value belongs"),
        ([], "where a value belongs"),
        ({"list": 1}, "where a value belongs"),
        ({"list": [], "tuple": []}, "where a value belongs"),
        ({"dict": []}, "where a value belongs"),
        ({"result": 1, "fields": {}}, "where a value belongs"),
        ({"result": "theory.Check", "fields": {}}, "field name is missing"),
        ({"result": "theory.Check", "fields": {"colour": 1}}, "no field colour"),
        ({"result": "theory", "fields": {}}, "does not know"),
        ({"result": "cli.main", "fields": {}}, "does not know"),
        ({"array": "a", "dtype": "float32"}, "not there, or is named twice"),
        ({"array": ["a"], "dtype": "float32"}, "not there, or is named twice"),
    ],
)
def test_trees(tmp_path, tree, words):
    refused(craft(tmp_path / "x", tree), words)


def header(shape, descr="<f4"):
    buffer = io.BytesIO()
    described = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "dtype", "words"),
    [
        (header((10**9, 10**9)), "float32", "takes 4000000000000000000 bytes"),
        (header((10**12,), "<U0"), "str0", "expected numbers or text"),
        (header((2,), [("a", "<i4")]) + bytes(8), "void32", "expected numbers or text"),
        (header((3,)) + bytes(8), "float32", "takes 12 bytes, there are 8"),
        (header((2,)) + bytes(12), "float32", "takes 8 bytes, there are 12"),
        (npy(np.zeros(2, np.float32)), "float64", "is of float32, not of 'float64'"),
        (npy(np.zeros(2, np.uint32)), "float32", "is of uint32, not of 'float32'"),
        (npy(np.zeros(2, np.uint16)), "object", "is of uint16"),
        (npy(np.zeros(2, np.uint16)), {}, "is of uint16"),
        (b"\x93NUMPY\x09\x00", "float32", "unknown format version"),
        (b"", "float32", "not a readable"),
    ],
)
def test_arrays(tmp_path, data, dtype, words):
    refused(craft(tmp_path / "x", {"array": "a", "dtype": dtype}, [("a", data)]), words)


def test_one_array_is_not_many(tmp_path):
    """A megabyte named a thousand times would be a gigabyte."""
    entry = {"array": "a", "dtype": "float32"}
    refused(
        craft(tmp_path / "x", {"list": [entry] * 1000}, [("a", npy(np.zeros(10**5, np.float32)))]),
        "named twice",
    )


@pytest.mark.parametrize("kind", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_members_that_expand(tmp_path, kind):
    path = craft(tmp_path / "x", {"dict": {}}, [("a", bytes(10**7))], kind)
    refused(path, "compressed in a way not read here")


def test_members_that_lie_or_are_locked(tmp_path):
    good = na.save({"a": np.arange(50)}, tmp_path / "x").read_bytes()
    central = good.find(b"PK\x01\x02")
    cases = (
        (24, "<I", 2**31, "not a readable ntk_air result"),
        (8, "<H", 1, r"its member '.+' is encrypted"),
        (10, "<H", 99, "compressed in a way not read here"),
        (6, "<H", 99, "not a readable ntk_air result"),
    )
    for offset, code, value, words in cases:
        changed = bytearray(good)
        struct.pack_into(code, changed, central + offset, value)
        (tmp_path / "x").write_bytes(changed)
        refused(tmp_path / "x", words)
    with pytest.warns(UserWarning, match="Duplicate name"):
        craft(tmp_path / "x", {"dict": {}}, [("a", b"1"), ("a", b"2")])
    refused(tmp_path / "x", "a member twice")


def test_what_is_no_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        na.load(tmp_path / "absent")
    for path in (None, 3):
        with pytest.raises(TypeError):
            na.load(path)
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(OSError, match="not a regular file"):
            na.load(path)


def test_keys_of_any_text_keep_their_arrays_apart(tmp_path):
    tree = {
        "a.b": np.arange(3), "a": {"b": np.arange(4)}, "c/../d": np.arange(5),
        "e\x00f": np.arange(6), "e\x00g": np.arange(7), "ü" * 300: np.arange(8), "": np.arange(9),
    }  # fmt: skip
    back = na.load(na.save(tree, tmp_path / "x"))
    assert jax.tree.structure(back) == jax.tree.structure(tree)
    for one, two in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "int4", "uint4"])
def test_types_that_numpy_does_not_know(tmp_path, name):
    array = np.arange(4).astype(getattr(ml_dtypes, name))
    back = na.load(na.save([array], tmp_path / "x"))[0]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back.view(np.uint8), array.view(np.uint8))


def test_what_cannot_be_read_back_is_not_saved(tmp_path):
    for array in (np.zeros(2, [("a", "<f4")]), np.zeros(3, "V5"), np.array([None])):
        with pytest.raises(TypeError, match="cannot save result"):
            na.save([array], tmp_path / "x")
    with pytest.raises(ValueError, match=r"cannot save result\.0: it has masked values"):
        na.save([np.ma.masked_array([1.0, 2.0], [False, True])], tmp_path / "x")
    nested: list = []
    for _ in range(3000):
        nested = [nested]
    with pytest.raises(TypeError, match="nested too deeply"):
        na.save(nested, tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_scalars_of_numpy_in_a_tree_and_in_fields_come_back(tmp_path):
    values = [np.float64(1.5), np.float64(np.nan), np.float32(0.1), np.float64(-np.inf)]
    back = na.load(na.save(values, tmp_path / "x"))
    np.testing.assert_array_equal(np.asarray(back, np.float64), np.asarray(values, np.float64))
    law = na.theory.PowerLaw(exponent=np.float64(0.5), low=np.float64(0.25), high=1.0)
    assert str(na.load(na.save(law, tmp_path / "x"))) == str(law)


def test_stacked_results_are_results(tmp_path):
    """Results are trees: seeds may lie on an axis in front, of every field alike."""
    one = na.spectral.eigendecompose(jnp.diag(jnp.arange(1.0, 4.0)))
    many = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), one)
    back = na.load(na.save(many, tmp_path / "x"))
    assert back.eigenvectors.shape == (2, 3, 3)
    mixed = dataclasses.replace(one, eigenvectors=many.eigenvectors)
    with pytest.warns(UserWarning, match="field eigenvectors has shape"):
        na.save(mixed, tmp_path / "x")
    refused(tmp_path / "x", "field eigenvectors has shape")
