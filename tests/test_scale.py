"""Scale, masks and precision: laws that every function of the spectral rooms obeys."""

from __future__ import annotations

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na

_N, _C = 12, 3
_RNG = np.random.default_rng(0)
_POINTS = _RNG.normal(size=(_N, 5))
_KERNEL = (_POINTS @ _POINTS.T + 0.3 * np.eye(_N)).astype(np.float32)
_CROSS = (_RNG.normal(size=(4, 5)) @ _POINTS.T).astype(np.float32)
_CLEAN = (np.eye(_C)[np.arange(_N) % _C] - 1 / _C).astype(np.float32)
_OBSERVED = (np.eye(_C)[(np.arange(_N) + (np.arange(_N) % 4 == 0)) % _C] - 1 / _C).astype(
    np.float32
)
_TIMES = np.array([0.0, 0.01, 0.1, 1.0])


def _system(k, rank=None):
    return na.spectral.eigendecompose(_KERNEL * np.float32(k), rank=rank)


# Each: function of the scales k of the kernel and c of the labels; the power of k and of c that
# every number of the result is proportional to.
_LAWS = {
    "eigenvalues": (lambda k, c: _system(k).eigenvalues, 1, 0),
    "trace": (lambda k, c: _system(k).trace, 1, 0),
    "residuals": (lambda k, c: _system(k).residuals, 1, 0),
    "lanczos": (
        lambda k, c: (
            na.spectral.eigendecompose(
                _KERNEL * np.float32(k), rank=3, method="lanczos"
            ).eigenvalues
        ),
        1,
        0,
    ),
    "trusted_rank": (lambda k, c: _system(k).trusted_rank, 0, 0),
    "effective_dimension": (
        lambda k, c: na.spectral.effective_dimension(_system(k), 0.5 * k),
        0,
        0,
    ),
    "kernel_target_alignment": (
        lambda k, c: na.spectral.kernel_target_alignment(
            _KERNEL * np.float32(k), _CLEAN * np.float32(c)
        ),
        0,
        0,
    ),
    "supervision_complexity": (
        lambda k, c: na.spectral.supervision_complexity(_system(k), _CLEAN * np.float32(c)),
        0,
        1,
    ),
    "subspace_overlap": (
        lambda k, c: na.spectral.subspace_overlap(_system(k), _system(1.0), 3),
        0,
        0,
    ),
    "project": (lambda k, c: na.spectral.project(_system(k), _CLEAN * np.float32(c)), 0, 1),
    "retention_of": (
        lambda k, c: na.spectral.retention_of(_CLEAN * np.float32(c), _OBSERVED * np.float32(c)),
        0,
        0,
    ),
    "air_profile": (
        lambda k, c: na.spectral.air_profile(
            _system(k), _CLEAN * np.float32(c), _OBSERVED * np.float32(c)
        ),
        0,
        0,
    ),
    "fit ridge": (
        lambda k, c: na.dynamics.fit(
            _system(k), na.dynamics.ridge(0.5 * k), _OBSERVED * np.float32(c)
        ),
        0,
        1,
    ),
    "fit heavy ball": (
        lambda k, c: na.dynamics.fit(
            _system(k), na.dynamics.heavy_ball(0.01 / k, 30, 0.9), _OBSERVED * np.float32(c)
        ),
        0,
        1,
    ),
    "predict": (
        lambda k, c: na.dynamics.predict(
            _system(k),
            na.dynamics.gradient_flow(0.2 / k),
            _OBSERVED * np.float32(c),
            _CROSS * np.float32(k),
        ),
        0,
        1,
    ),
    "remainder_bound": (
        lambda k, c: na.dynamics.remainder_bound(
            _system(k, 6), na.dynamics.ridge(0.5 * k), _OBSERVED * np.float32(c)
        ),
        0,
        1,
    ),
    "remainder_bound at test points": (
        lambda k, c: na.dynamics.remainder_bound(
            _system(k, 6),
            na.dynamics.ridge(0.5 * k),
            _OBSERVED * np.float32(c),
            test_train_kernel=_CROSS * np.float32(k),
        ),
        0,
        1,
    ),
    "retrieval": (
        lambda k, c: {
            name: value
            for name, value in vars(
                na.dynamics.retrieval(
                    _system(k, 6), _CLEAN * np.float32(c), _OBSERVED * np.float32(c), _TIMES / k
                )
            ).items()
            if name not in ("times", "source")
        },
        0,
        0,
    ),
    "measured_retrieval": (
        lambda k, c: (
            na.dynamics.measured_retrieval(
                np.stack([0 * _OBSERVED, 0.3 * _OBSERVED]) * np.float32(c),
                _CLEAN * np.float32(c),
                _OBSERVED * np.float32(c),
                [0.0, 1.0],
                eigensystem=_system(k),
            ).per_direction
        ),
        0,
        0,
    ),
    "risk": (
        lambda k, c: na.dynamics.risk(
            _system(k, 6),
            na.dynamics.ridge(0.5 * k),
            _CLEAN * np.float32(c),
            _OBSERVED * np.float32(c),
        ),
        0,
        2,
    ),
    "equivalent time": (
        lambda k, c: (
            na.dynamics.equivalent_stopping_time(
                _system(k), na.dynamics.ridge(0.5 * k), _OBSERVED * np.float32(c)
            ).time
        ),
        -1,
        0,
    ),
    "equivalent residual": (
        lambda k, c: (
            na.dynamics.equivalent_stopping_time(
                _system(k), na.dynamics.ridge(0.5 * k), _OBSERVED * np.float32(c)
            ).residual
        ),
        0,
        2,
    ),
    "degrees_of_freedom": (
        lambda k, c: na.dynamics.degrees_of_freedom(_system(k), na.dynamics.ridge(0.5 * k)),
        0,
        0,
    ),
    "filter_values": (
        lambda k, c: na.dynamics.filter_values(_system(k), [na.dynamics.ridge(0.5 * k)]),
        0,
        0,
    ),
    "time_grid": (lambda k, c: na.dynamics.time_grid(_system(k)), -1, 0),
    "gcv": (
        lambda k, c: na.dynamics.stopping_time(_system(k), _OBSERVED * np.float32(c)).time,
        -1,
        0,
    ),
    "noise rate": (
        lambda k, c: na.dynamics.estimate_noise(_system(k), _OBSERVED * np.float32(c)).rate,
        0,
        0,
    ),
    "leave_one_out": (
        lambda k, c: na.dynamics.leave_one_out(
            _system(k), na.dynamics.ridge(0.5 * k), _OBSERVED * np.float32(c)
        ),
        0,
        1,
    ),
    "refined labels": (
        lambda k, c: na.dynamics.refine_labels(_system(k), _OBSERVED).score,
        0,
        0,
    ),
    "tolerance_strengths": (
        lambda k, c: np.asarray(
            na.dynamics.tolerance_strengths(_system(k), _OBSERVED * np.float32(c), 0.01 * c * c, 1)
        ),
        1,
        0,
    ),
}


# Squares of labels of 2^±50 are numbers of float32; their own squares, and those of 2^±100, not.
@pytest.mark.parametrize("law", sorted(_LAWS))
@pytest.mark.parametrize(
    ("k", "c"), [(2.0**-100, 1.0), (2.0**100, 1.0), (1.0, 2.0**-50), (1, 2.0**50)]
)
def test_a_change_of_scale_changes_only_what_has_a_scale(law, k, c):
    function, of_kernel, of_labels = _LAWS[law]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        here, there = function(1.0, 1.0), function(k, c)
    factor = k**of_kernel * c**of_labels
    for a, b in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64) / factor
        # Powers of two are exact; what is left is rounding of what is computed from both.
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=1e-5 * np.abs(a).max(initial=0.0))


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e18, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_alignment_is_that_of_numpy_in_float64(scale, dtype):
    kernel, targets = _KERNEL.astype(np.float64), _CLEAN.astype(np.float64)
    gram = targets @ targets.T
    expected = np.sum(kernel * gram) / np.linalg.norm(kernel) / np.linalg.norm(gram)
    found = na.spectral.kernel_target_alignment((kernel * scale).astype(dtype), targets)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_float64_kernels_beyond_float32_are_refused_not_flushed():
    for scale in (1e60, 1e-60):
        assert na.spectral.kernel_target_alignment(
            _KERNEL.astype(np.float64) * scale, _CLEAN
        ) == pytest.approx(float(na.spectral.kernel_target_alignment(_KERNEL, _CLEAN)), rel=1e-5)
        with pytest.raises(ValueError, match="which float32 does not hold"):
            na.spectral.eigendecompose(_KERNEL.astype(np.float64) * scale)
        wide = na.spectral.eigendecompose(_KERNEL.astype(np.float64) * scale, precision="float64")
        assert float(wide.eigenvalues[0]) / scale == pytest.approx(
            np.linalg.eigvalsh(_KERNEL.astype(np.float64))[-1], rel=1e-10
        )


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    half = _OBSERVED.astype(dtype)
    es = _system(1.0)
    found = na.dynamics.fit(es, na.dynamics.ridge(0.5), half)
    expected = na.dynamics.fit(es, na.dynamics.ridge(0.5), half.astype(np.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, expected)
    kernel = na.kernels.infinite_ntk(na.kernels.fully_connected(1), _POINTS.astype(dtype))
    assert kernel.dtype == jnp.float32
    assert na.spectral.eigendecompose(_KERNEL.astype(dtype)).eigenvalues.dtype == jnp.float32


def test_the_score_of_a_stopping_time_scales_with_the_squares_of_the_labels():
    es = _system(1.0)
    for rule in na.dynamics.RULES:
        here = na.dynamics.stopping_time(es, _OBSERVED, rule=rule, times=_TIMES[1:])
        there = na.dynamics.stopping_time(es, _OBSERVED * 8, rule=rule, times=_TIMES[1:])
        shares = na.dynamics.RULES[rule].counts_points or rule == "discrepancy"
        power = 0 if shares else 64
        np.testing.assert_allclose(there.score, here.score * (power or 1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("c", [2.0**127, 2.0**100, 2.0**-100])
def test_outputs_follow_labels_to_the_ends_of_float32(c):
    es, flow = _system(1.0), na.dynamics.gradient_flow(0.3)
    # Outputs of one column say nothing about those of another.
    labels = np.stack([_OBSERVED[:, 0], _OBSERVED[:, 1] * np.float32(c)], 1)
    for function in (
        lambda y: na.dynamics.fit(es, flow, y, initial=y / 3),
        lambda y: na.dynamics.predict(es, flow, y, _CROSS / 64),
    ):
        found, expected = np.asarray(function(labels)), np.asarray(function(_OBSERVED[:, :2]))
        np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            found[:, 1].astype(float) / c, expected[:, 1], rtol=1e-5, atol=1e-6
        )


def test_outputs_beyond_float32_are_said():
    es, flow = _system(1.0), na.dynamics.gradient_flow(0.3)
    with pytest.warns(UserWarning, match="beyond the range of float32"):
        na.dynamics.predict(es, flow, _OBSERVED * np.float32(1e30), _CROSS * np.float32(1e20))


def _network(params, x):
    return jnp.tanh(x @ params)


def test_products_of_an_operator_follow_the_vector_or_are_refused():
    points = _POINTS.astype(np.float32)
    weights = _RNG.normal(size=(5, 2)).astype(np.float32)
    operator = na.kernels.NTKOperator(_network, weights, points)
    ones = np.ones((_N, 1), np.float32)
    kernel = np.asarray(na.kernels.empirical_ntk(_network, weights, points))
    product = operator @ (ones * np.float32([1.0, 2.0**120]))
    expected = kernel @ ones
    np.testing.assert_allclose(np.asarray(product)[:, :1], expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        np.asarray(product, float)[:, 1:] / 2.0**120, expected, rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="the product holds NaN or infinity"):
        operator @ (ones * np.float32(3e38))


def test_parameters_beyond_float32_are_refused_not_flushed():
    weights = _RNG.normal(size=(5, 2)) * 1e-200
    for call in (na.kernels.empirical_ntk, na.kernels.NTKOperator):
        with pytest.raises(ValueError, match=r"params has a largest magnitude of \d.*e-200"):
            call(_network, weights, _POINTS)
    kernel = na.kernels.empirical_ntk(_network, weights, _POINTS, precision="float64")
    np.testing.assert_allclose(np.asarray(kernel), _POINTS @ _POINTS.T, rtol=1e-12)


def test_masks_that_hide_nothing_are_no_masks():
    weights = np.ma.masked_array(_RNG.normal(size=(5, 2)), False)
    for precision in ("float32", "float64"):
        found, expected = (
            np.asarray(na.kernels.empirical_ntk(_network, w, _POINTS, precision=precision))
            for w in (weights, np.asarray(weights))
        )
        np.testing.assert_array_equal(found, expected)
