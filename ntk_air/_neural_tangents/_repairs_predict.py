"""Repairs of `neural_tangents._src.predict` and of attention in `stax.linear`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jax.core import Tracer

from ntk_air._neural_tangents import _caching
from ntk_air._neural_tangents._patcher import Patcher
from ntk_air._neural_tangents._views import View


def compile_time_evaluation(patch: Patcher) -> None:
    """`jax.core.eval_context` refuses tracers (since JAX 0.4.36).

    The public `jax.ensure_compile_time_eval` evaluates what is concrete at once and
    lets the rest be traced. `predict` and `stax.linear` see it under the old name.
    """
    for name in ("predict", "stax.linear"):
        module = patch.module(name)
        original = patch.get(module, "jax")
        core = View("jax.core", original.core, eval_context=_caching.eager)
        patch.value(module, "jax", View("jax", original, core=core))


def caches_without_tracers(patch: Patcher) -> None:
    """The caches of `predict` keep tracers (an old bug, not a change in JAX).

    A prediction function called under `jit` and then eagerly failed. What is computed
    from traced values is now recomputed at each call.
    """
    predict = patch.module("predict")
    patch.get(predict, "lru_cache")
    patch.value(predict, "lru_cache", _caching.lru_cache)
    name = "gradient_descent_mse_ensemble"
    ensemble = patch.get(predict, name)
    patch.value(predict, name, _caching.fresh_while_tracing(ensemble))
    patch.value(patch.root.predict, name, _caching.fresh_while_tracing(ensemble))


def largest_eigenvalue(patch: Patcher) -> None:
    """SciPy 1.14 dropped `eigvalsh(eigvals=)` for `subset_by_index`."""
    predict = patch.module("predict")
    original = patch.get(predict, "max_learning_rate")
    make_2d = patch.get(patch.module("utils.utils"), "make_2d")

    @functools.wraps(original)
    def max_learning_rate(
        ntk_train_train: Any,
        y_train_size: int | None = None,
        momentum: float = 0.0,
        eps: float = 1e-12,
    ) -> Any:
        kernel = make_2d(ntk_train_train)
        n = kernel.shape[0]
        if isinstance(kernel, Tracer) or jax.default_backend() != "cpu":
            largest = jnp.linalg.eigvalsh(kernel)[-1]
        else:
            largest = scipy.linalg.eigvalsh(np.asarray(kernel), subset_by_index=(n - 1, n - 1))[-1]
        return 2 * (1 + momentum) * (n if y_train_size is None else y_train_size) / (largest + eps)

    patch.function(predict, "max_learning_rate", max_learning_rate)
    patch.function(patch.root.predict, "max_learning_rate", max_learning_rate)


REPAIRS: list[Callable[[Patcher], None]] = [
    compile_time_evaluation,
    caches_without_tracers,
    largest_eigenvalue,
]
