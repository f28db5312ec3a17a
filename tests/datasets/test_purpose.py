"""Points to choose settings on and points to report on: apart, whatever the seeds."""

from __future__ import annotations

import numpy as np
import pytest
from dataset_files import images_of, write_idx

from ntk_air.datasets import load, selection_rows


def _splitmix64(word: int) -> int:
    """The published mixing function, on Python's own integers."""
    mask = 2**64 - 1
    word = (word + 0x9E3779B97F4A7C15) & mask
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & mask
    return word ^ (word >> 31)


def _points(inputs) -> set[bytes]:
    return {np.ascontiguousarray(row).tobytes() for row in np.asarray(inputs)}


def test_selection_rows_are_a_hash_of_the_row_number():
    expected = [_splitmix64(row) % 6 == 0 for row in range(5000)]
    np.testing.assert_array_equal(selection_rows(5000), expected)
    # Rows that are added leave the others where they are.
    np.testing.assert_array_equal(selection_rows(700), expected[:700])
    assert selection_rows(0).shape == (0,)
    with pytest.raises(ValueError, match="num_rows is -1"):
        selection_rows(-1)


def test_what_is_chosen_on_is_never_reported_on():
    selected: set[bytes] = set()
    trained: set[bytes] = set()
    reported: set[bytes] = set()
    for seed in (0, 1, 100):
        choosing = load("digits", seed=seed, purpose="selection")
        reporting = load("digits", seed=seed, purpose="reporting")
        selected |= _points(choosing.test_inputs)
        reported |= _points(reporting.test_inputs)
        trained |= _points(choosing.train_inputs) | _points(reporting.train_inputs)
        np.testing.assert_array_equal(choosing.train_rows, reporting.train_rows)
        assert not set(np.asarray(choosing.train_rows)) & set(np.asarray(choosing.test_rows))
    assert not selected & reported
    assert not trained & reported
    assert not trained & selected
    count = int(selection_rows(1437).sum())
    assert (len(selected), len(reported), len(trained)) == (count, 360, 1437 - count)


def test_the_digits_are_cut_once_for_all_seeds():
    tests = [_points(load("digits", seed=seed).test_inputs) for seed in (0, 1, 7)]
    assert tests[0] == tests[1] == tests[2]
    assert not tests[0] & _points(load("digits", seed=3).train_inputs)


def test_rows_lead_back_to_the_files(tmp_path):
    images, labels = images_of("mnist", 60)
    for split in ("train", "test"):
        write_idx(tmp_path, "mnist", split, images, labels)
    chosen = np.flatnonzero(selection_rows(60))
    data = load("mnist", root=tmp_path, purpose="selection", seed=5)
    assert sorted(np.asarray(data.test_rows).tolist()) == chosen.tolist()
    for inputs, numbers, rows in (
        (data.test_inputs, data.test_labels, data.test_rows),
        (data.train_inputs, data.train_labels, data.train_rows),
    ):
        rows = np.asarray(rows)
        np.testing.assert_allclose(np.asarray(inputs) * 255, images[rows], rtol=1e-6)
        np.testing.assert_array_equal(numbers, labels[rows])
    small = load("mnist", root=tmp_path, purpose="selection", train_size=12, test_size=3, seed=5)
    assert set(np.asarray(small.train_rows)) < set(np.asarray(data.train_rows))
    assert set(np.asarray(small.test_rows)) < set(chosen)


def test_selection_needs_no_test_set_and_reporting_does(tmp_path):
    images, labels = images_of("mnist", 60)
    write_idx(tmp_path, "mnist", "train", images, labels)
    assert len(load("mnist", root=tmp_path, purpose="selection").test_labels)
    with pytest.raises(ValueError, match="no test set"):
        load("mnist", root=tmp_path, purpose="reporting")
    with pytest.raises(ValueError, match="purpose is 'tuning', expected one of"):
        load("digits", purpose="tuning")
