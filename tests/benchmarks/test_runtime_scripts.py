"""The scripts that measure the runtime guard and try large eigensystems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from processes import run

from benchmarks import large_eigh, runtime_guard

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_a_case_is_timed_with_and_without_the_guard(tmp_path):
    out = tmp_path / "guard.json"
    options = ["--cases", "closed_form_outputs", "--scale", "0.02", "--rounds", "2"]
    program = ["-m", "benchmarks.runtime_guard", *options, "--out", out, "--tmp", tmp_path]
    table = run(program)
    report = json.loads(out.read_text())
    (case,) = report["cases"]
    assert {"date", "cpu_count", "packages"} <= set(report["environment"])
    assert set(case["seconds"]) == {"guarded", "fused", "no fused sums"}
    assert all(len(times) == 2 and min(times) > 0 for times in case["seconds"].values())
    assert case["least_s"] == {name: min(times) for name, times in case["seconds"].items()}
    assert case["relative_to_fused"]["fused"] == 1.0
    assert case["deviation"] < 1e-3
    assert runtime_guard.markdown_table(report) in table


@pytest.mark.parametrize("options", [["--cases", "fly"], ["--rounds", "0"]])
def test_bad_options_of_the_guards_script(options, capsys):
    assert runtime_guard.main(options) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_table_in_the_docs_is_that_of_the_file():
    path = RESULTS / "runtime-guard-cpu-2cores.json"
    page = (RESULTS.parents[1] / "docs" / "runtime.md").read_text(encoding="utf-8")
    assert runtime_guard.markdown_table(json.loads(path.read_text())) in page


def test_a_large_eigensystem_has_the_spectrum_it_was_made_with(tmp_path):
    out = tmp_path / "eigh.json"
    run(["-m", "benchmarks.large_eigh", "--points", "80", "--out", out])
    record = json.loads(out.read_text())
    assert record["agrees"]
    assert record["warnings"] == []
    values = np.geomspace(1, 1e-4, 90)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(large_eigh._kernel(values).astype(float))[::-1], values, atol=1e-6
    )


def test_bad_options_of_the_eigensystems_script(capsys):
    assert large_eigh.main(["--points", "1"]) == 2
    assert "expected at least 2" in capsys.readouterr().err
