"""Runs tests against mutants: each in a fork of a process that has imported what is slow to."""

from __future__ import annotations

import compileall
import importlib
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._mutants import ROOT, Mutant, mutated
from benchmarks._mutation_tests import Covering

# Of pytest: some test failed, or it was interrupted. A file of tests that cannot be imported since
# the package is broken has another code and a line of its own.
_RED = (1, 2)
_GREEN = 0
_SLOW = (
    *("jax.numpy", "flax.linen", "flax.nnx", "optax", "orbax.checkpoint", "scipy.sparse.linalg"),
    *("sklearn.model_selection", "matplotlib.pyplot", "hypothesis", "pytest"),
)


def outcomes(
    mutants: Sequence[Mutant], covering: Covering, tree: Path
) -> Iterator[tuple[Mutant, dict[str, Any]]]:
    """The outcome of each mutant: killed, timeout, survived or untested, and by which test."""
    _copy(tree)
    _import_slow_packages()
    for mutant in mutants:
        path = tree / mutant.file
        original = path.read_text(encoding="utf-8")
        path.write_text(mutated(mutant), encoding="utf-8")
        began = time.monotonic()
        try:
            found = _judge(mutant, covering, tree)
        finally:
            path.write_text(original, encoding="utf-8")
        yield mutant, {**found, "seconds": round(time.monotonic() - began, 1)}


def _judge(mutant: Mutant, covering: Covering, tree: Path) -> dict[str, Any]:
    tests = 0
    for chosen in covering.rounds(mutant):
        if not chosen:
            continue
        tests += len(chosen)
        limit = 90.0 + 6 * sum(covering.seconds[test] for test in chosen)
        code, said = _forked(chosen, tree, limit)
        if code is None:
            return {"outcome": "timeout", "by": "", "tests": tests}
        broken = said.startswith("ERROR tests/")
        if code in _RED or code < 0 or broken:
            return {"outcome": "killed", "by": said, "tests": tests}
        if code != _GREEN:
            raise RuntimeError(f"pytest ended with {code} on {mutant}: {said}")
    return {"outcome": "survived" if tests else "untested", "by": "", "tests": tests}


def _forked(tests: Sequence[str], tree: Path, limit: float) -> tuple[int | None, str]:
    """The exit code of pytest in a fork and what failed; None past the time limit."""
    log = tree / "mutation.log"
    child = os.fork()
    if child == 0:
        _become(tests, tree, log)
    code = _wait(child, limit)
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [x for x in text.splitlines() if x.startswith(("FAILED", "ERROR"))]
    return code, (lines[0] if lines else text[-300:])[:300]


def _become(tests: Sequence[str], tree: Path, log: Path) -> None:
    """Runs the tests in this process and ends it."""
    os.setsid()
    with open(log, "wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.chdir(tree)
    code = 70
    try:
        import pytest

        options = ["-x", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--tb=line"]
        code = int(pytest.main([*options, *tests]))
    finally:
        os._exit(code)


def _wait(child: int, limit: float) -> int | None:
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _copy(tree: Path) -> None:
    """A tree of the tracked files, for this process alone, its byte code checked by contents.

    A mutant and the original can have the same size and be written within the same second.
    """
    shutil.rmtree(tree, ignore_errors=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, names.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tree / name)
    hashed = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(tree / "ntk_air", quiet=2, invalidation_mode=hashed)
    sys.dont_write_bytecode = True
    paths = [str(tree), str(tree / "tests")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ |= {"JAX_COMPILATION_CACHE_DIR": str(tree.parent / "programs")}
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    os.environ |= {"JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    sys.path[:0] = paths


def _import_slow_packages() -> None:
    """What tests import; nothing that starts a thread, or forks would hang."""
    for name in _SLOW:
        importlib.import_module(name)
    bridge: Any = importlib.import_module("jax._src.xla_bridge")
    if bridge._backends or "ntk_air" in sys.modules:
        raise RuntimeError("JAX has started before the fork; its threads would be missing in it.")


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Outcomes kept so far by the keys of their mutants; the last one of each."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {record["key"]: record for record in map(json.loads, lines)}
