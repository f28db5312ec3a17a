"""Noise models: the drawn frequencies against the transition, and retention by regression."""

import ml_dtypes
import numpy as np
import pytest

import ntk_air as na
from ntk_air import noise
from ntk_air.datasets import encode
from ntk_air.datasets._source import KNOWN

N = 40_000
LABELS = np.random.default_rng(0).integers(0, 10, N)
SKEWED = np.random.default_rng(1).choice(4, N, p=[0.6, 0.25, 0.1, 0.05])
INPUTS = np.random.default_rng(2).standard_normal((N, 6))
MATRIX = np.array(
    [[0.7, 0.2, 0.1, 0.0], [0.0, 0.9, 0.0, 0.1], [0.3, 0.3, 0.4, 0.0], [0.0, 0.0, 0.5, 0.5]]
)

MODELS = {
    "symmetric": lambda seed=0: noise.symmetric(LABELS, 0.4, num_classes=10, seed=seed),
    "uniform": lambda seed=0: noise.symmetric(
        LABELS, 0.4, num_classes=10, seed=seed, include_true_class=True
    ),
    "asymmetric": lambda seed=0: noise.asymmetric(LABELS, 0.4, seed=seed),
    "mapped": lambda seed=0: noise.asymmetric(
        SKEWED, 0.3, num_classes=4, seed=seed, mapping={0: 2, 3: 0}
    ),
    "pair_flip": lambda seed=0: noise.pair_flip(SKEWED, 0.45, num_classes=4, seed=seed),
    "transition": lambda seed=0: noise.from_transition(SKEWED, MATRIX, seed=seed),
    "instance": lambda seed=0: noise.instance_dependent(
        INPUTS, SKEWED, 0.3, num_classes=4, seed=seed
    ),
    "human": lambda seed=0: noise.human_cifar10(LABELS, "worst", seed=seed),
}


@pytest.mark.parametrize("model", MODELS)
def test_frequencies_follow_the_transition(model):
    noisy = MODELS[model]()
    transition = np.asarray(noisy.transition, np.float64)
    classes = noisy.num_classes
    np.testing.assert_allclose(transition.sum(axis=1), 1.0, atol=1e-6)
    counts = np.zeros((classes, classes))
    np.add.at(counts, (np.asarray(noisy.clean), np.asarray(noisy.labels)), 1)
    sizes = counts.sum(axis=1, keepdims=True)
    # 5 binomial deviations per entry; exactly nothing where the probability is nothing.
    tolerance = 5 * np.sqrt(transition * (1 - transition) / sizes) + 1e-6
    assert (np.abs(counts / sizes - transition) < tolerance).all()
    np.testing.assert_array_equal(noisy.flipped, noisy.labels != noisy.clean)
    assert noisy.labels.dtype == np.int32
    assert noisy.flipped.dtype == bool


@pytest.mark.parametrize("model", MODELS)
def test_rates(model):
    noisy = MODELS[model]()
    rho = noisy.true_rate
    assert abs(noisy.empirical_rate - rho) < 5 * np.sqrt(rho * (1 - rho) / N)
    assert noisy.empirical_rate == np.mean(np.asarray(noisy.labels) != np.asarray(noisy.clean))


@pytest.mark.parametrize("model", MODELS)
def test_retention_is_the_least_squares_coefficient(model):
    """Route 1: the model's formula. Route 2: regress coded observed labels on coded clean ones."""
    noisy = MODELS[model]()
    clean = np.asarray(encode(noisy.clean, noisy.num_classes), np.float64)
    observed = np.asarray(encode(noisy.labels, noisy.num_classes), np.float64)
    slope = np.sum(clean * observed) / np.sum(clean**2)
    # slope = 1 - (errors / N) C / (C - 1): a binomial mean times a factor of at most 2.
    rho = noisy.true_rate
    assert abs(slope - noisy.retention) < 2 * 5 * np.sqrt(rho * (1 - rho) / N)
    # Exactly, with the expectation of the model in place of the draw.
    means = np.asarray(noisy.transition, np.float64)[np.asarray(noisy.clean)] - 1 / clean.shape[1]
    exact = np.sum(clean * means) / np.sum(clean**2)
    assert noisy.retention == pytest.approx(exact, abs=1e-6)


def test_retention_reduces_to_the_known_formulas():
    assert MODELS["symmetric"]().retention == pytest.approx(1 - 0.4 * 10 / 9, abs=1e-6)
    # Over all classes the true error is 0.9 x rate, and the retention 1 - rate.
    uniform = MODELS["uniform"]()
    assert uniform.true_rate == pytest.approx(0.36, abs=1e-6)
    assert uniform.retention == pytest.approx(0.6, abs=1e-6)
    binary = noise.symmetric(LABELS % 2, 0.2, num_classes=2, seed=0)
    assert binary.retention == pytest.approx(1 - 2 * 0.2, abs=1e-6)
    pairs = noise.pair_flip(LABELS % 2, 0.2, num_classes=2, seed=0)
    assert pairs.retention == pytest.approx(1 - 2 * 0.2, abs=1e-6)
    # Symmetric noise: E[observed | clean] = kappa clean holds point by point, not only on average.
    codes = np.asarray(encode(np.arange(10), 10), np.float64)
    noisy = MODELS["symmetric"]()
    expected = np.asarray(noisy.transition, np.float64) @ codes
    np.testing.assert_allclose(expected, noisy.retention * codes, atol=1e-6)


def test_asymmetric_default_is_the_published_map():
    balanced = np.arange(5000) % 10
    noisy = noise.asymmetric(balanced, 0.4, seed=0)
    assert noisy.true_rate == pytest.approx(0.2, abs=1e-6)  # half of the classes move
    names = KNOWN["cifar10"].class_names
    moved = {
        (names[a], names[b])
        for a, b in zip(np.asarray(noisy.clean), np.asarray(noisy.labels), strict=True)
        if a != b
    }
    assert moved == {
        ("truck", "automobile"),
        ("bird", "airplane"),
        ("cat", "dog"),
        ("dog", "cat"),
        ("deer", "horse"),
    }
    same = noise.asymmetric(balanced, 0.4, seed=0, mapping=[0, 1, 0, 5, 7, 3, 6, 7, 8, 1])
    np.testing.assert_array_equal(same.labels, noisy.labels)


def test_pair_flip_moves_to_the_next_class_only():
    noisy = MODELS["pair_flip"]()
    step = (np.asarray(noisy.labels) - np.asarray(noisy.clean)) % 4
    assert set(step.tolist()) == {0, 1}


@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5, 0.9])
def test_instance_dependent_keeps_the_mean_rate(rate):
    noisy = noise.instance_dependent(INPUTS, SKEWED, rate, num_classes=4, seed=1)
    # Mean of q_i, of deviation at most 0.1, over N points; then the draw itself.
    assert abs(noisy.true_rate - rate) < 5 * 0.1 / np.sqrt(N)
    assert abs(noisy.empirical_rate - rate) < 5 * np.sqrt(rate * (1 - rate) / N) + 1e-3


def test_instance_dependent_depends_on_the_instance():
    """The wrong class is a function of the direction of the input, given the clean class."""
    scaled = INPUTS * 20
    noisy = noise.instance_dependent(scaled, LABELS * 0, 0.4, num_classes=3, seed=0)
    wrong = np.asarray(noisy.labels)
    flipped = wrong != 0
    halves = scaled[flipped], wrong[flipped]
    fit, *_ = np.linalg.lstsq(halves[0], np.where(halves[1] == 1, 1.0, -1.0), rcond=None)
    agreement = np.mean(np.sign(halves[0] @ fit) == np.where(halves[1] == 1, 1, -1))
    assert agreement > 0.95
    shuffled = np.mean(np.sign(halves[0][::-1] @ fit) == np.where(halves[1] == 1, 1, -1))
    assert shuffled < 0.7


@pytest.mark.parametrize("model", MODELS)
def test_seed_decides(model):
    a, b, c = (MODELS[model](seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(a.labels, b.labels)
    assert not np.array_equal(a.labels, c.labels)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: noise.symmetric(LABELS, 0.0, num_classes=10, seed=0),
        lambda: noise.asymmetric(LABELS, 0.0, seed=0),
        lambda: noise.pair_flip(LABELS, 0.0, num_classes=10, seed=0),
        lambda: noise.from_transition(LABELS, np.eye(10), seed=0),
        lambda: noise.instance_dependent(INPUTS, LABELS, 0.0, num_classes=10, seed=0),
    ],
)
def test_no_noise_leaves_every_label(draw):
    noisy = draw()
    np.testing.assert_array_equal(noisy.labels, LABELS)
    assert (noisy.true_rate, noisy.retention) == (0.0, 1.0)


def test_empty_labels_and_absent_classes():
    empty = noise.symmetric(np.zeros(0, int), 0.3, num_classes=3, seed=0)
    assert empty.labels.shape == (0,)
    assert (empty.empirical_rate, empty.true_rate) == (0.0, 0.0)
    recorded = noise.recorded(np.array([0, 0, 2]), np.array([0, 1, 2]), 4)
    np.testing.assert_allclose(recorded.transition[0], [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(recorded.transition[1], [0, 1, 0, 0])
    assert recorded.true_rate == recorded.empirical_rate == pytest.approx(1 / 3)


def test_saves_and_loads(tmp_path):
    noisy = MODELS["pair_flip"]()
    again = na.load(na.save(noisy, tmp_path / "noise"))
    np.testing.assert_array_equal(again.labels, noisy.labels)
    assert (again.rate, again.model, again.retention) == (0.45, "pair_flip", noisy.retention)


@pytest.mark.parametrize("rate", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_rates_out_of_range_are_refused(rate):
    for draw in (
        lambda: noise.symmetric(LABELS, rate, num_classes=10, seed=0),
        lambda: noise.asymmetric(LABELS, rate, seed=0),
        lambda: noise.pair_flip(LABELS, rate, num_classes=10, seed=0),
        lambda: noise.instance_dependent(INPUTS, LABELS, rate, num_classes=10, seed=0),
    ):
        with pytest.raises(ValueError, match=r"rate is .*, expected a number in \[0, 1\)"):
            draw()


Y = np.array([0, 1, 2, 1])
NAN, HUGE = np.full((4, 2), np.nan), np.full((4, 2), 1e308)


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: noise.symmetric(Y, 0.1, num_classes=2, seed=0), "holds 2"),
        (lambda: noise.symmetric(Y - 1, 0.1, num_classes=3, seed=0), "holds -1"),
        (lambda: noise.symmetric(Y * 0.5, 0.1, num_classes=3, seed=0), "dtype float64"),
        (lambda: noise.symmetric(Y, 0.1, num_classes=1, seed=0), "num_classes is 1"),
        (lambda: noise.symmetric(Y, 0.1, num_classes=3, seed=None), "seed is None"),
        (lambda: noise.symmetric(Y, 0.1, num_classes=3, seed=-1), "seed is -1"),
        (lambda: noise.asymmetric(Y, 0.1, num_classes=3, seed=0), "pass mapping"),
        (lambda: noise.asymmetric(Y, 0.1, num_classes=3, seed=0, mapping={0: 3}), "is 3"),
        (lambda: noise.asymmetric(Y, 0.1, num_classes=3, seed=0, mapping=[1, 2]), "2 entries"),
        (lambda: noise.from_transition(Y, np.ones((3, 3)), seed=0), "sums to 3"),
        (lambda: noise.from_transition(Y, np.eye(3) * 2 - 1 / 3, seed=0), "least entry"),
        (lambda: noise.from_transition(Y, np.eye(3)[:2], seed=0), "square"),
        (lambda: noise.from_transition(Y, np.eye(3) * np.nan, seed=0), "NaN"),
        (lambda: noise.from_transition(Y, np.eye(2), seed=0), "holds 2"),
        (lambda: noise.instance_dependent(NAN, Y, 0.1, num_classes=3, seed=0), "NaN"),
        (lambda: noise.instance_dependent(HUGE, Y, 0.1, num_classes=3, seed=0), "random weights"),
        (lambda: noise.instance_dependent(Y[:2], Y, 0.1, num_classes=3, seed=0), "length 2"),
        (lambda: noise.human_cifar10(Y + 8), "holds 10"),
        (lambda: noise.human_cifar10(Y, "best"), "expected one of"),
        (lambda: noise.recorded(Y, Y[:3], 3), "length 3"),
        (lambda: noise.recorded(Y, Y - 1, 3), "-1 for 1 of 4"),
        (lambda: noise.recorded(Y, Y + 1, 3), "holds 3"),
    ],
)
def test_bad_values_are_refused(draw, words):
    with pytest.raises(ValueError, match=words) as caught:
        draw()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_a_transition_may_be_of_any_precision(dtype):
    thirds = np.full((3, 3), 1 / 3).astype(dtype)
    drawn = noise.from_transition(Y, thirds, seed=0)
    np.testing.assert_allclose(drawn.transition, 1 / 3, rtol=1e-6)
    with pytest.raises(ValueError, match=r"sums to 1\.0[0-9]"):
        noise.from_transition(Y, (thirds * dtype(1.03)).astype(dtype), seed=0)
