"""Labels weighted by their posterior: against NumPy in float64, and against forward correction."""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from processes import run

import ntk_air as na

d = na.distillation
RNG = np.random.default_rng(0)
N, P, STEPS = 12, 5, 9
X, RATE = RNG.normal(size=(N, P)), 0.05
LABELS, CLEAN = RNG.integers(0, 3, N), RNG.integers(0, 3, N)
CODINGS = {
    "one_hot": np.eye(3),
    "centered_one_hot": np.eye(3) - 1 / 3,
    "sign": np.array([[-1.0], [1.0]]),
}
SKEW = np.array([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]])
PRIOR = RNG.uniform(0.1, 1.0, (N, 3))


def linear_model(params, inputs):
    return inputs @ params


def nearest_probabilities(row):
    """The point of the simplex nearest to a row, by bisection for its shift."""
    low, high = row.min() - 1, row.max()
    for _ in range(200):
        middle = (low + high) / 2
        if np.maximum(row - middle, 0).sum() > 1:
            low = middle
        else:
            high = middle
    return np.maximum(row - low, 0)


def probabilities(outputs, loss):
    if loss == "cross_entropy":
        e = np.exp(outputs - outputs.max(1, keepdims=True))
        return e / e.sum(1, keepdims=True)
    if outputs.shape[1] == 1:
        up = np.clip((1 + outputs[:, 0]) / 2, 0, 1)
        return np.stack([1 - up, up], 1)
    return np.stack([nearest_probabilities(row) for row in outputs])


def bayes(memory, labels, transition, prior, sharpness):
    refined = np.empty_like(memory)
    for i, label in enumerate(labels):
        refined[i] = memory[i] ** sharpness * transition[:, label] * prior[i]
        refined[i] /= refined[i].sum()
    return refined


def by_hand(coding, loss, labels, clean, orders, transition, prior, momentum, sharpness):
    """The rule as a loop over points: records, memory and parameters at the end."""
    codes, count = CODINGS[coding], len(transition)
    weights, memory = np.full((P, codes.shape[1]), 0.1), np.full((N, count), 1 / count)
    alphas = []

    def weighed(rows):
        refined = bayes(memory[rows], labels[rows], transition, prior[rows], sharpness)
        return refined[np.arange(len(rows)), labels[rows]], refined

    def record():
        alpha, _ = weighed(np.arange(N))
        right = labels == clean
        alphas.append([alpha.mean(), alpha[right].mean(), alpha[~right].mean()])

    for rows in orders:
        record()
        outputs = X[rows] @ weights
        own = probabilities(outputs, loss)
        memory[rows] = momentum * memory[rows] + (1 - momentum) * own
        alpha, refined = weighed(rows)
        rest = refined.copy()
        rest[np.arange(len(rows)), labels[rows]] = 0
        rest /= np.maximum(rest.sum(1, keepdims=True), 1e-300)
        target = alpha[:, None] * codes[labels[rows]] + (1 - alpha[:, None]) * (rest @ codes)
        pull = outputs - target if loss == "mse" else (own - target) / len(rows)
        weights = weights - RATE * X[rows].T @ pull
    record()
    return np.array(alphas), weighed(np.arange(N)), weights


def orders_of(key, batch_size):
    if batch_size is None:
        return [np.arange(N)] * STEPS
    orders = []
    for epoch in range(STEPS):
        order = jax.random.permutation(jax.random.fold_in(jax.random.key(key), epoch), N)
        orders += np.split(np.asarray(order), range(batch_size, N, batch_size))
    return orders[:STEPS]


@pytest.mark.parametrize(
    ("coding", "loss", "options", "batch_size"),
    [
        ("one_hot", "cross_entropy", {}, None),
        ("one_hot", "cross_entropy", {"transition": SKEW, "prior": PRIOR}, 5),
        ("one_hot", "mse", {"rate": 0.1, "momentum": 0.5, "sharpness": 1.5}, 5),
        ("centered_one_hot", "mse", {"prior": [0.2, 0.3, 0.5], "transition": SKEW}, None),
        ("sign", "mse", {"rate": 0.3, "sharpness": 1.0, "momentum": 0.2}, 5),
    ],
)
def test_against_numpy(x64, coding, loss, options, batch_size):
    count = max(CODINGS[coding].shape[1], 2)
    labels, clean = LABELS % count, CLEAN % count
    rate = options.get("rate", 0.4)
    transition = np.full((count, count), rate / (count - 1))
    np.fill_diagonal(transition, 1 - rate)
    alphas, (weights, refined), params = by_hand(
        coding, loss, labels, clean, orders_of(3, batch_size),
        options.get("transition", transition),
        np.broadcast_to(options.get("prior", np.ones(count)), (N, count)),
        options.get("momentum", 0.9), options.get("sharpness", 3.0),
    )  # fmt: skip
    codes = CODINGS[coding]
    result = d.self_distill(
        linear_model, np.full(params.shape, 0.1), X, codes[labels], optimizer=RATE,
        num_steps=STEPS, alpha=d.posterior(**options), loss=loss, clean=codes[clean],
        record_every=1, batch_size=batch_size, key=3,
    )  # fmt: skip
    history = result.history
    found = np.stack([history.alpha, history.alpha_right, history.alpha_wrong], 1)
    np.testing.assert_allclose(found, alphas, atol=1e-12)
    np.testing.assert_allclose(result.params, params, atol=1e-12)
    np.testing.assert_allclose(result.label_weights, weights, atol=1e-12)
    np.testing.assert_allclose(result.refined, refined, atol=1e-12)
    assert np.ptp(alphas[:, 0]) > 1e-3  # of a rule that does nothing all of it would hold
    if loss == "mse" and batch_size is None:
        kernel = d.kernel_self_distill(
            X @ X.T, codes[labels], learning_rate=RATE, num_steps=STEPS, clean=codes[clean],
            alpha=d.posterior(**options), initial=X @ np.full(params.shape, 0.1),
        )  # fmt: skip
        found = np.stack([kernel.alpha, kernel.alpha_right, kernel.alpha_wrong], 1)
        np.testing.assert_allclose(found, alphas, atol=1e-12)
        np.testing.assert_allclose(kernel.loss, history.loss, atol=1e-12)


@pytest.mark.parametrize("transition", [SKEW, np.eye(3)])
def test_current_outputs_alone_are_forward_correction(x64, transition):
    """Momentum 0, sharpness 1: the gradient of the observed labels' likelihood, to the last bit."""
    options = {"optimizer": optax.adam, "learning_rate": 0.1, "num_steps": 7, "batch_size": 5}
    start, codes = RNG.normal(size=(P, 3)), np.eye(3)[LABELS]
    ours = d.self_distill(
        linear_model, start, X, codes, loss="cross_entropy", key=0, **options,
        alpha=d.posterior(transition=transition, momentum=0.0, sharpness=1.0),
    )  # fmt: skip
    theirs = d.baselines.forward_correction(
        linear_model, start, X, codes, transition=transition, key=0, **options
    )
    np.testing.assert_allclose(ours.params, theirs.params, atol=1e-10)
    assert np.abs(ours.params - start).max() > 0.1


@pytest.mark.parametrize("coding", CODINGS)
def test_outputs_that_are_mean_codes_are_their_probabilities(coding):
    codes = jnp.asarray(CODINGS[coding])
    mixed = jnp.asarray(RNG.dirichlet(np.ones(max(codes.shape[1], 2)), 20), codes.dtype)
    from ntk_air.distillation._posterior import probabilities as read

    np.testing.assert_allclose(read(mixed @ codes, "mse"), mixed, atol=1e-6)
    count = mixed.shape[1]
    zero = jnp.zeros((1, codes.shape[1]))
    np.testing.assert_allclose(read(zero, "mse"), np.full((1, count), 1 / count), atol=1e-7)
    large = 7 * codes[:1]
    np.testing.assert_allclose(read(large, "mse"), np.eye(count)[:1], atol=1e-7)


def train(**changes):
    options = {
        "optimizer": 0.1, "num_steps": 8, "loss": "cross_entropy", "batch_size": 5, "key": 1,
        "alpha": d.posterior(), "clean": np.eye(3)[CLEAN], **changes,
    }  # fmt: skip
    params = options.pop("params", np.full((P, 3), 0.1))
    observed = options.pop("observed", np.eye(3)[LABELS])
    return d.self_distill(options.pop("model", linear_model), params, X, observed, **options)


def assert_rows_are_probabilities(result, labels):
    np.testing.assert_allclose(result.refined.sum(-1), 1, rtol=1e-5)
    taken = np.take_along_axis(np.asarray(result.refined), labels[..., None], -1)[..., 0]
    np.testing.assert_array_equal(result.label_weights, taken)
    np.testing.assert_allclose(result.history.alpha[..., -1], taken.mean(-1), rtol=1e-5)


def test_networks_together_equal_each_alone(tmp_path):
    labels = np.stack([LABELS, (LABELS + 1) % 3])
    starts = RNG.normal(size=(2, P, 3))
    for alphas in (d.posterior(prior=PRIOR), [d.posterior(), d.posterior(rate=0.2)]):
        both = train(
            params=starts, observed=np.eye(3)[labels], replicas=2, key=[4, 5], alpha=alphas
        )
        assert both.refined.shape == (2, N, 3)
        assert_rows_are_probabilities(both, labels)
        for i in range(2):
            alone = train(
                params=starts[i], observed=np.eye(3)[labels[i]], key=4 + i,
                alpha=alphas[i] if isinstance(alphas, list) else alphas,
            )  # fmt: skip
            assert_rows_are_probabilities(alone, labels[i])
            one = both.replica(i)
            for name in ("params", "label_weights", "refined"):
                np.testing.assert_allclose(
                    getattr(one, name), getattr(alone, name), rtol=2e-5, atol=1e-6
                )
            wrong = one.history.alpha_wrong, alone.history.alpha_wrong
            np.testing.assert_allclose(*wrong, rtol=1e-5)
    loaded = na.load(na.save(both, tmp_path / "both.ntkair"))
    np.testing.assert_array_equal(loaded.refined, both.refined)


def test_other_weights_leave_the_columns_out(tmp_path):
    plain = train(alpha=0.5)
    assert plain.refined is plain.label_weights is plain.history.alpha_wrong is None
    assert train(clean=None).history.alpha_right is None
    assert na.load(na.save(plain, tmp_path / "plain.ntkair")).refined is None
    of_others = d.baselines.elr(
        linear_model, np.zeros((P, 3)), X, np.eye(3)[LABELS], optimizer=0.1, num_steps=1
    )
    assert of_others.refined is None


def test_a_result_stored_before_is_read(tmp_path):
    """Without the fields that came later."""
    import json
    import zipfile

    path = na.save(train(alpha=0.5), tmp_path / "new.ntkair")
    with zipfile.ZipFile(path) as new, zipfile.ZipFile(tmp_path / "old.ntkair", "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "manifest.json":
                manifest = json.loads(content)
                fields = manifest["tree"]["fields"]
                del fields["refined"], fields["label_weights"]
                del fields["history"]["fields"]["alpha_right"]
                del fields["history"]["fields"]["alpha_wrong"]
                content = json.dumps(manifest)
            old.writestr(name, content)
    assert na.load(tmp_path / "old.ntkair").label_weights is None


def test_a_run_goes_on_where_it_was_interrupted(tmp_path):
    whole = train()

    def stop(step, params):
        if step == 5:
            raise KeyboardInterrupt

    options = {"checkpoint": tmp_path / "run", "record_every": 1}
    with pytest.raises(KeyboardInterrupt):
        train(on_record=stop, **options)
    seen = []
    resumed = train(on_record=lambda step, params: seen.append(step), **options)
    assert seen[0] > 0, "started again from the first step"
    for name in ("params", "label_weights", "refined"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(whole, name))
    with pytest.raises(ValueError, match="belongs to another run"):
        train(alpha=d.posterior(rate=0.3), **options)


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_modules_with_batch_norm(kind):
    import flax.linen as nn
    from flax import nnx

    if kind == "linen":

        class Normed(nn.Module):
            @nn.compact
            def __call__(self, x, train=False, mask=None):
                rows = None if mask is None else mask[:, None]
                x = nn.BatchNorm(use_running_average=not train)(nn.Dense(4)(x), mask=rows)
                return nn.Dense(3)(nn.relu(x))

        model = Normed()
        params = model.init(jax.random.key(0), X[:1])
    else:

        class Normal(nnx.Module):
            def __init__(self, rngs):
                self.first, self.last = nnx.Linear(P, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
                self.norm = nnx.BatchNorm(4, rngs=rngs)

            def __call__(self, x):
                return self.last(nnx.relu(self.norm(self.first(x))))

        model, params = Normal(nnx.Rngs(0)), None
    result = train(model=model, params=params, batch_size=4 if kind == "nnx" else 5)
    assert_rows_are_probabilities(result, LABELS)
    assert np.ptp(result.label_weights) > 1e-3


BAD = [
    ({"rate": 0.2, "transition": SKEW}, "both rate and transition; give one"),
    ({"rate": 1.0}, r"rate is 1.0, expected a number in \[0, 1\)"),
    ({"rate": float("nan")}, "rate is nan"),
    ({"rate": 0.7}, r"rate of posterior \(with 3 classes\) is 0.7, expected .* \[0, 0.666667\)"),
    ({"momentum": 1.0}, r"momentum is 1.0, expected a number in \[0, 1\)"),
    ({"sharpness": 0.0}, r"sharpness is 0.0, expected a number in \(0, inf\)"),
    ({"transition": SKEW[:2]}, r"transition has shape \(2, 3\), expected \(C, C\)"),
    ({"transition": np.eye(2)}, r"transition of posterior has shape \(2, 2\), expected \(3, 3\)"),
    ({"transition": SKEW.T}, "expected rows of probabilities"),
    ({"transition": [[np.nan, 1], [0, 1]]}, "transition holds 1 value"),
    ({"transition": np.eye(3)[[0, 0, 0]]}, "class 1 is observed, and the transition never yields"),
    ({"prior": np.ones((N - 1, 3))}, r"prior of posterior has shape \(11, 3\), expected \(3,\) or"),
    ({"prior": [1.0, np.inf, 1.0]}, "prior holds 1 value"),
    ({"prior": [1.0, -1.0, 1.0]}, "prior has least entry -1, expected weights >= 0"),
    ({"prior": np.ones((1, N, 3))}, r"prior has shape \(1, 12, 3\), expected \(C,\) or \(n, C\)"),
    (
        {"transition": np.eye(3), "prior": np.where(np.eye(3)[LABELS] > 0, 0.0, 1.0)},
        "leaves point 0 no class",
    ),
]


@pytest.mark.parametrize(("options", "match"), BAD)
def test_bad_numbers(options, match):
    with pytest.raises(ValueError, match=match) as caught:
        train(alpha=d.posterior(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"label_fn": d.softmax()}, "label_fn is .* beside alpha=posterior"),
        ({"teacher": "epoch"}, "teacher is 'epoch' beside alpha=posterior"),
        ({"observed": 0.8 * np.eye(3)[LABELS] + 0.2 / 3}, "name one class each"),
        ({"observed": np.full((N, 3), np.nan)}, "observed holds"),
        ({"replicas": 2, "params": np.zeros((2, P, 3)), "alpha": [d.posterior(), 0.5]}, "one kind"),
        (
            {"observed": np.eye(3)[LABELS] - 1 / 3, "clean": None},
            "cross_entropy needs observed",
        ),
    ],
)
def test_what_does_not_go_with_it(changes, match):
    with pytest.raises(ValueError, match=match):
        train(**changes)


def test_where_it_is_no_schedule():
    with pytest.raises(TypeError, match="is no schedule of the step"):
        d.as_schedule(d.posterior(), 5)
    with pytest.raises(ValueError, match=r"label_fn is .* beside alpha=posterior"):
        d.kernel_self_distill(
            np.eye(N), np.eye(3)[LABELS], learning_rate=0.1, num_steps=1, alpha=d.posterior(),
            label_fn=d.identity,
        )  # fmt: skip
    with pytest.raises(ValueError, match=r"alpha.kind is 'posterior'"):
        d.as_schedule(d.AlphaSchedule("posterior", ()), 5)


def test_as_text():
    assert d.alpha.parse("posterior", 10).rate is None
    assert d.alpha.parse("posterior:0.25", 10).rate == 0.25
    with pytest.raises(ValueError, match="posterior:RATE"):
        d.alpha.parse("posterior:0.2:0.3", 10)
    with pytest.raises(ValueError, match="teacher is 'epoch' beside"):
        na.analysis.NoisySettings(alpha="posterior", teacher="epoch")
    with pytest.raises(ValueError, match="label_fn is"):
        na.analysis.NoisySettings(method="self_distill/alpha=posterior/label_fn=softmax:2")


def test_noisy_training_by_its_name():
    data = na.datasets.load("digits", train_size=60, test_size=20)
    settings = na.analysis.NoisySettings(
        noise="symmetric:0.4", alpha="posterior:0.3", epochs=2, batch_size=16, seeds=2
    )
    history = na.analysis.noisy_training(data, settings).history
    np.testing.assert_allclose(history.alpha[:, 0], 0.7, rtol=1e-5)
    assert history.alpha_wrong.shape == history.alpha.shape
    assert np.all(history.alpha_wrong[:, -1] < history.alpha_right[:, -1])


def test_over_devices(tmp_path):
    run([__file__, tmp_path], devices=2)


def on_two_devices(folder):
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    alone = train(batch_size=4)
    spread = train(batch_size=4, mesh=mesh)
    np.testing.assert_allclose(spread.refined, alone.refined, rtol=1e-5, atol=1e-6)
    both = {"replicas": 2, "params": RNG.normal(size=(2, P, 3)), "alpha": d.posterior(prior=PRIOR)}
    alone, spread = train(**both), train(**both, mesh=mesh, checkpoint=folder)
    np.testing.assert_allclose(spread.refined, alone.refined, rtol=1e-5, atol=1e-6)


if __name__ == "__main__":
    on_two_devices(sys.argv[1])
