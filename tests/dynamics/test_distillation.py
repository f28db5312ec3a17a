"""Distillation as filters: against repeated training, published numbers, and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize

import ntk_air as na
from ntk_air.dynamics import _distillation

VALUES = np.geomspace(4.0, 1e-4, 12)


def problem(n=12, c=3, seed=0):
    rng = np.random.default_rng(seed)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return (q * VALUES[:n]) @ q.T, rng.normal(size=(n, c))


def test_ridge_distillation_equals_repeated_ridge(x64):
    kernel, y = problem()
    es = na.spectral.eigendecompose(kernel)
    for alpha in (0.0, 0.35, -0.5):
        target = y
        smoother = kernel @ np.linalg.inv(kernel + 0.2 * np.eye(12))
        for rounds in range(4):
            f = smoother @ target
            filter_ = na.dynamics.ridge_distillation(0.2, rounds, alpha)
            np.testing.assert_allclose(na.dynamics.fit(es, filter_, y), f, atol=1e-10)
            target = alpha * y + (1 - alpha) * f
    several = na.dynamics.ridge_distillation([0.2, 0.5])
    np.testing.assert_allclose(several(VALUES), VALUES**2 / (VALUES + 0.2) / (VALUES + 0.5))


def test_teachers_and_students_equal_training_twice(x64):
    kernel, y = problem()
    es, d = na.spectral.eigendecompose(kernel), na.dynamics
    teacher = np.asarray(d.fit(es, d.gradient_flow(0.7), y))
    for alpha in (0.0, 0.3, -0.2):
        student = d.fit(es, d.gradient_flow(3.0), alpha * y + (1 - alpha) * teacher)
        both = d.fit(es, d.teacher_student(0.7, 3.0, alpha), y)
        np.testing.assert_allclose(both, student, atol=1e-10)
    cut = d.distilled(d.truncation(5), d.ridge(0.3))
    student = d.fit(es, d.ridge(0.3), d.fit(es, d.truncation(5), y))
    np.testing.assert_allclose(d.fit(es, cut, y), student, atol=1e-10)


TOY_Y = [
    0.38476636465198066, 1.2333967683416893, 1.33232242218057, 0.6920159488889518,
    -0.29756145531871736, -0.24189291901377769, -0.7964485769175675, -0.9616480167034174,
    -0.49672509509916934, -0.3469066003991437, 0.5589512650600734,
]  # fmt: skip


@pytest.mark.parametrize(
    ("alpha", "errors", "limit"),
    [
        (0.0, [0.16477, 0.15076, 0.14915, 0.15561, 0.16735, 0.18251], 0.49505),
        (0.35, [0.16477, 0.15424, 0.15089, 0.14983, 0.14954, 0.14948], 0.14959),
        (0.25, [0.16477, 0.15309, 0.14958, 0.14903, 0.14946, 0.15011], 0.15250),
    ],
)
def test_published_errors_of_the_toy_problem(alpha, errors, limit, x64):
    """Borup & Andersen (arXiv:2102.13088), Mobahi's 11-point sine; solved systems beside it."""
    x, fine = np.linspace(0, 1, 11), np.linspace(0, 1, 101)
    kernel = np.exp(-80 * (x[:, None] - x) ** 2)
    cross = np.exp(-80 * (fine[:, None] - x) ** 2)
    filters = [na.dynamics.ridge_distillation(0.2, r, alpha) for r in [*range(6), np.inf]]
    es = na.spectral.eigendecompose(kernel)
    y = np.array(TOY_Y)[:, None]
    out = np.asarray(na.dynamics.predict(es, filters, y, cross))
    mse = ((out[..., 0] - np.sin(2 * np.pi * fine)) ** 2).mean(1)
    np.testing.assert_allclose(mse, [*errors, limit], atol=5.1e-6)
    target = y
    for r in range(400):
        weights = np.linalg.solve(kernel + 0.2 * np.eye(11), target)
        if r < 6:
            np.testing.assert_allclose(cross @ weights, out[r], atol=1e-10)
        target = alpha * y + (1 - alpha) * kernel @ weights
    if alpha > 0:
        np.testing.assert_allclose(cross @ weights, out[6], atol=1e-10)


def test_label_averaging_is_softmax_self_distillation_at_small_logits(x64):
    """Rounds of a real softmax probe, trained to convergence, tend to the filter at first order."""
    rng = np.random.default_rng(0)
    classes, per_class, d = 3, 4, 5
    n = classes * per_class
    labels = np.repeat(np.arange(classes), per_class)
    labels[0] = 2
    features = rng.normal(size=(n, d))
    onehot = np.eye(classes)[labels]
    es = na.spectral.eigendecompose(features @ features.T)

    def probe(targets, decay):
        def loss(w):
            logits = features @ w.reshape(d, classes)
            logz = np.log(np.exp(logits).sum(1, keepdims=True))
            p = np.exp(logits - logz)
            value = -(targets * (logits - logz)).sum() / n + decay / 2 * (w**2).sum()
            gradient = features.T @ (p - targets) / n + decay * w.reshape(d, classes)
            return value, gradient.ravel()

        options = {"ftol": 1e-16, "gtol": 1e-13, "maxiter": 2000}
        w = minimize(loss, np.zeros(d * classes), jac=True, method="L-BFGS-B", options=options).x
        p = np.exp(features @ w.reshape(d, classes))
        return p / p.sum(1, keepdims=True)

    deviations = []
    for decay in (5.0, 50.0):
        outputs, worst = onehot, []
        for rounds in (1, 2, 3):
            outputs = probe(outputs, decay)
            filter_ = na.dynamics.label_averaging(
                decay, rounds, num_classes=classes, points_per_class=per_class
            )
            predicted = na.dynamics.fit(es, filter_, onehot - 1 / classes)
            gap = np.abs(outputs - 1 / classes - predicted).max()
            worst.append(gap / np.abs(predicted).max())
        deviations.append(max(worst[:2]))
    assert deviations[0] < 0.05
    assert deviations[1] < 0.15 * deviations[0]


def test_strengths_of_a_tolerance_solve_the_constrained_problem(x64):
    """Mobahi's rounds, each solved directly with dense matrices, up to the collapse."""
    kernel, y = problem()
    es, d = na.spectral.eigendecompose(kernel), na.dynamics
    tolerance = 0.06 * (y**2).sum() / 12
    strengths = d.tolerance_strengths(es, y, tolerance, 4)
    target = y
    for gamma in strengths:

        def outputs(log_strength, target=target):
            return kernel @ np.linalg.solve(kernel + np.exp(log_strength) * np.eye(12), target)

        exact = brentq(lambda s, t=target: ((outputs(s) - t) ** 2).sum() / 12 - tolerance, -30, 30)
        np.testing.assert_allclose(gamma, np.exp(exact), rtol=1e-6)
        target = outputs(exact)
    rounds = d.fit(es, d.ridge_distillation(strengths), y)
    np.testing.assert_allclose(rounds, target, atol=1e-8)
    # Each round takes at most sqrt(n ε) off the norm: the collapse comes no sooner than this.
    earliest = int(np.sqrt((y**2).sum() / 12 / tolerance)) - 1
    assert earliest >= 2
    assert len(d.tolerance_strengths(es, y, tolerance, earliest)) == earliest + 1
    with pytest.raises(ValueError, match="collapses at round"):
        d.tolerance_strengths(es, y, tolerance, 500)
    with pytest.raises(ValueError, match="no strength reaches it"):
        singular = na.spectral.eigendecompose(np.ones((4, 4)))
        d.tolerance_strengths(singular, y[:4], 1e-3, 1)


@pytest.mark.parametrize("noise", [0.3, 3.0])
@pytest.mark.parametrize("of_outputs", [False, True])
def test_best_teacher_weight_against_monte_carlo(noise, of_outputs, x64):
    """Ridge fits of 20 000 drawn targets, solved densely; error is quadratic in the weight."""
    rng = np.random.default_rng(1)
    n, d, strength, draws = 15, 4, 0.7, 20000
    design = rng.normal(size=(n, d)) * np.array([2.0, 1.0, 0.5, 0.3])
    theta = rng.normal(size=d)
    values, vectors = np.linalg.eigh(design.T @ design)
    weights = values if of_outputs else None
    best = float(
        na.dynamics.optimal_teacher_weight(
            values, vectors.T @ theta, noise, strength, error_weights=weights
        )
    )
    y = design @ theta + np.sqrt(noise) * rng.normal(size=(draws, n))
    solve = np.linalg.solve(design.T @ design + strength * np.eye(d), design.T)
    teacher = y @ solve.T
    plain, taught = teacher, (teacher @ design.T) @ solve.T
    measure = design if of_outputs else np.eye(d)
    start, change = (plain - theta) @ measure.T, (taught - plain) @ measure.T
    slope, curvature = (start * change).sum(1), (change**2).sum(1)
    measured = -slope.mean() / curvature.mean()
    error = np.std(slope + best * curvature) / np.sqrt(draws) / curvature.mean()
    assert abs(measured - best) < 4 * error
    assert error < 0.05
    # Where the strength is more than the noise asks for, a teacher only makes it worse.
    assert (best > 1) if noise == 3.0 else (best < 0)
    if best > 1:
        filter_ = na.dynamics.ridge_distillation(strength, 1, alpha=1 - best)
        g = values / (values + strength) * (1 - best * strength / (values + strength))
        np.testing.assert_allclose(filter_(values), g, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda d: d.ridge_distillation(0.1), "needs rounds="),
        (lambda d: d.ridge_distillation([0.1, 0.2], 5), "rounds \\+ 1"),
        (lambda d: d.ridge_distillation(0.1, 2, 1.5), "alpha"),
        (lambda d: d.ridge_distillation(0.1, 1.5), "rounds is 1.5"),
        (lambda d: d.ridge_distillation([0.1, 0.2], np.inf, 0.5), "no limit"),
        (lambda d: d.ridge_distillation(0.1, np.inf, -0.5), "no limit"),
        (lambda d: d.teacher_student(-1.0, 1.0), "time is -1"),
        (lambda d: d.distilled(d.ridge(1.0), d.ridge(1.0), 2.0), "alpha is 2"),
        (lambda d: d.label_averaging(0.1, 0, num_classes=3, points_per_class=2), "rounds is 0"),
        (lambda d: d.optimal_teacher_weight(np.ones(2), np.ones(3), 1.0, 1.0), "equal shapes"),
        (lambda d: d.optimal_teacher_weight(np.ones(2), np.zeros(2), 0.0, 1.0), "neither signal"),
        (lambda d: d.optimal_teacher_weight(np.ones(2), np.ones(2), np.inf, 1.0), "noise_variance"),
        (
            lambda d: d.optimal_teacher_weight(np.ones(2), np.ones(2), 1.0, np.inf),
            "strength is inf",
        ),
        (
            lambda d: d.optimal_teacher_weight(
                np.ones(2), np.ones(2), 1.0, 1.0, error_weights=-np.ones(2)
            ),
            "negative weight",
        ),
    ],
)
def test_bad_settings(call, match):
    with pytest.raises(ValueError, match=match):
        call(na.dynamics)


@pytest.mark.parametrize("power", [-70, 70])
def test_the_best_teacher_weight_knows_no_units(power):
    """Of the targets (signal and noise), of the kernel, and of the error."""
    values, theta = np.array([4.0, 1.0, 0.2], np.float32), np.array([1.0, -2.0, 0.5], np.float32)
    best, unit = na.dynamics.optimal_teacher_weight, np.float32(2.0**power)
    plain = best(values, theta, 0.1, 0.3)
    np.testing.assert_allclose(best(values, theta * unit, 0.1 * 4.0**power, 0.3), plain, rtol=1e-6)
    weighted = best(values, theta, 0.1, 0.3, error_weights=np.full(3, unit))
    np.testing.assert_allclose(weighted, plain, rtol=1e-6)
    scaled = best(values * unit, theta / np.sqrt(unit), 0.1, 0.3 * 2.0**power)
    np.testing.assert_allclose(scaled, plain, rtol=1e-6)


def test_very_many_rounds_and_steps_are_what_their_formulas_say(x64):
    d, values = na.dynamics, np.array([0.0, 1e-9, 0.5, 2.0, 700.0])
    fraction = values / (values + 1e-3)
    many = d.ridge_distillation(1e-3, 10**10)(values)
    np.testing.assert_allclose(many, fraction ** (10**10 + 1), rtol=1e-4)
    for alpha in (0.3, 0.0, -0.2):
        looped = d.ridge_distillation(0.7, 900, alpha)(values[:4])
        summed = _distillation._many_rounds(0.7, 900, alpha)(values[:4])
        np.testing.assert_allclose(summed, looped, rtol=1e-9)
    rates = 1e-3 * values[:4]
    expected = -np.expm1(2.0**31 * np.log1p(-rates))
    np.testing.assert_allclose(d.gradient_descent(1e-3, 2**31)(values[:4]), expected, rtol=1e-12)
    # A direction that goes back and forth stays as large, with the sign of the last step.
    signs = [float(d.gradient_descent(2.0, 10**12 + odd)(np.ones(1))[0]) for odd in (0, 1)]
    assert signs == [0.0, 2.0]
    ball = np.asarray(d.heavy_ball(1e-3, 2**30, 0.5)(values[:4]))
    np.testing.assert_allclose(ball, [0.0, -np.expm1(-2e-12 * 2.0**30), 1.0, 1.0], rtol=1e-6)
