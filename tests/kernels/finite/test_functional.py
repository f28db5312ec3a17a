"""Networks of other libraries as functions: against networks written out, in evaluation mode."""

from __future__ import annotations

import dataclasses
from typing import Any

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
from ntk_air.kernels import functional

INPUTS = np.random.default_rng(0).normal(size=(5, 4))
IMAGES = np.random.default_rng(1).normal(size=(4, 6, 6, 2))


def double(tree):
    def cast(leaf):
        floating = hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(float) if floating else leaf

    return jax.tree.map(cast, tree)


def moved_statistics(stats):
    """Running statistics of another batch: neither the initial ones nor those of the inputs."""
    leaves, tree = jax.tree.flatten(stats)
    rng = np.random.default_rng(3)
    return jax.tree.unflatten(
        tree, [jnp.asarray(rng.uniform(0.5, 2.0, leaf.shape)) for leaf in leaves]
    )


def check_kernel(apply_fn, params, x):
    """The kernel of ``apply_fn`` equals that of a Jacobian by finite differences."""
    flat, unravel = ravel_pytree(params)
    jacobian = finite_difference_jacobian(lambda p, x: apply_fn(unravel(p), x), np.array(flat), x)
    expected = np.einsum("iap,jap->ij", jacobian, jacobian) / jacobian.shape[1]
    assert relative_error(na.kernels.empirical_ntk(apply_fn, params, x), expected) < 1e-7


def normalised(x, scale, bias, mean, var):
    return (x - mean) / np.sqrt(var + 1e-5) * scale + bias


class Dense(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(5)(x))
        self.sow("intermediates", "hidden", x)
        return nn.Dense(3)(x)


class Conv(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = True):
        x = nn.Conv(3, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.Dropout(0.5, deterministic=not train)(nn.gelu(x))
        return nn.Dense(2)(x.mean((1, 2)))


def linen(net, x):
    return double(net.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, x))


def test_linen_dense(x64):
    net = Dense()
    variables = linen(net, INPUTS)
    apply_fn, params = functional(net, variables)
    assert jax.tree.structure(params) == jax.tree.structure(variables["params"])
    first, second = params["Dense_0"], params["Dense_1"]
    hidden = np.tanh(INPUTS @ first["kernel"] + first["bias"])
    expected = hidden @ second["kernel"] + second["bias"]
    assert relative_error(apply_fn(params, INPUTS), expected) < 1e-14
    check_kernel(apply_fn, params, INPUTS)


def test_linen_batchnorm_uses_running_statistics_and_dropout_is_off(x64):
    net = Conv()
    variables = linen(net, IMAGES)
    stats = moved_statistics(variables["batch_stats"])
    apply_fn, params = functional(net, {"params": variables["params"], "batch_stats": stats})
    conv = nn.Conv(3, (3, 3)).apply({"params": params["Conv_0"]}, IMAGES)
    norm = normalised(conv, **params["BatchNorm_0"], **stats["BatchNorm_0"])
    out = params["Dense_0"]
    expected = nn.gelu(norm).mean((1, 2)) @ out["kernel"] + out["bias"]
    assert relative_error(apply_fn(params, IMAGES), expected) < 1e-12
    check_kernel(apply_fn, params, IMAGES)


@pytest.mark.parametrize(
    "keyword", ["deterministic", "use_running_average", "train", "training", "is_training"]
)
def test_every_keyword_of_evaluation_is_set(keyword):
    default = "train" in keyword
    namespace: dict[str, Any] = {"nn": nn}
    source = (
        "class Net(nn.Module):\n"
        "    @nn.compact\n"
        f"    def __call__(self, x, {keyword}={default}):\n"
        f"        return nn.Dense(2)(x) * (1.0 if {keyword} == {default} else 3.0)\n"
    )
    exec(source, namespace)
    net = namespace["Net"]()
    variables = net.init(jax.random.key(0), INPUTS)
    training = net.apply(variables, INPUTS)
    apply_fn, params = functional(net, variables)
    assert relative_error(apply_fn(params, INPUTS), 3 * training) < 1e-6
    apply_fn, params = functional(net, variables, **{keyword: default})
    assert relative_error(apply_fn(params, INPUTS), training) < 1e-6


def test_linen_method_is_called_and_switched_to_evaluation():
    class Net(nn.Module):
        def setup(self):
            self.layer = nn.Dense(2)

        def __call__(self, x):
            return self.layer(x)

        def doubled(self, x, train=True):
            return self.layer(x) * (1.0 if train else 2.0)

    net = Net()
    variables = net.init(jax.random.key(0), INPUTS)
    for method in ("doubled", Net.doubled):
        apply_fn, params = functional(net, variables, method=method)
        assert relative_error(apply_fn(params, INPUTS), 2 * net.apply(variables, INPUTS)) < 1e-6


def test_training_mode_is_refused_by_the_kernel():
    net = Conv()
    variables = linen(net, IMAGES)
    options = {"train": True, "rngs": {"dropout": jax.random.key(0)}}

    class Insists(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2)(nn.BatchNorm(use_running_average=False)(x))

    insists = Insists()
    for apply_fn, params in (
        functional(net, variables, **options),
        functional(insists, insists.init(jax.random.key(0), IMAGES[:, 0, 0])),
    ):
        x = (IMAGES if "Conv_0" in params else IMAGES[:, 0, 0]).astype(np.float32)
        with pytest.raises(ValueError, match="BatchNorm in evaluation mode"):
            na.kernels.empirical_ntk(apply_fn, params, x)


def test_linen_misuse_is_named():
    net = Dense()
    variables = net.init(jax.random.key(0), INPUTS)
    with pytest.raises(ValueError, match='expected a dict with "params"'):
        functional(net)
    with pytest.raises(ValueError, match=r"variables is \['batch_stats'\]"):
        functional(net, {"batch_stats": {}})
    with pytest.raises(ValueError, match=r"functional\(\*module.unbind\(\)\)"):
        functional(net.bind(variables), variables)
    apply_fn, params = functional(*net.bind(variables).unbind())
    assert apply_fn(params, INPUTS).shape == (5, 3)


class Twin(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 3, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.scale = nnx.Variable(jnp.asarray(2.0))
        self.out = nnx.Linear(3, 2, rngs=rngs)

    def __call__(self, x):
        x = self.drop(nnx.gelu(self.norm(self.conv(x))))
        return self.out(x.mean((1, 2))) * self.scale[...]


def test_nnx_module_in_evaluation_mode(x64):
    module = Twin(nnx.Rngs(0))
    graph, params, stats, rest = nnx.split(module, nnx.Param, nnx.BatchStat, ...)
    module = nnx.merge(graph, double(params), moved_statistics(stats), double(rest))
    apply_fn, params = functional(module)
    conv, out = params["conv"], params["out"]
    hidden = nn.Conv(3, (3, 3)).apply(
        {"params": {"kernel": conv["kernel"][...], "bias": conv["bias"][...]}}, IMAGES
    )
    norm = normalised(
        hidden,
        params["norm"]["scale"][...],
        params["norm"]["bias"][...],
        module.norm.mean[...],
        module.norm.var[...],
    )
    expected = 2 * (nn.gelu(norm).mean((1, 2)) @ out["kernel"][...] + out["bias"][...])
    assert relative_error(apply_fn(params, IMAGES), expected) < 1e-12
    check_kernel(apply_fn, params, IMAGES)
    # The variable that is no nnx.Param stays fixed, and the module itself stays in training mode.
    assert "scale" not in params
    assert module.drop.deterministic is False


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Point:
    """In equinox's style: a pytree, called on one example."""

    weight: Any
    bias: Any
    steps: Any
    key: Any
    name: str = dataclasses.field(metadata={"static": True}, default="layer")

    def __call__(self, x, train=True):
        assert x.ndim == 1
        return jnp.tanh(x @ self.weight + self.bias) * (self.steps[0] if train else self.steps[1])


def test_pytree_module_on_single_examples(x64):
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(4, 3)), jnp.asarray(rng.normal(size=3))
    module = Point(weight, bias, jnp.arange(2, 4), jax.random.key(0))
    apply_fn, params = functional(module)
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == [(4, 3), (3,)]
    assert params.steps is params.key is None
    expected = 3 * np.tanh(INPUTS @ weight + bias)
    assert relative_error(apply_fn(params, INPUTS), expected) < 1e-14
    check_kernel(apply_fn, params, INPUTS)
    apply_fn, params = functional(module, train=True)
    assert relative_error(apply_fn(params, INPUTS), expected * 2 / 3) < 1e-14


def test_pytree_module_that_takes_a_batch():
    def forward(weight, x):
        assert x.ndim == 2
        return x @ weight

    weight = np.ones((4, 2), np.float32)
    apply_fn, params = functional(jax.tree_util.Partial(forward, weight), batched=True)
    assert relative_error(apply_fn(params, INPUTS), INPUTS @ weight) < 1e-6


def test_flax_module_on_single_examples():
    net = Dense()
    variables = net.init(jax.random.key(0), INPUTS[0])
    apply_fn, params = functional(net, variables, batched=False)
    assert relative_error(apply_fn(params, INPUTS), net.apply(variables, INPUTS)) < 1e-6


def test_half_precision_parameters_keep_their_dtype():
    net = Dense()
    variables = jax.tree.map(lambda p: p.astype(jnp.bfloat16), net.init(jax.random.key(0), INPUTS))
    apply_fn, params = functional(net, variables)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.bfloat16)}
    x = INPUTS.astype(np.float32)
    cast = jax.tree.map(lambda p: p.astype(x.dtype), params)
    exact = na.kernels.empirical_ntk(apply_fn, cast, x)
    assert relative_error(na.kernels.empirical_ntk(apply_fn, params, x), exact) < 0.03


def test_a_pair_compiles_once():
    calls = 0

    def forward(weight, x):
        nonlocal calls
        calls += 1
        return x @ weight

    module = jax.tree_util.Partial(forward, jnp.ones((4, 2)))
    apply_fn, params = functional(module)
    jitted = jax.jit(lambda apply_fn, params, x: apply_fn(params, x), static_argnums=0)
    for factor in (1.0, 2.0):
        jitted(apply_fn, jax.tree.map(lambda p: factor * p, params), INPUTS)  # noqa: B023
    assert calls == 1


def test_parameters_of_another_structure_are_refused():
    apply_fn, params = functional(Dense(), Dense().init(jax.random.key(0), INPUTS))
    with pytest.raises(ValueError, match="Dense_1"):
        apply_fn({"Dense_0": params["Dense_0"]}, INPUTS)


@pytest.mark.parametrize(
    "module", [lambda x: x, np.ones(3), {"weight": np.ones(3)}, object(), None, nn.Dense]
)
def test_what_is_no_network_is_refused(module):
    with pytest.raises(ValueError, match=r"functional takes a flax module or a callable pytree"):
        functional(module)


def test_parameters_that_cannot_be_trained_are_refused():
    with pytest.raises(ValueError, match="dtype complex64, expected real"):
        functional(jax.tree_util.Partial(lambda w, x: x, jnp.ones(2, jnp.complex64)))
    with pytest.raises(ValueError, match="no floating-point parameters"):
        functional(Dense(), {"params": {"w": jnp.arange(3)}})
    with pytest.raises(ValueError, match="variables belong to a flax linen module"):
        functional(jax.tree_util.Partial(lambda w, x: x, jnp.ones(2)), {"params": {}})
