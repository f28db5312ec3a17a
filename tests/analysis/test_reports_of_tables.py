"""Label reports on tables, what a person does with them, and what changed in between."""

from __future__ import annotations

import csv
import dataclasses
import re

import numpy as np
import pytest

import ntk_air as na
from ntk_air.analysis._network import _kernel

N = 48
CLEAN = np.arange(N) % 3
WRONG = (5, 16, 30)
GIVEN = np.where(np.isin(np.arange(N), WRONG), (CLEAN + 1) % 3, CLEAN)
CLASSES = np.array(["ash", "elm", "<i>fir"])
RNG = np.random.default_rng(0)
POINTS = RNG.normal(size=(N, 2)) + 6 * np.eye(3)[CLEAN][:, :2]
NAMES = [f"plot {i}" for i in range(N)]
TABLE = {
    "name": NAMES,
    "a": POINTS[:, 0].tolist(),
    "b": POINTS[:, 1].tolist(),
    "tree": CLASSES[GIVEN].tolist(),
}
report_on = na.analysis.label_report
ONCE = {"rules": (), "kernel": lambda x, y: np.exp(-np.sum((x[:, None] - y) ** 2, -1))}


def on_table(table=TABLE, **how):
    return report_on(table, label="tree", **{"identifier": "name", **ONCE} | how)


@pytest.fixture(scope="module")
def report():
    return on_table()


def test_a_table_is_what_from_table_makes_of_it(report, tmp_path):
    data = na.datasets.from_table(TABLE, label="tree", identifier="name")
    other = report_on(data, **ONCE)
    assert other.table() == report.table()
    assert report.identifiers.tolist() == NAMES
    assert report.class_names == ("<i>fir", "ash", "elm")
    assert set(WRONG) <= set(np.flatnonzero(report.suspected).tolist())
    path = tmp_path / "plots.csv"
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([TABLE, *zip(*TABLE.values(), strict=True)])
    assert on_table(path).table() == report.table()
    rows = on_table(path, identifier=None, drop=["name"])
    assert rows.identifiers.tolist() == list(range(N))
    np.testing.assert_allclose(rows.score, report.score)


def test_columns_of_cleanlab(report):
    issues = report.label_issues()
    assert list(issues) == ["is_label_issue", "label_quality", "given_label", "predicted_label"]
    np.testing.assert_array_equal(issues["is_label_issue"], report.suspected)
    assert (issues["label_quality"] >= 0).all()
    assert (issues["label_quality"] <= 1).all()
    order = np.argsort(issues["label_quality"], kind="stable")
    assert set(order[:3].tolist()) == set(WRONG)
    np.testing.assert_array_equal(
        np.array(report.class_names)[issues["given_label"]], TABLE["tree"]
    )
    differ = issues["given_label"] != issues["predicted_label"]
    np.testing.assert_array_equal(differ, issues["is_label_issue"])


def test_how_many_are_wrong(report):
    count, noise = report.num_wrong, report.noise_rate
    assert count.value == pytest.approx(N * float(noise.value))
    assert (count.lower, count.upper) == pytest.approx(
        (N * float(noise.lower), N * float(noise.upper))
    )
    assert count.lower < count.value < count.upper
    assert on_table(noise_rate=0.25).num_wrong == (12, 12, 12)


def test_a_person_corrects_the_list_and_the_second_report_says_so(report, tmp_path):
    page = tmp_path / "suspects.html"
    na.reports.write_label_report(report, page, dataset=TABLE, identifier="name", every=True)
    rows = list(csv.DictReader((tmp_path / "suspects.csv").open(newline="")))
    for row in rows:
        if row["suspected"] == "True":
            row["corrected"] = row["suggested"] if row["index"] == "plot 16" else (
                CLASSES[CLEAN[int(row["index"].split()[1])]]
            )  # fmt: skip
    with open(tmp_path / "mine.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    data = na.datasets.from_table(TABLE, label="tree", identifier="name")
    corrected = data.corrected(tmp_path / "mine.csv")
    assert [corrected.class_names[c] for c in corrected.train_labels] == CLASSES[CLEAN].tolist()
    after = report_on(corrected, **ONCE)
    changes = na.analysis.compare_label_reports(report, after)
    wrong = {NAMES[i] for i in WRONG}
    assert wrong <= set(changes.cleared["index"])
    assert set(changes.relabelled["index"]) == wrong
    place = changes.cleared["index"].index("plot 16")
    assert changes.cleared["observed_before"][place] == CLASSES[GIVEN[16]]
    assert changes.cleared["observed_after"][place] == CLASSES[CLEAN[16]]
    assert changes.cleared["score_before"][place] < 0.5 < changes.cleared["score_after"][place]
    with pytest.raises(ValueError, match=r"mine\.csv holds \d+ corrections, which would be lost"):
        na.reports.write_label_report(report, tmp_path / "mine.csv")
    left = data.without(report.suspects()["index"])
    assert len(left.train_labels) == N - int(report.suspected.sum())
    assert not wrong & set(left.identifiers.tolist())


def test_what_changed_is_told_by_identifier(report):
    suspected = np.zeros(N, bool)
    suspected[[1, 5, 8]] = True
    suggested = np.where(suspected, (np.asarray(report.given) + 1) % 3, report.given)
    before = dataclasses.replace(report, suspected=suspected, suggested=suggested)
    order = np.arange(N)[::-1][:-1]  # without the first point, and one more
    now = suspected.copy()
    now[[8, 9]] = False, True
    other = suggested.copy()
    other[8], other[9] = report.given[8], (report.given[9] + 1) % 3
    other[5] = (report.given[5] + 2) % 3
    after = dataclasses.replace(
        report,
        given=report.given[order],
        suspected=now[order],
        suggested=other[order],
        score=report.score[order],
        identifiers=np.array([*np.array(NAMES)[order][:-1], "new"]),
    )
    changes = na.analysis.compare_label_reports(before, after)
    assert changes.newly_suspected["index"] == ["plot 9"]
    assert changes.cleared["index"] == ["plot 8"]
    assert changes.suggestions["index"] == ["plot 5"]
    assert changes.suggestions["suggested_before"] == [report.class_names[suggested[5]]]
    assert changes.suggestions["suggested_after"] == [report.class_names[other[5]]]
    assert (changes.kept, changes.relabelled["index"]) == (0, [])
    assert (changes.only_before, changes.only_after) == (["plot 0", "plot 1"], ["new"])
    same = na.analysis.compare_label_reports(before, before)
    assert (same.kept, same.cleared["index"], same.only_after) == (3, [], [])
    twice = dataclasses.replace(report, identifiers=np.zeros(N, int))
    with pytest.raises(ValueError, match="after has several points called '0'"):
        na.analysis.compare_label_reports(report, twice)
    with pytest.raises(ValueError, match="no point of before is in after"):
        na.analysis.compare_label_reports(
            report, dataclasses.replace(report, identifiers=np.arange(N))
        )


def test_the_page_is_escaped_and_says_what_it_leaves_out(report, tmp_path):
    page = tmp_path / "a.html"
    table = TABLE | {"name": [f"<script>{i}" for i in range(N)]}
    found = on_table(table)
    written = na.reports.write_label_report(
        found, page, dataset=table, identifier="name", every=True, most=2
    )
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "<i>" not in text
    assert text.count("<li>") == 2
    assert "The first 2 of 48 are shown; a.csv holds all of them." in text
    assert len(written["index"]) == N
    assert f"About {found.num_wrong.value:.0f} are wrong" in text
    assert "&lt;i&gt;fir → <b>" in text or "→ <b>&lt;i&gt;fir" in text
    assert text.index(f"&lt;script&gt;{written['index'][0][8:]}") < text.index(
        f"&lt;script&gt;{written['index'][1][8:]}"
    )
    assert "http" not in text
    cells = re.findall(r"<td>([^<]*) %</td>", text)
    shown = [f"{100 * x:.1f}" for x in np.asarray(found.transition).ravel()]
    assert cells[-9:] == shown
    wide = {f"c{i}": list(range(N)) for i in range(60)} | table
    na.reports.write_label_report(found, page, dataset=wide, identifier="name")
    assert "The first 40 of 64 columns are shown." in page.read_text(encoding="utf-8")


def test_pictures_are_those_of_the_points(tmp_path):
    import base64
    import io

    from PIL import Image

    inputs = np.zeros((N, 2, 3, 3), np.float32)
    inputs[:, 0, 0, 0] = np.arange(N) / N
    data = na.datasets.from_arrays(inputs, GIVEN, name="x", train_identifiers=NAMES)
    found = report_on(data, rules=(), kernel=np.exp(-np.sum((POINTS[:, None] - POINTS) ** 2, -1)))
    written = na.reports.write_label_report(found, tmp_path / "a.html", dataset=data, every=True)
    text = (tmp_path / "a.html").read_text(encoding="utf-8")
    files = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]*)"', text)
    assert [name for name, _ in files] == written["index"]
    for name, file in files:
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(file))))
        assert pixels.shape == (2, 3, 3)
        assert pixels[0, 0, 0] == round(255 * int(name.split()[1]) / N)
    grey = dataclasses.replace(data, train_inputs=data.train_inputs[..., :1] * 9 - 3)
    na.reports.write_label_report(found, tmp_path / "a.html", dataset=grey, every=True)
    file = re.findall(r'alt="plot 0" src="data:image/png;base64,([^"]*)"',
                      (tmp_path / "a.html").read_text(encoding="utf-8"))  # fmt: skip
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(file[0])))).shape == (2, 3)
    for wrong, said in (
        (data.flattened(), r"expected images \(n, H, W, ch\)"),
        (data.take(np.arange(9)), "dataset has no point called 'plot 9'"),
        (dataclasses.replace(data, train_identifiers=("plot 0",) * N), "no point called 'plot 1'"),
    ):
        with pytest.raises(ValueError, match=said):
            na.reports.write_label_report(found, tmp_path / "b.html", dataset=wrong)
    assert not (tmp_path / "b.html").exists()


def test_a_kernel_function_in_blocks_is_the_same(monkeypatch, report):
    seen = []

    def kernel(x, y):
        seen.append(len(x))
        return ONCE["kernel"](x, y)

    monkeypatch.setattr(_kernel, "_WHOLE", 20)
    monkeypatch.setattr(_kernel, "_ROWS", 13)
    blocks = on_table(kernel=kernel)
    assert seen == [13, 13, 13, 9]
    np.testing.assert_allclose(blocks.score, report.score, atol=1e-5)
    with pytest.raises(ValueError, match=r"gave \(2, 13\) for 13 and 48 points"):
        on_table(kernel=lambda x, y: np.ones((2, len(x))))


@pytest.mark.parametrize(
    ("data", "labels", "how", "said"),
    [
        (TABLE, "tree", {}, "labels is 'tree' and data is a table; pass .* label='tree'"),
        (TABLE, None, {}, "label is missing, expected a column of"),
        (TABLE, GIVEN, {"label": "tree"}, "labels is given and data is a table"),
        (TABLE, None, {"label": "tree", "class_names": ["a"]}, "class_names is given and data is"),
        (TABLE, None, {"label": "size"}, "label is 'size', expected a column of"),
        (POINTS, GIVEN, {"label": "tree"}, "label is a column of a table, and data is of type"),
        (POINTS, GIVEN, {"identifier": "x", "drop": ["y"]}, "identifier, drop are columns of a"),
        (na.datasets.from_table({"y": [0.5, 1.5, 2.0], "x": [1, 2, 4]}, label="y"), None, {},
         "has targets, numbers to be predicted; expected labels that are classes"),
    ],
)  # fmt: skip
def test_tables_that_are_refused(data, labels, how, said):
    with pytest.raises(ValueError, match=said):
        report_on(data, labels, **how)


def test_files_that_nothing_would_show_data_in_are_refused(report, tmp_path):
    write = na.reports.write_label_report
    with pytest.raises(ValueError, match="dataset and identifier are shown on a page, and path is"):
        write(report, tmp_path / "a.csv", dataset=TABLE)
    with pytest.raises(ValueError, match="identifier is a column of a table, and dataset is none"):
        write(report, tmp_path / "a.html", identifier="name")
    with pytest.raises(ValueError, match="most is 0"):
        write(report, tmp_path / "a.html", most=0)
    with pytest.raises(ValueError, match="points names no point of the data: 'plot"):
        write(report, tmp_path / "a.html", dataset=TABLE)
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_is_told_beforehand_what_it_takes(monkeypatch, capsys):
    from ntk_air.analysis._labels import _kernel as of_labels

    monkeypatch.setattr(of_labels, "_LARGE", N)
    on_table(progress=True)
    assert "points:" not in capsys.readouterr().err
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    on_table(progress=True, rank=5)
    said = "48 points: a kernel of 9 KiB, about 18 KiB of memory with 5 eigenpairs"
    assert said in capsys.readouterr().err
