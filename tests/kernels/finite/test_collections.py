"""Running statistics and other collections, given where parameters are expected."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_air as na

X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
CODES = np.eye(3, dtype=np.float32)[np.arange(6) % 3]


class Normalised(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        scale = self.variable("constants", "scale", lambda: jnp.ones(8))
        hidden = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x) * scale.value)
        return nn.Dense(3)(nn.relu(hidden))


MODULE = Normalised()
VARIABLES = MODULE.init(jax.random.key(0), X)
SOME = {name: VARIABLES[name] for name in ("params", "constants")}


def plain(variables, x):
    return MODULE.apply(variables, x)


def among(variables, x):
    """Only a collection of one's own is beside the parameters; the statistics are fixed."""
    return MODULE.apply({**variables, "batch_stats": VARIABLES["batch_stats"]}, x)


GIVEN = {
    "method": (MODULE.apply, VARIABLES),
    "partial": (functools.partial(MODULE.apply, train=False), VARIABLES),
    "compiled": (jax.jit(MODULE.apply), VARIABLES),
    "function": (plain, VARIABLES),
    "compiled function": (jax.jit(lambda v, x: MODULE.apply(v, x)), VARIABLES),
    "another collection": (among, SOME),
}


@pytest.mark.parametrize("name", GIVEN)
def test_every_call_refuses_them_and_names_the_right_one(name):
    apply_fn, variables = GIVEN[name]
    named = "'constants'" if name == "another collection" else "'batch_stats'"
    calls = {
        "empirical_ntk": lambda: na.kernels.empirical_ntk(apply_fn, variables, X),
        "NTKOperator": lambda: na.kernels.NTKOperator(apply_fn, variables, X),
        "Recorder": lambda: na.analysis.Recorder(
            apply_fn, variables, X, CODES, clean=CODES, learning_rate=0.1
        ),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match=rf"params holds .*{named}.*kernels\.functional\("):
            call()
    with pytest.raises(ValueError, match=rf"params holds .*{named[1:-1]}.*pass the module itself"):
        na.distillation.self_distill(
            apply_fn, variables, X, CODES, optimizer=0.1, num_steps=1, alpha=1.0
        )


def test_the_right_calls_work_and_what_only_looks_alike_does_too():
    apply_fn, params = na.kernels.functional(MODULE, VARIABLES)
    kernel = na.kernels.empirical_ntk(apply_fn, params, X)
    fixed = {k: v for k, v in VARIABLES.items() if k != "params"}
    found = na.kernels.empirical_ntk(lambda p, x: MODULE.apply(p | fixed, x), {
        "params": VARIABLES["params"]}, X)  # fmt: skip
    np.testing.assert_allclose(kernel, found, rtol=1e-5)
    # A function's own tree with a key of that name, beside which another is trained.
    both = {"params": VARIABLES["params"], "head": {"w": jnp.ones((3, 3))}}
    na.kernels.empirical_ntk(
        lambda p, x: MODULE.apply({"params": p["params"], **fixed}, x) @ p["head"]["w"], both, X
    )


def test_nnx_states_with_statistics():
    module = nnx.Sequential(nnx.Linear(5, 4, rngs=nnx.Rngs(0)), nnx.BatchNorm(4, rngs=nnx.Rngs(0)))
    module.eval()
    graph, state = nnx.split(module)

    def apply_fn(state, x):
        return nnx.merge(graph, state)(x)

    with pytest.raises(ValueError, match=r"params holds 'BatchStat' beside .*functional\("):
        na.kernels.empirical_ntk(apply_fn, state, X)
    f, params = na.kernels.functional(module)
    na.kernels.empirical_ntk(f, params, X)
