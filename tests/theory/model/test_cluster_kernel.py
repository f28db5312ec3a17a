"""The cluster NTK by every route, and clusterability measured on data of known geometry."""

from __future__ import annotations

import types

import jax
import numpy as np
import pytest

import ntk_air as na
from ntk_air.theory.model._activations import find_activation

t = na.theory

DATA = na.datasets.clusterable(
    num_points=120, num_clusters=6, dimension=8, radius=0.04, num_classes=3, noise_rate=0.1
)
CENTERS = np.asarray(DATA.centers, np.float64)


@pytest.mark.parametrize("activation", ["softplus", "relu", "erf", "tanh", "gelu"])
def test_agrees_with_monte_carlo(activation):
    exact = t.cluster_kernel(CENTERS, activation)
    drawn = t.cluster_kernel(CENTERS, activation, "monte_carlo", num_samples=20_000, seed=1)
    assert exact.method == ("closed_form" if activation in ("relu", "erf") else "quadrature")
    error = np.asarray(drawn.standard_error)
    # Five standard errors over 21 different entries.
    assert (np.abs(np.asarray(exact.matrix - drawn.matrix)) <= 5 * error + 1e-12).all()
    # The least eigenvalue of a noisy matrix is also pulled down, by a second-order amount.
    near = 5 * drawn.least_eigenvalue_error + 1e-3 * exact.least_eigenvalue
    assert abs(drawn.least_eigenvalue - exact.least_eigenvalue) <= near
    assert exact.least_eigenvalue == pytest.approx(np.linalg.eigvalsh(exact.matrix)[0])


def test_quadrature_reproduces_the_closed_form_of_erf():
    exact, quadrature = (t.cluster_kernel(CENTERS, "erf", m) for m in ("auto", "quadrature"))
    np.testing.assert_allclose(quadrature.matrix, exact.matrix, atol=1e-9)


def test_function_is_differentiated():
    named = t.cluster_kernel(CENTERS, "softplus")
    given = t.cluster_kernel(CENTERS, lambda x: jax.nn.softplus(x))
    np.testing.assert_allclose(given.matrix, named.matrix, atol=1e-12)


def test_relu_is_the_infinite_width_kernel_without_the_output_layer():
    # NTK - NNGP of a bias-free ReLU network of one hidden layer, W_std = sqrt(2), is what the
    # hidden layer alone contributes; it holds the factor 2 of the weights once.
    network = na.kernels.fully_connected(1, 8, weight_std=1.0, bias_std=0.0)
    points = CENTERS * CENTERS.shape[1] ** 0.5  # the network divides by the root of the dimension
    ntk = np.asarray(na.kernels.infinite_ntk(network, points))
    nngp = np.asarray(na.kernels.infinite_ntk(network, points, kind="nngp"))
    np.testing.assert_allclose(t.cluster_kernel(CENTERS, "relu").matrix, ntk - nngp, atol=2e-5)


def test_it_is_the_limit_of_the_empirical_kernel():
    weights = np.random.default_rng(0).standard_normal((40_000, 8))
    empirical = t.two_layer_ntk(weights, CENTERS)
    np.testing.assert_allclose(t.cluster_kernel(CENTERS).matrix, empirical, atol=0.01)


def test_inputs_of_any_norm():
    points = CENTERS * np.linspace(0.0, 1.5, 6)[:, None]
    exact = t.cluster_kernel(points, "erf", "quadrature", num_nodes=128)
    np.testing.assert_allclose(exact.matrix, t.cluster_kernel(points, "erf").matrix, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "sine"}, "activation is 'sine'"),
        ({"method": "exact"}, "method is 'exact'"),
        ({"method": "closed_form"}, "not for softplus"),
        ({"activation": "relu", "method": "quadrature"}, "jump in the slope"),
        ({"num_nodes": 1}, "num_nodes is 1"),
        ({"num_samples": 1}, "num_samples is 1"),
    ],
)
def test_bad_kernel_options(options, words):
    with pytest.raises(ValueError, match=words):
        t.cluster_kernel(CENTERS, **options)


def test_zero_centre_has_no_relu_slope():
    with pytest.raises(ValueError, match="zero vector"):
        t.cluster_kernel(np.eye(3) * [[1.0], [1.0], [0.0]], "relu")


@pytest.mark.parametrize("name", ["softplus", "tanh", "erf", "gelu"])
def test_bounds_of_activations(name, x64):
    phi = find_activation(name)
    grid = np.linspace(-8, 8, 16_001)
    slopes = np.asarray(phi.slope(grid))
    np.testing.assert_allclose(slopes, np.gradient(np.asarray(phi.function(grid)), grid), atol=1e-3)
    curvature = np.abs(np.gradient(slopes, grid)).max()
    assert abs(float(phi.function(0.0))) == pytest.approx(phi.at_zero)
    assert np.abs(slopes).max() == pytest.approx(phi.max_slope, rel=1e-3)
    assert curvature == pytest.approx(phi.max_curvature, rel=1e-3)


def test_clusterability_of_the_model():
    found = t.measure_clusterability(
        DATA.inputs, DATA.clean_labels, observed=DATA.observed_labels, num_clusters=6
    )
    truth = np.asarray(DATA.clusters)
    # Clusters are found up to their numbering.
    pairs = {(int(a), int(b)) for a, b in zip(truth, found.clusters, strict=True)}
    assert len(pairs) == 6
    assert found.noise_rate == pytest.approx(0.1)
    assert found.label_gap == pytest.approx(1.0)
    # k-means takes each cluster's mean, which lies nearer to its points than the centre drawn.
    assert 0.7 * 0.04 < found.radius < 1.3 * 0.04
    assert found.median_radius <= found.radius
    assert found.separation == pytest.approx(t.measure_clusters(DATA).separation, abs=0.05)
    assert found.least_eigenvalue == pytest.approx(t.cluster_kernel(found.centers).least_eigenvalue)
    assert found.norm == pytest.approx(np.linalg.norm(found.centers, 2))
    assert (found.c_low, found.c_up, found.misplaced) == (1.0, 1.0, 0.0)
    assert found.clusterable
    assert found.few_enough_wrong  # 0.1 <= 1 / 8


def test_number_of_clusters_is_found():
    found = t.measure_clusterability(DATA.inputs, DATA.clean_labels)
    assert (found.num_clusters, found.noise_rate) == (6, 0.0)
    wrong = t.measure_clusterability(DATA.inputs, DATA.clean_labels, num_clusters=3)
    assert not wrong.clusterable  # one centre for two clusters
    assert wrong.radius > 10 * found.radius


def test_unequal_sizes_are_measured(tmp_path):
    data = na.datasets.clusterable(
        num_points=90, num_clusters=4, dimension=6, radius=0.02, size_ratio=4.0, seed=2
    )
    found = t.measure_clusterability(data.inputs, data.clean_labels, num_clusters=4)
    sizes = np.bincount(data.clusters)
    assert found.c_low == pytest.approx(sizes.min() * 4 / 90)
    assert found.c_up == pytest.approx(sizes.max() * 4 / 90)
    again = na.load(na.save(found, tmp_path / "found"))
    assert again.radius == found.radius


def test_digits_are_not_clusterable():
    data = na.datasets.load("digits", train_size=300, test_size=0)
    found = t.measure_clusterability(data.train_inputs, data.train_labels, num_clusters=10)
    assert not found.clusterable
    assert found.separation < 2 * found.radius
    assert 0.0 < found.misplaced < 0.3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_clusters": 2}, "num_clusters is 2"),
        ({"num_clusters": 121}, "num_clusters is 121"),
        ({"observed": np.zeros(3, int)}, "observed has shape"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_bad_clusterability_options(options, words):
    with pytest.raises(ValueError, match=words):
        t.measure_clusterability(DATA.inputs, DATA.clean_labels, **options)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_clusterability_does_not_see_the_scale(scale):
    inputs = np.asarray(DATA.inputs, np.float64)
    options = {"labels": DATA.clean_labels, "num_clusters": 6}
    found = t.measure_clusterability(inputs * scale, **options)
    expected = t.measure_clusterability(inputs, **options)
    assert found.radius == pytest.approx(expected.radius, rel=1e-9)
    assert found.separation == pytest.approx(expected.separation, rel=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"clusters": np.asarray(DATA.clusters) + 100}, "clusters holds 105"),
        ({"clusters": np.asarray(DATA.clusters, float)}, "clusters has dtype float64"),
        ({"clusters": np.ma.masked_equal(DATA.clusters, 1)}, "clusters has 20 masked"),
        ({"clusters": DATA.clusters[:5]}, "clusters has length 5"),
        ({"centers": DATA.centers[:, :3]}, "expected one dimension"),
        ({"inputs": DATA.inputs[:, 0]}, "inputs has shape"),
        ({"clean": DATA.clean_labels}, "clean has shape"),
        ({"observed": DATA.observed[:5]}, "observed has shape"),
    ],
)
def test_cluster_data_that_do_not_fit(change, words):
    arrays = {k: getattr(DATA, k) for k in ("inputs", "clean", "observed", "clusters", "centers")}
    with pytest.raises(ValueError, match=words):
        t.measure_clusters(types.SimpleNamespace(**arrays | change))


def test_points_that_have_no_direction_or_no_variety():
    inputs = np.asarray(DATA.inputs).copy()
    inputs[3] = 0.0
    with pytest.raises(ValueError, match="1 zero vector"):
        t.measure_clusterability(inputs, DATA.clean_labels)
    with pytest.raises(ValueError, match="inputs has length 120 and labels has length 7"):
        t.measure_clusterability(DATA.inputs, DATA.clean_labels[:7])
    with pytest.raises(ValueError, match="fewer than its 2 clusters"):
        t.measure_clusterability(np.ones((8, 3)), np.repeat([0, 1], 4), num_clusters=4)
