"""`from_hugging_face` on stand-ins that can what a Dataset can, and on the library's own."""

from __future__ import annotations

import io

import numpy as np
import pytest

from ntk_air.datasets import from_hugging_face

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 8, 5, 3), dtype=np.uint8)
Y = np.arange(6) % 2


class Image:
    """The type of a column."""


class ClassLabel:
    names = ("cat", "dog")


class Rows:
    def __init__(self, columns, features=None):
        self.columns, self.features = columns, features or {}

    column_names = property(lambda self: list(self.columns))

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, name):
        return self.columns[name]


def pictures():
    image = pytest.importorskip("PIL.Image")
    return [image.fromarray(x) for x in PIXELS]


def blobs():
    out = []
    for picture in pictures():
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        out.append({"bytes": buffer.getvalue(), "path": f"{len(out)}.png"})
    return out


@pytest.mark.parametrize("cells", [pictures, blobs, lambda: list(PIXELS), PIXELS.tolist])
def test_images_of_every_form(cells):
    entries = cells()
    if cells == PIXELS.tolist:
        entries = [[[[v / 255 for v in p] for p in row] for row in x] for x in entries]
    rows = Rows({"photo": entries, "what": list(Y)}, {"photo": Image(), "what": ClassLabel()})
    data = from_hugging_face(rows)
    np.testing.assert_allclose(data.train_inputs, PIXELS / np.float32(255), atol=1e-6)
    np.testing.assert_array_equal(data.train_labels, Y)
    assert (data.class_names, data.kind) == (("cat", "dog"), "images")
    by_name = cells == blobs
    assert data.train_identifiers == tuple(f"{i}{'.png' * by_name}" for i in range(6))


def test_splits_and_sizes():
    rows = Rows({"image": pictures(), "label": ["b", "a", "b", "a", "b", "c"]})
    few = Rows({"image": pictures()[:2], "label": ["b", "a"]})
    data = from_hugging_face({"train": rows, "test": few})
    assert (data.class_names, len(data.test_labels)) == (("a", "b", "c"), 2)
    with pytest.warns(UserWarning, match="validation is taken for it"):
        data = from_hugging_face({"train": rows, "validation": few}, image_size=4, channels=1)
    assert data.train_inputs.shape == (6, 4, 4, 1)
    picture = pictures()[0].convert("L").resize((4, 4), 2)
    np.testing.assert_allclose(data.train_inputs[0, ..., 0], np.asarray(picture) / 255, atol=1e-6)
    for test in (few, "few"):
        data = from_hugging_face({"train": rows, "few": few}, test)
        np.testing.assert_array_equal(data.test_labels, [1, 0])


@pytest.mark.parametrize("form", [list, lambda x: {"input_ids": x}, np.asarray])
def test_texts_are_tokens_of_one_length(form):
    calls = []

    def tokenizer(texts):
        calls.append(texts)
        longest = max(len(text) for text in texts)
        return form([[ord(c) - 96 for c in text] + [0] * (longest - len(text)) for text in texts])

    train = Rows({"sentence": ["abc", "b"], "label": [0, 1]}, {"label": ClassLabel()})
    test = Rows({"sentence": ["dcba"], "label": [1]})
    data = from_hugging_face(train, test, text="sentence", tokenizer=tokenizer)
    np.testing.assert_array_equal(data.train_inputs, [[1, 2, 3, 0], [2, 0, 0, 0]])
    np.testing.assert_array_equal(data.test_inputs, [[4, 3, 2, 1]])
    assert (data.kind, data.train_inputs.dtype, len(calls)) == ("tokens", np.int32, 1)
    assert data.class_names == ("cat", "dog")


GOOD = {"image": PIXELS, "text": ["abc"] * 6, "label": Y}


@pytest.mark.parametrize(
    ("dataset", "options", "kind", "words"),
    [
        (3, {}, TypeError, "dataset is of type int"),
        ({"test": Rows(GOOD)}, {}, ValueError, "the splits are test, expected one named train"),
        ({"train": Rows(GOOD)}, {"test": "few"}, ValueError, "test is 'few'"),
        (Rows(GOOD), {"test": "few"}, ValueError, "one split only"),
        (Rows(GOOD), {"label": "kind"}, ValueError, "label is 'kind', expected one of the columns"),
        (Rows(GOOD), {"image": "photo"}, ValueError, "image is 'photo'"),
        (Rows(GOOD), {"text": "text"}, ValueError, "there is no tokenizer"),
        (Rows(GOOD), {"text": "text", "image": "image"}, ValueError, "expected one of the two"),
        (Rows(GOOD), {"image": "text"}, ValueError, "holds entries of shape .*expected images"),
        (Rows(GOOD), {"channels": 1}, ValueError, "holds arrays, expected images"),
        (Rows({"x": Y, "label": Y}), {}, ValueError, "no column of x, label is one of images"),
        (Rows({**GOOD, "label": [None] * 6}), {}, ValueError, "6 missing label"),
        (Rows({**GOOD, "label": Y - 1}), {}, ValueError, "holds -1"),
        (
            Rows(GOOD),
            {"text": "text", "tokenizer": lambda texts: [[1] * (i + 1) for i in range(6)]},
            ValueError,
            "the tokenizer gives several lengths, expected .6, T.: have it pad",
        ),
        (
            Rows({**GOOD, "text": [None] * 6}),
            {"text": "text", "tokenizer": len},
            ValueError,
            "entries that are no text",
        ),
        (Rows({**GOOD, "image": [{"bytes": b""}] * 6}), {}, ValueError, "train row 0 holds no im"),
    ],
)
def test_what_is_no_dataset_is_one_line(dataset, options, kind, words):
    with pytest.raises(kind, match=words) as caught:
        from_hugging_face(dataset, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.peers
def test_the_librarys_own():
    hub = pytest.importorskip("datasets")
    features = hub.Features({"pic": hub.Image(), "what": hub.ClassLabel(names=["cat", "dog"])})
    rows = hub.Dataset.from_dict({"pic": pictures(), "what": Y.tolist()}, features=features)
    data = from_hugging_face(hub.DatasetDict(train=rows, test=rows.select([3, 1])))
    np.testing.assert_allclose(data.train_inputs, PIXELS / np.float32(255), atol=1e-6)
    np.testing.assert_array_equal(data.test_labels, Y[[3, 1]])
    assert data.class_names == ("cat", "dog")
