"""Shapes in signatures are those that come in and go out, see `shapes_program.py`."""

from __future__ import annotations

from pathlib import Path

import processes


def test_annotated_shapes_hold():
    found = processes.run([Path(__file__).with_name("shapes_program.py")])
    assert found.splitlines() == ["shapes hold", "a wrong one is refused"]
