"""What the code imports is what pyproject.toml declares, in the part that a user would install."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Imported by a name that is not the distribution's, whether it is installed here or not.
NAMES = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "orbax": "orbax-checkpoint",
    "IPython": "ipython",
}
# What each folder may need; the rest of its imports has to be optional, inside a function.
ALLOWED = {
    "ntk_air": ("data",),
    "benchmarks": ("data", "peers", "mutation", "dev"),
    "tests": ("dev", "readers", "notebook", "data", "peers"),
}


def names(requirements):
    return {re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements}


def imported(path):
    """Third-party packages that a file imports, each with whether it does so on import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    within = {id(node) for outer in ast.walk(tree)
              if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
              for node in ast.walk(outer)}  # fmt: skip
    for node in ast.walk(tree):
        found = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found = [node.module]
        elif (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", "") in ("importorskip", "import_module")
            and isinstance(node.args[0], ast.Constant)
        ):
            found = [node.args[0].value]
        for name in found:
            yield name.split(".")[0], id(node) not in within


def own(folder):
    """Modules of this repository that may be imported by their bare name."""
    here = {"ntk_air", "benchmarks", "tests"}
    return here | {path.stem for path in (ROOT / folder).rglob("*.py")}


@pytest.mark.parametrize("folder", ALLOWED)
def test_every_imported_package_is_declared(folder):
    needed = names(PROJECT["dependencies"])
    allowed = needed | names(line for extra in ALLOWED[folder] for line in EXTRAS[extra])
    standard, mine = sys.stdlib_module_names, own(folder)
    undeclared = set()
    for path in sorted((ROOT / folder).rglob("*.py")):
        for package, at_once in imported(path):
            if package in standard or package in mine:
                continue
            declared = needed if folder == "ntk_air" and at_once else allowed
            name = NAMES.get(package, package).lower().replace("_", "-")
            if name not in declared:
                undeclared.add((path.relative_to(ROOT).as_posix(), package))
    assert undeclared == set()


def test_the_names_of_distributions_are_those_installed():
    installed = importlib.metadata.packages_distributions()
    for package, name in NAMES.items():
        assert name in installed.get(package, [name])
