"""Fixtures that every room's tests share."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

# Tests run one to a core: the threads of one test's BLAS would spin against another's work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import jax
import pytest

# XLA maps memory for every program it compiles on CPUs; Linux allows a process 65 530 maps, and a
# compilation that gets none ends the process.
_MANY_MAPS = 30_000


@pytest.fixture(scope="module", autouse=True)
def few_programs():
    """Drops the compiled programs after a file of tests, once there are many."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(scope="session")
def on_two_devices():
    """Runs a file of tests as a program that has two CPU devices; returns what it printed."""

    def run(*arguments: object) -> str:
        root = str(Path(__file__).resolve().parents[1])
        environment = os.environ | {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            # What is tested is how work is spread, not what XLA makes of it.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
        }
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


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
