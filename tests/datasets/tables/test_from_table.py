"""`from_table` and `load` of tables, beside the same steps taken by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import ntk_air as na
from ntk_air.datasets import from_table, load

arrow = pytest.importorskip("pyarrow")

N = 40
RNG = np.random.default_rng(0)
AGE = RNG.normal(50, 20, N)
INCOME = RNG.normal(3e4, 1e4, N)
TOWN = RNG.choice(["Riga", "Oslo", "Rome"], N)
SMOKES = RNG.random(N) < 0.4
ILL = np.where(RNG.random(N) < 0.5, "yes", "no")
COLUMNS = {"age": AGE, "town": TOWN, "income": INCOME, "smokes": SMOKES, "ill": ILL}


def write_csv(path, columns, delimiter=",", missing="", blank=""):
    rows = zip(*columns.values(), strict=True)
    lines = [(delimiter + blank).join(columns)]
    for row in rows:
        cells = [missing if x is None or x != x else str(x) for x in row]
        lines.append((delimiter + blank).join(cells))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def by_hand(rows, train, age=AGE):
    """Columns of numbers by mean and deviation of the training rows, words as indicators."""
    numbers = [(x - x[train].mean()) / x[train].std() for x in (age, INCOME)]
    towns = [(name == TOWN).astype(float) for name in ("Oslo", "Riga", "Rome")]
    return np.stack([*numbers, *towns, SMOKES.astype(float)], axis=1)[rows]


def test_inputs_and_classes_against_numpy():
    data = from_table(COLUMNS, label="ill", name="mine")
    everything = np.arange(N)
    np.testing.assert_allclose(data.train_inputs, by_hand(everything, everything), atol=1e-5)
    np.testing.assert_array_equal(data.train_labels, ILL == "yes")
    assert (data.class_names, data.name, data.kind) == (("no", "yes"), "mine", "table")
    assert data.train_identifiers == tuple(map(str, range(N)))
    assert len(data.test_labels) == 0


def test_raw_columns_are_what_they_are():
    data = from_table(COLUMNS, label="ill", scale=False)
    np.testing.assert_array_equal(data.train_inputs[:, 1], INCOME.astype(np.float32))


def test_missing_entries_take_the_training_median_and_the_commonest_word():
    age, town = AGE.copy(), TOWN.astype(object)
    age[[1, 39]], town[3] = np.nan, None
    is_test = np.arange(N) >= 30
    columns = {**COLUMNS, "age": age, "town": town.tolist(), "part": is_test}
    with pytest.warns(UserWarning, match=r"2 in 'age', 1 in 'town'"):
        data = from_table(columns, label="ill", test="part")
    train = np.arange(30)
    filled = np.where(np.isnan(age), np.nanmedian(age[train]), age)
    np.testing.assert_allclose(
        data.train_inputs[:, 0], by_hand(train, train, filled)[:, 0], atol=1e-5
    )
    np.testing.assert_allclose(
        data.test_inputs, by_hand(np.arange(30, N), train, filled), atol=1e-5
    )
    names, counts = np.unique([x for x in town[train] if x], return_counts=True)
    commonest = sorted(set(names)).index(names[counts.argmax()])
    np.testing.assert_array_equal(data.train_inputs[3, 2:5], np.eye(3)[commonest])
    with pytest.raises(ValueError, match=r"missing: 2 in 'age', 1 in 'town'"):
        from_table(columns, label="ill", missing="refuse")


@pytest.mark.parametrize(
    "form", ["mapping", "rows", "record", "arrow", "csv", "semicolons", "blanks", "parquet"]
)
def test_every_form_of_one_table_is_one_dataset(tmp_path, form):
    plain = from_table(COLUMNS, label="ill", scale=False)
    if form == "mapping":
        source = {k: v.tolist() for k, v in COLUMNS.items()}
    elif form == "rows":
        source = [
            dict(zip(COLUMNS, row, strict=True)) for row in zip(*COLUMNS.values(), strict=True)
        ]
    elif form == "record":
        source = np.rec.fromarrays(list(COLUMNS.values()), names=list(COLUMNS))
    elif form == "arrow":
        source = arrow.table(COLUMNS)
    elif form == "parquet":
        source = tmp_path / "one.parquet"
        arrow.parquet = pytest.importorskip("pyarrow.parquet")
        arrow.parquet.write_table(arrow.table(COLUMNS), source)
    else:
        delimiter, blank = {"csv": (",", ""), "semicolons": (";", ""), "blanks": (",", " ")}[form]
        source = write_csv(tmp_path / "one.csv", COLUMNS, delimiter, blank=blank)
    data = from_table(source, label="ill", scale=False)
    np.testing.assert_allclose(data.train_inputs, plain.train_inputs, rtol=1e-6)
    np.testing.assert_array_equal(data.train_labels, plain.train_labels)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.where(ILL == "yes", 2, 1), ("1", "2")),
        (np.where(ILL == "yes", 1, -1), ("-1", "1")),
        (np.where(ILL == "yes", 10, 0), ("0", "10")),
        (np.where(ILL == "yes", 1.0, 0.0), ("0", "1")),
        (ILL == "yes", ("False", "True")),
        (np.where(ILL == "yes", "10", "9"), ("9", "10")),
    ],
)
@pytest.mark.filterwarnings("ignore:.* holds the classes")
def test_labels_of_any_kind_are_numbered_and_keep_their_names(tmp_path, labels, names):
    source = write_csv(tmp_path / "own.csv", {**COLUMNS, "ill": labels})
    for data in (
        from_table({**COLUMNS, "ill": labels}, label="ill"),
        from_table(source, label="ill"),
    ):
        np.testing.assert_array_equal(data.train_labels, ILL == "yes")
        assert data.class_names == names


def test_categories_keep_their_order():
    values = arrow.DictionaryArray.from_arrays(
        arrow.array([1, 0, 2, 1]), arrow.array(["low", "mid", "high", "none"]), ordered=True
    )
    data = from_table(arrow.table({"x": [1.0, 2, 3, 5], "y": values}), label="y")
    assert data.class_names == ("low", "mid", "high")
    np.testing.assert_array_equal(data.train_labels, [1, 0, 2, 1])


def test_a_fraction_is_drawn_within_classes_and_leaves_groups_whole():
    data = from_table(COLUMNS, label="ill", test=0.25, seed=3)
    assert len(data.test_labels) == 10
    assert abs(int(data.test_labels.sum()) - 0.25 * (ILL == "yes").sum()) < 1
    rows = np.concatenate([data.train_rows, data.test_rows])
    np.testing.assert_array_equal(np.sort(rows), np.arange(N))
    train = np.asarray(data.train_rows)
    np.testing.assert_allclose(
        data.test_inputs, by_hand(np.asarray(data.test_rows), train), atol=1e-5
    )
    assert data.test_identifiers == tuple(map(str, np.asarray(data.test_rows)))
    again = from_table(COLUMNS, label="ill", test=0.25, seed=3)
    other = from_table(COLUMNS, label="ill", test=0.25, seed=4)
    np.testing.assert_array_equal(again.test_rows, data.test_rows)
    assert set(np.asarray(other.test_rows)) != set(np.asarray(data.test_rows))
    patient = np.arange(N) // 4
    for group in ("patient", patient):
        whole = from_table(
            {**COLUMNS, "patient": patient}, label="ill", test=0.3, group=group,
            drop=() if isinstance(group, str) else "patient",
        )  # fmt: skip
        both = set(patient[np.asarray(whole.train_rows)]) & set(
            patient[np.asarray(whole.test_rows)]
        )
        assert both == set()
        assert len(whole.test_labels) == 12
        assert whole.train_inputs.shape[1] == 6


def test_a_second_table_has_the_first_ones_numbers(tmp_path):
    first = {k: v[:30] for k, v in COLUMNS.items()}
    second = {k: v[30:] for k, v in COLUMNS.items()}
    path = write_csv(tmp_path / "test.csv", second)
    for test in (second, path, str(path)):
        data = from_table(first, label="ill", test=test)
        np.testing.assert_allclose(
            data.test_inputs, by_hand(np.arange(30, N), np.arange(30)), atol=1e-5
        )
        np.testing.assert_array_equal(data.test_rows, np.arange(10))
        assert data.test_identifiers == tuple(map(str, range(10)))
    with pytest.raises(ValueError, match="lacks column 'age'"):
        from_table(first, label="ill", test={k: v for k, v in second.items() if k != "age"})
    with pytest.raises(ValueError, match="'age' holds numbers in table and words in the test"):
        from_table(first, label="ill", test={**second, "age": second["town"]})


def test_what_is_decided_for_the_user_is_said():
    unlike = {**COLUMNS, "same": np.ones(N), "none": [None] * N}
    with pytest.warns(UserWarning, match="columns 'same', 'none' left out"):
        assert from_table(unlike, label="ill").train_inputs.shape == (N, 6)
    town = TOWN.copy()
    town[N - 1] = "Ulm"
    part = np.where(np.arange(N) < 30, "train", "test")
    with pytest.warns(UserWarning, match="'town' holds, in test rows only, Ulm"):
        data = from_table({**COLUMNS, "town": town, "part": part}, label="ill", test="part")
    np.testing.assert_array_equal(data.test_inputs[-1, 2:5], 0)
    twice = {k: np.concatenate([v, v[:3]]) for k, v in COLUMNS.items()}
    twice["part"] = np.arange(N + 3) >= N
    with pytest.warns(UserWarning, match="3 of the 3 test rows equal a training row"):
        from_table(twice, label="ill", test="part")
    new = np.where(np.arange(N) == N - 1, "maybe", ILL)
    with pytest.warns(UserWarning, match="have test rows and no training row: maybe"):
        from_table({**COLUMNS, "ill": new, "part": part}, label="ill", test="part")
    with pytest.warns(UserWarning, match=r"1 class\(es\) have one row only"):
        from_table({**COLUMNS, "ill": new}, label="ill", test=0.2)


def test_numbers_to_be_predicted():
    data = from_table(COLUMNS, label="income", test=0.25)
    np.testing.assert_array_equal(
        data.train_targets[:, 0], INCOME[np.asarray(data.train_rows)].astype(np.float32)
    )
    assert data.test_targets.shape == (10, 1)
    assert (data.num_classes, data.class_names) == (0, ())
    np.testing.assert_array_equal(data.train_labels, -1)
    part = data.take([3, 1], [0])
    np.testing.assert_array_equal(part.train_targets, np.asarray(data.train_targets)[[3, 1]])
    np.testing.assert_array_equal(part.test_targets, np.asarray(data.test_targets)[:1])
    whole = {**COLUMNS, "rings": np.arange(N)}
    with pytest.raises(ValueError, match="'rings' has 40 different numbers in 40 rows; pass reg"):
        from_table(whole, label="rings")
    assert from_table(whole, label="rings", regression=True).train_targets.shape == (N, 1)


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({}, {"label": "sick"}, "label is 'sick', expected a column of table: age, town"),
        ({}, {"label": "ill", "drop": ("heigth",)}, "drop is 'heigth'"),
        ({}, {"label": "ill", "group": "who"}, "group is 'who'"),
        ({}, {"label": "ill", "group": np.arange(3)}, r"group has shape \(3,\)"),
        ({}, {"label": "ill", "test": 1.5}, "test is 1.5"),
        ({}, {"label": "ill", "test": 0}, "test is 0"),
        ({}, {"label": "ill", "test": "town"}, "'town' holds 'oslo', 'riga', 'rome'"),
        ({}, {"label": "ill", "test": "gone.csv"}, "gone.csv"),
        ({}, {"label": "ill", "seed": 3}, "test is None"),
        ({}, {"label": "ill", "missing": "drop"}, "missing is 'drop'"),
        ({"ill": ["yes"] * N}, {"label": "ill"}, "'yes' in every row"),
        ({"ill": [None, *ILL[1:]]}, {"label": "ill"}, r"missing in 1 row\(s\), the first is 0"),
        ({"income": [np.inf, *INCOME[1:]]}, {"label": "ill"}, "column 'income' with infinite"),
        ({"name": [f"n{i}" for i in range(N)]}, {"label": "ill"}, "'name' .40 different.*drop="),
        (
            {"when": np.arange(N).astype("datetime64[D]")},
            {"label": "ill"},
            "column 'when' of dates .*drop=",
        ),
        ({"mixed": ["a", 3] * (N // 2)}, {"label": "ill"}, "does not mix or know"),
        ({"age": AGE[:3]}, {"label": "ill"}, "several lengths"),
        ({"part": np.ones(N, bool)}, {"label": "ill", "test": "part"}, "all rows are test rows"),
        (
            {"part": np.arange(N) % 2 > 0, "g": np.arange(N) // 2},
            {"label": "ill", "test": "part", "group": "g"},
            "20 group.s. have rows in both sets",
        ),
        ({}, {"label": "age", "regression": False}, "'age' holds fractions"),
        ({}, {"label": ["ill"]}, "label is .'ill'., expected a column"),
        ({}, {"label": "ill", "drop": "ill"}, "'ill' is named in drop"),
        ({"income": INCOME * 1e50}, {"label": "ill"}, "'income' with infinite values, or beyond"),
    ],
)
def test_bad_tables_are_one_line(change, options, words):
    with pytest.raises((ValueError, OSError), match=words) as caught:
        from_table({**COLUMNS, **change}, **options)
    assert "\n" not in str(caught.value)


def test_lists_and_equal_rows_are_refused():
    lists = arrow.table({"x": [[1, 2], [3, 4]], "y": [0, 1]})
    with pytest.raises(ValueError, match=r"neither numbers nor words: 'x' \(list<"):
        from_table(lists, label="y")
    with pytest.raises(ValueError, match="no column differs"):
        from_table({"x": [1, 1], "y": [0, 1]}, label="y")
    with pytest.raises(ValueError, match="no column beside 'y'"):
        from_table({"y": [0, 1]}, label="y")
    with pytest.raises(TypeError, match="table is of type int"):
        from_table(3, label="y")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "the first line of"),
        (b"1,2,0\n3,4,1\n", "expected names of columns"),
        (b"a,a,y\n1,2,0\n3,4,1\n", "more than one column named 'a'"),
        (b"a,y\n1,0\n3,4,1\n", "no table with one delimiter"),
        (b"a,y\n", "no rows"),
        ("a,y\nÄ,0\n".encode("latin-1"), "not in UTF-8"),
    ],
)
def test_bad_files_are_one_line(tmp_path, text, words):
    (tmp_path / "own.csv").write_bytes(text)
    with pytest.raises(ValueError, match=words) as caught:
        load(str(tmp_path / "own.csv"), label="y")
    assert "\n" not in str(caught.value)


def test_load_draws_from_a_table_and_keeps_names_and_groups(tmp_path):
    columns = {**COLUMNS, "who": [f"p{i}" for i in range(N)], "pair": np.arange(N) // 2}
    columns["second"] = np.where(np.arange(N) == 5, "no", ILL)
    path = write_csv(tmp_path / "own.csv", columns)
    options = {"label": "ill", "identifier": "who", "group": "pair", "extra_labels": ["second"]}
    data = load(str(path), test=0.25, train_size=20, seed=1, **options)
    rows = np.asarray(data.train_rows)
    assert data.name == "own"
    assert data.train_identifiers == tuple(f"p{row}" for row in rows)
    np.testing.assert_array_equal(data.train_labels, (ILL == "yes")[rows])
    np.testing.assert_array_equal(data.extra_labels["second"], (columns["second"] == "yes")[rows])
    # What was drawn decides means and deviations.
    np.testing.assert_allclose(data.train_inputs, by_hand(rows, rows), atol=1e-5)
    np.testing.assert_allclose(
        data.test_inputs, by_hand(np.asarray(data.test_rows), rows), atol=1e-5
    )
    kept = data.take([4, 2], [1])
    assert kept.train_identifiers == tuple(f"p{rows[i]}" for i in (4, 2))
    assert kept.test_identifiers == data.test_identifiers[1:2]
    chosen = load(str(path), purpose="selection", **options)
    pairs = [{int(name[1:]) // 2 for name in names} for names in (
        chosen.train_identifiers, chosen.test_identifiers
    )]  # fmt: skip
    assert pairs[0] & pairs[1] == set()
    assert all(pairs)


def test_a_table_pickles_and_saves(tmp_path):
    for data in (from_table(COLUMNS, label="ill"), from_table(COLUMNS, label="age", test=0.5)):
        copies = pickle.loads(pickle.dumps(data)), na.load(na.save(data, tmp_path / "data"))
        for again in copies:
            assert again.train_identifiers == data.train_identifiers
            assert (again.kind, again.class_names) == ("table", data.class_names)
            np.testing.assert_array_equal(again.train_inputs, data.train_inputs)
            assert (again.train_targets is None) == (data.train_targets is None)


def test_options_of_other_data_are_refused(tmp_path):
    path = write_csv(tmp_path / "own.csv", COLUMNS)
    with pytest.raises(ValueError, match=r"image_size has no effect on the data at .*leave it"):
        load(str(path), label="ill", image_size=3)
    with pytest.raises(ValueError, match="label is for data of your own"):
        load("digits", label="ill")
    with pytest.raises(ValueError, match="label is missing, expected a column of own: age, town"):
        load(str(path))
    with pytest.raises(ValueError, match="the label of own is no class"):
        load(str(path), label="age", classes=(0, 1))


@pytest.mark.peers
def test_frames_of_pandas_and_polars_are_the_same_table():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    plain = from_table(COLUMNS, label="ill")
    frame = pandas.DataFrame(COLUMNS)
    named = frame.set_index(pandas.Index([f"r{i}" for i in range(N)]))
    for table in (frame, named, polars.DataFrame(COLUMNS)):
        data = from_table(table, label="ill")
        np.testing.assert_array_equal(data.train_inputs, plain.train_inputs)
        np.testing.assert_array_equal(data.train_labels, plain.train_labels)
    assert from_table(named, label="ill").train_identifiers == tuple(f"r{i}" for i in range(N))
    chosen = pandas.Categorical(ILL, categories=["yes", "no", "unknown"], ordered=True)
    data = from_table(frame.assign(ill=chosen), label="ill")
    assert data.class_names == ("yes", "no")
    gap = frame.assign(count=pandas.array([None, *range(N - 1)], dtype="Int64"))
    with pytest.warns(UserWarning, match="1 in 'count'"):
        from_table(gap, label="ill")
    with pytest.raises(ValueError, match="more than one column named 'age'"):
        from_table(pandas.concat([frame, frame[["age"]]], axis=1), label="ill")
