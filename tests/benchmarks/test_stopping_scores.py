"""The benchmark of stopping scores on a few points: its table, and what is wrong with GCV."""

from __future__ import annotations

import json

from benchmarks import stopping


def test_quick_run(tmp_path, capsys):
    assert stopping.main(["--quick", "--out", str(tmp_path)]) == 0
    assert "gaussian, n = 60" in capsys.readouterr().out
    rows = json.loads((tmp_path / "stopping.json").read_text())["rows"]
    assert rows[-1]["share"] == 0.99
    assert rows[-1]["gcv"]["excess"] > 3
    assert rows[-1]["leave_one_out"]["excess"] < 0.5


def test_bad_input_is_one_line(capsys):
    assert stopping.main(["--draws", "0"]) == 2
    assert "expected --draws from 1" in capsys.readouterr().err
