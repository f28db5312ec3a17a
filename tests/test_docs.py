"""Every page runs: its Python as printed, its commands through the parsers that would take them.

A page's blocks run in order in one namespace, which starts with what the page leaves to its reader.
A block under a comment ``<!-- not run: reason -->`` needs what a test does not have.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import ntk_air as na
from ntk_air.cli import main

FOLDER = Path(__file__).resolve().parents[1]
PAGES = sorted((FOLDER / "docs").glob("*.md"))
_RNG = np.random.default_rng(0)
_X = _RNG.random((128, 6), np.float32)
_LABELS = _RNG.integers(0, 10, 128)
_CODES = np.asarray(na.datasets.encode(_LABELS, 10))
_NOT_RUN = {"clusters.md": 1}
# Blocks and ntk-air commands of them, so that none is lost from sight.
_BLOCKS, _COMMANDS = {"clusters.md": 4}, {"README.md": 13, "clusters.md": 5}


def blocks(page, language):
    """Source of each block, and whether a comment above says why it is not run."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(rf"(<!-- not run: .+ -->\n\n?)?```{language}\n(.*?)```", text, re.DOTALL)
    return [(code, bool(marker)) for marker, code in found]


def linear(params, inputs):
    return inputs @ params


def loop():
    observed, params = jnp.array([[1.0], [-1.0]]), jnp.zeros((2, 1))
    return {
        "apply_fn": linear, "params": params, "x": jnp.eye(2), "observed": observed,
        "clean": -observed, "eta": 0.5, "num_steps": 3, "state": None,
        "update": lambda params, state: (params - 0.5 * (params - observed), state),
    }  # fmt: skip


def classifier():
    module = na.networks.create("mlp", num_outputs=10, features=(8,))
    return {
        "module": module, "variables": module.init(jax.random.key(0), _X[:1]), "inputs": _X,
        "observed": np.eye(10, dtype=np.float32)[_LABELS], "test_inputs": _X[:9],
        "test_labels": _LABELS[:9],
    }  # fmt: skip


def points():
    network = na.kernels.fully_connected(1, 16, num_outputs=2)
    return {
        "inputs": _X[:40], "vector": np.ones(40, np.float32), "apply_fn": network.apply_fn,
        "params": network.init_fn(jax.random.key(0), (-1, 6))[1],
    }  # fmt: skip


# What each page leaves to its reader, and what its blocks have then made.
_GIVEN = {
    "air_over_time.md": loop,
    "baselines.md": classifier,
    "clusters.md": points,
    "data.md": lambda: {"np": np},
    "networks.md": lambda: {"images": _RNG.random((3, 8, 8, 1), np.float32)},
    "runtime.md": lambda: {"jnp": jnp},
    "stopping.md": lambda: {"kernel": _X @ _X.T + np.eye(128), "observed": _CODES},
}
_MADE = {
    "air_over_time.md": lambda s: s["record"].steps.tolist() == [0, 1, 2, 3],
    "baselines.md": lambda s: s["result"].history.loss[-1] < s["result"].history.loss[0],
    "clusters.md": lambda s: (
        s["spectrum"].rank == 20 and np.allclose(s["host"], s["host"].T, rtol=1e-7, atol=0)
    ),
    "data.md": lambda s: (
        s["table"].train_inputs.shape == (60, 5)
        and s["words"].train_labels.tolist() == [0, 1, 2] * 2
        and s["images"].train_inputs.shape == (6, 8, 8, 3)
        and (s["found"].test.tolist(), s["found"].train.tolist()) == ([0], [4])
    ),
    "label_errors.md": lambda s: (
        0.4 < s["refined"].suspected.sum() / s["noisy"].flipped.sum() < 2
        and Path("suspected.csv").read_text().count("\n")
        == len(s["report"].suspects()["index"]) + 1
    ),
    "own_network.md": lambda s: (
        s["result"].kernel == "finite"
        and s["own"].plain is None
        and float(s["entropy"].measured.signal[0]) == 0
    ),
    "networks.md": lambda s: s["kernel"].shape == (3, 3),
    "noisy_labels.md": lambda s: s["numbers"]["best"]["test_accuracy"]["mean"] > 0.5,
    "runtime.md": lambda s: True,
    "stopping.md": lambda s: s["spectrum"].num_points == 128,
    "teacher_student.md": lambda s: s["study"].students.test_accuracy[..., -1].min() > 0.3,
}


def test_the_table_lists_the_pages_with_python():
    assert {page.name for page in PAGES if blocks(page, "python")} == set(_MADE)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_the_python_of_a_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scope = {"na": na, "jax": jax, "optax": optax, **_GIVEN.get(page.name, dict)()}
    found = blocks(page, "python")
    for code, not_run in found:
        if not_run:
            compile(code, page.name, "exec")
        else:
            exec(compile(code, page.name, "exec"), scope)
    assert len(found) == _BLOCKS.get(page.name, len(found))
    assert sum(not_run for _, not_run in found) == _NOT_RUN.get(page.name, 0)
    assert _MADE[page.name](scope)


def code_column(page, heading):
    """Names in code of one column of every table of a page that has such a column."""
    found, column = [], None
    for line in (FOLDER / "docs" / page).read_text(encoding="utf-8").splitlines():
        cells = re.split(r"(?<!\\)\|", line.strip("|")) if line[:1] == "|" else []
        cells = [cell.strip() for cell in cells]
        if heading in cells:
            column = cells.index(heading)
        elif not cells:
            column = None
        elif column is not None and not set(cells[column]) <= set("-: "):
            found.append(cells[column].strip("`"))
    return found


def test_tables_of_theorems_and_of_stopping_rules_have_all_of_them():
    checks = [name for name in na.theory.__all__ if name.startswith("check_")]
    assert code_column("theorems.md", "function") == checks
    files = code_column("theorems.md", "test")
    assert [path for path in files if not (FOLDER / path).is_file()] == []
    assert sorted(code_column("stopping.md", "rule")) == sorted(na.dynamics.RULES)


def commands(page):
    """Command lines in blocks and in the text, from the name of the program on."""
    text = page.read_text(encoding="utf-8")
    listed = "".join(code for code, _ in blocks(page, "bash")).replace("\\\n", " ")
    lines = [line.split("  #")[0] for line in listed.splitlines() if line[:1] != "#"]
    lines += [line for line in re.findall(r"`([^`\n]+)`", text) if re.search(r" --?\w", line)]
    found = [re.search(r"(?:ntk-air|python -m benchmarks\.\w+)(?: .*|$)", line) for line in lines]
    return [one[0].replace('"', "") for one in found if one]


class _ParsedError(Exception):
    """Raised in place of the work that a command would do."""


@pytest.mark.parametrize("page", [*FOLDER.glob("*.md"), *PAGES], ids=lambda p: p.name)
def test_the_commands_of_a_page_parse(page, monkeypatch, capsys):
    taken = argparse.ArgumentParser.parse_args

    def only_parse(self, arguments=None, namespace=None):
        taken(self, arguments, namespace)
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only_parse)
    text = page.read_text(encoding="utf-8")
    listed = [line for code, _ in blocks(page, "bash") for line in code.splitlines()]
    named = sum("ntk-air" in line.split("#")[0].split() for line in listed)
    assert named == _COMMANDS.get(page.name, named)
    for command in commands(page):
        words = shlex.split(command)
        run = main if words[0] == "ntk-air" else importlib.import_module(words[2]).main
        monkeypatch.setattr("sys.argv", words[:1] + words[1 if words[0] == "ntk-air" else 3 :])
        with pytest.raises((_ParsedError, SystemExit)) as ended:
            run()
        if isinstance(ended.value, SystemExit) and ended.value.code:
            # The text may name an option alone, which the parser then knows but finds too few.
            said = capsys.readouterr().err
            alone = "arguments are required" in said or "expected one argument" in said
            assert alone, command
            assert f"`{command}" in text, command
