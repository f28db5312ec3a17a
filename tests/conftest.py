"""Fixtures that every room's tests share."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile

# Tests run one to a core: the threads of one test's BLAS would spin against another's work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# More than half of a run would go into compiling, much of it the same programs in another worker,
# or in the commands and examples that tests start: all of them share what one has compiled.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.mkdtemp(prefix="ntk-air-programs-")
    atexit.register(shutil.rmtree, _programs, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from pathlib import Path

import jax
import pytest

# XLA maps memory for every program it compiles on CPUs; Linux allows a process 65 530 maps, and a
# compilation that gets none ends the process.
_MANY_MAPS = 30_000


# Skips that a machine can be the reason for; with NTK_AIR_STRICT=1 any other fails the run.
_EXPECTED_SKIPS = ("no small disk can be mounted here", "this machine has a TPU")


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session):
    """A test not run for want of a package or of data must not look like one that passed."""
    result = yield
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("NTK_AIR_STRICT") == "1" and reporter is not None:
        for report in reporter.stats.get("skipped", []):
            if not any(expected in str(report.longrepr) for expected in _EXPECTED_SKIPS):
                reporter.write_line(f"unexpected skip: {report.nodeid}: {report.longrepr}")
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    return result


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Drops the compiled programs after a file of tests, once there are many."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def x64():
    """Runs the test with float64 enabled."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder with mnist/ and cifar10/ parquet files; skips where there is none."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    root = Path(os.environ.get("NTK_AIR_DATA") or beside)
    if not list(root.glob("*/*.parquet")):
        pytest.skip(f"no image data at {root}; set NTK_AIR_DATA to a folder with mnist/, cifar10/")
    return root
