"""Empirical kernels: each implementation against the others and an explicit Jacobian."""

import importlib.util
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ntk_air._neural_tangents import _transpose, load

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("neural_tangents") is None,
        reason="neural-tangents is not installed",
    ),
    pytest.mark.usefixtures("x64"),
]

STRUCTURED = 3


@pytest.fixture(scope="module")
def nt():
    return load()


def explicit(f, params, x1, x2, trace):
    """Contract the Jacobians of `f`, with all parameters in one axis."""

    @jax.jit
    def jacobian(x):
        fx = jax.eval_shape(f, params, x)
        leaves = jax.tree.leaves(jax.jacobian(f)(params, x))
        return jnp.concatenate([j.reshape((*fx.shape, -1)) for j in leaves], -1)

    full = jnp.einsum("iap,jbp->ijab", jacobian(x1), jacobian(x2))
    return jnp.einsum("ijaa->ij", full) / full.shape[-1] if trace else full


def assert_kernel(nt, f, params, x1, x2=None, *, implementation=STRUCTURED, trace=False, **kwargs):
    ntk_fn = nt.empirical_ntk_fn(
        f, trace_axes=(-1,) if trace else (), implementation=implementation, **kwargs
    )
    got = jax.jit(ntk_fn)(x1, x2, params)
    want = explicit(f, params, x1, x1 if x2 is None else x2, trace)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11 * float(jnp.abs(want).max()))


def double(tree):
    """Parameters in float64, moved off zero so that biases matter."""
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float64) + 0.1, tree)


class FlaxMlp(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm()(nn.gelu(nn.Dense(6)(x)))
        return nn.Dense(2)(x + nn.tanh(nn.Dense(6)(x)))


class FlaxCnn(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.LayerNorm()(nn.Conv(3, (3, 3), strides=2, padding=1)(x)))
        x = x + nn.gelu(nn.Conv(3, (3, 3), padding="SAME")(x))
        return nn.Dense(2)(nn.avg_pool(x, (2, 2), (2, 2)).reshape(x.shape[0], -1))


def model(nt, name):
    stax = nt.stax
    shape = (3, 4) if name.endswith("mlp") else (3, 6, 6, 2)
    x = jax.random.normal(jax.random.key(0), shape)
    if name.startswith("flax"):
        module = FlaxMlp() if name == "flax_mlp" else FlaxCnn()
        return module.apply, double(module.init(jax.random.key(1), x)), x
    dense = (stax.Dense(6), stax.Relu(), stax.Dense(6), stax.Erf(), stax.Dense(2))
    conv = (
        stax.Conv(3, (3, 3), strides=(2, 2), padding="SAME"),
        stax.Relu(),
        stax.AvgPool((2, 2), (1, 1)),
        stax.LayerNorm(axis=-1),
        stax.Flatten(),
        stax.Dense(2),
    )
    init_fn, apply_fn, _ = stax.serial(*(dense if name == "stax_mlp" else conv))
    return apply_fn, double(init_fn(jax.random.key(1), x.shape)[1]), x


MODELS = ["stax_mlp", "stax_cnn", "flax_mlp", "flax_cnn"]


@pytest.mark.parametrize(
    ("name", "implementation"),
    # AUTO compiles all of the others: two networks are enough for it.
    [("stax_mlp", 0), ("stax_cnn", 0), *itertools.product(MODELS, (1, 2, 3))],
)
def test_implementations_match_the_explicit_jacobian(nt, name, implementation, capfd):
    f, params, x = model(nt, name)
    assert_kernel(nt, f, params, x, x[:2], implementation=implementation, vmap_axes=0)
    assert capfd.readouterr().out == "", "AUTO must not print"


@pytest.mark.parametrize("name", ["stax_mlp", "flax_cnn"])
def test_structured_derivatives_traced_over_outputs_and_without_vmap(nt, name):
    f, params, x = model(nt, name)
    assert_kernel(nt, f, params, x, trace=True, vmap_axes=0)
    assert_kernel(nt, f, params, x, x[:2])


@pytest.mark.parametrize("_j_rules", [False, True])
@pytest.mark.parametrize("_fwd", [False, True])
def test_structured_derivatives_by_automatic_jacobians(nt, _j_rules, _fwd):
    f, params, x = model(nt, "stax_mlp")
    assert_kernel(nt, f, params, x, vmap_axes=0, _j_rules=_j_rules, _fwd=_fwd)


@pytest.mark.parametrize("name", ["stax_mlp", "flax_cnn"])
def test_fallback_to_linear_transpose(nt, name, monkeypatch):
    monkeypatch.setattr(_transpose, "_by_rule", lambda *args: None)
    f, params, x = model(nt, name)
    assert_kernel(nt, f, params, x, vmap_axes=0)


def test_eager_equals_jit(nt):
    f, params, x = model(nt, "stax_mlp")
    ntk_fn = nt.empirical_ntk_fn(f, vmap_axes=0, implementation=STRUCTURED)
    np.testing.assert_allclose(
        ntk_fn(x, None, params), jax.jit(ntk_fn)(x, None, params), atol=1e-12
    )


def test_structured_derivatives_can_be_differentiated(nt):
    f, params, x = model(nt, "stax_mlp")

    def total(params, implementation):
        ntk_fn = nt.empirical_ntk_fn(f, vmap_axes=0, implementation=implementation)
        return ntk_fn(x, None, params).sum()

    gradients = [jax.jit(jax.grad(lambda p, i=i: total(p, i)))(params) for i in (1, STRUCTURED)]
    for a, b in zip(*map(jax.tree.leaves, gradients), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


def test_auto_without_flops_is_deterministic(nt, monkeypatch):
    from ntk_air._neural_tangents import _auto

    f, params, x = model(nt, "stax_mlp")
    monkeypatch.setattr(_auto, "get_flops", lambda *a, **k: float("nan"))
    assert_kernel(nt, f, params, x, implementation=0, vmap_axes=0)
    for analysis in ({"flops": 7.0}, [{"flops": 7.0}]):
        stage = type("Stage", (), {"cost_analysis": lambda self, a=analysis: a})()
        lowered = type("Lowered", (), {"lower": lambda self, s=stage: s})()
        monkeypatch.undo()
        monkeypatch.setattr(_auto.jax, "jit", lambda f, low=lowered: low)
        assert _auto.get_flops(f, False) == 7.0


@jax.custom_jvp
def sine(x):
    return jnp.sin(x)


sine.defjvp(lambda p, t: (sine(*p), jnp.cos(p[0]) * t[0]))


@jax.custom_vjp
def sine_layer(x, w):
    return jnp.sin(x @ w), (x @ w).sum(-1, keepdims=True)


def _sine_layer_pullback(residuals, cts):
    x, w = residuals
    inner = cts[0] * jnp.cos(x @ w) + cts[1]
    return inner @ w.T, x.T @ inner


sine_layer.defvjp(lambda x, w: (sine_layer(x, w), (x, w)), _sine_layer_pullback)


def _body(h, w):
    return jnp.tanh(h @ w), None


FUNCTIONS = {
    "inner jit": lambda p, x: jax.jit(lambda z: jax.nn.softplus(z @ p["a"]))(x) @ p["c"],
    "custom_jvp": lambda p, x: sine(jax.nn.relu(x @ p["a"] + p["bias"])) @ p["c"],
    "custom_vjp": lambda p, x: jnp.multiply(*sine_layer(x @ p["a"], p["b"])) @ p["c"],
    "remat": lambda p, x: jax.checkpoint(lambda z: jnp.tanh(z @ p["a"]))(x) @ p["c"],
    "used twice": lambda p, x: jnp.tanh(x @ p["a"] @ p["b"] + p["bias"]) @ p["b"] @ p["c"],
    "tied transpose": lambda p, x: jnp.tanh(x @ p["a"] @ p["a"].T) @ p["a"] @ p["c"],
    "bias at two sites": lambda p, x: (jnp.tanh(x @ p["a"] + p["bias"]) + p["bias"]) @ p["c"],
    "output is a parameter": lambda p, x: p["o"],
    "output and operand": lambda p, x: p["o"] + x[:2] * p["o"] ** 2,
    "scalar": lambda p, x: p["s"] * jnp.tanh(p["s"] * x @ p["a"]) @ p["c"] / p["s"],
    "split": lambda p, x: sum(jnp.split(x @ p["a"][:, :4], 2, axis=-1)) * p["o"],
    "scan over a stack": lambda p, x: jax.lax.scan(_body, x @ p["a"], p["st"])[0] @ p["c"],
    "indexed stack": lambda p, x: jnp.tanh(x @ p["a"] @ p["st"][0]) @ p["st"][1] @ p["c"],
    "gather": lambda p, x: (x @ p["a"])[..., jnp.array([0, 2])] * p["o"][jnp.array([1, 0])],
    "solve": lambda p, x: jnp.linalg.solve(p["b"] + 4 * jnp.eye(5), x @ p["a"]) @ p["c"],
    "masked": lambda p, x: x @ jnp.where(jnp.arange(5) > 2, p["a"], 0) @ p["c"],
    "convolved parameter": lambda p, x: x @ p["a"] * jnp.convolve(p["bias"], p["s"][None]) @ p["c"],
    "normalised weight": lambda p, x: x @ (p["a"] / jnp.linalg.norm(p["a"], axis=0)) @ p["c"],
    "while": lambda p, x: (
        jax.lax.fori_loop(0, 2, lambda i, h: sine(h @ p["b"]), x @ p["a"]) @ p["c"]
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_features_of_the_jaxpr(nt, name):
    """One example at a time, mapped here, so that a function need not know of batches."""
    shapes = {"a": (3, 5), "b": (5, 5), "c": (5, 2), "bias": (5,), "s": (), "o": (2,)}
    shapes |= {"st": (2, 5, 5), "unused": (2, 2)}
    rng = np.random.default_rng(0)
    params = {k: jnp.asarray(rng.normal(size=shape)) for k, shape in shapes.items()}
    x = jnp.asarray(rng.normal(size=(3, 3)))
    f = jax.vmap(FUNCTIONS[name], in_axes=(None, 0))
    if name in ("custom_vjp", "while", "scan over a stack"):
        f = FUNCTIONS[name]
    assert_kernel(nt, f, params, x, x[:2], vmap_axes=0 if name != "output is a parameter" else None)


def test_integer_parameters_are_held_constant(nt):
    def f(p, x):
        return x @ p["w"] * p["n"]

    params = {"w": jnp.eye(3), "n": jnp.arange(3)}
    x = jnp.arange(6.0).reshape(2, 3)
    got = nt.empirical_ntk_fn(f, trace_axes=(), implementation=STRUCTURED)(x, None, params)
    np.testing.assert_allclose(got, np.einsum("ij,ab->ijab", x @ x.T, np.diag([0, 1, 4])))


def test_kernel_vector_product_and_nngp(nt):
    f, params, x = model(nt, "flax_mlp")
    v = jax.random.normal(jax.random.key(2), (3, 2))
    full = explicit(f, params, x, x, trace=False)
    got = nt.empirical_ntk_vp_fn(f, x, None, params)(v)
    np.testing.assert_allclose(got, jnp.einsum("ijab,jb->ia", full, v), atol=1e-11)
    fx = f(params, x)
    both = nt.empirical_kernel_fn(f, trace_axes=())(x, None, None, params)
    np.testing.assert_allclose(both.nngp, jnp.einsum("ia,jb->ijab", fx, fx), atol=1e-11)
    np.testing.assert_allclose(both.ntk, full, atol=1e-11)
