"""The main job on the embedded data: what it finds, that it repeats, and what it refuses."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

import ntk_air as na


@pytest.fixture(scope="module")
def problem():
    data = na.datasets.load("digits", train_size=400, test_size=200)
    return data, na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)


@pytest.fixture(scope="module")
def analysis(problem):
    return na.analysis.air(*problem, width=1024, steps=150, seed=0)


def test_signal_comes_first_in_prediction_and_on_the_network(analysis):
    numbers = na.analysis.summary(analysis)
    assert numbers["air"]["index"] > 0.35
    assert numbers["air"]["isotropy_deviation"] < 0.08
    curves = numbers["retrieval"]
    assert curves["measured_signal"][-1] > 2 * curves["measured_noise"][-1]
    assert curves["largest_deviation"] < 0.05
    assert curves["largest_deviation_infinite_width"] < 0.05
    accuracy = numbers["stopping"]["test_accuracy"]
    assert accuracy["oracle"] >= accuracy["gcv"] > accuracy["converged"] + 0.05
    plain, refined = numbers["networks"]["plain"], numbers["networks"]["self_distilled"]
    assert refined["l2_to_clean"] < plain["best_l2_to_clean"]


def test_prediction_equals_a_loop_of_the_linearised_network(problem):
    """The network trained in a regime where it is linear: prediction and loop agree closely."""
    data, noisy = problem
    wide = na.analysis.air(data, noisy, depth=0, steps=80, momentum=0.5)
    numbers = na.analysis.summary(wide)["retrieval"]
    assert numbers["largest_deviation"] < 2e-4
    assert numbers["largest_deviation_infinite_width"] < 2e-4


def test_same_seed_same_numbers(problem, analysis):
    again = na.analysis.air(*problem, width=1024, steps=150, seed=0)
    first, second = map(na.analysis.summary, (analysis, again))
    assert json.dumps(first) == json.dumps(second)
    other = na.analysis.air(*problem, width=1024, steps=3, seed=1)
    assert not np.array_equal(other.plain.loss[:3], analysis.plain.loss[:3])


@pytest.mark.parametrize(
    ("ranks", "held", "expected"),
    [
        ((1, 5, 10, 50, 100, 500, 600), 600, 100),
        ((1, 5, 10, 50, 100, 500, 600), 20, 10),
        ((1, 5, 8), 8, 8),
        ((1,), 1, 1),
    ],
)
def test_the_rank_to_quote_is_held_and_at_most_a_hundred(ranks, held, expected):
    signal = {str(k): 0.5 if k <= held else None for k in ranks}
    numbers = {"air": {"ranks": list(ranks), "cumulative_signal": signal}}
    assert na.analysis.headline_rank(numbers) == expected


def test_summary_is_strict_json_with_every_field(analysis):
    numbers = json.loads(json.dumps(na.analysis.summary(analysis), allow_nan=False))
    assert {
        "dataset", "num_points", "noise_rate", "architecture", "seed", "versions", "eigenvalues",
        "air", "retrieval", "stopping", "networks",
    } <= set(numbers)  # fmt: skip
    assert len(numbers["eigenvalues"]) == 20
    assert numbers["air"]["ranks"] == [1, 5, 10, 50, 100, 400]
    assert set(numbers["air"]["cumulative_signal"]) == {"1", "5", "10", "50", "100", "400"}
    assert math.isclose(numbers["air"]["cumulative_signal"]["400"], 1, abs_tol=1e-4)
    assert numbers["noise_rate"] == pytest.approx(0.4, abs=0.1)


def test_without_network_without_test_points_and_partial_rank(problem):
    data, noisy = problem
    bare = na.datasets.from_arrays(data.train_inputs, data.train_labels, name="bare")
    result = na.analysis.air(bare, noisy, steps=0, rank=40)
    numbers = na.analysis.summary(result)
    assert numbers["networks"] == {"plain": None, "self_distilled": None}
    assert numbers["stopping"]["test_accuracy"]["oracle"] is None
    assert numbers["air"]["cumulative_signal"]["400"] is None
    assert numbers["air"]["cumulative_signal"]["10"] > 0.4


def test_clean_labels_are_a_case_too(problem, tmp_path):
    data, _ = problem
    none = na.noise.apply("none", data.train_labels, num_classes=10, seed=0)
    result = na.analysis.air(data, none, steps=2, width=32)
    assert na.reports.write_air_report(result, tmp_path)["noise_rate"] == 0


def test_result_survives_a_file_and_redraws(analysis, tmp_path):
    back = na.load(na.save(analysis, tmp_path / "a"))
    assert na.analysis.summary(back) == na.analysis.summary(analysis)
    assert [f.name for f in na.reports.air_figures(back)] == [
        "air_profile", "retrieval", "spectrum", "stopping", "test_retrieval", "by_class",
        "before_and_after", "test_accuracy", "l2_to_clean",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "idle", [{"learning_rate": 3.0}, {"momentum": 0.5}, {"time_constant": 7.0}]
)
def test_settings_of_training_are_refused_without_any(idle):
    with pytest.raises(ValueError, match=f"{next(iter(idle))} has no effect where steps is 0"):
        na.analysis.Settings(steps=0, **idle)


def test_bad_inputs(problem):
    data, noisy = problem
    with pytest.raises(ValueError, match="noisy holds 10 labels"):
        short = na.noise.symmetric(data.train_labels[:10], 0.4, num_classes=10, seed=0)
        na.analysis.air(data, short)
    labels = np.asarray(noisy.labels)
    for function in (na.analysis.air, na.analysis.teacher_student):
        with pytest.raises(ValueError, match="dataset is a int, expected an ntk_air"):
            function(3, noisy)
        with pytest.raises(ValueError, match="noisy is a ndarray, expected ntk_air"):
            function(data, labels)
    with pytest.raises(ValueError, match="dataset is a ndarray, expected an ntk_air"):
        na.analysis.noisy_training(labels)
    with pytest.raises(ValueError, match=r"need about \d+ bytes .* the budget is 1000"):
        na.analysis.air(data, noisy, memory_budget=1000)
    for field, value in (
        ("steps", -1), ("steps", 1.5), ("momentum", 1.0), ("learning_rate", 0.0), ("width", 0),
        ("seed", 1.5), ("seed", "a"), ("seed", -1), ("seed", 2**32),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=field):
            na.analysis.air(data, noisy, **{field: value})
