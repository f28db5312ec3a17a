"""Fixtures that every room's tests share."""

from __future__ import annotations

import os

# Tests run one to a core: the threads of one test's BLAS would spin against another's work.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from pathlib import Path

import jax
import pytest


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
