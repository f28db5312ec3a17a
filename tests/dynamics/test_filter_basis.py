"""A bank of filters from a few of its rows."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air.dynamics._filter_basis import skeleton

EIGENVALUES = np.geomspace(30.0, 1e-3, 90)
TIMES = np.geomspace(1e-3, 1e3, 120)


def system(dtype=np.float64, rank=None):
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(90, 90)))[0]
    kernel = jnp.asarray((basis * EIGENVALUES) @ basis.T, dtype)
    return na.spectral.eigendecompose(kernel, rank=rank)


@pytest.mark.parametrize(("eps", "tolerance"), [(1.2e-7, 1e-6), (2.2e-16, 3e-14)])
def test_flows_are_spanned_by_few(eps, tolerance):
    bank = -np.expm1(-np.geomspace(0.1, 10, 120)[:, None] * EIGENVALUES)
    found = skeleton(bank, eps)
    assert len(found.chosen) <= len(TIMES) // 2
    np.testing.assert_allclose(found.mixing @ bank[found.chosen], bank, atol=tolerance)
    assert np.abs(found.mixing).max() < 3  # well conditioned: round-off is not magnified


def test_what_is_not_low_rank_is_left_alone():
    assert skeleton(np.random.default_rng(0).random((40, 90)), 1e-7) is None
    assert skeleton(-np.expm1(-TIMES[:20, None] * EIGENVALUES), 1e-7) is None  # few filters
    assert skeleton(np.zeros((40, 90)), 1e-7) is None


def test_a_column_that_the_sample_misses_is_found():
    smooth = -np.expm1(-TIMES[:60, None] * np.geomspace(30.0, 1e-3, 4000))
    bank = smooth.copy()
    bank[:, 1237] = np.linspace(0, 1, 60) ** 2  # no combination of exponentials sampled elsewhere
    found = skeleton(bank, 1e-7)
    np.testing.assert_allclose(found.mixing @ bank[found.chosen], bank, atol=1e-6)


@pytest.mark.parametrize("rank", [None, 8])
def test_many_filters_equal_each_alone(x64, rank):
    """120 filters at once, from a skeleton, against one at a time, which takes none."""
    es = system(rank=rank)
    rng = np.random.default_rng(1)
    observed, start = rng.normal(size=(2, 90, 3))
    cross, test_start = rng.normal(size=(7, 90)) @ np.diag(1 + np.arange(90.0)), np.ones((7, 3))
    filters = [na.dynamics.gradient_flow(float(t)) for t in TIMES]
    fitted = na.dynamics.fit(es, filters, observed, initial=start)
    predicted = na.dynamics.predict(
        es, filters, observed, cross, initial=start, initial_test=test_start
    )
    for index in (0, 17, 60, 119):
        alone = na.dynamics.fit(es, filters[index], observed, initial=start)
        np.testing.assert_allclose(fitted[index], alone, atol=1e-12)
        alone = na.dynamics.predict(
            es, filters[index], observed, cross, initial=start, initial_test=test_start
        )
        scale = np.abs(np.asarray(predicted)).max()
        np.testing.assert_allclose(predicted[index], alone, atol=1e-11 * scale)


def test_many_filters_in_float32():
    es = system(np.float32)
    observed = np.random.default_rng(1).normal(size=(90, 3))
    filters = [na.dynamics.gradient_flow(float(t)) for t in TIMES]
    alone = np.stack([na.dynamics.fit(es, one, observed) for one in filters[::17]])
    together = na.dynamics.fit(es, filters, observed)
    np.testing.assert_allclose(together[::17], alone, atol=1e-5)
