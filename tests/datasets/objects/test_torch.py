"""`from_torch` on stand-ins that can what PyTorch's datasets can, and on PyTorch's own."""

from __future__ import annotations

import numpy as np
import pytest

from ntk_air.datasets import from_torch

RNG = np.random.default_rng(0)
FRONT = RNG.random((10, 3, 8, 6)).astype(np.float32)
LAST = np.stack([FRONT[:, i] for i in range(3)], axis=-1)
Y = np.arange(10) % 2


class Tensor:
    """A tensor, as far as it is asked."""

    def __init__(self, array, dtype=None):
        self.array, self.dtype = np.asarray(array), dtype or "torch.float32"

    def detach(self):
        return self

    cpu = detach

    def float(self):
        return Tensor(self.array)

    def numpy(self):
        if "bfloat16" in self.dtype:
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


class Points:
    classes = ("cat", "dog")

    def __init__(self, inputs=FRONT, labels=Y, wrap=Tensor):
        self.inputs, self.labels, self.wrap = inputs, labels, wrap

    def __len__(self):
        return len(self.inputs)

    def __getitem__(self, i):  # without an end of its own, as many are
        return self.wrap(self.inputs[i % len(self)]), self.labels[i % len(self)]


class Subset:
    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, indices

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        return self.dataset[self.indices[i]]


class Loader:
    def __init__(self, dataset, batch_size, drop_last=False):
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last

    def __iter__(self):
        for start in range(0, len(self.dataset), self.batch_size):
            rows = range(start, min(start + self.batch_size, len(self.dataset)))
            if len(rows) == self.batch_size or not self.drop_last:
                items = [self.dataset[i] for i in rows]
                yield [Tensor([x.array for x, _ in items]), Tensor([y for _, y in items])]


@pytest.mark.parametrize("read", [lambda p: p, lambda p: Loader(p, 4), lambda p: Loader(p, 5)])
def test_datasets_and_loaders_are_their_points(read):
    with pytest.warns(UserWarning, match=r"read as \(n, channels, H, W\)"):
        data = from_torch(read(Points()), read(Subset(Points(), [3, 1])), name="mine")
    np.testing.assert_array_equal(data.train_inputs, LAST)
    np.testing.assert_array_equal(data.test_inputs, LAST[[3, 1]])
    np.testing.assert_array_equal(data.train_labels, Y)
    np.testing.assert_array_equal(data.test_labels, Y[[3, 1]])
    assert (data.class_names, data.kind, data.name) == (("cat", "dog"), "images", "mine")
    is_loader = isinstance(read(Points()), Loader)
    assert data.test_identifiers == (None if is_loader else ("3", "1"))


def test_paths_of_folders_are_kept():
    points = Points()
    points.samples = [(f"{i}.png", Y[i]) for i in range(10)]
    inner = Subset(points, [7, 3, 5])
    data = from_torch(Subset(inner, [2, 0]), layout="NCHW")
    assert data.train_identifiers == ("5.png", "7.png")
    np.testing.assert_array_equal(data.train_inputs, LAST[[5, 7]])


def test_bytes_are_scaled_and_half_precision_is_widened():
    image = pytest.importorskip("PIL.Image")
    grey = RNG.integers(0, 256, (4, 8, 6), dtype=np.uint8)
    data = from_torch(Points(grey, Y[:4], image.fromarray))
    np.testing.assert_allclose(data.train_inputs[..., 0], grey / np.float32(255), atol=1e-7)
    half = from_torch(Points(FRONT, Y, lambda x: Tensor(x, "torch.bfloat16")), layout="NCHW")
    np.testing.assert_array_equal(half.train_inputs, LAST)
    tokens = from_torch(Points(RNG.integers(0, 9, (10, 5)), Y), kind="tokens")
    assert (tokens.kind, tokens.train_inputs.dtype) == ("tokens", np.int32)


def test_a_loader_that_drops_points_says_so():
    with pytest.warns(UserWarning, match="the loader gave 8 of the 10 points"):
        data = from_torch(Loader(Points(), 4, drop_last=True), layout="NCHW")
    assert len(data.train_labels) == 8


@pytest.mark.parametrize(
    ("train", "kind", "words"),
    [
        (3, TypeError, "train is of type int"),
        ([], ValueError, "train holds no points"),
        ([np.zeros(3)], ValueError, "item 0 of train is a ndarray, expected a pair"),
        ([(1, 2, 3)], ValueError, "a tuple of 3 parts"),
        ([{"image": 1, "label": 2}], ValueError, "item 0 of train is a dict"),
        ([(np.zeros(3), 0), (np.zeros(4), 1)], ValueError, r"\(3,\) at 0 and \(4,\) at 1"),
        ([(np.zeros(3), [0, 1]), (np.zeros(3), [1, 1])], ValueError, "one label for each point"),
    ],
)
def test_what_is_no_dataset_is_one_line(train, kind, words):
    with pytest.raises(kind, match=words) as caught:
        from_torch(train)
    assert "\n" not in str(caught.value)


@pytest.mark.peers
def test_pytorchs_own():
    torch = pytest.importorskip("torch")
    points = torch.utils.data.TensorDataset(torch.tensor(FRONT), torch.tensor(Y))
    for source in (points, torch.utils.data.DataLoader(points, batch_size=3)):
        data = from_torch(source, torch.utils.data.Subset(points, [3, 1]), layout="NCHW")
        np.testing.assert_array_equal(data.train_inputs, LAST)
        np.testing.assert_array_equal(data.test_labels, Y[[3, 1]])
