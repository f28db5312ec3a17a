"""The clusterable model: each of its assumptions, measured on what is drawn."""

import numpy as np
import pytest

import ntk_air as na
from ntk_air.datasets import clusterable

CASE = {"num_points": 400, "num_clusters": 8, "dimension": 20, "radius": 0.05, "noise_rate": 0.2}


def as64(x):
    return np.asarray(x, np.float64)


@pytest.mark.parametrize("radius", [0.0, 1e-7, 1e-3, 0.05, 0.4])
def test_geometry_holds_exactly(radius):
    data = clusterable(**{**CASE, "radius": radius})
    x, c, k = as64(data.inputs), as64(data.centers), np.asarray(data.clusters)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1.0, atol=2e-7)
    np.testing.assert_allclose(np.linalg.norm(c, axis=1), 1.0, atol=2e-7)
    distance = np.linalg.norm(x - c[k], axis=1)
    assert distance.max() <= radius
    if radius >= 1e-3:  # the bound is used: in 20 dimensions most points are close to it
        assert distance.max() > 0.95 * radius
    labels = np.asarray(data.center_labels)
    gaps = np.linalg.norm(c[:, None] - c[None], axis=2)[labels[:, None] != labels[None]]
    assert gaps.min() > 2 * radius


@pytest.mark.parametrize(("num_classes", "num_points"), [(2, 400), (3, 401), (8, 407)])
def test_labels_and_sizes(num_classes, num_points):
    data = clusterable(**{**CASE, "num_classes": num_classes, "num_points": num_points})
    sizes = np.bincount(data.clusters, minlength=8)
    assert sizes.sum() == num_points
    assert sizes.max() - sizes.min() <= 1
    values = np.unique(data.center_labels)
    assert values.min() == -1
    assert values.max() == 1
    np.testing.assert_allclose(np.diff(values), data.separation, rtol=1e-6)
    np.testing.assert_array_equal(
        data.clean[:, 0], np.asarray(data.center_labels)[np.asarray(data.clusters)]
    )
    grid = np.linspace(-1, 1, num_classes, dtype=np.float32)
    np.testing.assert_array_equal(grid[np.asarray(data.clean_labels)], data.clean[:, 0])
    np.testing.assert_array_equal(grid[np.asarray(data.observed_labels)], data.observed[:, 0])
    np.testing.assert_array_equal(data.flipped, np.asarray(data.clean != data.observed)[:, 0])


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.2, 0.29, 0.6, 0.97])
def test_exact_rate_in_every_cluster(rate):
    data = clusterable(**{**CASE, "noise_rate": rate})
    flips = np.bincount(data.clusters, weights=data.flipped, minlength=8)
    np.testing.assert_array_equal(flips, np.full(8, round(rate * 50 + 1e-6)))
    assert data.noise_rate == rate


def test_rate_in_expectation_when_not_exact():
    n, rate = 20_000, 0.3
    data = clusterable(
        num_points=n, num_clusters=4, dimension=3, radius=0.01, noise_rate=rate, exact_rate=False
    )
    five_sigma = 5 * np.sqrt(rate * (1 - rate) / n)
    assert abs(float(np.mean(data.flipped)) - rate) < five_sigma
    per_cluster = np.bincount(data.clusters, weights=data.flipped) / (n / 4)
    assert np.ptp(per_cluster) > 0  # independent flips, not the same number in each


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_retention_is_the_regression_of_observed_on_clean(num_classes):
    data = clusterable(
        num_points=30_000,
        num_clusters=num_classes,
        dimension=5,
        radius=0.01,
        num_classes=num_classes,
        noise_rate=0.2,
    )
    clean, observed = as64(data.clean)[:, 0], as64(data.observed)[:, 0]
    # 5 sigma of a mean of 30000 terms of deviation below 1 (labels in [-1, 1]), over |clean|^2.
    tolerance = 5 / np.sqrt(30_000) / np.mean(clean**2)
    assert abs(clean @ observed / (clean @ clean) - data.retention) < tolerance
    if num_classes == 2:
        assert data.retention == pytest.approx(0.6)


def test_seed_decides():
    a, b, c = (clusterable(**CASE, seed=s) for s in (3, 3, 4))
    np.testing.assert_array_equal(a.inputs, b.inputs)
    np.testing.assert_array_equal(a.observed, b.observed)
    assert not np.array_equal(a.inputs, c.inputs)
    clean = clusterable(**{**CASE, "noise_rate": 0.0}, seed=3)
    np.testing.assert_array_equal(a.inputs, clean.inputs)  # noise leaves the points alone


def test_saves_and_loads(tmp_path):
    data = clusterable(**CASE)
    again = na.load(na.save(data, tmp_path / "data"))
    np.testing.assert_array_equal(again.observed, data.observed)
    assert (again.radius, again.num_classes) == (0.05, 2)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_clusters": 401}, "num_clusters is 401"),
        ({"num_clusters": 1}, "num_clusters is 1"),
        ({"num_classes": 9}, "a class needs a cluster"),
        ({"num_classes": 1}, "num_classes is 1"),
        ({"radius": 1.0}, "radius is 1.0"),
        ({"radius": float("nan")}, "radius is nan"),
        ({"radius": 0.97}, "found no 8 centres"),
        ({"dimension": 1}, "dimension is 1"),
        ({"noise_rate": 1.0}, "noise_rate is 1.0"),
        ({"noise_rate": -0.1}, "noise_rate is -0.1"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": None}, "seed is None"),
        ({"num_points": 400.0}, "num_points is 400.0"),
    ],
)
def test_bad_values_are_refused(change, words):
    with pytest.raises(ValueError, match=words) as caught:
        clusterable(**{**CASE, **change})
    assert "\n" not in str(caught.value)


def test_sizes_of_a_given_ratio():
    data = clusterable(**{**CASE, "size_ratio": 4.0})
    sizes = np.bincount(data.clusters, minlength=8)
    assert sizes.sum() == 400
    assert sizes[-1] / sizes[0] == pytest.approx(4.0, rel=0.1)
    assert (np.diff(sizes) >= 0).all()
    np.testing.assert_allclose(
        np.bincount(data.clusters, weights=data.flipped), 0.2 * sizes, atol=0.5 + 1e-6
    )
    few = clusterable(**{**CASE, "num_points": 8, "size_ratio": 100.0})
    np.testing.assert_array_equal(np.bincount(few.clusters), np.ones(8))


def test_classes_overlap_only_where_asked():
    data = clusterable(**{**CASE, "radius": 0.97, "separated": False})
    c, labels = as64(data.centers), np.asarray(data.center_labels)
    gaps = np.linalg.norm(c[:, None] - c[None], axis=2)[labels[:, None] != labels[None]]
    assert gaps.min() < 2 * 0.97
    distance = np.linalg.norm(as64(data.inputs) - c[np.asarray(data.clusters)], axis=1)
    assert distance.max() <= 0.97
    near = clusterable(**CASE)
    free = clusterable(**CASE, separated=False)
    np.testing.assert_array_equal(near.inputs, free.inputs)  # these centres were apart anyway


@pytest.mark.parametrize("ratio", [0.5, float("nan"), float("inf")])
def test_bad_size_ratio_is_refused(ratio):
    with pytest.raises(ValueError, match="size_ratio is"):
        clusterable(**{**CASE, "size_ratio": ratio})
