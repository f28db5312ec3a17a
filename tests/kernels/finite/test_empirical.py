"""Finite-width kernels: against Jacobians taken two other ways, and against infinite width."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_form import finite_difference_jacobian
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

import ntk_air as na
from ntk_air._numerics import relative_error


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(6)(x))
        return nn.Dense(3)(nn.tanh(nn.Dense(5)(x)))


def setup(n=6, d=4):
    x = np.random.default_rng(0).normal(size=(n, d))
    net = Net()
    params = net.init(jax.random.key(0), x)
    return net, jax.tree.map(lambda p: p.astype(jnp.result_type(float)), params), x


def kernels_from(jacobian1, jacobian2):
    """Trace, per-output and full kernels from Jacobians (n, C, p)."""
    full = np.einsum("iap,jbp->iajb", jacobian1, jacobian2)
    n1, c, n2, _ = full.shape
    per_output = np.einsum("iaja->aij", full)
    return {
        "trace": per_output.mean(0),
        "per_output": per_output,
        "full": full.reshape(n1 * c, n2 * c),
    }


@pytest.mark.parametrize(("implementation", "outputs"), [
    *((name, outputs) for name in na.kernels.IMPLEMENTATIONS for outputs in ("trace", "full")),
    ("auto", "per_output"),
    ("layerwise", "per_output"),
])  # fmt: skip
def test_matches_finite_differences(implementation, outputs, x64):
    net, params, x = setup()
    flat, unravel = ravel_pytree(params)
    jacobian = finite_difference_jacobian(lambda p, x: net.apply(unravel(p), x), np.array(flat), x)
    for x2, jacobian2 in ((None, jacobian), (x[:4], jacobian[:4])):
        expected = kernels_from(jacobian, jacobian2)[outputs]
        kernel = na.kernels.empirical_ntk(
            net.apply, params, x, x2, outputs=outputs, implementation=implementation, tile_size=4
        )
        assert kernel.shape == expected.shape
        assert relative_error(kernel, expected) < 1e-8


def test_symmetric_result_is_exactly_symmetric():
    net, params, x = setup(n=9)
    for outputs in ("trace", "full"):
        kernel = np.asarray(
            na.kernels.empirical_ntk(
                net.apply, params, x.astype(np.float32), outputs=outputs, tile_size=4
            )
        )
        assert np.array_equal(kernel, kernel.T)


def test_approaches_infinite_width_as_one_over_root_width():
    x = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    widths = [32, 128, 512]
    errors = []
    for width in widths:
        arch = na.kernels.fully_connected(2, width, num_outputs=1)
        infinite = na.kernels.infinite_ntk(arch, x)
        total = 0.0
        for seed in range(8):
            _, params = arch.init_fn(jax.random.key(seed), (-1, 6))
            finite = na.kernels.empirical_ntk(
                arch.apply_fn, params, x, implementation="jacobian_contraction"
            )
            total += float(jnp.sum((finite - infinite) ** 2))
        errors.append((total / 8) ** 0.5)
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert -0.65 < slope < -0.35


def test_batch_dependent_network_is_refused():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = x - x.mean(0)
            return nn.Dense(2)(x)

    net = Normed()
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    with pytest.raises(ValueError, match="BatchNorm in evaluation mode"):
        na.kernels.empirical_ntk(net.apply, net.init(jax.random.key(0), x), x)


def test_bad_inputs():
    net, params, x = setup()
    x = x.astype(np.float32)
    broken = jax.tree.map(lambda p: p.at[0].set(jnp.nan), params)
    with pytest.raises(ValueError, match=r"params\['params'\].* NaN or infinite"):
        na.kernels.empirical_ntk(net.apply, broken, x)
    with pytest.raises(ValueError, match=r"expected outputs \(2, C\)"):
        na.kernels.empirical_ntk(lambda p, x: net.apply(p, x).sum(-1), params, x)
    with pytest.raises(ValueError, match="implementation is 'fast'"):
        na.kernels.empirical_ntk(net.apply, params, x, implementation="fast")
    with pytest.raises(ValueError, match=r"needs \d+ bytes"):
        na.kernels.empirical_ntk(net.apply, params, x, memory_budget=10)


def test_auto_takes_the_fewest_operations_and_says_which(caplog):
    arch = na.kernels.fully_connected(2, 64, num_outputs=10)
    _, params = arch.init_fn(jax.random.key(0), (-1, 32))
    x = np.random.default_rng(0).normal(size=(4, 32)).astype(np.float32)
    operations = na.kernels.implementation_costs(arch.apply_fn, params, x).operations
    assert set(operations) == set(na.kernels.IMPLEMENTATIONS) - {"auto"}
    assert min(operations, key=operations.get) == "layerwise"
    # What Novak et al. find for wide layers and many outputs.
    assert operations["structured_derivatives"] < operations["jacobian_contraction"]
    with caplog.at_level("INFO", logger="ntk_air.kernels"):
        na.kernels.empirical_ntk(arch.apply_fn, params, x)
    assert "implementation='layerwise'" in caplog.text


def test_auto_passes_over_what_the_memory_does_not_allow(caplog):
    """A layer of 1500 x 1500 shared over positions: its Jacobian is 9 MB for each point."""

    def network(p, x):
        return jnp.tanh(x.reshape(len(x), 64, -1) @ p["wide"]).mean(1) @ p["out"]

    keys = jax.random.split(jax.random.key(0))
    params = {
        "wide": jax.random.normal(keys[0], (1500, 1500)) / 40,
        "out": jax.random.normal(keys[1], (1500, 1)) / 40,
    }
    x = jax.random.normal(jax.random.key(1), (3, 64 * 1500))
    taken = []
    for budget in (1e9, 1e7):
        caplog.clear()
        with caplog.at_level("INFO", logger="ntk_air.kernels"):
            taken.append(na.kernels.empirical_ntk(network, params, x, memory_budget=budget))
        assert ("implementation='layerwise'" in caplog.text) == (budget == 1e9)
    assert relative_error(*taken) < 1e-5


def test_integers_and_half_precision():
    net, params, x = setup()
    counts = np.round(4 * x).astype(np.int32)
    kernel = na.kernels.empirical_ntk(net.apply, params, counts)
    assert relative_error(kernel, na.kernels.empirical_ntk(net.apply, params, counts + 0.0)) < 1e-6
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
    rounded = jax.tree.map(lambda p: p.astype(jnp.float32), half)
    kernel = na.kernels.empirical_ntk(net.apply, half, x.astype(np.float32))
    assert kernel.dtype == jnp.float32
    exact = na.kernels.empirical_ntk(net.apply, rounded, x.astype(np.float32))
    assert relative_error(kernel, exact) < 0.05
    with pytest.raises(ValueError, match="complex"):
        na.kernels.empirical_ntk(net.apply, params, x.astype(np.complex64))


@settings(max_examples=7, deadline=None)
@given(
    n1=st.integers(1, 9),
    n2=st.one_of(st.none(), st.integers(1, 9)),
    tile=st.integers(1, 10),
    outputs=st.sampled_from(["trace", "per_output", "full"]),
    dtype=st.sampled_from([np.float32, np.float16]),
)
def test_tiled_equals_whole(n1, n2, tile, outputs, dtype):
    """Any split gives the rows and columns of one kernel computed at once."""
    net, params, _ = setup()
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(dtype)
    whole = whole_kernel(outputs, np.dtype(dtype).name)
    block = 3 if outputs == "full" else 1
    other = None if n2 is None else x[:n2]
    tiled = na.kernels.empirical_ntk(
        net.apply,
        params,
        x[:n1],
        other,
        outputs=outputs,
        implementation="layerwise",
        tile_size=tile,
    )
    expected = whole[..., : n1 * block, : (n1 if n2 is None else n2) * block]
    assert tiled.shape == expected.shape
    assert relative_error(tiled, expected) < (1e-6 if dtype == np.float32 else 5e-3)
    if n2 is None:
        assert np.array_equal(tiled, np.swapaxes(tiled, -1, -2))
        least = np.linalg.eigvalsh(np.asarray(tiled, np.float64)).min()
        assert least > -1e-2 * float(np.finfo(dtype).eps) ** 0.5 * float(jnp.abs(tiled).max())


@functools.cache
def whole_kernel(outputs, dtype):
    net, params, _ = setup()
    x = np.random.default_rng(1).normal(size=(9, 4)).astype(dtype)
    return np.asarray(
        na.kernels.empirical_ntk(
            net.apply, params, x, outputs=outputs, implementation="jacobian_contraction"
        )
    )


def test_a_network_minus_its_initial_outputs_has_the_same_kernel():
    """Its outputs cancel to round-off, which must not be taken for a dependence on the batch."""
    network = na.kernels.fully_connected(2, 32, num_outputs=3)
    x = jax.random.normal(jax.random.key(0), (12, 8))
    _, params = network.init_fn(jax.random.key(1), (-1, 8))

    def centred(p, x):
        return network.apply_fn(p, x) - network.apply_fn(params, x)

    expected = na.kernels.empirical_ntk(network.apply_fn, params, x)
    np.testing.assert_allclose(na.kernels.empirical_ntk(centred, params, x), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="other outputs when the batch changes"):
        na.kernels.empirical_ntk(lambda p, x: centred(p, x - x.mean(0)), params, x)


@pytest.mark.parametrize("outputs", ["trace", "full"])
def test_the_cheapest_implementation_needs_the_fewest_operations(outputs):
    params, x = jnp.ones((300, 3)), jax.ShapeDtypeStruct((40, 300), jnp.float32)
    given = (lambda p, x: x @ p, params, x, outputs)
    operations = na.kernels.implementation_costs(*given).operations
    assert len(operations) == 4
    assert operations[na.kernels.cheapest_implementation(*given)] == min(operations.values())
    assert na.kernels.cheapest_implementation(*given) == "layerwise"


def test_implementations_are_ranked_by_their_operations():
    costs = na.kernels.Costs({"a": 3.0, "b": 1e9, "c": 0.5})
    assert costs.ranked() == ["c", "a", "b"]


def test_the_cheapest_of_no_implementation_is_the_network_s_own_error():
    def broken(params, x):
        raise KeyError("a layer of mine")

    with pytest.raises(KeyError, match="a layer of mine"):
        na.kernels.cheapest_implementation(broken, jnp.ones(3), jnp.ones((2, 3)))
