"""Teacher and students: against closed forms, plain loops and NumPy gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax, softmax

import ntk_air as na
from ntk_air.distillation.training import _engine

d = na.distillation
N, DIM, CLASSES = 10, 14, 3


def linear(params, x):
    return x @ params["w"]


def mlp(params, x):
    return jnp.tanh(x @ params["a"]) @ params["b"]


def mlp_params(seed, hidden=6):
    rng = np.random.default_rng(seed)
    return {
        "a": rng.normal(size=(DIM, hidden)) / np.sqrt(DIM),
        "b": rng.normal(size=(hidden, CLASSES)) / np.sqrt(hidden),
    }


def problem(coding="centered_one_hot", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, DIM))
    labels = rng.integers(CLASSES, size=N)
    observed = na.noise.symmetric(labels, 0.3, num_classes=CLASSES, seed=seed)
    encode = [np.asarray(na.datasets.encode(y, CLASSES, coding=coding), float) for y in
              (labels, observed.labels)]  # fmt: skip
    return x, *encode


def stack(*trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


@pytest.mark.parametrize(("alpha", "at_once"), [(0.0, None), (0.3, 2)])
def test_linear_students_have_the_product_of_filters(x64, alpha, at_once):
    x, clean, observed = problem()
    kernel = x @ x.T
    rate = 0.9 / np.linalg.eigvalsh(kernel)[-1]
    result = d.teacher_student(
        linear, {"w": np.random.default_rng(1).normal(size=(DIM, CLASSES))}, x, observed,
        student_params={"w": np.ones((DIM, CLASSES))}, subtract_initial=True, optimizer=rate,
        teacher_steps=60, checkpoints=[0, 3, 60], student_steps=25, record_every=10, alpha=alpha,
        clean=clean, record_outputs=True, smoothing=(0.0, 0.2), students_at_once=at_once,
    )  # fmt: skip
    values, vectors = np.linalg.eigh(kernel)

    def fitted(steps):
        return 1 - (1 - rate * values) ** steps

    def outputs(g):
        return vectors @ (g[:, None] * (vectors.T @ observed))

    for s, teacher_steps in enumerate((0, 3, 60)):
        teacher = fitted(teacher_steps)
        np.testing.assert_allclose(result.teacher.outputs[s], outputs(teacher), atol=1e-10)
        for r, steps in enumerate((0, 10, 20, 25)):
            expected = outputs(fitted(steps) * (alpha + (1 - alpha) * teacher))
            found = result.students.outputs[s, 0, r]
            np.testing.assert_allclose(found, expected, atol=1e-10)
            np.testing.assert_allclose(
                result.students.l2_to_clean[s, 0, r],
                np.linalg.norm(expected - clean) / np.sqrt(N),
                atol=1e-10,
            )
    for e, weight in enumerate((0.0, 0.2)):
        expected = (1 - weight) * outputs(fitted(25))
        np.testing.assert_allclose(result.smoothed.outputs[e, -1], expected, atol=1e-10)
    np.testing.assert_allclose(result.students.time, rate * np.array([0, 10, 20, 25]))
    library = na.dynamics.fit(
        na.spectral.eigendecompose(kernel),
        na.dynamics.distilled(
            na.dynamics.gradient_descent(rate, 3), na.dynamics.gradient_descent(rate, 25), alpha
        ),
        observed,
    )
    np.testing.assert_allclose(result.students.outputs[1, 0, -1], library, atol=1e-8)


@jax.jit
@jax.grad
def slope(params, x, observed, target, temperature, alpha):
    """Of the student's loss on one batch."""
    f = mlp(params, x)
    given = -jnp.mean(jnp.sum(observed * jax.nn.log_softmax(f), axis=-1))
    soft = -jnp.mean(jnp.sum(target * jax.nn.log_softmax(f / temperature), axis=-1))
    return alpha * given + (1 - alpha) * temperature**2 * soft


def plain_loop(params, x, observed, target, temperature, alpha, key, steps, size, optimizer):
    """One student, step by step, with optax."""
    state = optimizer.init(params)
    batches = -(-N // size)
    for step in range(steps):
        epoch, position = divmod(step, batches)
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key, epoch), N))
        rows = order[position * size : (position + 1) * size]
        gradient = slope(params, x[rows], observed[rows], target[rows], temperature, alpha)
        updates, state = optimizer.update(gradient, state)
        params = optax.apply_updates(params, updates)
    return params


def test_students_together_are_students_one_by_one(x64):
    """Mini-batches that do not divide the points, momentum, temperatures, seeds with own labels."""
    x, clean, observed = problem("one_hot")
    other = problem("one_hot", seed=3)[2]
    draws = np.stack([observed, other])
    optimizer = optax.sgd(0.5, momentum=0.9)
    teachers = stack(mlp_params(0), mlp_params(1))
    students = stack(mlp_params(2), mlp_params(3))
    settings = {
        "optimizer": optimizer, "teacher_steps": 11, "checkpoints": [2, 11], "student_steps": 7,
        "temperatures": (1.0, 3.0), "alpha": 0.25, "student_params": students, "num_seeds": 2,
        "loss": "cross_entropy", "batch_size": 4, "keep_params": True, "key": 5,
        "smoothing": (0.1,), "clean": clean,
    }  # fmt: skip
    result = d.teacher_student(mlp, teachers, x, draws, **settings)
    keys = jax.random.split(jax.random.key(5), (2, 2))
    for g in range(2):
        start = jax.tree.map(lambda leaf, g=g: leaf[g], students)
        for s, steps in enumerate((2, 11)):
            teacher = plain_loop(
                jax.tree.map(lambda leaf, g=g: leaf[g], teachers), x, draws[g], draws[g], 1.0, 1.0,
                keys[0, g], steps, 4, optimizer,
            )  # fmt: skip
            outputs = mlp(teacher, x)
            np.testing.assert_allclose(result.teacher.outputs[g, s], outputs, atol=1e-10)
            for k, temperature in enumerate((1.0, 3.0)):
                target = softmax(np.asarray(outputs) / temperature, axis=-1)
                np.testing.assert_allclose(result.targets[g, s, k], target, atol=1e-10)
                expected = plain_loop(
                    start, x, draws[g], target, temperature, 0.25, keys[1, g], 7, 4, optimizer
                )
                for name in ("a", "b"):
                    found = result.student_params[name][g, s, k]
                    np.testing.assert_allclose(found, expected[name], atol=1e-10)
                found = result.students.error_to_observed[g, s, k, -1]
                wrong = np.argmax(mlp(expected, x), 1) != draws[g].argmax(1)
                assert found == pytest.approx(wrong.mean())


def test_temperature_keeps_the_size_of_the_gradient(x64):
    """One step from zero outputs, against the gradient written down by hand."""
    x, _, observed = problem("one_hot")
    rng = np.random.default_rng(4)
    teacher, student = rng.normal(size=(2, DIM, CLASSES))
    temperatures, alpha, rate = (0.5, 1.0, 4.0), 0.2, 0.3

    def run(rate, temperatures, alpha):
        return d.teacher_student(
            linear, {"w": teacher}, x, observed, student_params={"w": student}, optimizer=rate,
            teacher_steps=1, checkpoints=[0], student_steps=1, temperatures=temperatures,
            alpha=alpha, loss="cross_entropy", keep_params=True,
        )  # fmt: skip

    run(0.1, (1.0, 2.0, 3.0), 0.0)
    compiled = _engine._loop._cache_size()
    result = run(rate, temperatures, alpha)
    assert _engine._loop._cache_size() == compiled, "numbers compiled the loop anew"
    f = x @ student
    for k, t in enumerate(temperatures):
        soft = softmax(x @ teacher / t, axis=-1)
        slope = alpha * (softmax(f, -1) - observed) + (1 - alpha) * t * (softmax(f / t, -1) - soft)
        expected = student - rate * x.T @ slope / N
        np.testing.assert_allclose(result.student_params["w"][0, k], expected, atol=1e-12)
        given = -np.sum(observed * log_softmax(f, axis=-1)) / N
        taught = -np.sum(soft * log_softmax(f / t, axis=-1)) / N
        loss = alpha * given + (1 - alpha) * t**2 * taught
        np.testing.assert_allclose(result.students.loss[0, k, 0], loss, atol=1e-12)


def test_soft_targets_of_squared_loss_keep_the_coding(x64):
    x, _, observed = problem()
    result = d.teacher_student(
        mlp, mlp_params(0), x, observed, optimizer=0.01, teacher_steps=4, checkpoints=[1, 4],
        student_steps=2, temperatures=(0.2,),
    )  # fmt: skip
    expected = softmax(np.asarray(result.teacher.outputs) / 0.2, axis=-1) - 1 / CLASSES
    np.testing.assert_allclose(result.targets[:, 0], expected, atol=1e-12)
    signs = np.where(np.arange(N) % 2 == 0, 1.0, -1.0)[:, None]
    result = d.teacher_student(
        linear, {"w": np.ones((DIM, 1))}, x, signs, optimizer=0.01, teacher_steps=2,
        checkpoints=[2], student_steps=1, temperatures=(2.0,), smoothing=(0.5,),
    )  # fmt: skip
    np.testing.assert_allclose(result.targets[0, 0], np.tanh(result.teacher.outputs[0] / 4))


def test_teacher_is_plain_training(x64):
    x, clean, observed = problem()
    settings = {"optimizer": 0.02, "clean": clean, "test": (x[:4], np.arange(4) % CLASSES)}
    result = d.teacher_student(
        mlp, mlp_params(0), x, observed, teacher_steps=9, checkpoints=[0, 4, 9], student_steps=9,
        record_every=[4], smoothing=(0.0,), **settings,
    )  # fmt: skip
    plain = d.self_distill(
        mlp, mlp_params(0), x, observed, num_steps=9, alpha=1.0, record_every=[0, 4, 9], **settings
    ).history
    smoothed = jax.tree.map(lambda leaf: leaf, result.smoothed)
    for name in ("loss", "l2_to_clean", "label_to_clean", "error_to_clean", "error_to_observed",
                 "agreement", "margin", "distance_from_init", "test_accuracy"):  # fmt: skip
        expected = getattr(plain, name)
        np.testing.assert_allclose(getattr(result.teacher, name), expected, atol=1e-12)
        np.testing.assert_allclose(getattr(smoothed, name)[0], expected, atol=1e-12)
    np.testing.assert_allclose(result.teacher.time, plain.time)


def test_a_converged_teacher_teaches_the_observed_labels(x64):
    x, clean, observed = problem()
    assert np.any(clean.argmax(1) != observed.argmax(1))
    result = d.teacher_student(
        linear, {"w": np.zeros((DIM, CLASSES))}, x, observed, optimizer=optax.sgd(0.02),
        learning_rate=0.02, teacher_steps=3000, checkpoints=[0, 3000], student_steps=3000,
        clean=clean,
    )  # fmt: skip
    np.testing.assert_allclose(result.targets[1, 0], observed, atol=1e-3)
    assert result.students.error_to_observed[1, 0, -1] == 0
    assert result.students.error_to_observed[0, 0, -1] > 0.3
    assert result.students.error_to_clean[1, 0, -1] == pytest.approx(
        np.mean(clean.argmax(1) != observed.argmax(1))
    )


def test_a_student_of_another_architecture_and_the_saved_result(x64, tmp_path):
    x, clean, observed = problem()
    result = d.teacher_student(
        mlp, mlp_params(0), x, observed, student_apply_fn=linear,
        student_params={"w": np.zeros((DIM, CLASSES))}, optimizer=optax.adam, learning_rate=0.01,
        teacher_steps=30, student_steps=30, clean=clean, keep_params=True,
    )  # fmt: skip
    assert result.checkpoints[0] == 1
    assert result.checkpoints[-1] == 30
    assert result.student_params["w"].shape == (len(result.checkpoints), 1, DIM, CLASSES)
    assert result.smoothed is None
    loaded = na.load(na.save(result, tmp_path / "result.zip"))
    np.testing.assert_array_equal(loaded.students.loss, result.students.loss)
    np.testing.assert_array_equal(loaded.student_params["w"], result.student_params["w"])


GOOD = {
    "optimizer": 0.01, "teacher_steps": 4, "checkpoints": [1, 4], "student_steps": 2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoints": [1, 5]}, r"1 to 5, expected steps in 0\.\.4"),
        ({"checkpoints": [3, 3]}, "expected increasing steps"),
        ({"checkpoints": []}, "at least one integer step"),
        ({"checkpoints": [0.5]}, "at least one integer step"),
        ({"teacher_steps": 0}, "teacher_steps is 0"),
        ({"student_steps": 0}, "student_steps is 0"),
        ({"temperatures": (0.0,)}, "temperatures is 0.0"),
        ({"temperatures": ()}, "at least one number"),
        ({"temperatures": (float("nan"),)}, "temperatures is nan"),
        ({"smoothing": (1.0,)}, "smoothing is 1.0"),
        ({"smoothing": [[0.1]]}, "smoothing has shape"),
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"loss": "hinge"}, "loss is 'hinge'"),
        ({"loss": "cross_entropy"}, "needs observed targets that are probabilities"),
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"batch_size": N + 1, "key": 0}, "batch_size is 11"),
        ({"batch_size": 2}, "needs a key"),
        ({"num_seeds": 2}, "leading axis of num_seeds = 2"),
        ({"student_params": {"a": np.ones((DIM, 6))}}, "differ from teacher_params"),
        ({"student_params": mlp_params(0, hidden=5)}, "differ from teacher_params"),
        ({"student_apply_fn": linear}, "without student_params"),
        ({"optimizer": optax.sgd}, "pass learning_rate too"),
        ({"learning_rate": 0.1}, "given twice"),
        ({"optimizer": -1.0}, "learning_rate is -1.0"),
        ({"students_at_once": 0}, "students_at_once is 0"),
        ({"record_every": 0}, "record_every is 0"),
        ({"test": (np.ones((3, DIM)), np.zeros(2, int))}, "one entry of each per point"),
    ],
)
def test_bad_arguments(change, message):
    x, _, observed = problem()
    with pytest.raises(ValueError, match=message):
        d.teacher_student(mlp, mlp_params(0), x, observed, **(GOOD | change))


def test_bad_data():
    x, clean, observed = problem()
    params = mlp_params(0)
    broken = x.copy()
    broken[2, 1] = np.nan
    for inputs, targets, more, message in (
        (broken, observed, {}, "inputs holds 1 value"),
        (x, np.where(observed > 0, np.nan, observed), {}, "observed holds"),
        (x[:-1], observed, {}, "inputs has length 9"),
        (x, observed[None], {}, "encoded targets"),
        (x, observed[:, :2], {}, "expected the same"),
        (x, observed, {"clean": clean[:, :2]}, "expected equal shapes"),
        (x, observed, {"test": (broken, np.zeros(N, int))}, "test inputs holds"),
        (x, observed * 1.7, {"smoothing": (0.1,)}, "smoothing needs encoded labels"),
    ):
        with pytest.raises(ValueError, match=message):
            d.teacher_student(mlp, params, inputs, targets, **(GOOD | more))
    seeds = stack(params, params)
    with pytest.raises(ValueError, match="num_seeds = 2 draws"):
        d.teacher_student(mlp, seeds, x, observed[None], num_seeds=2, **GOOD)


def test_divergence_names_the_step():
    x, _, observed = problem()
    with pytest.raises(d.DivergenceError, match="at step"):
        d.teacher_student(
            mlp, mlp_params(0), x, observed, **(GOOD | {"optimizer": 1e30, "teacher_steps": 4})
        )


def test_outputs_of_lower_precision_are_measured_in_single():
    rng = np.random.default_rng(0)
    inputs = jnp.asarray(rng.normal(size=(30, 3)), jnp.bfloat16)
    codes = np.eye(2, dtype=np.float32)[rng.integers(0, 2, 30)]
    start = jnp.asarray(rng.normal(size=(3, 2)), jnp.bfloat16)
    options = {"optimizer": 0.01, "teacher_steps": 3, "student_steps": 3, "checkpoints": [0, 3]}
    found = d.teacher_student(lambda p, x: x @ p, start, inputs, codes, **options)
    assert found.targets.dtype == found.students.loss.dtype == jnp.float32
    errors = np.asarray(found.teacher.error_to_observed, np.float64) * 30
    np.testing.assert_allclose(errors, errors.round(), atol=1e-5)
