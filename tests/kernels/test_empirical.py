"""Finite-width kernels: against Jacobians taken two other ways, and against infinite width."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from closed_form import finite_difference_jacobian
from flax import nnx
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


@pytest.mark.parametrize("implementation", na.kernels.IMPLEMENTATIONS)
@pytest.mark.parametrize("outputs", ["trace", "per_output", "full"])
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


def test_nnx_module_equals_its_linen_twin():
    class Twin(nnx.Module):
        def __init__(self, rngs):
            self.layer = nnx.Linear(4, 6, rngs=rngs)
            self.norm = nnx.BatchNorm(6, rngs=rngs)
            self.drop = nnx.Dropout(0.5, rngs=rngs)
            self.out = nnx.Linear(6, 2, rngs=rngs)

        def __call__(self, x):
            return self.out(self.drop(nnx.relu(self.norm(self.layer(x)))))

    apply_fn, params = na.kernels.functional(Twin(nnx.Rngs(0)))
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    kernel = na.kernels.empirical_ntk(apply_fn, params, x)
    leaves, tree = jax.tree.flatten(params)
    jac = jax.jacobian(lambda p: apply_fn(jax.tree.unflatten(tree, p), x))(leaves)
    flat = np.concatenate([np.asarray(j).reshape(5, 2, -1) for j in jac], axis=-1)
    assert relative_error(kernel, kernels_from(flat, flat)["trace"]) < 1e-5
    with pytest.raises(ValueError, match=r"pass\s+module.apply"):
        na.kernels.functional(nn.Dense(3))


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


def test_auto_takes_structured_derivatives_for_a_wide_network():
    arch = na.kernels.fully_connected(2, 256, num_outputs=10)
    _, params = arch.init_fn(jax.random.key(0), (-1, 32))
    x = np.zeros((4, 32), np.float32)
    chosen = na.kernels.cheapest_implementation(arch.apply_fn, params, x)
    assert chosen == "structured_derivatives"
