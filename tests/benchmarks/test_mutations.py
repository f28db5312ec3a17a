"""The page about mutation testing says what was recorded."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import mutations

ROOT = Path(__file__).resolve().parents[2]
RECORD = json.loads((ROOT / "benchmarks" / "results" / "mutations.json").read_text("utf-8"))


def test_the_page_is_made_from_the_record():
    assert (ROOT / "docs" / "mutations.md").read_text("utf-8") == mutations.page(RECORD)


def test_counts_add_up_and_survivors_are_in_files_that_exist():
    caught = left = 0
    for counts in RECORD["rooms"].values():
        outcomes = {k: counts.get(k, 0) for k in ("killed", "timeout", "survived", "untested")}
        assert sum(outcomes.values()) == counts["tested"]
        of_room = outcomes["killed"] + outcomes["timeout"]
        assert abs(of_room / counts["tested"] - counts["caught_share"]) < 1e-4
        caught, left = caught + of_room, left + counts["tested"] - of_room
    assert left == len(RECORD["survivors"])
    total = caught + left
    assert f"| {total} | {caught} ({caught / total:.1%}) | {left} |" in mutations.page(RECORD)
    for record in RECORD["survivors"]:
        assert (ROOT / record["file"]).is_file(), record
