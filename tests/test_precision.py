"""What float32 cannot say is right, or said: close points, untrusted directions, the switch."""

from __future__ import annotations

import json
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main

_ARCHITECTURE = na.kernels.fully_connected(2, 512, weight_std=1.5, bias_std=0.05)
_LINE = np.linspace(-10 * np.pi, 10 * np.pi, 100)[:, None].astype(np.float32)
_WAVES = np.sin(_LINE) + np.sin(2 * _LINE)


def _relu_ntk(x1, x2, depth, weight_std, bias_std):
    """The recursion of Jacot et al. in NumPy's float64, angles from an arctangent."""
    w, b = weight_std**2, bias_std**2
    cross = w * x1 @ x2.T / x1.shape[1] + b
    one = w * np.sum(x1**2, axis=1) / x1.shape[1] + b
    two = w * np.sum(x2**2, axis=1) / x1.shape[1] + b
    ntk = cross.copy()
    for _ in range(depth):
        scale = np.sqrt(np.outer(one, two))
        cosine = np.clip(cross / scale, -1, 1)
        sine = np.sqrt((1 - cosine) * (1 + cosine))
        angle = np.arctan2(sine, cosine)
        slope = w * (np.pi - angle) / (2 * np.pi)
        cross = w * scale * (sine + (np.pi - angle) * cosine) / (2 * np.pi) + b
        one, two = w * one / 2 + b, w * two / 2 + b
        ntk = cross + ntk * slope
    return ntk


def _points(kind):
    rng = np.random.default_rng(0)
    if kind == "line":
        return _LINE
    if kind == "clusters":
        centres = rng.normal(size=(4, 6))
        return (np.repeat(centres, 15, 0) + 1e-4 * rng.normal(size=(60, 6))).astype(np.float32)
    points = rng.normal(size=(30, 6)).astype(np.float32)
    return np.concatenate([points, points])


@pytest.mark.parametrize("kind", ["line", "clusters", "twice"])
@pytest.mark.parametrize("store", [False, True])
def test_kernels_of_close_points_are_right_in_float32(kind, store, tmp_path):
    x = _points(kind)
    wide = x.astype(np.float64)
    exact = _relu_ntk(wide, wide, 2, 1.5, 0.05)
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    options = {"store": tmp_path / "square"} if store else {}
    whole = na.kernels.infinite_ntk(_ARCHITECTURE, x, tile_size=40, **options)
    assert np.max(np.abs(np.asarray(whole[:]) - exact) / size) < 2e-6
    options = {"store": tmp_path / "cross"} if store else {}
    cross = na.kernels.infinite_ntk(_ARCHITECTURE, x[:20], x, tile_size=40, **options)
    assert np.max(np.abs(np.asarray(cross[:]) - exact[:20]) / size[:20]) < 2e-6


def test_both_kernels_at_once_are_right_too():
    both = na.kernels.infinite_ntk(_ARCHITECTURE, _LINE, kind=("nngp", "ntk"))
    for kind, kernel in zip(("nngp", "ntk"), both, strict=True):
        exact = np.asarray(
            na.kernels.infinite_ntk(_ARCHITECTURE, _LINE, kind=kind, precision="float64")
        )
        np.testing.assert_allclose(kernel, exact, rtol=1e-6)


def test_a_mesh_says_what_close_points_cost():
    mesh = jax.make_mesh((1,), ("data",))
    with pytest.warns(UserWarning, match="nearly coincide"):
        na.kernels.infinite_ntk(_ARCHITECTURE, _LINE, mesh=mesh)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        na.kernels.infinite_ntk(
            _ARCHITECTURE, np.random.default_rng(0).normal(size=(9, 30)), mesh=mesh
        )


def _share(record):
    (text,) = [str(one.message) for one in record if "trusted_rank" in str(one.message)]
    return float(re.search(r"outputs by ([\d.]+)%", text)[1]) / 100


def _both_precisions(x):
    single = na.spectral.eigendecompose(na.kernels.infinite_ntk(_ARCHITECTURE, x))
    double = na.spectral.eigendecompose(
        na.kernels.infinite_ntk(_ARCHITECTURE, x, precision="float64")
    )
    return single, double


def test_filters_beyond_the_trusted_rank_warn_once_and_cover_the_error():
    single, double = _both_precisions(_LINE)
    kernel = na.kernels.infinite_ntk(_ARCHITECTURE, _LINE[:30] + np.float32(0.1), _LINE)
    wide = na.kernels.infinite_ntk(
        _ARCHITECTURE, _LINE[:30] + np.float32(0.1), _LINE, precision="float64"
    )
    ridge = na.dynamics.ridge(1e-4 * float(np.asarray(single.trace)) / len(_LINE))
    for call in (
        lambda es, cross, one: na.dynamics.fit(es, one, _WAVES),
        lambda es, cross, one: na.dynamics.predict(es, one, _WAVES, cross),
    ):
        with pytest.warns(UserWarning, match="trusted_rank") as record:
            found = np.asarray(call(single, kernel, ridge), np.float64)
        exact = np.asarray(call(double, wide, ridge))
        error = np.linalg.norm(found - exact) / np.linalg.norm(exact)
        # What it says is no less than the truth, and not just anything above it.
        assert error < _share(record) < 10 * error
    for call in (
        lambda: na.dynamics.risk(single, ridge, _WAVES, _WAVES),
        lambda: na.dynamics.retrieval(single, _WAVES, _WAVES, [0.0, 1e3]),
        lambda: na.dynamics.equivalent_stopping_time(single, ridge, _WAVES),
        lambda: na.dynamics.fit(single, na.dynamics.truncation(40), _WAVES),
        lambda: na.dynamics.fit(single, [ridge, na.dynamics.gradient_flow(1e-6)], _WAVES),
    ):
        with pytest.warns(UserWarning, match="trusted_rank"):
            call()


def test_what_is_determined_does_not_warn():
    single, double = _both_precisions(_LINE)
    early = na.dynamics.gradient_flow(0.01)
    data = na.datasets.load("digits", train_size=200, test_size=50)
    data = data.standardized(per_image=True).flattened(unit_norm="sqrt_d")
    labels = na.datasets.encode(data.train_labels, 10)
    digits = na.spectral.eigendecompose(na.kernels.infinite_ntk(_ARCHITECTURE, data.train_inputs))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        na.dynamics.fit(single, early, _WAVES)
        na.dynamics.fit(double, na.dynamics.ridge(0.28), _WAVES)
        filters = [na.dynamics.gradient_flow(float(t)) for t in na.dynamics.time_grid(digits)]
        na.dynamics.fit(digits, [*filters, na.dynamics.gradient_flow(np.inf)], labels)
        na.dynamics.retrieval(digits, labels, labels, na.dynamics.time_grid(digits))


def test_float64_arithmetic_does_not_make_a_float32_kernel_trusted():
    kernel = np.asarray(na.kernels.infinite_ntk(_ARCHITECTURE, _LINE))
    es = na.spectral.eigendecompose(kernel, precision="float64")
    assert es.eigenvalues.dtype == np.float64
    assert es.trusted_rank == na.spectral.eigendecompose(kernel).trusted_rank
    with pytest.warns(UserWarning, match="trusted_rank"):
        na.dynamics.fit(es, na.dynamics.ridge(0.28), _WAVES)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_the_switch_computes_in_float64_where_float32_is_the_default(activation):
    architecture = na.kernels.fully_connected(2, 16, activation=activation)
    x = np.random.default_rng(0).normal(size=(12, 5))
    y = np.sign(x[:, :1])
    na.kernels.infinite_ntk(architecture, x)
    kernel = na.kernels.infinite_ntk(architecture, x, precision="float64")
    es = na.spectral.eigendecompose(kernel)
    found = na.dynamics.fit(es, na.dynamics.ridge(1e-3), y)
    with jax.enable_x64(True):
        same = na.kernels.infinite_ntk(architecture, x)
    k = np.asarray(same)
    np.testing.assert_allclose(np.asarray(kernel), k, rtol=1e-13)
    assert found.dtype == np.float64
    expected = k @ np.linalg.solve(k + 1e-3 * np.eye(12), y)
    np.testing.assert_allclose(np.asarray(found), expected, rtol=0, atol=1e-12)
    assert na.kernels.infinite_diagonal(architecture, x, precision="float64").dtype == np.float64


def test_finite_kernels_follow_the_switch():
    x = np.random.default_rng(0).normal(size=(6, 3))
    params = {"v": np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)}

    def network(params, inputs):
        return jnp.tanh(inputs @ params["v"]).sum(axis=1, keepdims=True)

    jacobian = (1 - np.tanh(x @ params["v"].astype(float)) ** 2)[:, None, :] * x[:, :, None]
    exact = jacobian.reshape(6, -1) @ jacobian.reshape(6, -1).T
    kernel = na.kernels.empirical_ntk(network, params, x, precision="float64")
    np.testing.assert_allclose(np.asarray(kernel), exact, rtol=1e-13)
    operator = na.kernels.NTKOperator(network, params, x, precision="float64")
    v = np.arange(6.0)
    np.testing.assert_allclose(np.asarray(operator @ v), exact @ v, rtol=1e-12)
    es = na.spectral.eigendecompose(operator, rank=2)
    values = np.linalg.eigvalsh(exact)[::-1][:2]
    np.testing.assert_allclose(np.asarray(es.eigenvalues), values, rtol=1e-12)


def test_training_follows_the_switch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    w = np.zeros((3, 2), np.float32)
    result = na.distillation.self_distill(
        lambda params, inputs: inputs @ params, w, x, y, optimizer=0.01, num_steps=50,
        alpha=1.0, label_fn=na.distillation.identity, precision="float64",
    )  # fmt: skip
    expected = np.zeros((3, 2))
    for _ in range(50):
        expected -= 0.01 * x.T @ (x @ expected - y)
    assert result.params.dtype == np.float64
    np.testing.assert_allclose(np.asarray(result.params), expected, rtol=1e-11)


@pytest.mark.parametrize("by", ["switch", "kernel"])
def test_distillation_in_function_space_follows_the_switch(by):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    kernel, cross = x @ x.T, x[:3] @ x.T
    options = {"precision": "float64"}
    if by == "kernel":
        options = {}
        with jax.enable_x64(True):
            kernel = jnp.asarray(kernel)
    result = na.distillation.kernel_self_distill(
        kernel, y, learning_rate=0.01, num_steps=50, alpha=0.5, record_outputs=True,
        label_fn=na.distillation.tanh(2.0), test_train_kernel=cross, test=y[:3], **options,
    )  # fmt: skip
    outputs, moved = np.zeros((8, 2)), np.zeros((8, 2))
    for _ in range(50):
        pull = 0.01 * (outputs - 0.5 * y - 0.5 * np.tanh(2 * outputs))
        outputs, moved = outputs - x @ x.T @ pull, moved - pull
    assert result.outputs.dtype == np.float64
    np.testing.assert_allclose(np.asarray(result.outputs)[-1], outputs, rtol=1e-11)
    np.testing.assert_allclose(np.asarray(result.test_outputs)[-1], cross @ moved, rtol=1e-11)


def test_teachers_and_students_follow_the_switch():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    result = na.distillation.teacher_student(
        lambda params, inputs: inputs @ params, np.zeros((3, 2), np.float32), x, y, optimizer=0.01,
        teacher_steps=20, student_steps=30, checkpoints=[20], keep_params=True,
        precision="float64",
    )  # fmt: skip

    def trained(target, steps):
        w = np.zeros((3, 2))
        for _ in range(steps):
            w -= 0.01 * x.T @ (x @ w - target)
        return w

    expected = trained(x @ trained(y, 20), 30)
    assert result.student_params.dtype == np.float64
    np.testing.assert_allclose(np.asarray(result.student_params)[0, 0], expected, rtol=1e-11)


def test_the_teacher_student_study_is_float64_throughout():
    data = na.datasets.load("digits", train_size=40, test_size=20)
    noisy = na.noise.symmetric(data.train_labels, 0.2, num_classes=10, seed=0)
    found = na.analysis.teacher_student(
        data, noisy, num_seeds=1, width=8, teacher_steps=2, smoothing=(0.0,), batch_size=None,
        precision="float64",
    )  # fmt: skip
    single = {
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        if leaf.dtype == np.float32
    }
    assert not single
    assert not jax.config.jax_enable_x64


def test_an_unknown_precision_is_one_line(capsys):
    x = np.ones((3, 2))
    with pytest.raises(ValueError, match="precision is 'float8', expected one of"):
        na.kernels.infinite_ntk(_ARCHITECTURE, x, precision="float8")
    assert main(["stop", "--dataset", "digits", "--train-size", "50", "--precision", "half"]) == 2
    assert "precision is 'half'" in capsys.readouterr().err


def test_the_command_line_has_the_switch_everywhere(tmp_path, capsys, monkeypatch):
    decompose, seen = na.spectral.eigendecompose, []

    def watched(kernel, **options):
        found = decompose(kernel, **options)
        seen.append({np.dtype(kernel.dtype).name, np.dtype(found.eigenvalues.dtype).name})
        return found

    monkeypatch.setattr(na.spectral, "eigendecompose", watched)
    common = ["--dataset", "digits", "--train-size", "60", "--precision", "float64"]
    store = tmp_path / "store"
    out = tmp_path / "spectrum.ntkair"
    assert main(["kernel", *common, "--store", str(store), "--rank", "3", "--out", str(out)]) == 0
    assert na.kernels.open_kernel(store).dtype == np.float64
    assert main(["stop", *common, "--out", str(tmp_path / "stop")]) == 0
    assert main(["labels", *common, "--noise", "symmetric:0.2"]) == 0
    assert main(["air", *common, "--test-size", "20", "--steps", "0"]) == 0
    assert seen == [{"float64"}] * 4
    text = capsys.readouterr().out
    assert json.loads(text[text.index("\n{") :])["num_points"] == 60
    assert not jax.config.jax_enable_x64


def test_the_main_job_is_float64_throughout():
    data = na.datasets.load("digits", train_size=60, test_size=20)
    noisy = na.noise.symmetric(data.train_labels, 0.2, num_classes=10, seed=0)
    found = na.analysis.air(data, noisy, steps=2, width=8, precision="float64")
    assert found.plain is not None
    assert found.measured is not None
    for array in (
        found.eigenvalues,
        found.profile.noise_energy,
        found.curves.signal,
        found.stopping.score,
        found.measured.per_direction,
        found.plain.loss,
    ):
        assert array.dtype == np.float64
