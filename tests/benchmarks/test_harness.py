import math

import numpy as np
import pytest

from benchmarks import _harness, _report, plot
from benchmarks._harness import Case, Contestant


def test_contestants_run_in_turn_after_one_warm_up_each():
    calls = []
    runs = {name: lambda name=name: calls.append(name) or name for name in "AB"}
    times, results, first = _harness.time_in_turn(runs, {"A": 3, "B": 1})
    assert "".join(calls) == "AB" + "AB" + "A" + "A"
    assert {name: len(t) for name, t in times.items()} == {"A": 3, "B": 1}
    assert results == {"A": "A", "B": "B"}
    assert set(first) == {"A", "B"}


def test_no_timed_call_starts_right_after_another(monkeypatch):
    events = []
    monkeypatch.setattr(_harness.time, "sleep", lambda seconds: events.append(seconds >= 0.02))
    _harness.time_in_turn(
        {name: lambda n=name: events.append(n) for name in "AB"}, {"A": 2, "B": 1}
    )
    assert events == ["A", "B", True, "A", True, "B", True, "A"]


def test_a_contestant_without_warm_up_is_called_as_often_as_timed():
    calls = []
    runs = {name: lambda name=name: calls.append(name) or name for name in "AB"}
    times, kept, first = _harness.time_in_turn(
        runs, {"A": 2, "B": 1}, cold={"B"}, keep=lambda name, result: name + result
    )
    assert "".join(calls) == "AB" + "A" + "A"
    assert times["B"] == [first["B"]]
    assert kept == {"A": "AA", "B": "BB"}


def make_case(*values):
    contestants = [
        Contestant(f"c{i}", lambda x, v=v: lambda: x * v, repeats=1 if i else None)
        for i, v in enumerate(values)
    ]
    bound = Contestant(
        "bound", lambda x: lambda: "something else", value=None, operations=lambda: 1e9
    )
    return Case("toy", {"n": 2}, lambda: np.ones(2), [*contestants, bound])


def fix_times(monkeypatch, times):
    """Replaces the clock, not the calls."""

    def in_turn(runs, repeats, *, cold, keep):
        kept = {name: keep(name, run()) for name, run in runs.items()}
        return times, kept, dict.fromkeys(times, 9.0)

    monkeypatch.setattr(_harness, "time_in_turn", in_turn)


def test_measure_records_medians_ratios_rates_and_disagreement(monkeypatch):
    times = {"c0": [3.0, 1.0, 2.0], "c1": [6.0], "c2": [1.0], "bound": [0.5, 0.5, 0.5]}
    fix_times(monkeypatch, times)
    record = _harness.measure(make_case(1.0, 1.0001, np.nan), repeats=3)
    contestants = record["contestants"]
    assert contestants["c0"]["median_s"] == 2.0
    assert contestants["c0"]["min_s"] == 1.0
    assert contestants["c1"]["repeats"] == 1
    assert record["ratios"] == {"c0": 1.0, "c1": 3.0, "c2": 0.5, "bound": 0.25}
    assert contestants["c1"]["agrees"]
    assert not contestants["c2"]["agrees"]
    assert contestants["bound"]["gflops_per_s"] == 2.0
    assert "deviation" not in contestants["bound"]


def test_contestants_of_different_sizes_are_compared_by_the_time_per_entry(monkeypatch):
    def build(x):
        return lambda: x

    small = Contestant("small", build, entries=1e9)
    large = Contestant(
        "large", build, entries=4e9, quality=lambda inputs, result: {"residual": result[0]}
    )
    fix_times(monkeypatch, {"small": [2.0], "large": [10.0]})
    record = _harness.measure(Case("toy", {}, lambda: np.ones(2), [small, large]), repeats=1)
    assert record["ratios"] == {"small": 1.0, "large": 1.25}
    assert record["contestants"]["large"]["ns_per_entry"] == 2.5
    assert record["contestants"]["large"]["quality"] == {"residual": 1.0}


def test_deviation_is_relative_to_the_largest_entry():
    assert _harness.deviation([4.0, 0.4], [4.0, 0.0]) == pytest.approx(0.1)
    assert math.isnan(_harness.deviation([math.nan], [1.0]))


def make_report():
    report = {
        "environment": {
            "gemm": {"size": 2048, "gflops_per_s": 100.0},
            **{"processor": "abacus", "cpu_count": 2, "device_kind": "cpu"},
            **{"packages": {"jax": "1.0"}, "date": "2026-01-01"},
        },
        "cases": [_harness.measure(make_case(1.0, 2.0), repeats=2)],
    }
    records = report["cases"][0]["contestants"]
    records["bound"]["gflops_per_s"] = 50.0
    records["c1"] |= {"ns_per_entry": 2.5, "quality": {"residual": 1e-7}}
    return report


def test_table_has_a_line_per_contestant():
    report = make_report()
    report["cases"][0]["peak_rss_bytes"] = {
        "c0": {"before": 2**20, "peak": 3 * 2**20, "device_peak": 2**30},
        "c1": None,
    }
    header, rule, *rows = _report.markdown_table(report).splitlines()
    assert len(rows) == 3
    assert {line.count("|") for line in (header, rule, *rows)} == {10}
    assert rows[0].endswith("| 3 + 1024 on the device |")
    assert "1.0e+00 DISAGREES | – |" in rows[1]
    assert "c1 (2.5 ns/entry; residual 1.0e-07)" in rows[1]
    assert "bound (50 GFLOP/s, 50% of GEMM)" in rows[2]


def test_plot_has_a_bar_for_every_contestant_beside_ours():
    report = make_report()
    report["cases"][0]["ratios"] = {"c0": 1.0, "c1": 20.0, "bound": 0.5}
    figure = plot.draw(report)
    (axes,) = figure.axes
    assert [bar.get_x() + bar.get_width() for bar in axes.patches] == [20.0, 0.5]
    assert len({bar.get_facecolor() for bar in axes.patches}) == 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c0", "c1", "bound"]
    assert any("20×   2.5 ns/entry" in text.get_text() for text in axes.texts)
    assert axes.get_xscale() == "log"


def test_plot_is_made_from_a_file(tmp_path):
    source, out = tmp_path / "report.json", tmp_path / "new" / "plot.png"
    _report.write_json(source, make_report())
    assert plot.main([str(source), str(out)]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
