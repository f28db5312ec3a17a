"""Labels and arrays as people have them, through `from_arrays` and .npz archives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from ntk_air.datasets import from_arrays, load

X = np.random.default_rng(0).normal(size=(6, 4))
Y = np.array([0, 1, 2, 0, 1, 2])
WORDS = np.array(["cat", "dog", "eel"])[Y]
NUMBERED = "ignore:.* holds the classes"


def both_ways(tmp_path, labels, tested, **more):
    """The dataset of `from_arrays`, and that of an archive put back in order."""
    one = from_arrays(X, labels, X[:3], tested, name="own", **more)
    path = tmp_path / "own.npz"
    names = {"class_names": np.array(more["class_names"])} if "class_names" in more else {}
    np.savez(
        path, train_inputs=X, train_labels=labels, test_inputs=X[:3], test_labels=tested, **names
    )
    other = load(str(path))
    order = np.argsort(np.asarray(other.train_rows))
    return one, other.take(order, np.argsort(np.asarray(other.test_rows)))


@pytest.mark.parametrize(
    ("labels", "names", "classes"),
    [
        (WORDS, ("cat", "dog", "eel"), Y),
        (WORDS.astype("S3"), ("cat", "dog", "eel"), Y),
        (Y[:, None].astype(np.uint8), ("0", "1", "2"), Y),
        (Y + 1, ("1", "2", "3"), Y),
        (Y * 10 + 7, ("7", "17", "27"), Y),
        (np.array(["9", "10", "b"])[Y], ("9", "10", "b"), Y),
        (Y > 0, ("False", "True"), Y > 0),
        (np.where(Y > 0, 1, -1), ("-1", "1"), Y > 0),
        (Y * 2, ("0", "1", "2", "3", "4"), Y * 2),  # class 1 may have no points
    ],
)
@pytest.mark.filterwarnings(NUMBERED)
def test_labels_of_every_kind(tmp_path, labels, names, classes):
    for data in both_ways(tmp_path, labels, labels[:3]):
        np.testing.assert_array_equal(data.train_labels, classes)
        np.testing.assert_array_equal(data.test_labels, classes[:3])
        assert (data.class_names, data.num_classes) == (names, len(names))


def test_names_that_are_given_decide_the_order(tmp_path):
    for data in both_ways(tmp_path, WORDS, WORDS[:3], class_names=("eel", "dog", "cat", "fox")):
        np.testing.assert_array_equal(data.train_labels, 2 - Y)
        assert data.class_names == ("eel", "dog", "cat", "fox")
    with pytest.raises(ValueError, match="train_labels holds 'eel', expected one of the classes"):
        from_arrays(X, WORDS, name="own", class_names=("cat", "dog"))


def test_classes_numbered_anew_are_said_and_further_labels_follow():
    with pytest.warns(UserWarning, match="numbered 1 -> 0, 2 -> 1, 3 -> 2"):
        data = from_arrays(X, Y + 1, name="own", extra_labels={"h": np.array([1, -1, 3, 1, 2, 2])})
    np.testing.assert_array_equal(data.extra_labels["h"], [0, -1, 2, 0, 1, 1])
    words = from_arrays(X, WORDS, name="own", extra_labels={"h": WORDS[::-1]})
    np.testing.assert_array_equal(words.extra_labels["h"], Y[::-1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_arrays(X, Y + 1, name="own", num_classes=4).num_classes == 4
        assert from_arrays(X, Y, name="own", num_classes=5).class_names == tuple("01234")
        from_arrays(X, np.ones(6, int), name="own")  # of two classes, for all that is known


def test_classes_of_both_sets_are_numbered_together():
    data = from_arrays(X, WORDS, X[:3], np.array(["eel", "ant", "cat"]), name="own")
    assert data.class_names == ("ant", "cat", "dog", "eel")
    np.testing.assert_array_equal(data.test_labels, [3, 0, 1])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([[0], [0, 1]] * 3, "lists of different lengths, as of several labels to a point"),
        (np.array([[0], [0, 1]] * 3, object), r"several labels to a point, such as \[0\]"),
        (np.eye(3)[Y], r"shape \(6, 3\), expected one label .* train_labels.argmax\(1\)"),
        (np.array(["a", None, "b"] * 2, object), r"2 missing label\(s\), the first at 1"),
        (np.array(["a", np.nan, "b"] * 2, object), r"2 missing label\(s\), the first at 1"),
        (np.array([0, np.nan, 1] * 2), r"2 missing label\(s\), the first at 1"),
        (np.array(["a", "", "b"] * 2), r"2 empty label\(s\), the first at 1"),
        (np.array(["a", 1, "b"] * 2, object), "objects of type int, str, expected"),
        (np.array([0.5, 1.0] * 3), "dtype float64"),
        (Y - 1, "holds -1"),
        (Y * 1j, "complex"),
    ],
)
def test_labels_that_are_none_are_one_line(labels, words):
    with pytest.raises(ValueError, match=words) as caught:
        from_arrays(X, labels, name="own")
    assert "\n" not in str(caught.value)


def test_words_beside_numbers_are_refused():
    with pytest.raises(ValueError, match="train_labels holds words, test_labels holds integers"):
        from_arrays(X, WORDS, X, Y, name="own")


def test_classes_without_points_are_said_where_they_are_most():
    with pytest.warns(UserWarning, match="3 different labels up to 255: most classes have no po"):
        assert from_arrays(X, np.where(Y == 2, 255, Y), name="own").num_classes == 256
    assert len(from_arrays(X, WORDS, X[:0], [], name="own").test_labels) == 0


def test_objects_of_one_type_are_what_they_hold():
    strings = WORDS.astype(np.dtypes.StringDType())
    objects = [(x.astype(object), y) for x, y in ((WORDS, Y), (Y, Y), (Y > 0, Y > 0))]
    for labels, classes in (*objects, (strings, Y)):
        data = from_arrays(X, labels, name="own")
        np.testing.assert_array_equal(data.train_labels, classes)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_channels_in_front_are_moved_and_said(tmp_path, channels):
    front = np.random.default_rng(0).random((6, channels, 8, 9)).astype(np.float32)
    moved = np.stack([front[:, i] for i in range(channels)], axis=-1)
    with pytest.warns(UserWarning, match=r"read as \(n, channels, H, W\)"):
        data = from_arrays(front, Y, front[:2], Y[:2], name="own")
    np.testing.assert_array_equal(data.train_inputs, moved)
    np.testing.assert_array_equal(data.test_inputs, moved[:2])
    np.savez(tmp_path / "own.npz", x_train=front, y_train=Y, x_test=front[:2], y_test=Y[:2])
    with pytest.warns(UserWarning, match=r"read as \(n, channels, H, W\)"):
        data = load(str(tmp_path / "own.npz"))
    np.testing.assert_array_equal(data.train_inputs, moved[np.asarray(data.train_rows)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert from_arrays(front, Y, name="own", layout="NHWC").train_inputs.shape == front.shape
        said = from_arrays(front, Y, name="own", layout="NCHW")
        np.testing.assert_array_equal(said.train_inputs, moved)
        assert from_arrays(moved, Y, name="own").train_inputs.shape == moved.shape
    for bad in (lambda: from_arrays(X, Y, name="own", layout="NCHW"),
                lambda: from_arrays(front, Y, name="own", layout="CHWN")):  # fmt: skip
        with pytest.raises(ValueError, match="layout is"):
            bad()


def test_archives_with_the_names_of_others(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 3), dtype=np.uint8)
    column = Y[:, None].astype(np.uint8)
    sets = {f"{s}_{k}": v for s in ("train", "val", "test") for k, v in
            (("images", images), ("labels", column))}  # fmt: skip
    np.savez(tmp_path / "medmnist.npz", **sets)
    with pytest.warns(UserWarning, match="the 6 validation points are left out"):
        data = load(str(tmp_path / "medmnist.npz"))
    np.testing.assert_allclose(
        data.train_inputs, images[np.asarray(data.train_rows)] / 255, atol=1e-6
    )
    np.testing.assert_array_equal(data.test_labels, Y[np.asarray(data.test_rows)])
    del sets["test_images"], sets["test_labels"]
    np.savez(tmp_path / "own.npz", **sets)
    with pytest.warns(UserWarning, match="its 6 validation points are taken for them"):
        assert len(load(str(tmp_path / "own.npz")).test_labels) == 6
    for inputs, labels in (("X", "y"), ("data", "target"), ("images", "labels")):
        np.savez(tmp_path / "one.npz", **{inputs: X, labels: WORDS})
        assert load(str(tmp_path / "one.npz")).class_names == ("cat", "dog", "eel")


def test_tokens_stay_whole_numbers(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 30, (6, 7))
    data = from_arrays(tokens, Y, tokens[:2], Y[:2], name="own", kind="tokens")
    for same in (data, data.standardized(), data.flattened(), data.take(np.arange(6))):
        assert (same.kind, same.train_inputs.dtype) == ("tokens", np.int32)
        np.testing.assert_array_equal(same.train_inputs, tokens)
    np.savez(tmp_path / "own.npz", train_inputs=tokens, train_labels=Y, kind="tokens")
    read = load(str(tmp_path / "own.npz"))
    assert (read.kind, read.train_inputs.dtype) == ("tokens", np.int32)
    with pytest.raises(ValueError, match="are tokens, which are names and have no norm"):
        data.flattened(unit_norm=True)
    for bad in (tokens - 1, tokens + 0.5, tokens[:, :, None], tokens + 2**40):
        with pytest.raises(ValueError, match="expected tokens"):
            from_arrays(bad, Y, name="own", kind="tokens")
    # Numbers alone do not say that they are tokens.
    assert from_arrays(tokens, Y, name="own").kind == "vectors"


def test_kinds_and_identifiers():
    images = np.zeros((6, 3, 3, 1))
    images[0] = 1
    data = from_arrays(images, Y, name="own", train_identifiers=list("abcdef"))
    assert (data.kind, data.flattened().kind) == ("images", "images")
    assert data.take([5, 0]).train_identifiers == ("f", "a")
    assert data.test_identifiers is None
    for name, x in (("images", images), ("vectors", X)):
        assert from_arrays(x, Y, name="own").kind == name
    for options, words in (
        ({"kind": "text"}, "kind is 'text'"),
        ({"train_identifiers": "abcdef"}, "train_identifiers holds 6 entries"),
        ({"train_identifiers": ["a"]}, "train_identifiers holds 1 entries, expected 6"),
        ({"kind": "table"}, "kind is 'table', expected .n, d."),
    ):
        with pytest.raises(ValueError, match=words):
            from_arrays(images, Y, name="own", **options)
