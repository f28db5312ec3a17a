"""A few of the fuzzer's inputs of every kind: read and right, or refused as documented."""

from __future__ import annotations

import json

import pytest

from benchmarks import fuzz

FEW = {"checkpoints of training": 4, "command lines": 12}


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_no_input_ends_undocumented(kind, tmp_path):
    found = fuzz.run(kind, 0, FEW.get(kind, 40), 1, tmp_path)
    assert found["undocumented"] == 0, found["examples"]
    assert found["documented"] > 0 or kind in FEW


def test_the_table_goes_on_and_counts_what_fails(tmp_path, capsys, monkeypatch):
    class Failing:
        """Reads, refuses, and makes a mistake in turn."""

        def __init__(self, folder):
            self.count = 0

        def one(self, rng):
            self.count += 1
            if self.count % 3:
                raise (ValueError, KeyError)[self.count % 3 - 1]("x")

    monkeypatch.setattr(fuzz, "KINDS", {"a": (Failing, 10)})
    out = tmp_path / "fuzz.json"
    assert fuzz.main(["--count", "6", "--out", str(out)]) == 1
    assert fuzz.main(["--count", "9", "--out", str(out)]) == 1
    row = json.loads(out.read_text())["kinds"]["a"]
    assert (row["count"], row["ok"], row["documented"], row["undocumented"]) == (9, 3, 3, 3)
    assert [example["index"] for example in row["examples"]] == [1, 4, 7]
    assert "| a | 9 | 3 | 3 | 3 |" in capsys.readouterr().out
    assert fuzz.main(["--seed", "1", "--out", str(out)]) == 2
