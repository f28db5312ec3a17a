"""The main job on any network and any kernel, against NumPy and against itself."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import ntk_air as na

N, M, D, C = 24, 10, 5, 3
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(N + M, D)).astype(np.float32)
LABELS = np.argmax(POINTS[:, :C], axis=1)
DATA = na.datasets.from_arrays(
    POINTS[:N],
    LABELS[:N],
    name="mine",
    test_inputs=POINTS[N:],
    test_labels=LABELS[N:],
    class_names=("cat", "dog", "emu"),
)
NOISY = na.noise.symmetric(LABELS[:N], 0.3, num_classes=C, seed=1)
PARAMS = {
    "first": jnp.asarray(RNG.normal(size=(D, 40)), jnp.float32),
    "second": {"w": jnp.asarray(RNG.normal(size=(40, C)) / 6, jnp.float32), "b": jnp.zeros(C)},
}


def two_layers(params, x):
    return jnp.tanh(x @ params["first"]) @ params["second"]["w"] + params["second"]["b"]


def rbf(x1, x2):
    return np.exp(-0.1 * np.square(np.asarray(x1)[:, None] - np.asarray(x2)[None]).sum(axis=-1))


def targets():
    """y, ỹ, y* and ξ in float64 from the labels alone."""
    clean, observed = (np.eye(C)[np.asarray(x)] - 1 / C for x in (LABELS[:N], NOISY.labels))
    kappa = 1 - 0.3 * C / (C - 1)
    return clean, observed, np.eye(C)[LABELS[N:]] - 1 / C, observed - kappa * clean, kappa


def flow(kernel, cross, time, signal):
    """Kernel gradient flow at training and at test points, by NumPy."""
    values, vectors = np.linalg.eigh(kernel)
    fitted = vectors * -np.expm1(-values * time) @ (vectors.T @ signal)
    return fitted, cross @ np.linalg.solve(kernel, fitted)


@pytest.fixture(scope="module")
def own():
    """A kernel of one's own, as a function; nothing is trained."""
    return na.analysis.air(DATA, NOISY, kernel=rbf, precision="float64")


def test_a_kernel_of_ones_own_in_every_form(own):
    kernel, cross = (rbf(POINTS[:N], POINTS[:N]), rbf(POINTS[N:], POINTS[:N]))
    array = na.analysis.air(DATA, NOISY, kernel=kernel, cross=cross, precision="float64")
    assert own.kernel == array.kernel == "own"
    assert own.plain is None
    np.testing.assert_allclose(own.eigenvalues, np.linalg.eigvalsh(kernel)[::-1], atol=1e-6)
    np.testing.assert_allclose(array.test_accuracy, own.test_accuracy)
    without = na.analysis.air(DATA, NOISY, kernel=kernel, precision="float64")
    assert without.test is None
    assert np.isnan(np.asarray(without.test_accuracy)).all()


def test_signal_and_noise_at_test_points(own):
    clean, _, test, noise, kappa = targets()
    kernel, cross = rbf(POINTS[:N], POINTS[:N]), rbf(POINTS[N:], POINTS[:N])
    carried = cross @ np.linalg.solve(kernel, noise)
    at = [0, 60, 120]
    for index in at:
        time = float(own.times[index])
        _, of_clean = flow(kernel, cross, time, clean)
        _, of_noise = flow(kernel, cross, time, noise)
        signal = np.sum(of_clean * test) / np.sum(test**2)
        both = np.sum((kappa * of_clean + of_noise) * test) / np.sum(test**2) / kappa
        spread = np.sum(of_noise * carried) / np.sum(carried**2)
        curves = own.test.curves
        assert curves.signal[index] == pytest.approx(signal, abs=1e-4)
        assert curves.draw_signal[index] == pytest.approx(both, abs=1e-4)
        assert curves.noise[index] == pytest.approx(spread, abs=1e-4)
    energy = np.mean(carried**2) / np.mean(noise**2)
    assert own.test.noise_energy == pytest.approx(energy, rel=1e-3)
    values, vectors = np.linalg.eigh(kernel)
    brought = cross @ (vectors[:, ::-1] / values[::-1])
    parts = np.einsum("mk,kc,mc->k", brought, vectors[:, ::-1].T @ clean, test) / np.sum(test**2)
    np.testing.assert_allclose(own.test.cumulative_signal, np.cumsum(parts), atol=1e-3)
    assert own.test.cumulative_noise[-1] == pytest.approx(1.0, abs=1e-4)


def test_classes_share_out_the_whole(own):
    clean = targets()[0]
    kernel = rbf(POINTS[:N], POINTS[:N])
    classes = own.by_class
    np.testing.assert_array_equal(classes.count, np.bincount(LABELS[:N]))
    whole = own.profile.cumulative_signal
    np.testing.assert_allclose(np.sum(classes.cumulative_signal, axis=0), whole, atol=1e-5)
    noisy = own.profile.cumulative_noise
    np.testing.assert_allclose(np.sum(classes.cumulative_noise, axis=0), noisy, atol=1e-5)
    index = 60
    fitted, _ = flow(kernel, rbf(POINTS[N:], POINTS[:N]), float(own.times[index]), clean)
    along = np.sum(fitted * clean, axis=1)
    for c in range(C):
        mine = LABELS[:N] == c
        expected = along[mine].sum() / np.sum(clean[mine] ** 2)
        assert classes.signal[c, index] == pytest.approx(expected, abs=1e-4)
    half = [own.times[np.argmax(np.asarray(row) >= 0.5)] for row in classes.signal]
    np.testing.assert_array_equal(classes.half_time, half)
    late = int(np.argmax(half))
    assert classes.latest()[0] == ("cat", "dog", "emu")[late]


@pytest.fixture(scope="module")
def trained():
    return na.analysis.air(DATA, NOISY, network=two_layers, params=PARAMS, steps=6)


def test_layers_share_out_a_finite_kernel(trained):
    clean, _, _, noise, _ = targets()
    layers = trained.by_layer
    jacobian = jax.jacrev(two_layers)(PARAMS, POINTS[:N])
    flat = {
        "first": np.asarray(jacobian["first"], np.float64).reshape(N, C, -1),
        "second": np.concatenate(
            [np.asarray(j, np.float64).reshape(N, C, -1) for j in jacobian["second"].values()], -1
        ),
    }
    kernels = {name: np.einsum("icp,jcp->ij", j, j) / C for name, j in flat.items()}
    whole = sum(kernels.values())
    assert layers.names == tuple(kernels)
    assert layers.num_parameters == (200, 123)
    np.testing.assert_allclose(
        trained.eigenvalues, np.linalg.eigvalsh(whole)[::-1], atol=1e-3, rtol=1e-4
    )
    values, vectors = np.linalg.eigh(whole)
    for row, kernel in enumerate(kernels.values()):
        assert layers.trace[row] == pytest.approx(np.trace(kernel) / np.trace(whole), rel=1e-4)
        for name, signal in (("signal", clean), ("noise", noise)):
            share = np.sum(signal * (kernel @ signal)) / np.sum(signal * (whole @ signal))
            assert getattr(layers, name)[row] == pytest.approx(share, rel=1e-3)
        first = vectors[:, -1] @ kernel @ vectors[:, -1] / values[-1]
        assert layers.share[row, 0] == pytest.approx(first, rel=1e-4)
    np.testing.assert_allclose(np.sum(layers.share, axis=0), 1.0, atol=1e-3)


class Linen(nn.Module):
    outputs: int = C

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(x.reshape(len(x), -1)))
        return nn.Dense(self.outputs)(nn.Dropout(0.5, deterministic=not train)(nn.tanh(x)))


def test_a_module_is_what_its_function_is():
    variables = Linen().init(jax.random.key(0), POINTS[:1])
    module = na.analysis.air(DATA, NOISY, network=Linen(), params=variables, steps=0)
    pair = na.kernels.functional(Linen(), variables)
    function = na.analysis.air(DATA, NOISY, network=pair, steps=0)
    kernel = na.kernels.empirical_ntk(*pair, POINTS[:N])
    assert module.kernel == "finite"
    assert module.architecture == "Linen"
    np.testing.assert_allclose(module.eigenvalues, np.linalg.eigvalsh(kernel)[::-1], atol=1e-4)
    np.testing.assert_array_equal(module.eigenvalues, function.eigenvalues)
    np.testing.assert_array_equal(module.test_accuracy, function.test_accuracy)
    assert module.by_layer.names == ("BatchNorm_0", "Dense_0", "Dense_1")


def test_nnx_and_an_initialisation_of_its_own():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.inner, self.outer = nnx.Linear(D, 6, rngs=rngs), nnx.Linear(6, C, rngs=rngs)

        def __call__(self, x):
            return self.outer(nnx.relu(self.inner(x)))

    result = na.analysis.air(DATA, NOISY, network=Net(nnx.Rngs(0)), steps=0)
    assert result.by_layer.names == ("inner", "outer")
    first, second = (
        na.analysis.air(DATA, NOISY, network=Linen(), steps=0, seed=seed) for seed in (0, 1)
    )
    assert not np.allclose(first.eigenvalues, second.eigenvalues)


def test_prediction_and_measurement_of_a_linear_network_are_one():
    """Its kernel stands still, so that they agree, at training and at test points."""
    linear = {"w": jnp.asarray(RNG.normal(size=(D, C)), jnp.float32)}
    result = na.analysis.air(
        DATA, NOISY, network=lambda p, x: x @ p["w"], params=linear, steps=20, momentum=0.5
    )
    for measured, predicted in (
        (result.measured, result.predicted),
        (result.test.measured, result.test.predicted),
    ):
        np.testing.assert_allclose(measured.signal, predicted.draw_signal, atol=2e-4)
        np.testing.assert_allclose(measured.noise, predicted.draw_noise, atol=2e-4)
    weights = np.asarray(result.by_class.count) / N
    whole = weights @ np.asarray(result.by_class.measured_signal)
    np.testing.assert_allclose(whole, result.measured.signal, atol=1e-4)
    assert float(result.kernel_movement.distance[-1]) < 1e-5


def test_one_output_for_two_classes_and_images_as_they_are():
    images = RNG.uniform(size=(12, 4, 4, 1)).astype(np.float32)
    data = na.datasets.from_arrays(images, np.arange(12) % 2, name="two")
    noisy = na.noise.symmetric(data.train_labels, 0.2, num_classes=2, seed=0)
    seen = []

    def network(params, x):
        seen.append(x.shape)
        return x.reshape(len(x), -1) @ params

    weights = jnp.ones((16, 1))
    result = na.analysis.air(data, noisy, network=network, params=weights, steps=2)
    assert {shape[1:] for shape in seen} == {(4, 4, 1)}
    flat = images.reshape(12, -1).astype(np.float64)
    np.testing.assert_allclose(
        result.eigenvalues[:3], np.linalg.eigvalsh(flat @ flat.T)[::-1][:3], rtol=1e-4
    )
    ready = na.analysis.air(data, noisy, network=network, params=weights, steps=0, standardize=True)
    flat = np.asarray(data.standardized(per_image=True).train_inputs, np.float64).reshape(12, -1)
    np.testing.assert_allclose(
        ready.eigenvalues[:3], np.linalg.eigvalsh(flat @ flat.T)[::-1][:3], rtol=1e-4
    )


def test_tokens_stay_whole_numbers():
    tokens = RNG.integers(0, 9, size=(20, 4))
    data = na.datasets.from_arrays(
        tokens, (tokens[:, 0] > 4).astype(int), name="text", kind="tokens"
    )
    noisy = na.noise.symmetric(data.train_labels, 0.2, num_classes=2, seed=0)

    class Text(nn.Module):
        @nn.compact
        def __call__(self, t):
            return nn.Dense(2)(jnp.tanh(nn.Embed(9, 8)(t)).mean(axis=1))

    result = na.analysis.air(data, noisy, network=Text(), steps=2)
    assert result.by_layer.names == ("Dense_0", "Embed_0")
    assert np.isfinite(np.asarray(result.measured.signal)).all()


def test_columns_of_unlike_units_are_standardised_aloud():
    wide = POINTS[:N] * np.array([1, 1, 1, 1, 1000], np.float32)
    data = na.datasets.from_arrays(wide, LABELS[:N], name="wide")
    with pytest.warns(UserWarning, match="column of wide is .* times the median"):
        found = na.analysis.air(data, NOISY, steps=0)
    by_hand = (POINTS[:N] - POINTS[:N].mean(axis=0)) / POINTS[:N].std(axis=0)
    same = na.datasets.from_arrays(by_hand, LABELS[:N], name="by hand")
    np.testing.assert_allclose(
        found.eigenvalues, na.analysis.air(same, NOISY, steps=0).eigenvalues, rtol=1e-4
    )
    raw = na.analysis.air(data, NOISY, steps=0, standardize=False)
    assert float(raw.eigenvalues[0]) > 100 * float(found.eigenvalues[0])
    far = na.datasets.from_arrays(POINTS[:N] + 100, LABELS[:N], name="far")
    with pytest.warns(UserWarning, match="far lie far from zero"):
        na.analysis.air(far, NOISY, steps=0)


def test_the_nngp_and_a_network_beside_a_kernel_of_ones_own():
    architecture = na.kernels.fully_connected(1, 16, num_outputs=C)
    found = na.analysis.air(DATA, NOISY, network=architecture, kernel="nngp", steps=0)
    kernel = na.kernels.infinite_ntk(architecture, POINTS[:N], kind="nngp")
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(kernel)[::-1], atol=1e-4)
    both = na.analysis.air(DATA, NOISY, network=architecture, kernel=rbf, steps=3)
    assert both.predicted_infinite is None
    own = na.kernels.empirical_ntk(
        architecture.apply_fn, architecture.init_fn(jax.random.key(0), (-1, D))[1], POINTS[:N]
    )
    top = np.linalg.eigvalsh(np.asarray(own, np.float64))[-1]
    assert both.learning_rate == pytest.approx(1 / top, rel=1e-3)


def test_results_are_saved_reported_and_summed_up(trained, tmp_path):
    numbers = na.reports.write_air_report(trained, tmp_path)
    back = na.load(tmp_path / "analysis.ntkair")
    assert na.analysis.summary(back) == na.analysis.summary(trained)
    assert {"test_retrieval", "by_class", "by_layer", "before_and_after"} <= {
        path.stem for path in (tmp_path / "figures").iterdir()
    }
    page = (tmp_path / "report.html").read_text()
    for title in ("At the test points", "Classes", "Layers", "The kernel after training"):
        assert f"<h2>{title}</h2>" in page
    assert [one["class"] for one in numbers["by_class"]] == list(trained.by_class.latest())
    assert numbers["by_layer"][0]["parameters"] == 200
    assert numbers["kernel_movement"]["distance"] > 0
    assert numbers["test"]["retrieval"]["largest_deviation"] < 1


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"network": "smal_cnn"}, "network is 'smal_cnn', expected one of"),
        ({"network": 3}, "network is a int, expected None, a name"),
        ({"network": two_layers}, "two_layers, which has no parameters of its own"),
        ({"params": PARAMS}, "params are given and network is not a function"),
        ({"network": "small_cnn", "depth": 3}, "small_cnn has no depth"),
        ({"network": "wide_resnet_16_4", "width": 3}, "has its width in its name"),
        ({"network": "conv"}, r"takes inputs \(n, H, W, channels\), those of mine"),
        ({"network": "mlp", "kernel": "infinite"}, "no infinite-width kernel of mlp is known"),
        ({"network": Linen(outputs=2)}, r"Linen has 2 output\(s\), the dataset 3 classes"),
        ({"network": lambda p, x: x[:, 0] * p, "params": jnp.ones(())}, r"outputs of shape \(2,\)"),
        ({"network": lambda p, x: x @ p, "params": jnp.ones((3, C))}, "does not take inputs of"),
        ({"kernel": "rbf"}, "kernel is 'rbf', expected one of 'auto'"),
        ({"kernel": np.eye(3)}, r"kernel has shape \(3, 3\), expected \(24, 24\)"),
        ({"kernel": np.eye(N), "cross": np.eye(N)}, r"cross has shape \(24, 24\), expected"),
        ({"cross": np.eye(N)}, "cross is given and kernel is 'auto'"),
        ({"kernel": rbf, "cross": np.eye(N)}, "cross is given and kernel is a function"),
        ({"kernel": lambda a, b: np.eye(3)}, r"kernel\(x1, x2\) gave \(3, 3\) for 24"),
        ({"kernel": lambda a, b: np.full((N, N), np.nan)}, "what kernel.x1, x2. gave holds"),
        ({"kernel": rbf, "steps": 5}, "steps has no effect beside a kernel of one's own"),
        ({"kernel": rbf, "width": 5}, "width has no effect beside a kernel of one's own"),
        ({"network": Linen(), "width": 5}, "width and a Linen are given"),
        ({"standardize": 1}, "standardize is 1, expected True or False"),
    ],
)  # fmt: skip
def test_what_is_refused(how, said):
    with pytest.raises(ValueError, match=said):
        na.analysis.air(DATA, NOISY, **{"steps": 0, **how} if "kernel" not in how else how)


def test_figures_say_what_is_missing(own):
    for draw, said in ((na.plots.by_layer, "no layers"), (na.plots.before_and_after, "no network")):
        with pytest.raises(ValueError, match=said):
            na.plots.standalone(draw, own)
    many = functools.partial(na.analysis.ClassRetrieval, count=jnp.ones(15, int))
    times, signal = jnp.arange(1.0, 5.0), jnp.linspace(0, 1, 60).reshape(15, 4)
    classes = many(
        cumulative_signal=signal, cumulative_noise=signal, times=times, signal=signal, noise=signal,
        half_time=jnp.arange(15.0), class_names=tuple(map(str, range(15))),
    )  # fmt: skip
    ax = na.plots.standalone(na.plots.by_class, classes).axes[0]
    named = [text.get_text() for text in ax.get_legend().get_texts()]
    assert named == [str(c) for c in (*range(6), *range(9, 15))]


def test_numbers_instead_of_classes(tmp_path):
    """Regression: observed targets are an array, and R² stands where accuracies do."""
    clean = np.stack([POINTS[:, 0], np.sin(POINTS[:, 1])], axis=1)
    data = na.datasets.Dataset(
        train_inputs=jnp.asarray(POINTS[:N]),
        train_labels=jnp.full(N, -1),
        test_inputs=jnp.asarray(POINTS[N:]),
        test_labels=jnp.full(M, -1),
        extra_labels={},
        train_rows=jnp.arange(N),
        test_rows=jnp.arange(M),
        num_classes=0,
        class_names=(),
        name="numbers",
        train_targets=jnp.asarray(clean[:N]),
        test_targets=jnp.asarray(clean[N:]),
    )
    observed = (clean[:N] + RNG.normal(size=(N, 2))).astype(np.float32)
    weights = jnp.asarray(RNG.normal(size=(D, 2)), jnp.float32)
    result = na.analysis.air(data, observed, network=lambda p, x: x @ p, params=weights, steps=9)
    kernel = POINTS[:N].astype(np.float64) @ POINTS[:N].T
    assert result.self_distilled is None
    assert result.by_class is None
    assert np.isnan(result.noise_rate)
    values, vectors = np.linalg.eigh(kernel)
    noise = observed - clean[:N]
    energy = np.sum(np.square(vectors[:, -1] @ noise)) / np.sum(noise**2)
    assert result.profile.noise_energy[0] == pytest.approx(energy, rel=1e-3)
    time = float(result.times[-1])
    fitted = vectors * -np.expm1(-values * time) @ (vectors.T @ (observed - observed.mean(0)))
    centred = clean[:N] - observed.mean(0)
    r2 = 1 - np.sum((fitted - centred) ** 2) / np.sum((centred - centred.mean(0)) ** 2)
    assert result.train_accuracy[-1] == pytest.approx(r2, abs=1e-3)
    np.testing.assert_allclose(result.measured.signal, result.predicted.draw_signal, atol=1e-3)
    moved, speed = np.zeros((D, 2)), np.zeros((D, 2))
    for _ in range(9):
        left = POINTS[:N] @ moved - (observed - observed.mean(0))
        speed = 0.9 * speed + POINTS[:N].T @ left
        moved -= result.learning_rate * speed
    wanted = clean[N:] - observed.mean(0)
    r2 = 1 - np.sum((POINTS[N:] @ moved - wanted) ** 2) / np.sum((wanted - wanted.mean(0)) ** 2)
    assert result.plain.test_accuracy[-1] == pytest.approx(r2, abs=1e-3)
    assert na.reports.write_air_report(result, tmp_path)["by_class"] is None
    assert "R² at test points" in (tmp_path / "report.html").read_text()
    with pytest.raises(ValueError, match="noisy has shape"):
        na.analysis.air(data, observed[:, :1], steps=0)
    with pytest.raises(ValueError, match=r"has 3 output\(s\), the dataset 2 target"):
        na.analysis.air(data, observed, network=two_layers, params=PARAMS, steps=0)


def test_cross_entropy_beside_the_squared_loss():
    """The probabilities of a linear network, step by step in NumPy, and the closed form early."""
    linear = {"w": jnp.asarray(RNG.normal(size=(D, C)), jnp.float32)}
    result = na.analysis.air(
        DATA,
        NOISY,
        network=lambda p, x: x @ p["w"],
        params=linear,
        steps=12,
        momentum=0.0,
        cross_entropy=True,
    )
    found, (clean, _, _, noise, kappa) = result.cross_entropy, targets()
    x, given = POINTS[:N].astype(np.float64), np.eye(C)[np.asarray(NOISY.labels)]
    weights, signal, spread = np.zeros((D, C)), [], []
    for _ in range(13):
        p = np.exp(x @ weights) / np.exp(x @ weights).sum(axis=1, keepdims=True)
        signal.append(np.sum((p - 1 / C) * clean) / np.sum(clean**2) / kappa)
        spread.append(np.sum((p - 1 / C) * noise) / np.sum(noise**2))
        weights -= result.learning_rate * x.T @ (p - given)
    at = np.asarray(found.history.step)
    np.testing.assert_allclose(found.measured.signal, np.array(signal)[at], atol=1e-4)
    np.testing.assert_allclose(found.measured.noise, np.array(spread)[at], atol=1e-4)
    # One step from uniform probabilities, softmax is linear up to the square of the outputs.
    assert found.predicted.draw_signal[1] == pytest.approx(signal[1], rel=0.1)
    with pytest.raises(ValueError, match="cross_entropy needs an output for each class"):
        na.analysis.air(
            na.datasets.from_arrays(POINTS[:N], np.minimum(LABELS[:N], 1), name="two"),
            na.noise.symmetric(np.minimum(LABELS[:N], 1), 0.1, num_classes=2, seed=0),
            network=lambda p, x: x @ p, params=jnp.ones((D, 1)), steps=1, cross_entropy=True,
        )  # fmt: skip


def test_convolutions_attention_and_residual_networks():
    images = RNG.uniform(size=(16, 4, 4, 1)).astype(np.float32)
    data = na.datasets.from_arrays(images, np.arange(16) % 2, name="images")
    noisy = na.noise.symmetric(data.train_labels, 0.2, num_classes=2, seed=0)
    pooled = na.analysis.air(data, noisy, network="conv-gap", depth=1, steps=0)
    architecture = na.kernels.convolutional(1, pooling="gap", num_outputs=2)
    ready = data.standardized(per_image=True).train_inputs
    kernel = np.asarray(na.kernels.infinite_ntk(architecture, ready), np.float64)
    np.testing.assert_allclose(
        pooled.eigenvalues[:5], np.linalg.eigvalsh(kernel)[::-1][:5], rtol=1e-3
    )
    sequences = na.datasets.from_arrays(images[..., 0], np.arange(16) % 2, name="sequences")
    attention = na.analysis.air(sequences, noisy, network="self_attention", steps=0)
    architecture = na.kernels.self_attention(num_outputs=2)
    kernel = np.asarray(na.kernels.infinite_ntk(architecture, images[..., 0]), np.float64)
    np.testing.assert_allclose(
        attention.eigenvalues[:5], np.linalg.eigvalsh(kernel)[::-1][:5], rtol=1e-3
    )
    small = na.networks.ResNet(num_outputs=2, blocks=(1,), stem_features=4, parameterization="ntk")
    residual = na.analysis.air(data, noisy, network=small, steps=0)
    assert "stage_0_block_0_conv_0" in residual.by_layer.names
    shares = np.asarray(residual.by_layer.share)[:, :5]
    np.testing.assert_allclose(shares.sum(axis=0), 1.0, atol=1e-4)


def test_an_equinox_module():
    equinox = pytest.importorskip("equinox")
    module = equinox.nn.MLP(D, C, 8, 1, key=jax.random.key(0))
    result = na.analysis.air(DATA, NOISY, network=module, steps=2)
    kernel = na.kernels.empirical_ntk(*na.kernels.functional(module), POINTS[:N])
    np.testing.assert_allclose(
        result.eigenvalues[:5], np.linalg.eigvalsh(kernel)[::-1][:5], rtol=1e-3
    )
    assert np.isfinite(np.asarray(result.measured.signal)).all()
