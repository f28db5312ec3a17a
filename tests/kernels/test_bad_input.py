"""What kernels refuse, and what they say: every message names what came and what to do."""

from __future__ import annotations

import dataclasses
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_air as na
from ntk_air._numerics import relative_error

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 5)).astype(np.float32)
NEGATIVE = np.abs(X)
NEGATIVE[3] *= -9
PARAMS = {
    "w": jnp.asarray(RNG.normal(size=(5, 7)), jnp.float32),
    "v": jnp.asarray(RNG.normal(size=(7, 3)), jnp.float32),
}


def network(p, x):
    return jnp.tanh(x @ p["w"]) @ p["v"]


def finite(apply_fn=network, params=PARAMS, x=X, x2=None, **options):
    return na.kernels.empirical_ntk(apply_fn, params, x, x2, **options)


@dataclasses.dataclass
class Unhashable:
    def __call__(self, p, x):
        return network(p, x)


REFUSED = {
    "mixed batch": (lambda: finite(lambda p, x: network(p, x - x.mean(0))), "batch changes"),
    "mixed batch of one": (
        lambda: finite(lambda p, x: network(p, x - x.mean(0)), x=X[:1]),
        "batch changes",
    ),
    "mixed batch of equal points": (
        lambda: finite(lambda p, x: network(p, x - x.mean(0)), x=X[[0, 0]]),
        "batch changes",
    ),
    "place in the batch": (
        lambda: finite(lambda p, x: network(p, x + jnp.arange(len(x))[:, None])),
        "batch changes",
    ),
    "nan": (
        lambda: finite(lambda p, x: jnp.log(x @ p["w"]) @ p["v"]),
        r"output of apply_fn at x1\[0\] holds",
    ),
    "nan in the derivative": (
        lambda: finite(lambda p, x: jnp.sqrt(0.0 * x @ p["w"]) @ p["v"]),
        "kernel is NaN or infinite at 8 of 8 rows",
    ),
    "nan at one point": (
        lambda: finite(lambda p, x: jnp.log(1.0 + x[:, :1]) * (x @ p["w"]), x=NEGATIVE),
        "NaN or infinite at 8 of 8 rows, most of all at point 3 of x1",
    ),
    "complex parameters": (
        lambda: finite(params=jax.tree.map(lambda a: a + 0j, PARAMS)),
        r"params\['v'\] is complex",
    ),
    "complex outputs": (
        lambda: finite(lambda p, x: network(p, x) + 0j),
        "outputs of dtype complex64",
    ),
    "integer outputs": (lambda: finite(lambda p, x: jnp.int32(network(p, x))), "of dtype int32"),
    "no outputs": (lambda: finite(lambda p, x: network(p, x)[:, :0]), r"\(2, 0\) for 2 inputs"),
    "no parameters": (lambda: finite(lambda p, x: x, params={}), "no floating-point parameters"),
    "unhashable": (lambda: finite(Unhashable()), "cannot be hashed.*lambda params, x"),
    "tile of zero": (lambda: finite(tile_size=0), "tile_size is 0, expected a whole number"),
    "tile of a half": (lambda: finite(tile_size=2.5), "tile_size is 2.5"),
    "budget of zero": (lambda: finite(memory_budget=0), "memory_budget is 0"),
    "budget in words": (lambda: finite(memory_budget="1GB"), "memory_budget is '1GB'"),
    "no store": (lambda: finite(store=""), "store is '', expected a folder"),
    "images for vectors": (
        lambda: na.kernels.infinite_ntk(na.kernels.fully_connected(1), X.reshape(2, 2, 2, 5)),
        r"takes inputs \(n, d\), these have shape \(2, 2, 2, 5\); .*flattened",
    ),
    "vectors for images": (
        lambda: na.kernels.infinite_ntk(na.kernels.convolutional(1), X),
        r"takes inputs \(n, H, W, channels\), these have shape \(8, 5\)",
    ),
    "vectors for sequences": (
        lambda: na.kernels.infinite_ntk(na.kernels.self_attention(1), X),
        r"takes inputs \(n, positions, features\)",
    ),
    "half a unit": (lambda: na.kernels.fully_connected(1, 2.5), "width is 2.5"),
    "no filter": (lambda: na.kernels.convolutional(1, filter_size=0), "filter_size is 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_batchnorm_in_training_mode_is_named():
    class Normed(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.BatchNorm(use_running_average=False)(nn.Dense(6)(x))
            return nn.Dense(2)(x)

    net = Normed()
    variables = net.init(jax.random.key(0), X)

    def apply_fn(params, x):
        return net.apply(variables | {"params": params}, x, mutable=["batch_stats"])[0]

    with pytest.raises(ValueError, match="BatchNorm in evaluation mode"):
        finite(apply_fn, variables["params"])


def least_named(call):
    """The number of bytes that a refusal names."""
    with pytest.raises(ValueError, match="set memory_budget to at least") as error:
        call(memory_budget=1)
    return int(re.search(r"at least (\d+)", str(error.value))[1])


@pytest.mark.parametrize("outputs", ["trace", "full"])
@pytest.mark.parametrize("implementation", ["auto", "layerwise", "structured_derivatives"])
def test_the_least_budget_named_is_enough(implementation, outputs, tmp_path):
    for store in (None, tmp_path / "k"):

        def call(store=store, **options):
            return finite(implementation=implementation, outputs=outputs, store=store, **options)

        least = least_named(call)
        assert relative_error(np.asarray(call(memory_budget=least)), finite(outputs=outputs)) < 1e-5
        with pytest.raises(ValueError, match="set memory_budget"):
            call(memory_budget=least - 1)


@pytest.mark.parametrize("kind", ["ntk", ("nngp", "ntk")])
def test_the_least_budget_named_is_enough_at_infinite_width(kind):
    images = RNG.normal(size=(4, 5, 5, 2)).astype(np.float32)
    for arch, x in (
        (na.kernels.fully_connected(1), X),
        (na.kernels.convolutional(1, pooling="gap"), images),
    ):

        def call(arch=arch, x=x, **options):
            return na.kernels.infinite_ntk(arch, x, kind=kind, **options)

        call(memory_budget=least_named(call))


def test_complex_numbers_on_the_way_are_right_or_refused():
    """A spectral gate: its real parameters multiply a complex transform."""

    def gated(p, x):
        return jnp.tanh(jnp.fft.irfft(jnp.fft.rfft(x) * p["gate"])) @ p["v"]

    x = RNG.normal(size=(4, 6)).astype(np.float32)
    params = {
        "gate": jnp.asarray(RNG.normal(size=4), jnp.float32),
        "v": jnp.asarray(RNG.normal(size=(6, 2)), jnp.float32),
    }
    with pytest.raises(ValueError, match="parameters become complex"):
        finite(gated, params, x, implementation="layerwise")
    jacobian = jax.jacobian(gated)(params, x)
    flat = np.concatenate([np.asarray(j).reshape(4, 2, -1) for j in jacobian.values()], axis=-1)
    expected = np.einsum("iap,jap->ij", flat, flat) / 2
    assert relative_error(finite(gated, params, x), expected) < 1e-5

    def filtered(p, x):
        return jnp.fft.irfft(jnp.fft.rfft(x) * jnp.arange(4)) @ p["v"]

    features = filtered({"v": jnp.eye(6)}, x)
    kernel = finite(filtered, {"v": params["v"]}, x, implementation="layerwise")
    assert relative_error(kernel, features @ features.T) < 1e-5


def test_a_recurrent_nnx_module():
    class Recurrent(nnx.Module):
        def __init__(self, rngs):
            self.cell = nnx.RNN(nnx.LSTMCell(4, 5, rngs=rngs))
            self.out = nnx.Linear(5, 2, rngs=rngs)

        def __call__(self, x):
            return self.out(self.cell(x)[:, -1])

    apply_fn, params = na.kernels.functional(Recurrent(nnx.Rngs(0)))
    x = RNG.normal(size=(3, 4, 4)).astype(np.float32)
    one = finite(apply_fn, params, x, implementation="layerwise")
    other = finite(apply_fn, params, x, implementation="jacobian_contraction")
    assert relative_error(one, other) < 1e-5
