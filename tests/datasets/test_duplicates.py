"""`find_duplicates` beside a loop over all pairs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import ntk_air as na
from ntk_air.datasets import _duplicates, find_duplicates, from_arrays


def points(shape=(4, 5, 1), seed=0):
    rng = np.random.default_rng(seed)
    x = rng.random((30, *shape)).astype(np.float32)
    test = rng.random((12, *shape)).astype(np.float32)
    test[2], test[7] = x[11], x[29]
    test[5] = x[3] + 0.004 * rng.normal(size=shape)
    test[9] = x[8] + 0.2 * rng.normal(size=shape)
    return from_arrays(x, np.arange(30) % 3, test, np.arange(12) % 3, name="own")


def by_loop(data, distance):
    scaled = data.standardized().flattened()
    a, b = np.float64(scaled.train_inputs), np.float64(scaled.test_inputs)
    out = []
    for j, y in enumerate(b):
        ratios = [np.linalg.norm(x - y) / np.sqrt(np.linalg.norm(x) * np.linalg.norm(y)) for x in a]
        i = int(np.argmin(ratios))
        if ratios[i] <= distance:
            out.append((j, i, ratios[i]))
    return out


@pytest.mark.parametrize("block", [1024, 7])
@pytest.mark.parametrize("shape", [(4, 5, 1), (20,)])
@pytest.mark.parametrize("distance", [0.0, 0.05, 0.9])
def test_against_all_pairs(monkeypatch, block, shape, distance):
    monkeypatch.setattr(_duplicates, "_BLOCK", block)
    data = points(shape)
    found, expected = find_duplicates(data, distance=distance), by_loop(data, distance)
    assert found.test.tolist() == [j for j, _, _ in expected]
    assert found.train.tolist() == [i for _, i, _ in expected]
    np.testing.assert_allclose(found.distance, [r for _, _, r in expected], atol=1e-5)
    assert len(expected) == {0.0: 2, 0.05: 3}.get(distance, len(expected))
    assert np.asarray(found.test)[np.asarray(found.exact)].tolist() == [2, 7]
    same = [i % 3 == j % 3 for j, i, _ in expected]
    assert found.same_label.tolist() == same


def test_tokens_are_compared_as_they_are():
    tokens = np.random.default_rng(0).integers(0, 9, (8, 6))
    other = tokens[[3, 5]].copy()
    other[1, 0] += 1
    data = from_arrays(tokens, np.arange(8) % 2, other, [1, 1], name="own", kind="tokens")
    found = find_duplicates(data)
    assert (found.test.tolist(), found.train.tolist()) == ([0], [3])


def test_without_test_points_and_with_too_many(monkeypatch, tmp_path):
    data = points()
    assert len(find_duplicates(data.take(np.arange(30), np.zeros(0, int))).test) == 0
    again = na.load(na.save(find_duplicates(data), tmp_path / "found"))
    np.testing.assert_array_equal(again.train, find_duplicates(data).train)
    monkeypatch.setattr(_duplicates, "_MOST_PAIRS", 30 * 12 - 1)
    with pytest.warns(UserWarning, match="30 x 12 pairs of points are too many"):
        assert find_duplicates(data).test.tolist() == [2, 7]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_duplicates(data, distance=0)
    with pytest.raises(ValueError, match="distance is 2"):
        find_duplicates(data, distance=2)
