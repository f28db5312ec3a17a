"""The matrix-free NTK: against the kernel formed, whatever the batches, columns and devices."""

from __future__ import annotations

import functools
import pickle
import textwrap
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from processes import run

import ntk_air as na
from ntk_air._numerics import relative_error
from ntk_air.kernels import NTKOperator
from ntk_air.kernels.finite import _operator


class MLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(6)(x))
        return nn.Dense(3)(nn.tanh(nn.Dense(5)(x)))


class CNN(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2)(x))
        x = nn.gelu(nn.Conv(5, (3, 3))(x))
        return nn.Dense(2)(x.mean((1, 2)))


NETWORKS = {"mlp": (MLP(), (4,)), "cnn": (CNN(), (8, 8, 2))}


def setup(name="mlp", n=7):
    net, shape = NETWORKS[name]
    dtype = jnp.result_type(float)
    x = np.random.default_rng(0).normal(size=(n, *shape)).astype(dtype)
    params = jax.tree.map(lambda p: p.astype(dtype), net.init(jax.random.key(0), x))
    return net.apply, params, x


def columns(size, width, seed=1):
    return np.random.default_rng(seed).normal(size=(size, width)).astype(jnp.result_type(float))


def check_against_kernel(name, outputs, tolerance):
    apply_fn, params, x = setup(name)
    kernel = na.kernels.empirical_ntk(apply_fn, params, x, outputs=outputs)
    op = NTKOperator(apply_fn, params, x, outputs=outputs, batch_size=3)
    v = columns(len(kernel), 4)
    assert op.shape == kernel.shape
    assert op.dtype == kernel.dtype == (op @ v).dtype
    assert relative_error(op @ v, kernel @ v) < tolerance
    assert (op @ v[:, 0]).shape == v[:, 0].shape
    assert relative_error(op @ jnp.asarray(v[:, 0]), kernel @ v[:, 0]) < tolerance
    assert relative_error(op.diagonal(), np.diagonal(kernel)) < tolerance
    assert op.T is op


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_formed_kernel(name, outputs):
    check_against_kernel(name, outputs, 1e-5)


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_formed_kernel_in_double(name, outputs, x64):
    check_against_kernel(name, outputs, 1e-13)


@functools.cache
def kernel_of_eleven(outputs):
    apply_fn, params, x = setup(n=11)
    return np.asarray(na.kernels.empirical_ntk(apply_fn, params, x, outputs=outputs))


@settings(max_examples=8, deadline=None)
@given(
    outputs=st.sampled_from(["trace", "full"]),
    n=st.integers(1, 11),
    batch=st.integers(1, 12),
    width=st.integers(1, 40),
)
@example(outputs="trace", n=11, batch=4, width=7)
@example(outputs="full", n=11, batch=4, width=17)
def test_any_batch_and_any_number_of_columns(outputs, n, batch, width):
    apply_fn, params, x = setup(n=11)
    op = NTKOperator(apply_fn, params, x[:n], outputs=outputs, batch_size=batch)
    size = op.shape[0]
    v = columns(size, width)
    assert relative_error(op @ v, kernel_of_eleven(outputs)[:size, :size] @ v) < 2e-5


@pytest.mark.parametrize("outputs", ["trace", "full"])
def test_linear_and_symmetric(outputs, x64):
    apply_fn, params, x = setup()
    op = NTKOperator(apply_fn, params, x, outputs=outputs, batch_size=2)
    u, v = columns(op.shape[0], 2).T
    assert relative_error(op @ (2 * u - 3 * v), 2 * (op @ u) - 3 * (op @ v)) < 1e-13
    assert float(u @ (op @ v)) == pytest.approx(float((op @ u) @ v), rel=1e-12)
    assert float(u @ (op @ u)) > 0
    signs = u > 0
    assert np.array_equal(op @ signs, op @ signs.astype(float))


@pytest.mark.parametrize("outputs", ["trace", "full"])
def test_eigenvalues_equal_those_of_the_formed_kernel(outputs, x64):
    apply_fn, params, x = setup(n=40)
    kernel = na.kernels.empirical_ntk(apply_fn, params, x, outputs=outputs)
    op = NTKOperator(apply_fn, params, x, outputs=outputs, batch_size=16)
    found = na.spectral.eigendecompose(op, rank=5)
    expected = np.linalg.eigvalsh(kernel)[::-1][:5]
    assert relative_error(found.eigenvalues, expected) < 1e-10
    assert float(found.trace) == pytest.approx(float(np.trace(kernel)))


def test_one_compilation_serves_all_products_and_operators():
    apply_fn, params, x = setup()
    calls = 0

    def counted(params, x):
        nonlocal calls
        calls += 1
        return apply_fn(params, x)

    op = NTKOperator(counted, params, x, batch_size=3)
    first = op @ np.ones(7)
    traced = calls
    assert np.array_equal(op @ np.ones(7), first)
    assert calls == traced
    op.diagonal()
    halved = NTKOperator(counted, jax.tree.map(lambda p: p / 2, params), x, batch_size=3)
    traced = calls  # Whatever its checks traced, its products and diagonal trace nothing.
    assert not np.allclose(halved @ np.ones(7), first)
    halved.diagonal()
    assert calls == traced


def test_operator_is_an_argument_of_jitted_functions():
    apply_fn, params, x = setup()
    op = NTKOperator(apply_fn, params, x, batch_size=3)
    v = columns(7, 2)
    assert relative_error(jax.jit(lambda op, v: op @ v)(op, v), op @ v) < 1e-6


def test_bfloat16_parameters_are_summed_in_the_precision_of_the_inputs():
    apply_fn, params, x = setup(n=60)
    low = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    exact = NTKOperator(apply_fn, jax.tree.map(lambda p: p.astype(x.dtype), low), x)
    op = NTKOperator(apply_fn, low, x, batch_size=1)
    assert op.dtype == x.dtype
    assert relative_error(op @ np.ones(60), exact @ np.ones(60)) < 0.02


def test_budget_bounds_what_xla_allocates_and_changes_no_result():
    apply_fn, params, x = setup("cnn", n=200)
    for outputs in ("trace", "full"):
        roomy = NTKOperator(apply_fn, params, x, outputs=outputs)
        for budget in (80_000, 200_000, 1_000_000, 20_000_000):
            op = NTKOperator(apply_fn, params, x, outputs=outputs, memory_budget=budget)
            v = columns(op.shape[0], 8)
            assert relative_error(op @ v, roomy @ v) < 1e-5
            v = v.reshape(200, *op._plan.entries, 8)
            plan, group, keep = op._fitting(8)
            assert keep == (budget == 20_000_000)
            pushes = _operator.linearised(plan, op._params, op._x) if keep else None
            kept = sum(leaf.nbytes for leaf in jax.tree.leaves(pushes))
            analysis = (
                _operator.product.lower(plan, group, op._params, op._x, v, pushes)
                .compile()
                .memory_analysis()
            )
            held = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
            assert held + kept <= budget
            assert 4 * kept <= budget


def test_a_copy_makes_its_own_forward_pass():
    """What is kept holds functions, which nothing can copy; the results are the same."""
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    op = NTKOperator(linear, np.ones((3, 2), np.float32), x, outputs="full")
    v = columns(12, 1)[:, 0]
    first, second = op @ v, op @ v
    np.testing.assert_array_equal(first, second)
    expected = np.einsum("ik,jk,jc->ic", x, x, np.reshape(v, (6, 2))).reshape(-1)
    np.testing.assert_allclose(first, expected, rtol=1e-5)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(op)) @ v, first)


def linear(params, x):
    return x @ params


def test_budget_too_small_names_the_least_that_works():
    apply_fn, params, x = setup()
    with pytest.raises(ValueError, match=r"set memory_budget to at least (\d+)") as error:
        NTKOperator(apply_fn, params, x, memory_budget=100)
    least = int(str(error.value).split("at least ")[1].split(",")[0])
    with pytest.raises(ValueError, match="at least"):
        NTKOperator(apply_fn, params, x, memory_budget=least - 1)
    op, roomy = (
        NTKOperator(apply_fn, params, x, memory_budget=least),
        NTKOperator(apply_fn, params, x),
    )
    assert relative_error(op @ np.ones(7), roomy @ np.ones(7)) < 1e-5
    with pytest.raises(ValueError, match=r"with 500 column\(s\) needs \d+ bytes"):
        op @ np.ones((7, 500))


@pytest.mark.parametrize(
    ("v", "message"),
    [
        (np.ones(6), r"v has shape \(6,\), expected \(7,\) or \(7, r\)"),
        (np.ones((2, 7)), r"v has shape \(2, 7\)"),
        (np.ones((7, 2, 2)), r"v has shape \(7, 2, 2\)"),
        (np.ones((7, 0)), r"v has shape \(7, 0\)"),
        (np.float32(1.0), r"v has shape \(\)"),
        (np.ones(7) * 1j, "v is complex"),
        (np.where(np.arange(7) == 3, np.nan, 1.0), r"v holds 1 value.* index \(3,\)"),
    ],
)
def test_bad_vectors(v, message):
    apply_fn, params, x = setup()
    op = NTKOperator(apply_fn, params, x)
    with pytest.raises(ValueError, match=message):
        op @ v


def test_bad_networks_and_options():
    apply_fn, params, x = setup()
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))

    def build(apply_fn=apply_fn, params=params, x=x, **options):
        return NTKOperator(apply_fn, params, x, **options)

    with pytest.raises(ValueError, match="expected one of 'trace', 'full'"):
        build(outputs="per_output")
    with pytest.raises(ValueError, match="x1 is complex"):
        build(x=x * 1j)
    with pytest.raises(ValueError, match=r"params\['params'\].* NaN or infinite"):
        build(params=jax.tree.map(lambda p: p.at[0].set(jnp.inf), params))
    with pytest.raises(ValueError, match="no floating-point parameters"):
        build(params={})
    with pytest.raises(ValueError, match=r"params\['steps'\] has dtype int32"):
        build(params={**params, "steps": jnp.arange(3)})
    with pytest.raises(ValueError, match=r"params\['key'\] has dtype key"):
        build(params={**params, "key": jax.random.key(0)})
    with pytest.raises(ValueError, match=r"expected outputs \(2, C\)"):
        build(lambda p, x: apply_fn(p, x)[:, 0])
    with pytest.raises(ValueError, match="BatchNorm in evaluation mode"):
        build(lambda p, x: apply_fn(p, x - x.mean(0)))
    with pytest.raises(ValueError, match="batch_size is 0"):
        build(batch_size=0)
    with pytest.raises(ValueError, match="expected distinct names of axes that the mesh has"):
        build(mesh=mesh, mesh_axes="model")
    with pytest.raises(ValueError, match="there is no mesh"):
        build(mesh_axes="data")


ON_FOUR_DEVICES = """
    import jax, numpy as np
    from jax.sharding import Mesh
    import ntk_air as na
    from ntk_air._numerics import relative_error
    from ntk_air.kernels import NTKOperator
    from test_operator import columns, setup

    assert len(jax.devices()) == 4
    meshes = [
        (Mesh(np.array(jax.devices()), ("data",)), None),
        (Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "model")), "data"),
        (Mesh(np.array(jax.devices()).reshape(2, 2), ("host", "chip")), ("host", "chip")),
    ]
    for n, on in ((2, meshes[:1]), (12, meshes[:1]), (13, meshes)):
        apply_fn, params, x = setup(n=n)
        for outputs in ("trace", "full"):
            single = NTKOperator(apply_fn, params, x, outputs=outputs)
            v = columns(single.shape[0], 3)
            for mesh, axes in on:
                op = NTKOperator(
                    apply_fn, params, x, outputs=outputs, mesh=mesh, mesh_axes=axes, batch_size=2
                )
                assert op.shape == single.shape
                assert len(op._x.sharding.device_set) == 4
                assert relative_error(op @ v, single @ v) < 1e-5
                assert relative_error(op @ (op @ v), single @ (single @ v)) < 1e-5
                assert relative_error(op.diagonal(), single.diagonal()) < 1e-5
    apply_fn, params, x = setup(n=21)
    pair = NTKOperator(apply_fn, params, x, mesh=meshes[0][0]), NTKOperator(apply_fn, params, x)
    found = [na.spectral.eigendecompose(op, rank=3, tolerance=1e-4).eigenvalues for op in pair]
    assert relative_error(*found) < 1e-4
    print("equal")
"""


def test_four_devices_equal_one():
    program = textwrap.dedent(ON_FOUR_DEVICES)
    assert "equal" in run(["-c", program], devices=4, folder=Path(__file__).parent)
