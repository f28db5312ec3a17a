"""Names of the baselines, what they refuse, and the estimate of a transition."""

from __future__ import annotations

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_air as na
from ntk_air.cli import main

b = na.distillation.baselines
N, P, C, RATE = 12, 4, 3, 0.7
TRANSITION = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.25, 0.15, 0.6]])


def linear_model(params, inputs):
    return inputs @ params


def problem(seed=0):
    rng = np.random.default_rng(seed)
    observed = np.eye(C)[rng.permutation(np.arange(N) % C)]
    return rng.normal(size=(N, P)), rng.normal(size=(P, C)) * 0.8, observed


PEER = np.random.default_rng(9).normal(size=(P, C)) * 0.8
BAD = [
    (b.label_smoothing, {"smoothing": 1.0}, r"smoothing is 1.0, expected a number in \[0, 1\)"),
    (b.bootstrapping, {"weight": -0.1}, "weight is -0.1"),
    (b.bootstrapping, {"kind": "medium"}, "kind is 'medium'"),
    (b.gce, {"q": 0.0}, r"q is 0.0, expected a number in \(0, 1\]"),
    (b.gce, {"threshold": 1.0}, "threshold is 1.0"),
    (b.gce, {"start_epoch": -1}, "start_epoch is -1"),
    (b.symmetric_cross_entropy, {"alpha": -1.0}, "alpha is -1.0"),
    (b.symmetric_cross_entropy, {"beta": np.nan}, "beta is nan"),
    (b.symmetric_cross_entropy, {"log_zero": 0.0}, "log_zero is 0.0"),
    (b.elr, {"momentum": 1.0}, "momentum is 1.0"),
    (b.elr, {"strength": -1.0}, "strength is -1.0"),
    (b.self_adaptive_training, {"momentum": 1.1}, "momentum is 1.1"),
    (b.self_adaptive_training, {"start_epoch": 0.5}, "start_epoch is 0.5"),
    (b.distance_to_initialization, {"strength": -1.0}, "strength is -1.0"),
    (b.distance_to_initialization, {"strength": 1.0, "loss": "hinge"}, "loss is 'hinge'"),
    (b.distance_to_initialization, {"strength": 1.0, "reduction": "max"}, "reduction is 'max'"),
    (b.elr, {"strength": [1.0, 2.0]}, "strength is a list of 2 numbers for replicas=None"),
    (b.forward_correction, {"transition": np.eye(2)}, r"shape \(2, 2\), expected \(3, 3\)"),
    (b.forward_correction, {"transition": np.eye(3) * 0.9}, "rows that sum to 0.9"),
    (b.forward_correction, {"transition": np.eye(3)[[0, 0, 2]]}, "class 1 is observed"),
    (b.mixup, {"concentration": 0.0, "key": 0}, "concentration is 0.0"),
    (b.early_stopping, {}, "draws the held-out points; pass key=0"),
    (b.early_stopping, {"replicas": 2}, "cannot work with replicas=2"),
    (b.early_stopping, {"checkpoint": "there"}, "cannot work with checkpoint='there'"),
    (b.early_stopping, {"validation": 0.01, "key": 0}, "holds out 0 of 12 points"),
    (b.early_stopping, {"validation": 1.0}, "validation is 1.0"),
    (b.forward_correction, {"replicas": 2}, "estimates a transition from one network"),
    (b.co_teaching, {"peer_params": problem()[1], "forget_rate": 0.2}, "start alike stay alike"),
    (b.co_teaching, {"peer_params": np.ones((P, 2)), "forget_rate": 0.2}, "other shapes"),
    (b.co_teaching, {"peer_params": PEER, "forget_rate": 1.0}, "forget_rate is 1.0"),
    (b.co_teaching, {"peer_params": PEER, "forget_rate": 0.1, "ramp_epochs": 0}, "ramp_epochs"),
    (b.co_teaching, {"peer_params": PEER, "forget_rate": 0.1, "exponent": -1}, "exponent is -1"),
    (b.gce, {"q": "large"}, "q is 'large', expected a number"),
    (b.elr, {"strength": None}, "strength is None, expected a number"),
    (b.early_stopping, {"validation": 1j, "key": 0}, "validation is 1j, expected a number"),
    (b.forward_correction, {"percentile": 101}, "percentile is 101"),
    (
        b.forward_correction,
        {"transition": np.eye(3), "percentile": 90},
        "percentile has no effect where the transition is given",
    ),
    (
        b.forward_correction,
        {"transition": np.eye(3), "percentile": 97, "estimation_steps": 3},
        "percentile and estimation_steps have no effect",
    ),
    (b.mixup, {}, "Mixup draws random numbers and needs a key"),
]


@pytest.mark.parametrize(("function", "numbers", "message"), BAD)
def test_bad_numbers(function, numbers, message):
    inputs, start, observed = problem()
    with pytest.raises(ValueError, match=message):
        function(linear_model, start, inputs, observed, optimizer=RATE, num_steps=2, **numbers)


NEEDS = {
    "co_teaching": {"peer_params": PEER, "forget_rate": 0.2},
    "distance_to_initialization": {"strength": 0.1},
}


@pytest.mark.parametrize("name", b.METHODS)
def test_labels_must_be_probabilities(name):
    inputs, start, observed = problem()
    with pytest.raises(ValueError, match="cross_entropy needs observed targets"):
        b.METHODS[name](
            linear_model, start, inputs, observed - 1 / C, optimizer=RATE, num_steps=2, key=0,
            **NEEDS.get(name, {}),
        )  # fmt: skip


def test_integer_labels_are_named_before_the_transition():
    inputs, start, observed = problem()
    for transition in (TRANSITION, None):
        with pytest.raises(ValueError, match="observed has integer dtype"):
            b.forward_correction(
                linear_model, start, inputs, observed.argmax(1), optimizer=RATE, num_steps=2,
                transition=transition,
            )  # fmt: skip
    with pytest.raises(ValueError, match="numbers >= 0 that sum to one"):
        b.estimate_transition(np.array([[1.5, -0.5, 0.0]]))


def test_records_of_a_sequence_beyond_the_estimation():
    inputs, start, observed = problem()
    found = b.forward_correction(
        linear_model, start, inputs, observed, optimizer=RATE, num_steps=9, estimation_steps=4,
        record_every=[0, 3, 6, 9],
    )  # fmt: skip
    assert found.estimation.step.tolist() == [0, 3, 4]
    assert found.history.step.tolist() == [0, 3, 6, 9]


def test_equal_peers_are_found_in_modules_and_among_several():
    inputs, start, observed = problem()
    options = {"optimizer": RATE, "num_steps": 2, "forget_rate": 0.2}
    module = nnx.Linear(P, C, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="equals params, and networks that start alike"):
        b.co_teaching(module, None, inputs, observed, peer_params=nnx.state(module), **options)
    with pytest.raises(ValueError, match="equals params for network 1"):
        b.co_teaching(
            linear_model, np.stack([start, start]), inputs, observed,
            peer_params=np.stack([PEER, start]), replicas=2, **options,
        )  # fmt: skip


class Unmasked(nn.Module):
    @nn.compact
    def __call__(self, inputs, train):
        return nn.Dense(C)(nn.BatchNorm(use_running_average=not train)(inputs))


def test_co_teaching_refuses_padding_that_would_count():
    inputs, _, observed = problem()
    starts = [Unmasked().init(jax.random.key(i), jnp.zeros((1, P)), train=False) for i in (0, 1)]
    with pytest.raises(ValueError, match="BatchNorm would count the padding"):
        b.co_teaching(
            Unmasked(), starts[0], inputs, observed, optimizer=RATE, num_steps=2, batch_size=5,
            key=0, peer_params=starts[1], forget_rate=0.2,
        )  # fmt: skip


def test_mixup_of_bytes():
    """Images of bytes are mixed as numbers, not rounded to black."""
    inputs, start, observed = problem()
    images = np.round(40 * np.abs(inputs)).astype(np.uint8)
    runs = [
        b.mixup(
            lambda p, x: x / 40.0 @ p, start, x, observed, optimizer=RATE, num_steps=4,
            key=0, batch_size=4,
        )
        for x in (images, images.astype(np.float32))
    ]  # fmt: skip
    np.testing.assert_allclose(runs[0].params, runs[1].params, rtol=1e-5)
    assert np.abs(runs[0].params - start).max() > 1e-4


def test_numbers_of_networks_as_an_array():
    inputs, start, observed = problem()
    both = np.stack([start, start])
    options = {"optimizer": RATE, "num_steps": 3, "replicas": 2}
    asked = [b.gce(linear_model, both, inputs, observed, q=q, **options)
             for q in ([0.3, 0.7], np.array([0.3, 0.7]), jnp.array([0.3, 0.7]))]  # fmt: skip
    for found in asked[1:]:
        np.testing.assert_allclose(found.params, asked[0].params, rtol=1e-6)
    assert np.abs(asked[0].params[0] - asked[0].params[1]).max() > 1e-5


def test_distance_to_initialization_of_real_targets():
    """Ridge regression towards the initial parameters, in closed form."""
    inputs, start, _ = problem()
    targets = np.random.default_rng(3).normal(size=(len(inputs), C)).astype(np.float32)
    found = b.distance_to_initialization(
        linear_model, start, inputs, targets, optimizer=0.02, num_steps=3000, strength=0.7,
        loss="mse",
    )  # fmt: skip
    gram = inputs.T @ inputs + 0.49 * np.eye(P)
    wanted = start + np.linalg.solve(gram, inputs.T @ (targets - inputs @ start))
    np.testing.assert_allclose(found.params, wanted, atol=1e-4)


def test_half_precision_is_no_worse_a_transition():
    inputs, start, observed = problem()
    found = b.forward_correction(
        linear_model, start, inputs, observed, optimizer=RATE, num_steps=1,
        transition=np.full((C, C), 1 / C, np.float16),
    )  # fmt: skip
    assert found.transition.dtype == np.float32
    assert b.estimate_transition(np.eye(C, dtype=np.float16)).dtype == np.float32


def test_estimated_transition():
    """Points of one class give its row; an outlier beyond the percentile is passed over."""
    rng = np.random.default_rng(0)
    clean = rng.dirichlet(np.ones(C), size=200)
    clean[:30] = np.repeat(np.eye(C), 10, axis=0)
    matrix = b.estimate_transition(clean @ TRANSITION, percentile=100)
    np.testing.assert_allclose(matrix, TRANSITION, atol=1e-6)
    outlier = np.vstack([clean @ TRANSITION, [0.999, 0.001, 0.0]])
    assert b.estimate_transition(outlier, percentile=100)[0, 0] > 0.99
    np.testing.assert_allclose(b.estimate_transition(outlier)[0], TRANSITION[0], atol=1e-6)
    with pytest.raises(ValueError, match="rows"):
        b.estimate_transition(np.ones((4, C)))
    with pytest.raises(ValueError, match="percentile is 101"):
        b.estimate_transition(clean, percentile=101)


def test_every_name_is_public():
    assert set(b.METHODS) >= {
        "cross_entropy", "early_stopping", "label_smoothing", "bootstrapping_soft",
        "bootstrapping_hard", "gce", "symmetric_cross_entropy", "forward_correction", "elr",
        "self_adaptive_training", "co_teaching", "mixup", "distance_to_initialization",
    }  # fmt: skip
    for name, one in b.METHODS.items():
        assert one.name == name
        assert getattr(b, one.function_name).__name__ == one.function_name
        parameters = inspect.signature(one.function).parameters
        assert set(one.numbers) | set(one.required) <= set(parameters)
        assert all(parameters[k].default is inspect.Parameter.empty for k in one.required)
        assert f"`{name}`" in b.table()
    for name in b.__all__:
        assert getattr(b, name).__doc__


CALLS = {
    **{one.function_name: one.function for one in b.METHODS.values()},
    "self_distill": na.distillation.self_distill,
    "teacher_student": na.distillation.teacher_student,
    "kernel_self_distill": na.distillation.kernel_self_distill,
    "train": na.distillation.train,
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("wrong", "nearest"), [("num_stepz", "num_steps"), ("recordoutputs", "record_outputs")]
)
def test_unknown_keywords_are_refused_in_the_name_of_the_function(name, wrong, nearest):
    if name in ("kernel_self_distill", "teacher_student"):  # with words of their own
        nearest = r"\w+"
    message = rf"^{name}\(\) has no argument '{wrong}'; did you mean {nearest}\?$"
    with pytest.raises(TypeError, match=message):
        CALLS[name](**{wrong: 3})


def test_a_keyword_like_no_other_brings_the_list():
    with pytest.raises(TypeError, match=r"gce\(\) has no argument 'xyzzy'; it takes .*threshold"):
        b.gce(xyzzy=1)


@pytest.fixture
def own_method():
    d = na.distillation

    @d.method
    class Absolute(d.Method):
        weight: float

        def data_loss(self, outputs, wanted, weights):
            apart = jnp.abs(outputs - wanted).sum(1)
            return self.weight * jnp.sum(weights * apart) / weights.sum()

    asked = []

    def settle(run, numbers):
        asked.append((run.epochs, run.noise_rates, jax.tree.leaves(run.fresh_params())[0].shape))
        return {"weight": 2.0} | numbers

    @b.baseline("absolute error", numbers=("weight",), settle=settle)
    def absolute(apply_fn, params, inputs, observed, *, weight=1.0, **options):
        return d.train(apply_fn, params, inputs, observed, Absolute(float(weight)), **options)

    yield absolute, asked
    del b.METHODS["absolute"]


def test_a_baseline_from_outside_is_known_by_name_everywhere(own_method, capsys, tmp_path):
    absolute, asked = own_method
    assert "| absolute error | `absolute` | `weight=1.0` |  |" in b.table()
    with pytest.raises(ValueError, match="another method called 'gce'"):
        b.baseline("again", variants={"gce": {}})(absolute)
    data = na.datasets.load("digits", train_size=40, test_size=20)
    settings = {"epochs": 2, "batch_size": 20, "seeds": 2, "optimizer": "sgd"}
    losses = {}
    for name in ("absolute", "absolute/weight=3"):
        made = na.analysis.NoisySettings(method=name, **settings)
        losses[name] = np.asarray(na.analysis.noisy_training(data, made).history.loss)
    first = [rows[:, 0] for rows in losses.values()]
    np.testing.assert_allclose(first[0] * 1.5, first[1], rtol=1e-5)
    assert [epochs for epochs, _, _ in asked] == [2, 2]
    assert all(len(rates) == 2 and shape[0] == 2 for _, rates, shape in asked)
    flags = ["--train-size", "40", "--epochs", "1", "--batch-size", "20", "--out", str(tmp_path)]
    assert main(["distill", "--dataset", "digits", "--method", "absolute", *flags]) == 0
    from benchmarks import noisy_labels

    assert "absolute" in noisy_labels._methods()
