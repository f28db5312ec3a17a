"""The label report: by hand, against the command's file, all kinds of data, and what is refused."""

from __future__ import annotations

import csv
import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli import main
from ntk_air.dynamics.noisy import _stopping_rules

N = 60
CLEAN = np.arange(N) % 3
WRONG = np.array([4, 9, 17, 25, 40, 41, 58])
GIVEN = np.where(np.isin(np.arange(N), WRONG), (CLEAN + 1) % 3, CLEAN)
RNG = np.random.default_rng(0)
POINTS = (RNG.normal(size=(N, 2)) + 4 * np.eye(3)[CLEAN][:, :2]).astype(np.float32)
KERNEL = (np.exp(-np.sum((POINTS[:, None] - POINTS) ** 2, axis=-1) / 4) + 0.05 * np.eye(N)).astype(
    np.float32
)
ANIMALS = np.array(["cat", "dog", "emu"])[GIVEN]
report_on = na.analysis.label_report


@pytest.fixture(scope="module")
def report():
    return report_on(POINTS, ANIMALS, kernel=KERNEL)


def images(**changes):
    inputs = np.random.default_rng(1).random((N, 4, 4, 1), np.float32)
    inputs += GIVEN[:, None, None, None]
    extra = {"worst": np.where(np.arange(N) < 50, GIVEN, -1)}
    return na.datasets.from_arrays(
        inputs, CLEAN, inputs[:20] + 0.1, CLEAN[:20], name="mine", extra_labels=extra, **changes
    )


def test_it_is_what_the_functions_of_dynamics_give(report):
    es = na.spectral.eigendecompose(KERNEL)
    observed = na.datasets.encode(GIVEN, 3)
    refined = na.dynamics.refine_labels(es, observed)
    for name in ("score", "suspected", "margin", "labels", "probabilities", "transition"):
        np.testing.assert_array_equal(getattr(report, name), getattr(refined, name), name)
    rate = report.noise_rate
    assert float(rate) == float(refined.noise_rate)
    assert (rate.lower, rate.upper) == (refined.lower, refined.upper)
    assert rate.lower < float(rate) < rate.upper
    assert (rate.confident, rate.identified) == (refined.confident_rate, refined.identified)
    assert rate.tail.rate == na.dynamics.estimate_noise(es, observed).rate
    assert list(report.stopping_times) == list(report.degrees_of_freedom) == [*na.dynamics.RULES]
    for rule, found in report.stopping_times.items():
        one = na.dynamics.stopping_time(es, observed, rule=rule, remainder="mean")
        assert (found.time, found.rule, found.at_edge) == (one.time, rule, one.at_edge)
        np.testing.assert_array_equal(found.score, one.score)
        freedom = np.sum(-np.expm1(-np.asarray(es.eigenvalues, np.float64) * float(one.time)))
        assert report.degrees_of_freedom[rule] == pytest.approx(freedom, rel=1e-5)
    assert report.stopping_time.time == report.stopping_times["leave_one_out"].time == refined.time
    assert report.rank == N


def test_points_and_classes_as_they_were_given(report):
    np.testing.assert_array_equal(report.given, GIVEN)
    assert report.class_names == ("cat", "dog", "emu")
    np.testing.assert_array_equal(report.identifiers, np.arange(N))
    suspected = np.flatnonzero(report.suspected)
    assert len(set(suspected) & set(WRONG)) >= 5
    assert (report.suggested[suspected] != GIVEN[suspected]).all()
    rest = np.setdiff1d(np.arange(N), suspected)
    np.testing.assert_array_equal(report.suggested[rest], GIVEN[rest])
    chosen = np.asarray(report.probabilities)[np.arange(N), np.asarray(report.suggested)]
    np.testing.assert_array_equal(report.confidence, chosen)
    own = 1 - np.asarray(report.probabilities)[np.arange(N), GIVEN]
    for c in range(3):
        assert report.per_class["count"][c] == np.sum(c == GIVEN)
        assert report.per_class["suspected"][c] == np.sum(GIVEN[suspected] == c)
        assert report.per_class["rate"][c] == pytest.approx(own[c == GIVEN].mean(), abs=1e-6)


def test_tables_list_the_most_doubtful_first(report):
    table, suspects = report.table(), report.suspects()
    assert sorted(table["index"]) == list(range(N))
    assert table["score"] == sorted(table["score"])
    assert suspects["index"] == [
        i for i, one in zip(table["index"], table["suspected"], strict=True) if one
    ]
    assert set(suspects["index"]) == set(np.flatnonzero(report.suspected).tolist())
    for i, name, other in zip(
        suspects["index"], suspects["observed_name"], suspects["suggested_name"], strict=True
    ):
        assert (name, other) == (ANIMALS[i], report.class_names[int(report.suggested[i])])


def test_the_command_writes_the_same_file(tmp_path):
    flags = ["--train-size", "60", "--noise", "symmetric:0.3", "--rule", "gcv", "--all"]
    assert main(["labels", *flags, "--out", str(tmp_path / "command.csv")]) == 0
    data = na.datasets.load("digits", train_size=60, test_size=0)
    noisy = na.noise.symmetric(data.train_labels, 0.3, num_classes=10, seed=0)
    found = report_on(data, noisy, rule="gcv", rules=())
    assert list(found.stopping_times) == ["gcv"]
    assert found.degrees_of_freedom == {}
    written = na.reports.write_label_report(found, tmp_path / "own.csv", every=True)
    assert written.pop("corrected") == [""] * 60
    assert written == found.table()
    assert (tmp_path / "own.csv").read_bytes() == (tmp_path / "command.csv").read_bytes()
    na.reports.write_label_report(found, tmp_path / "few.csv")
    rows = list(csv.DictReader((tmp_path / "few.csv").open()))
    assert [int(row["index"]) for row in rows] == found.suspects()["index"]
    assert set(found.table()["index"]) == set(np.asarray(data.train_rows).tolist())


def test_rules_share_what_is_expensive(monkeypatch):
    calls = []
    for name in ("left_out_scores", "smoothed"):
        real = getattr(_stopping_rules, name)
        monkeypatch.setattr(
            _stopping_rules, name, lambda *a, _f=real, _n=name: (calls.append(_n), _f(*a))[1]
        )
    report_on(POINTS, GIVEN, kernel=KERNEL)
    assert sorted(calls) == ["left_out_scores", "smoothed"]


def test_it_comes_back_from_a_file(report, tmp_path):
    ids = [f"image {i}.png" for i in range(N)]
    for one in (report, report_on(POINTS, GIVEN, kernel=KERNEL, identifiers=ids, rules=())):
        back = na.load(na.save(one, tmp_path / "report.ntkair"))
        assert type(back) is na.analysis.LabelReport
        assert back.table() == one.table()
        assert float(back.noise_rate) == float(one.noise_rate)
        assert list(back.stopping_times) == list(one.stopping_times)
        for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(one), strict=True):
            np.testing.assert_array_equal(a, b)
    assert back.suspects()["index"] == [ids[i] for i in report.suspects()["index"]]


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (GIVEN * 5 + 2, ("2", "7", "12")),
        (np.array([b"cat", b"dog", b"emu"])[GIVEN], ("b'cat'", "b'dog'", "b'emu'")),
        (ANIMALS.astype(object), ("cat", "dog", "emu")),
        (ANIMALS.tolist(), ("cat", "dog", "emu")),
    ],
)
def test_labels_of_any_kind_are_the_same_classes(labels, names, report):
    found = report_on(POINTS, labels, kernel=KERNEL)
    assert found.class_names == names
    np.testing.assert_array_equal(found.given, GIVEN)
    np.testing.assert_array_equal(found.score, report.score)


def test_truth_values_and_classes_that_no_label_names():
    two = report_on(POINTS, GIVEN == 1, kernel=KERNEL, rules=())
    assert two.class_names == ("False", "True")
    np.testing.assert_array_equal(two.given, GIVEN == 1)
    names = ["dog", "gnu", "cat", "emu"]
    found = report_on(POINTS, ANIMALS, kernel=KERNEL, class_names=names, rules=())
    assert found.class_names == tuple(names)
    np.testing.assert_array_equal(found.given, [names.index(one) for one in ANIMALS])
    assert found.per_class["count"][1] == 0
    assert np.isnan(found.per_class["rate"][1])
    numbers = report_on(POINTS, found.given, kernel=KERNEL, class_names=names, rules=())
    np.testing.assert_array_equal(numbers.score, found.score)
    noisy = na.noise.recorded(GIVEN, CLEAN, num_classes=3)
    assert report_on(POINTS, noisy, kernel=KERNEL, rules=()).class_names == ("0", "1", "2")


def test_labels_of_a_dataset_and_its_networks():
    data = images()
    seen = data.standardized(per_image=True)
    conv = na.kernels.convolutional(1, pooling="gap", bias_std=0.3)
    kernel = na.kernels.infinite_ntk(conv, seen.train_inputs)
    own = report_on(data, GIVEN, kernel=kernel, rules=())
    for network, more in ((conv, {}), ("conv-gap", {"depth": 1, "bias_std": 0.3})):
        found = report_on(data, GIVEN, network=network, rules=(), **more)
        np.testing.assert_array_equal(found.score, own.score)
    flat = seen.flattened(unit_norm="sqrt_d").train_inputs
    network = na.kernels.fully_connected(1, weight_std=1.4, bias_std=0.1)
    kernel = na.kernels.infinite_ntk(network, flat)
    by_default = report_on(data, GIVEN, rules=())
    np.testing.assert_array_equal(
        by_default.score, report_on(data, GIVEN, kernel=kernel, rules=()).score
    )
    assert not np.array_equal(by_default.score, own.score)
    np.testing.assert_array_equal(report_on(data, rules=()).given, CLEAN)
    part = report_on(data.take(np.arange(5, N)), "worst", rules=())
    np.testing.assert_array_equal(part.given, GIVEN[5:50])
    np.testing.assert_array_equal(part.identifiers, np.arange(5, 50))


def test_a_stored_kernel_and_double_precision(tmp_path, report):
    network = na.kernels.fully_connected(2)
    made = na.kernels.infinite_ntk(network, POINTS, store=tmp_path / "kernel")
    stored = na.kernels.open_kernel(tmp_path / "kernel")
    found = report_on(POINTS, GIVEN, kernel=stored, rank=20, rules=())
    whole = report_on(POINTS, GIVEN, kernel=np.asarray(made), rank=20, rules=())
    assert found.rank == whole.rank == 20
    np.testing.assert_allclose(found.margin, whole.margin, atol=1e-3)
    double = report_on(POINTS, GIVEN, kernel=KERNEL, precision="float64", rules=())
    assert double.score.dtype == np.float64
    np.testing.assert_allclose(double.score, report.score, atol=1e-2)


def test_accuracy_on_the_test_points():
    data = images()
    found = report_on(data, GIVEN, test=True, rules=("gcv",))
    flat = data.standardized(per_image=True).flattened(unit_norm="sqrt_d")
    network = na.kernels.fully_connected(1, weight_std=1.4, bias_std=0.1)
    kernel = np.asarray(na.kernels.infinite_ntk(network, flat.train_inputs), np.float64)
    cross = na.kernels.infinite_ntk(network, flat.test_inputs, flat.train_inputs)
    values, vectors = np.linalg.eigh(kernel)
    spread = vectors.T @ np.asarray(na.datasets.encode(GIVEN, 3), np.float64)
    for at in (0, 50, 120):
        fitted = -np.expm1(-values * float(found.stopping_time.times[at]))
        outputs = np.asarray(cross) @ (vectors * (fitted / values)) @ spread
        right = np.mean(outputs.argmax(1) == CLEAN[:20])
        assert abs(found.test_accuracy[at] - right) < 1.5 / 20
    assert 0.4 < found.test_accuracy.max() < 1
    assert report_on(data, GIVEN, rules=()).test_accuracy is None
    untested = dataclasses.replace(
        data, test_inputs=data.test_inputs[:0], test_labels=data.test_labels[:0]
    )
    assert report_on(untested, GIVEN, test=True, rules=()).test_accuracy is None


def test_against_the_truth(report):
    # As if some of the wrong labels were right, so that precision is not recall.
    clean = np.where(np.isin(np.arange(N), WRONG[:4]), CLEAN, GIVEN)
    found = report.compare_with_truth(clean)
    suspected = np.asarray(report.suspected)
    wrong = clean != GIVEN
    assert found.wrong == pytest.approx(4 / N)
    assert found.precision == (wrong & suspected).sum() / suspected.sum()
    assert found.precision < 0.6 < found.recall
    assert found.recall == (wrong & suspected).sum() / 4
    ranks = np.flatnonzero(wrong[np.argsort(np.asarray(report.score))]) + 1
    assert found.average_precision == pytest.approx(
        np.mean(np.arange(1, len(ranks) + 1) / ranks), abs=1e-6
    )
    assert found.right_before == pytest.approx(1 - 4 / N)
    whole = report.compare_with_truth(CLEAN)
    assert whole.right_after == np.mean(np.asarray(report.labels) == CLEAN)
    assert whole.right_after > whole.right_before
    nothing = report.compare_with_truth(GIVEN)
    assert (nothing.wrong, np.isnan(nothing.recall)) == (0, True)
    with pytest.raises(ValueError, match="clean has length 2 and the report has length 60"):
        report.compare_with_truth([0, 1])


def test_a_frame_by_identifier(report, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_pandas needs pandas: .* or use table\(\)"):
        report.to_pandas()

    class Frame(dict):
        def set_index(self, name):
            return self.pop(name), self

    stand_in = type(sys)("pandas")
    stand_in.DataFrame = Frame
    monkeypatch.setitem(sys.modules, "pandas", stand_in)
    index, columns = report.to_pandas()
    assert index == list(range(N))
    assert columns["observed_name"] == ANIMALS.tolist()
    np.testing.assert_array_equal(columns["score"], report.score)


MASKED = np.ma.masked_array(GIVEN, np.arange(N) == 3)
NETWORK = na.kernels.fully_connected(1)


@pytest.mark.parametrize(
    ("data", "labels", "how", "said"),
    [
        (POINTS, None, {}, "labels is None and data is an array"),
        (POINTS, "worst", {}, "labels is 'worst' and data is an array"),
        (POINTS[:, 0], GIVEN, {}, r"data has shape \(60,\), expected an ntk_air"),
        (np.where(POINTS > 3, np.nan, POINTS), GIVEN, {}, "data holds .* NaN or infinite"),
        (ANIMALS[:, None], GIVEN, {}, "data has dtype <U3"),
        (POINTS, GIVEN[:7], {}, "data has length 60 and labels has length 7"),
        (POINTS, np.eye(3)[GIVEN], {}, r"labels has shape \(60, 3\), expected one label"),
        (POINTS, np.where(GIVEN == 1, np.nan, 1.0), {}, "missing value"),
        (POINTS, [None, *ANIMALS[1:]], {}, r"1 missing value\(s\), the first at index 0"),
        (POINTS, [*ANIMALS[1:], np.nan], {}, r"1 missing value\(s\), the first at index 59"),
        (POINTS, np.array([0, *ANIMALS[1:]], object), {}, "labels cannot be sorted into classes"),
        (POINTS, MASKED, {}, "labels has masked values"),
        (POINTS, np.zeros(N, int), {}, r"labels has 1 class\(es\), 0, expected two"),
        (POINTS, [], {}, r"labels has 0 class\(es\), none"),
        (POINTS, ANIMALS, {"class_names": ["cat", "dog"]}, "labels holds 'emu', expected one of"),
        (POINTS, GIVEN, {"class_names": ["cat", "dog"]}, "labels holds 2, expected labels in 0"),
        (images(), "best", {}, "labels is 'best' and mine has the further labels worst"),
        (images(), GIVEN[:7], {}, "has length 60 and labels has length 7"),
        (images(), ANIMALS, {}, "labels has dtype <U3"),
        (images(), GIVEN, {"class_names": ["a", "b", "c"]}, "the dataset mine has its own"),
        (
            images(),
            na.noise.symmetric(GIVEN, 0.2, num_classes=4, seed=0),
            {},
            "labels has 4 classes, the dataset 3",
        ),
        (POINTS, GIVEN, {"identifiers": [1, 2]}, r"identifiers has shape \(2,\)"),
        (POINTS, GIVEN, {"identifiers": np.ones(N)}, "identifiers has shape .* dtype float64"),
        (POINTS, GIVEN, {"kernel": "rbf"}, "kernel is 'rbf', expected one of 'auto'"),
        (POINTS, GIVEN, {"kernel": [[1.0]]}, "kernel is a list, expected 'auto', 'infinite'"),
        (POINTS, GIVEN, {"kernel": KERNEL[:9, :9]}, r"kernel has shape \(9, 9\), expected"),
        (POINTS, GIVEN, {"kernel": KERNEL, "depth": 2}, "depth and a kernel of one's own"),
        (POINTS, GIVEN, {"kernel": KERNEL, "network": "fc"}, "network and a kernel of one's own"),
        (POINTS, GIVEN, {"kernel": KERNEL, "test": True}, "test=True needs the kernel between"),
        (POINTS, GIVEN, {"network": "transformer"}, "network is 'transformer', expected one of"),
        (POINTS, GIVEN, {"network": 3}, "network is a int, expected None, a name"),
        (POINTS, GIVEN, {"network": NETWORK, "depth": 2}, "depth and the architecture fully_conn"),
        (POINTS, GIVEN, {"network": "conv"}, r"takes inputs \(n, H, W, channels\), those of data"),
        (POINTS, GIVEN, {"rank": 61}, "rank is 61, expected a whole number in 1..60"),
        (POINTS, GIVEN, {"memory_budget": 1000}, r"eigenpairs \(rank, e.g. 3\)"),
        (POINTS, GIVEN, {"noise_rate": 0.7}, "noise_rate is 0.7"),
        (POINTS, GIVEN, {"rule": "guess"}, "rule is 'guess'"),
        (POINTS, GIVEN, {"rules": ["guess"]}, "rules is 'guess'"),
        (POINTS, GIVEN, {"test": "no"}, "test is 'no', expected True or False"),
        (POINTS, GIVEN, {"precision": "half"}, "precision is 'half'"),
    ],
)  # fmt: skip
def test_what_is_refused(data, labels, how, said):
    with pytest.raises(ValueError, match=said):
        report_on(data, labels, **how)


def test_files_that_cannot_be_written(report, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"path is .*\.txt, expected a file that ends in .csv"):
        na.reports.write_label_report(report, tmp_path / "suspected.txt")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match="needs pyarrow"):
        na.reports.write_label_report(report, tmp_path / "suspected.parquet")


def test_text_that_a_spreadsheet_would_run(tmp_path):
    found = report_on(
        POINTS, GIVEN, kernel=KERNEL, class_names=["=1+1", "b", "c"], rules=(),
        identifiers=[f"@{i}" for i in range(N)],
    )  # fmt: skip
    na.reports.write_label_report(found, tmp_path / "a.csv", every=True)
    rows = list(csv.reader((tmp_path / "a.csv").open()))[1:]
    assert all(row[0].startswith("'@") for row in rows)
    assert {row[2] for row in rows} == {"'=1+1", "b", "c"}
    assert jnp.all(found.per_class["count"] > 0)
