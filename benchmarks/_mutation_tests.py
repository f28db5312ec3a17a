"""Which tests can catch a mutant: those that ran its line, by coverage, cheapest first."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from benchmarks._mutants import PACKAGE, ROOT, Mutant

_SETTINGS = """[run]
source = ntk_air
relative_files = true
"""
# The tests of a folder named like the room are likeliest to catch it.
_LIMIT_S = 90.0


def pytest_runtest_logreport(report: Any) -> None:
    """Keeps the duration of a test; pytest calls it, with this module as a plug-in."""
    out = os.environ.get("NTK_AIR_DURATIONS")
    if out and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(out, "a", encoding="utf-8") as file:
            file.write(json.dumps([report.nodeid, report.when, report.duration]) + "\n")


def cover(folder: Path, tests: Iterable[str], workers: int) -> int:
    """Runs tests and keeps which lines each of them runs; a later run adds to an earlier one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "coveragerc").write_text(_SETTINGS)
    found = folder / ".coverage"
    _forget_changed_files(folder)
    environment = dict(
        os.environ,
        NTK_AIR_DURATIONS=str(folder / "durations.jsonl"),
        COVERAGE_FILE=str(found),
        PYTHONPATH=os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    )
    command = [
        *(sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "-n", str(workers)),
        *("--dist", "loadfile", "-p", "benchmarks._mutation_tests", "--cov=ntk_air"),
        *("--cov-append", f"--cov-config={folder / 'coveragerc'}", "--cov-context=test"),
        *("--cov-report=", *tests),
    ]
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def _forget_changed_files(folder: Path) -> None:
    """The lines of a file that has changed since may be others now: its tests are to run again."""
    import coverage  # pyright: ignore[reportMissingImports]

    kept, found = folder / "digests.json", folder / ".coverage"
    digests = {
        path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    before = json.loads(kept.read_text()) if kept.exists() else {}
    changed = [name for name, digest in before.items() if digests.get(name) != digest]
    if changed and found.exists():
        data = coverage.CoverageData(str(found))
        data.read()
        data.purge_files(changed)
        data.write()
        print(f"run again the tests of {', '.join(changed)}", flush=True)
    kept.write_text(json.dumps(digests))


@dataclasses.dataclass
class Covering:
    """What `cover` kept.

    Attributes:
        folder: that of `cover`.
    """

    folder: Path

    @functools.cached_property
    def seconds(self) -> dict[str, float]:
        """How long each test took, its fixtures included."""
        total: dict[str, float] = defaultdict(float)
        latest: dict[tuple[str, str], float] = {}
        for line in (self.folder / "durations.jsonl").read_text().splitlines():
            test, when, duration = json.loads(line)
            latest[test, when] = duration
        for (test, _), duration in latest.items():
            total[test] += duration
        return {test: duration for test, duration in total.items() if _exists(test)}

    @functools.cached_property
    def files(self) -> dict[str, list[str]]:
        """The tests of each file."""
        found = defaultdict(list)
        for test in self.seconds:
            found[test.split("::")[0]].append(test)
        return found

    @functools.cached_property
    def _data(self) -> Any:
        import coverage  # pyright: ignore[reportMissingImports]

        data = coverage.CoverageData(str(self.folder / ".coverage"))
        data.read()
        return data

    def rounds(self, mutant: Mutant) -> list[list[str]]:
        """Tests that ran its line; then the rest of their files, as far as time allows.

        The rest is needed since a test may use what an earlier one set up or compiled.
        """
        by_line = self._data.contexts_by_lineno(mutant.file)
        # A line that ran when the file was imported has no test of its own: any of its file may do.
        contexts = [c for c in by_line.get(mutant.line, []) if c]
        contexts = contexts or [c for found in by_line.values() for c in found]
        tests = {c.split("|")[0] for c in contexts if c} & set(self.seconds)
        files = {test.split("::")[0] for test in tests}
        rest = {other for file in files for other in self.files[file]} - tests
        return [self._affordable(mutant, tests), self._affordable(mutant, rest)]

    def _affordable(self, mutant: Mutant, tests: Iterable[str]) -> list[str]:
        def order(test: str) -> tuple[bool, float]:
            return f"/{mutant.room}/" not in f"/{test}", self.seconds[test]

        chosen, total = [], 0.0
        for test in sorted(tests, key=order):
            total += self.seconds[test]
            if total < _LIMIT_S:
                chosen.append(test)
        # File by file, so that what a file sets up is set up once.
        first = {file: i for i, file in reversed([*enumerate(t.split("::")[0] for t in chosen)])}
        return sorted(chosen, key=lambda test: first[test.split("::")[0]])


def _exists(test: str) -> bool:
    return (ROOT / test.split("::")[0]).is_file()
