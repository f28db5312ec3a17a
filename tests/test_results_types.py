"""What the package computes is of the types that its results declare: it comes back from a file."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np

import ntk_air as na


def problem():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 4)).astype(np.float32)
    labels = np.arange(20) % 2
    system = na.spectral.eigendecompose(jnp.asarray(points @ points.T + np.eye(20)))
    return points, labels, system, na.datasets.encode(labels, 2)


def computed():
    _, labels, system, clean = problem()
    noisy = na.noise.symmetric(labels, 0.2, num_classes=2, seed=0)
    observed = na.datasets.encode(noisy.labels, 2)
    flow = na.dynamics.gradient_flow(3.0)
    data = na.datasets.clusterable(
        num_points=20, num_clusters=4, dimension=6, radius=0.05, noise_rate=0.2, seed=0
    )
    times = np.geomspace(0.1, 100, 5)
    yield system
    yield noisy
    yield data
    yield na.datasets.load("digits", train_size=30, test_size=20)
    yield na.spectral.air_profile(system, clean, observed)
    yield na.dynamics.retrieval(system, clean, observed, times)
    yield na.dynamics.equivalent_stopping_time(system, flow, observed)
    yield na.dynamics.equivalent_stopping_time(system, [flow, flow], observed)
    yield na.dynamics.risk(system, flow, clean, observed)
    yield na.dynamics.risk(system, [flow, flow], clean, observed)


def test_results_come_back(tmp_path):
    kinds = set()
    for result in computed():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            back = na.load(na.save(result, tmp_path / "x"))
        kinds.add(type(back))
        assert type(back) is type(result)
        for one, two in zip(jax.tree.leaves(result), jax.tree.leaves(back), strict=True):
            np.testing.assert_array_equal(one, two)
    assert len(kinds) >= 8
