"""Test points of one set: whole numbers of each class, and whole groups."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from ntk_air.datasets._split import check_fraction, split_rows


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("sizes", [(50, 50), (90, 9, 2), (3, 4, 5, 6), (2, 2), (40, 1)])
@pytest.mark.filterwarnings("ignore:.* have one row only")
def test_each_class_gives_its_share_up_to_one_point(sizes, fraction):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    for seed in range(5):
        chosen = split_rows(len(labels), fraction, labels=labels, seed=seed)
        counts = np.bincount(labels[chosen], minlength=len(sizes))
        wanted = fraction * np.array(sizes)
        assert (np.abs(counts - wanted) < 1).all() or (np.array(sizes) - counts).min() == 1
        assert (counts < sizes).all()
        most = sum(size - 1 for size in sizes)
        assert counts.sum() == min(max(1, round(fraction * len(labels))), most)


def test_the_seed_draws_and_nothing_else():
    labels = np.arange(40) % 4
    first, again, other = (split_rows(40, 0.25, labels=labels, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    drawn = sum(split_rows(40, 0.25, labels=labels, seed=s).astype(int) for s in range(200))
    # Each row is as likely as another: 50 of 200, give or take five standard deviations.
    assert np.abs(drawn - 50).max() < 5 * np.sqrt(200 * 0.25 * 0.75)


def test_groups_are_whole_and_as_near_as_they_allow():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 25, 300)
    labels = (groups % 3 > 0).astype(int) ^ (rng.random(300) < 0.2)
    for seed in range(10):
        chosen = split_rows(300, 0.2, labels=labels, groups=groups, seed=seed)
        assert set(groups[chosen]) & set(groups[~chosen]) == set()
        largest = np.bincount(groups).max()
        assert abs(chosen.sum() - 60) <= largest
        shares = [chosen[labels == c].mean() for c in (0, 1)]
        assert np.abs(np.array(shares) - 0.2).max() < 0.1
    with pytest.raises(ValueError, match="bring more groups"):
        split_rows(6, 0.2, groups=np.zeros(6, int))
    with pytest.raises(ValueError, match="bring more rows"):
        split_rows(1, 0.5)


def test_classes_of_one_row_are_said():
    labels = np.array([0] * 8 + [1])
    with pytest.warns(UserWarning, match=r"1 class\(es\) have one row only.* of class 1"):
        assert not split_rows(9, 0.5, labels=labels)[8]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split_rows(9, 0.5)
    for bad in ("half", None, [0.1, 0.2]):
        with pytest.raises(ValueError, match="expected a fraction such as"):
            check_fraction("test", bad)
