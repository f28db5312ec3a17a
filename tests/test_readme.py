"""The Python of the README runs as printed; links of all pages lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ntk_air as na

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
    code = blocks("python")[3].replace("width=1024", "width=64, steps=5")
    exec(compile(code, "README.md", "exec"), scope)
    assert (tmp_path / "mine" / "report.html").is_file()


def test_your_network_example_runs():
    rng = np.random.default_rng(0)
    inputs, labels = rng.random((256, 12), np.float32), rng.integers(0, 10, 256)
    scope = {
        "inputs": inputs,
        "clean": np.eye(10)[labels],
        "observed": np.eye(10)[(labels + (rng.random(256) < 0.2)) % 10],
    }
    exec(compile(blocks("python")[1], "README.md", "exec"), scope)
    history = scope["result"].history
    assert history.step[-1] == 200
    assert history.error_to_clean[-1] < history.error_to_clean[0]


def test_large_kernels_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {"inputs": np.random.default_rng(0).random((40, 6), np.float32)}
    exec(compile(blocks("python")[2], "README.md", "exec"), scope)
    kernel = np.asarray(scope["sharded"])
    for spectrum, of in zip(scope["spectra"], (scope["stored"], kernel, kernel), strict=True):
        exact = np.linalg.eigvalsh(np.asarray(of))[::-1][:10]
        np.testing.assert_allclose(spectrum.eigenvalues, exact, atol=1e-4 * exact[0])


@pytest.mark.parametrize(
    "page",
    [*README.parent.glob("*.md"), *README.parent.glob("docs/*.md")],
    ids=lambda p: p.name,
)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)h][^)]*)\)", text):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = (
            re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.M) if anchor else ()
        )
        assert anchor in (
            "",
            *(re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings),
        )


@pytest.mark.parametrize("package", ["tensorflow", "tf2jax"])
def test_environment_has_no_tensorflow(package):
    code = (
        f"import ntk_air, importlib.util as u, sys; sys.exit(u.find_spec({package!r}) is not None)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
