"""`check_runtime` finds what is wrong, and nothing where all is right."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import jaxlib
import numpy as np
import pytest
import threadpoolctl
from processes import run

import ntk_air as na
from ntk_air import _numerics

FAULTY = tuple(map(int, jaxlib.__version__.split(".")[:3])) >= (0, 10, 2)
KINDS = {
    "batched quadratic forms",
    "reductions of products",
    "products at full precision",
    "residuals of eigh",
    "gradients in loops",
}


def test_all_is_right_here_also_inside_a_trace_and_nothing_is_left_changed(tmp_path):
    before = jax.config.jax_enable_x64
    found = []

    @jax.jit
    def program(x):
        found.append(na.check_runtime())
        return x

    program(1.0)
    (report,) = found
    assert report.ok, str(report)
    assert report.advice == ""
    names = {c.name for c in report.checks if c.device == "cpu"}
    assert names == {f"{k}, {d}" for k in KINDS for d in ("float32", "float64")}
    assert all(0 <= c.measured <= c.limit <= 1e-4 for c in report.checks)
    assert str(report).count("right") == len(report.checks)
    assert jax.config.jax_enable_x64 == before
    back = na.load(na.save(report, tmp_path / "runtime"))
    assert str(back) == str(report)
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.ok = False


def test_the_fusion_left_on_is_found():
    program = """
import json
import ntk_air as na
report = na.check_runtime()
print(json.dumps([report.ok, [c.name for c in report.checks if not c.holds], report.advice]))
"""
    variables = {"XLA_FLAGS": None, "NTK_AIR_RUNTIME_GUARD": "0"}
    ok, wrong, advice = json.loads(run(["-c", program], optimized=True, variables=variables))
    assert ok is not FAULTY
    if FAULTY:
        assert set(wrong) == {f"batched quadratic forms, {d}" for d in ("float32", "float64")}
        assert "Unset NTK_AIR_RUNTIME_GUARD" in advice


def test_what_is_wrong_is_named(monkeypatch):
    matmul = jnp.matmul

    def rounded(a, b, **_):
        """As on an accelerator that was not asked for more."""
        return matmul(a.astype(jnp.bfloat16), b.astype(jnp.bfloat16)).astype(a.dtype)

    def zeros(kernel, **_):
        return kernel[..., 0], jnp.zeros_like(kernel)

    monkeypatch.setattr(jnp, "matmul", rounded)
    monkeypatch.setattr(jnp.linalg, "eigh", zeros)
    monkeypatch.setattr(jax.lax, "fori_loop", lambda lower, upper, body, start: start)
    report = na.check_runtime()
    wrong = {c.name.split(",")[0] for c in report.checks if not c.holds}
    assert wrong == KINDS - {"batched quadratic forms", "reductions of products"}
    assert not report.ok
    assert report.advice
    assert str(report).count("WRONG") == 2 * len(wrong)


def test_what_cannot_be_computed_or_is_not_a_number_is_not_right(monkeypatch):
    def refuses(*_, **__):
        raise jax.errors.JaxRuntimeError("INTERNAL: no solver handle")

    monkeypatch.setattr(jnp.linalg, "eigh", refuses)
    monkeypatch.setattr(jnp, "matmul", lambda a, b, **_: jnp.tensordot(a, b, 1) * jnp.nan)
    report = na.check_runtime()
    wrong = {c.name: c for c in report.checks if not c.holds}
    failed = [c for name, c in wrong.items() if "eigh" in name]
    assert {c.error for c in failed} == {"INTERNAL: no solver handle"}
    assert all(c.measured == float("inf") for c in failed)
    assert np.isnan(wrong["products at full precision, float32"].measured)


def test_a_batch_of_eigh_keeps_its_blas_to_one_thread(monkeypatch, x64):
    def threads():
        return {
            p["num_threads"] for p in threadpoolctl.threadpool_info() if p["user_api"] == "blas"
        }

    factor = np.random.default_rng(0).normal(size=(3, 2, 12, 12))
    kernels = factor @ factor.swapaxes(-1, -2)
    seen, eigh = [], jnp.linalg.eigh

    def watched(matrices):
        seen.append(threads())
        return eigh(matrices)

    monkeypatch.setattr(jnp.linalg, "eigh", watched)
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        values, vectors = _numerics.eigh_of_batch(kernels)
        after = threads()
    assert seen == [{1}]
    assert after == {2}
    np.testing.assert_allclose(values, np.linalg.eigvalsh(kernels), rtol=1e-9)
    rebuilt = (vectors * values[..., None, :]) @ vectors.swapaxes(-1, -2)
    np.testing.assert_allclose(rebuilt, kernels, atol=1e-10)
