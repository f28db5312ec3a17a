"""The recipes of CONTRIBUTING.md: one file and one line make a new thing known everywhere.

The package is copied, every recipe applied to the copy as its page says, and one process asked.
The other papers at the root name what there is: files, versions, the changelog's sections.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import dump_svmlight_file

from benchmarks import _mutants

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# (what to do, file, code): "file" is a new one, "within" goes into one that is there, "line" is the
# line that lists it.
RECIPES = re.findall(r"```python\n# (file|within|line): (\S+)\n(.*?)```", PAGE, re.DOTALL)
NAMES = {
    "mean_absolute_error", "rice", "interlacing", "deep_linear", ".libsvm", "step",
    "clip",
}  # fmt: skip
# Asked in the copy: what each list says, what the commands do, and whether the examples are right.
ASKED = r"""
import doctest, inspect, json, sys
import ntk_air as na
from benchmarks import _label_errors_report, _precision_table, noisy_labels
from ntk_air.cli import main
from ntk_air.datasets._source import READERS

d = na.distillation
new = [
    d.baselines.mean_absolute_error, na.theory.check_interlacing, na.kernels.deep_linear,
    d.alpha.step, d.label_fn.clip,
]
examples = []
for function in new:
    parsed = doctest.DocTestParser().get_examples(inspect.getdoc(function))
    case = doctest.DocTest(parsed, {}, function.__name__, None, None, None)
    found = doctest.DocTestRunner(
        verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE
    ).run(case, out=lambda text: examples.append(text))
    assert found.attempted, function
small = "--train-size 40 --test-size 20 --epochs 1 --batch-size 8".split()
commands = [
    ["check", "interlacing", "--quick"],
    ["kernel", "--dataset", "points.libsvm", "--architecture", "linear", "--store", "store"],
    ["distill", "--dataset", "digits", *small, "--method", "mean_absolute_error"],
    ["distill", "--dataset", "digits", *small, "--alpha", "step:3", "--label-fn", "clip:0.5",
     "--loss", "mse"],
]
codes = [main(command) for command in commands]
x = na.datasets.load("points.libsvm", test_size=0).train_inputs
system = na.spectral.eigendecompose(x @ x.T + 1e-2 * na.datasets.encode(range(len(x)), len(x)))
answer = {
    "name of the data": na.datasets.load("points.libsvm", test_size=0).name,
    "examples": examples,
    "codes": codes,
    "stop": na.dynamics.stopping_time(system, x[:, :1], rule="rice").rule,
    "lists": {
        "mean_absolute_error": [
            list(d.baselines.METHODS)[-1], d.baselines.__all__[-5], noisy_labels._methods()[-1],
            d.baselines.table().splitlines()[-1].split("`")[1],
        ],
        "rice": [list(na.dynamics.RULES)[-1], _label_errors_report._RULES[-1]],
        "interlacing": [
            name.removeprefix("check_")
            for name in [n for n in na.theory.__all__ if n.startswith("check_")][-1:]
        ],
        "deep_linear": [
            list(na.kernels.ARCHITECTURES)[-1],
            *(n for n in na.kernels.__all__ if n == "deep_linear"),
            *(n.removeprefix("kernels.") for names in _precision_table.NO_ROW.values()
              for n in names if n == "kernels.deep_linear"),
        ],
        ".libsvm": [READERS[-1].suffix],
        "step": [d.alpha.__all__[-1], d.alpha.parse("step:3", 9).kind],
        "clip": [d.label_fn.__all__[-1], d.label_fn.parse("clip:3").kind],
    },
}
json.dump(answer, open("answer.json", "w"))
"""


def apply(root):
    """The recipes as a reader follows them; files and lines of each."""
    for kind, name, code in RECIPES:
        path = root / name
        if kind == "file":
            assert not path.exists()
            path.write_text(code, encoding="utf-8")
            continue
        text = path.read_text(encoding="utf-8")
        # Code before the mapping; the line at the end of the mapping, or of the list of imports.
        mapping = re.search(r"^(RULES|KINDS): dict.*?^}", text, re.M | re.DOTALL)
        if mapping is None:
            assert kind == "line"
            at = len(text[: text.index("# isort: on")].rstrip()) + 1
        else:
            at = mapping.start() if kind == "within" else mapping.end() - 1
        gap = "\n\n" if kind == "within" else ""
        path.write_text(text[:at] + code + gap + text[at:], encoding="utf-8")


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    root = tmp_path_factory.mktemp("copy")
    for folder in ("ntk_air", "benchmarks"):
        leave = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(ROOT / folder, root / folder, ignore=leave)
    apply(root)
    rng = np.random.default_rng(0)
    dump_svmlight_file(
        rng.normal(size=(12, 3)), np.arange(12) % 2, str(root / "points.libsvm"), zero_based=False
    )
    run = subprocess.run(
        [sys.executable, "-c", ASKED], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert str(root) not in run.stderr
    return json.loads((root / "answer.json").read_text())


def test_every_recipe_is_one_file_and_one_line():
    kinds = [kind for kind, _, _ in RECIPES]
    assert len(kinds) == 2 * len(NAMES)
    for (kind, name, _), (then, where, line) in zip(RECIPES[::2], RECIPES[1::2], strict=True):
        assert kind in ("file", "within")
        assert then == "line"
        assert line.count("\n") == 1
        assert (where == name) == (kind == "within")


def test_what_the_recipes_make_is_in_every_list(answer):
    assert set(answer["lists"]) == NAMES
    for name, found in answer["lists"].items():
        assert set(found) == {name}, name
    assert len(answer["lists"]["deep_linear"]) == 3
    assert answer["stop"] == "rice"
    assert answer["name of the data"] == "points"


def test_commands_know_it_and_the_examples_are_right(answer):
    assert answer["codes"] == [0, 0, 0, 0]
    assert answer["examples"] == []


def test_what_the_page_names_is_there():
    made = {name for kind, name, _ in RECIPES if kind == "file"}
    named = set(re.findall(r"(?<![\w/])((?:ntk_air|tests|docs|\.ci|\.github)/[\w./-]*\w)", PAGE))
    assert len(named) > 15
    assert [name for name in sorted(named - made) if not (ROOT / name).exists()] == []


def test_the_changelog_begins_with_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[?([\w.]+)\]?", text, re.M)
    assert versions[0] == "Unreleased"
    sections = re.findall(r"^### (\w+)$", text.partition("\n## ")[2].partition("\n## ")[0], re.M)
    assert sections
    assert len(set(sections)) == len(sections)
    allowed = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(sections) <= allowed


def test_the_citation_says_the_version_and_the_paper():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "(.+)"', (ROOT / "ntk_air/_version.py").read_text())[1]
    assert re.search(r"^version: (.+)$", text, re.M)[1] == version
    assert f"license: {PROJECT['license']}" in text
    assert "1910.01255" in text


def numbers(version):
    return tuple(map(int, version.split(".")[:2]))


def test_the_workflow_runs_the_ends_of_what_is_declared():
    text = (ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8")
    pythons = {numbers(found) for found in re.findall(r'python(?:-version)?: "([\d.]+)"', text)}
    declared = {numbers(line.rpartition(" ")[2]) for line in PROJECT["classifiers"]
                if re.search(r":: 3\.\d+$", line)}  # fmt: skip
    assert pythons <= declared
    assert {min(declared), max(declared)} <= pythons
    assert numbers(PROJECT["requires-python"].removeprefix(">=")) == min(declared)
    bound = next(line for line in PROJECT["dependencies"] if re.match(r"jax\W", line))
    low, high = map(numbers, re.fullmatch(r"jax>=([\d.]+),<([\d.]+)", bound).groups())
    asked = re.findall(r'jax: "(?:==([\d.]+)\.\*|>=([\d.]+),<([\d.]+))"', text)
    assert {numbers(exact) for exact, _, _ in asked if exact} == {low}
    ranges = [(numbers(least), numbers(below)) for exact, least, below in asked if not exact]
    assert ranges
    assert all(least >= low and below == high for least, below in ranges)


@pytest.mark.parametrize("room", _mutants.ROOMS)
def test_the_mutation_run_finds_the_files_of_every_room(room):
    found = {glob: set(_mutants.PACKAGE.glob(glob)) for glob in _mutants.ROOMS[room]}
    assert all(found.values()), found
    names = {path.name for path in set.union(*found.values())} - {"__init__.py"}
    assert len(names) >= 8
