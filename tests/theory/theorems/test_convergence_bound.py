"""The convergence bound of self-distillation, against loops in NumPy and runs that break it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na

t, d = na.theory, na.distillation


def problem(rho=0.25, seed=0):
    rng = np.random.default_rng(seed)
    clean = np.repeat([1.0, -1.0], 12)[:, None]
    observed = np.where(rng.permuted(np.arange(24) < rho * 24)[:, None], -clean, clean)
    rows = rng.normal(size=(24, 30)) + 3 * clean
    return rows @ rows.T, clean, observed


def test_bound_against_a_loop_in_numpy(x64):
    kernel, clean, observed = problem()
    values = np.linalg.eigvalsh(kernel)
    rate = 1 / values[-1]
    history = d.kernel_self_distill(
        kernel, observed, learning_rate=rate, num_steps=300,
        alpha=d.exponential(30.0), clean=clean,
    )  # fmt: skip
    f, distances, right = np.zeros((24, 1)), [], []
    for s in range(301):
        h = np.where(f >= 0, 1.0, -1.0)
        distances.append(np.linalg.norm(f - clean) / np.sqrt(24))
        right.append(bool((h == clean).all()))
        a = np.exp(-s / 30)
        f = f - rate * kernel @ (f - a * observed - (1 - a) * h)
    first = len(right) - right[::-1].index(False)
    bound = t.convergence_bound(history, kernel, clean, observed, learning_rate=rate)
    assert bound.settled_step == first
    np.testing.assert_allclose(bound.distance, distances[first:], rtol=1e-9)
    steps = np.arange(first, 301) - first
    noise = np.linalg.norm(observed - clean) / np.sqrt(24)
    expected = (1 - rate * values[0]) ** steps * distances[first] + np.exp(-first / 30) * noise
    np.testing.assert_allclose(bound.bound, expected, rtol=1e-9)
    assert bound.ratio <= 1


def test_bound_rejects_a_run_that_is_not_self_distillation(x64):
    """Labels of y, but the noise learned in full: twice what alpha = 1/2 allows."""
    kernel, clean, observed = problem(rho=0.05)
    rate = 1 / np.linalg.eigvalsh(kernel)[-1]
    options = {"learning_rate": rate, "num_steps": 3000, "clean": clean}
    right = d.kernel_self_distill(kernel, observed, alpha=0.4, initial=clean, **options)
    assert t.convergence_bound(right, kernel, clean, observed, learning_rate=rate).ratio <= 1
    options |= {"initial": clean, "label_fn": lambda outputs: jnp.asarray(clean)}
    told = d.kernel_self_distill(kernel, clean + 3 * (observed - clean), alpha=0.4, **options)
    assert t.convergence_bound(told, kernel, clean, observed, learning_rate=rate).ratio > 1.5


def test_bound_needs_what_the_theorem_asks_for():
    kernel, clean, observed = problem()
    rate = 0.9 / np.linalg.eigvalsh(kernel)[-1]
    options = {"learning_rate": rate, "num_steps": 5, "alpha": 1.0}
    history = d.kernel_self_distill(kernel, observed, clean=clean, **options)
    with pytest.raises(ValueError, match="overshoots"):
        t.convergence_bound(history, kernel, clean, observed, learning_rate=2 * rate)
    unknown = d.kernel_self_distill(kernel, observed, **options)
    with pytest.raises(ValueError, match="clean targets"):
        t.convergence_bound(unknown, kernel, clean, observed, learning_rate=rate)
    never = d.kernel_self_distill(kernel, -clean, clean=clean, **options)
    bound = t.convergence_bound(never, kernel, clean, observed, learning_rate=rate)
    assert bound.settled_step is None
    assert np.isnan(bound.ratio)
    several = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), history)
    with pytest.raises(ValueError, match="several networks"):
        t.convergence_bound(several, kernel, clean, observed, learning_rate=rate)
