"""Corrected labels: read from the file of a person, put in their place, or refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

import ntk_air as na
from ntk_air._text import from_spreadsheet, spreadsheet

NAMES = ("a/1.png", "a/2.png", "=b", "b")


def data(**changes):
    options = {"train_identifiers": NAMES, "name": "mine"} | changes
    return na.datasets.from_arrays(np.arange(8.0).reshape(4, 2), ["cat", "dog", "dog", "emu"],
                                   **options)  # fmt: skip


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_text_goes_into_a_cell_and_comes_back():
    for text in ("=b", "'=b", "''=b", "'tis", "-3", "'-3", "@x", "", "'", "plain", "+1e5", "-"):
        assert from_spreadsheet(spreadsheet(text)) == text
    assert spreadsheet("=b") == "'=b"
    assert spreadsheet("'=b") == "''=b"
    assert spreadsheet("'tis") == "'tis"


def test_what_a_spreadsheet_makes_of_the_file_is_read(tmp_path):
    rows = [
        ("corrected", "x", "index"),
        ("cat", "1", "'=b"),
        ("", "2", "b"),
        ("emu ", "", "a/1.png"),
    ]
    for delimiter in ",;\t":
        lines = "\r\n".join(delimiter.join(row) for row in rows)
        path = written(tmp_path / "a.csv", "\ufeff" + lines + "\r\n\r\n")
        assert na.datasets.read_corrections(path) == {"=b": "cat", "a/1.png": "emu"}
        corrected = data().corrected(path)
        np.testing.assert_array_equal(corrected.train_labels, [2, 1, 0, 2])
        assert na.datasets.holds_corrections(path) == 2
    np.testing.assert_array_equal(data().train_labels, [0, 1, 1, 2])
    assert corrected.class_names == ("cat", "dog", "emu")
    assert na.datasets.holds_corrections(tmp_path / "none.csv") == 0


def test_names_and_numbers_of_classes():
    found = data().corrected({"b": 0, "=b": np.int64(2), "a/1.png": "1"})
    np.testing.assert_array_equal(found.train_labels, [1, 1, 2, 0])
    digits = na.datasets.from_arrays(np.eye(3), [0, 1, 1], name="x", class_names=("3", "1"))
    # The class that is called 1 is number 1; text names a class first, a number never does.
    np.testing.assert_array_equal(digits.corrected({0: "1", 1: "3"}).train_labels, [1, 0, 1])
    other = na.datasets.from_arrays(np.eye(3), [0, 1, 1], name="x", class_names=("1", "0"))
    np.testing.assert_array_equal(other.corrected({0: "0", 1: 0}).train_labels, [1, 0, 1])


def test_identifiers_are_numbers_where_all_are():
    assert data(train_identifiers=None).identifiers.tolist() == [0, 1, 2, 3]
    assert data(train_identifiers=("4", "7", "-1", "10")).identifiers.tolist() == [4, 7, -1, 10]
    for names in (("4", "7", "1", "010"), ("4", "7", "1", "1.0"), ("4", "7", "1", "9" * 30)):
        assert data(train_identifiers=names).identifiers.tolist() == list(names)
    assert data().identifiers.tolist() == list(NAMES)


def test_points_are_left_out_by_name_or_mask():
    for points in (["=b", "a/1.png"], np.array([True, False, True, False])):
        left = data().without(points)
        assert left.train_identifiers == ("a/2.png", "b")
        np.testing.assert_array_equal(left.train_inputs, [[2, 3], [6, 7]])
    assert data().without([]).train_identifiers == NAMES
    with pytest.raises(ValueError, match="all 4 training points would be left out"):
        data().without(NAMES)
    with pytest.raises(ValueError, match=r"points is a mask of shape \(3,\)"):
        data().without(np.zeros(3, bool))
    given = data().without([11], identifiers=[10, 11, 12, 13])
    assert given.train_identifiers == ("a/1.png", "=b", "b")


@pytest.mark.parametrize(
    ("corrections", "said"),
    [
        ({"b": "cow"}, "the corrected label of 'b' is 'cow', expected one of cat, dog, emu"),
        ({"b": "Cat"}, "did you mean 'cat'"),
        ({"b": 3}, r"is 3, expected .* or a number in 0..2"),
        ({"b": -1}, "is -1, expected"),
        ({"b": True}, "is True, expected"),
        ({"b": 1.0}, "is 1.0, expected"),
        ({"c": "cat"}, "names no point of the data: 'c'; expected"),
        ({str(i): "cat" for i in range(5)}, "'0', '1', '2' and 2 more"),
    ],
)
def test_unknown_classes_and_points_are_refused(corrections, said):
    with pytest.raises(ValueError, match=said) as caught:
        data().corrected(corrections)
    assert "\n" not in str(caught.value)


def test_points_that_are_called_the_same_are_refused():
    same = data(train_identifiers=("x", "x", "y", "z"))
    assert same.corrected({"y": "cat"}).train_labels.tolist() == [0, 1, 0, 2]
    with pytest.raises(ValueError, match="names what several points are called: 'x'"):
        same.corrected({"x": "cat"})
    with pytest.raises(ValueError, match="points names a point twice: 'y'"):
        same.without(["y", "y"])
    with pytest.raises(ValueError, match=r"identifiers has shape \(2,\), expected \(4,\)"):
        data().corrected({1: 0}, identifiers=[0, 1])
    table = {"y": [0.5, 1.25, 2.0], "x": [1, 2, 4]}
    with pytest.raises(ValueError, match="has targets and no classes"):
        na.datasets.from_table(table, label="y").corrected({0: 1})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("index,corrected\n4,cat\n4,dog\n", "corrects '4' twice, the second time in line 3"),
        ("index,label\n4,cat\n", "has the columns index, label, expected index and corrected"),
        ("", "has the columns none"),
        ("index,corrected\n4,cat,5\n", "line 2 of .* has 3 entries, expected 2"),
    ],
)
def test_other_files_are_refused(tmp_path, text, said):
    with pytest.raises(ValueError, match=said):
        na.datasets.read_corrections(written(tmp_path / "a.csv", text))
    (tmp_path / "b.csv").write_bytes(b"index,corrected\n4,\xff\n")
    with pytest.raises(ValueError, match="not in UTF-8"):
        na.datasets.read_corrections(tmp_path / "b.csv")
    with pytest.raises(FileNotFoundError):
        na.datasets.read_corrections(tmp_path / "c.csv")


def test_rows_of_a_table_as_they_stand_there(tmp_path):
    path = written(tmp_path / "t.csv", "id,size,town\nx7,1.5,Riga\nx9,,\nx8,3,Oslo\n")
    assert na.datasets.table_rows(path, ["x8", "x9"], identifier="id") == {
        "id": ["x8", "x9"], "size": [3.0, None], "town": ["Oslo", None],
    }  # fmt: skip
    assert na.datasets.table_rows(path, [0])["town"] == ["Riga"]
    assert na.datasets.table_rows(path)["id"] == ["x7", "x9", "x8"]
    with pytest.raises(ValueError, match="points names no point of the data: 'x1'"):
        na.datasets.table_rows(path, ["x1"], identifier="id")
