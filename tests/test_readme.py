"""The README's Python runs as printed, and its commands name things that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ntk_air as na
from ntk_air.cli._main import parser

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_first_example_runs(capsys):
    exec(compile(blocks("python")[0], "README.md", "exec"), {})
    out = capsys.readouterr().out
    ratio = float(re.search(r"([\d.]+) times as much", out)[1])
    start, end = map(float, re.search(r"([\d.]+) -> ([\d.]+)", out).groups())
    assert ratio > 5
    assert end < start / 2


def test_own_data_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 60)
    scope = {
        "na": na,
        "inputs": rng.random((60, 5, 5, 1), np.float32),
        "labels": labels,
        "test_inputs": rng.random((20, 5, 5, 1), np.float32),
        "test_labels": rng.integers(0, 10, 20),
        "clean_labels": labels,
        "given_labels": (labels + (rng.random(60) < 0.2)) % 10,
    }
    code = blocks("python")[1].replace("width=1024", "width=64, steps=5")
    exec(compile(code, "README.md", "exec"), scope)
    assert (tmp_path / "mine" / "report.html").is_file()


def test_commands_parse():
    lines = [line.split("#")[0].split() for block in blocks("bash") for line in block.splitlines()]
    commands = [line[line.index("ntk-air") + 1 :] for line in lines if "ntk-air" in line]
    assert len(commands) == 4
    for arguments in commands:
        assert parser().parse_args(arguments)
    for path in re.findall(r"\]\(([^)h][^)]*)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / path).exists(), path


@pytest.mark.parametrize("package", ["tensorflow", "tf2jax"])
def test_environment_has_no_tensorflow(package):
    code = (
        f"import ntk_air, importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is not None)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
