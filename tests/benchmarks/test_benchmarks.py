import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import _harness
from benchmarks._cases import CASES
from benchmarks._harness import Case, Contestant

ROOT = Path(__file__).resolve().parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.json"))


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks.kernels", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def check_report(report):
    assert {"date", "platform", "cpu_count", "packages", "device_kind", "matmul_precision"} <= set(
        report["environment"]
    )
    for case in report["cases"]:
        records = case["contestants"]
        assert set(case["ratios"]) == set(records)
        ours = next(iter(records))
        assert case["ratios"][ours] == 1.0
        for name, record in records.items():
            assert 0 < record["min_s"] <= record["median_s"], name
            assert record["repeats"] >= 1
            if "deviation" in record:
                assert record["agrees"] == (record["deviation"] <= _harness.AGREEMENT)
                assert record["agrees"], (case["name"], name, record["deviation"])


def test_command_line_writes_a_report_in_which_all_contestants_agree(tmp_path):
    out = tmp_path / "new" / "report.json"
    done = run(
        *("--scale", "0.02", "--repeats", "1", "--cases", "infinite_fc,eigendecompose"),
        *("--out", str(out), "--no-memory", "--note", "a test"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    check_report(report)
    assert [case["name"] for case in report["cases"]] == ["infinite_fc", "eigendecompose"]
    assert report["environment"]["note"] == "a test"
    assert report["cases"][0]["contestants"]["X Xᵀ alone"]["gflops_per_s"] > 0
    assert _harness.markdown_table(report) in done.stdout


def test_memory_of_one_contestant_is_measured_in_its_own_process():
    done = run("--scale", "0.02", "--cases", "eigendecompose", "--alone", "jax.numpy eigh")
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout)
    assert 2**20 < peaks["before"] <= peaks["peak"]
    assert peaks["device_peak"] is None


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_stored_reports_have_the_fields_of_a_new_one(path):
    check_report(json.loads(path.read_text(encoding="utf-8")))


def test_unknown_case_is_exit_code_2_with_the_list():
    done = run("--cases", "infinite_fc,nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr
    assert all(name in done.stderr for name in CASES)


def test_unknown_device_is_exit_code_2():
    assert run("--device", "abacus").returncode == 2


@pytest.mark.parametrize("memory", [True, False])
def test_missing_device_is_exit_code_2_with_one_line(memory):
    done = run("--device", "tpu", "--cases", "eigendecompose", *([] if memory else ["--no-memory"]))
    if done.returncode != 2:
        pytest.skip("this machine has a TPU")
    assert "no tpu for JAX on this machine" in done.stderr
    assert "Traceback" not in done.stderr


def test_contestants_run_in_turn_after_one_warm_up_each():
    calls = []
    runs = {name: lambda name=name: calls.append(name) or name for name in "AB"}
    times, results, first = _harness.time_in_turn(runs, {"A": 3, "B": 1})
    assert "".join(calls) == "AB" + "AB" + "A" + "A"
    assert {name: len(t) for name, t in times.items()} == {"A": 3, "B": 1}
    assert results == {"A": "A", "B": "B"}
    assert set(first) == {"A", "B"}


def make_case(*values):
    contestants = [
        Contestant(f"c{i}", lambda x, v=v: lambda: x * v, repeats=1 if i else None)
        for i, v in enumerate(values)
    ]
    bound = Contestant("bound", lambda x: lambda: "something else", value=None)
    sizes = {"n": 2}
    return Case("toy", sizes, lambda: np.ones(2), [*contestants, bound], rates={"bound": 1e9})


def test_measure_records_medians_ratios_rates_and_disagreement(monkeypatch):
    times = {"c0": [3.0, 1.0, 2.0], "c1": [6.0], "c2": [1.0], "bound": [0.5, 0.5, 0.5]}
    results = {"c0": np.ones(2), "c1": np.ones(2) * 1.0001, "c2": np.ones(2) * np.nan}
    monkeypatch.setattr(
        _harness,
        "time_in_turn",
        lambda runs, repeats: (times, results | {"bound": ""}, dict.fromkeys(times, 9.0)),
    )
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


def test_deviation_is_relative_to_the_largest_entry():
    assert _harness.deviation([4.0, 0.4], [4.0, 0.0]) == pytest.approx(0.1)
    assert math.isnan(_harness.deviation([math.nan], [1.0]))


def test_table_has_a_line_per_contestant():
    report = {"cases": [_harness.measure(make_case(1.0, 2.0), repeats=2)]}
    report["cases"][0]["peak_rss_bytes"] = {
        "c0": {"before": 2**20, "peak": 3 * 2**20, "device_peak": 2**30},
        "c1": None,
    }
    header, rule, *rows = _harness.markdown_table(report).splitlines()
    assert len(rows) == 3
    assert {line.count("|") for line in (header, rule, *rows)} == {10}
    assert rows[0].endswith("| 3 + 1024 on the device |")
    assert "1.0e+00 DISAGREES | – |" in rows[1]
    assert "GFLOP/s" in rows[2]
