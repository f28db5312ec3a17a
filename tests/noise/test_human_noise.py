"""CIFAR-10N: the embedded counts, and the recorded labels where the files are there."""

import json

import numpy as np
import pytest

from ntk_air import noise
from ntk_air.datasets import load
from ntk_air.noise._cifar10n import COUNTS

# Percent, table 1 of the paper; the released aggregate labels differ from it by 0.02.
PUBLISHED = {
    "aggregate": 9.03,
    "random1": 17.23,
    "random2": 18.12,
    "random3": 17.64,
    "worst": 40.21,
}


@pytest.mark.parametrize("which", PUBLISHED)
def test_counts_give_the_published_rates(which):
    counts = np.asarray(COUNTS[which])
    np.testing.assert_array_equal(counts.sum(axis=1), np.full(10, 5000))
    noisy = noise.human_cifar10(np.arange(1000) % 10, which, seed=0)
    assert 100 * noisy.rate == pytest.approx(PUBLISHED[which], abs=0.03)
    assert noisy.true_rate == pytest.approx(noisy.rate, abs=1e-6)  # balanced classes


def test_counts_equal_the_file_they_are_from(data_root):
    path = data_root / "cifar10n_counts.json"
    if not path.is_file():
        pytest.skip(f"no {path}")
    counts = json.loads(path.read_text())["counts"]
    assert set(counts) == set(COUNTS)
    for which, rows in counts.items():
        np.testing.assert_array_equal(rows, COUNTS[which])


def test_recorded_labels_have_the_embedded_frequencies(data_root):
    """All 50 000 recorded labels, read from the files without their images, against the counts."""
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"aggregate": "aggre_label", "random2": "random_label2", "worst": "worse_label"}
    path = data_root / "cifar10" / "train-00000-of-00001.parquet"
    table = parquet.read_table(path, columns=["label", *columns.values()])
    for which, column in columns.items():
        noisy = noise.recorded(np.asarray(table["label"]), np.asarray(table[column]), 10)
        np.testing.assert_allclose(noisy.transition, np.asarray(COUNTS[which]) / 5000, atol=1e-6)
        assert noisy.retention == pytest.approx(1 - noisy.empirical_rate * 10 / 9, abs=1e-6)


def test_recorded_labels_through_apply(data_root):
    data = load("cifar10", root=data_root, train_size=300, test_size=0)
    noisy = noise.apply(
        "human:worst",
        data.train_labels,
        num_classes=10,
        seed=0,
        extra_labels=data.extra_labels,
    )
    np.testing.assert_array_equal(noisy.labels, data.extra_labels["worst"])
    assert abs(noisy.empirical_rate - 0.402) < 5 * np.sqrt(0.402 * 0.598 / 300)
    assert noisy.model == "human:worst"
