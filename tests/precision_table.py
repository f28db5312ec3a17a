"""Tolerances for float32, from the errors that `benchmarks.precision` recorded."""

from __future__ import annotations

import json
from pathlib import Path

_FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "precision.json"
REPORT = json.loads(_FILE.read_text(encoding="utf-8"))
# Another machine sums in another order.
MARGIN = 4.0


def recorded(quantity, **case):
    """The row of a quantity whose case has all of the given settings; of several the worst."""
    rows = [
        row
        for row in REPORT["float32"]
        if row["quantity"] == quantity
        and all(row["case"].get(key) == value for key, value in case.items())
    ]
    if not rows:
        raise KeyError(f"no row of {quantity} has {case}")
    return max(rows, key=lambda row: -1.0 if row["error"] is None else row["error"])


def allowed(quantity, **case):
    """How far float32 may be off, in the units of the table: four times the recorded error."""
    return MARGIN * recorded(quantity, **case)["error"]
