"""Jobs that are killed, raced or run out of disk; `test_store.py` runs them in a process apart.

``python store_job.py (kill | share | full_file | full_disk) FOLDER`` prints one JSON object.
Jobs are forked from this process, which has imported everything and runs no thread yet, so that
a job starts in a moment.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from ntk_air.kernels.store._writer import DiskLayout, fill, open_kernel, open_store

LAYOUT = DiskLayout((1100, 1100), (), "float32", (128, 128), True)
TOTAL = len(LAYOUT.tiles())
JOB = {"function": "f", "inputs": "x"}


def whole() -> np.ndarray:
    values = np.random.default_rng(0).normal(size=LAYOUT.shape).astype(np.float32)
    return values + values.T


def job(path: Path, *, share=(0, 1), chunk=128, pause=0.0, before=lambda count: None) -> None:
    values = whole()
    calls = iter(range(TOTAL + 1))

    def tile(rows: slice, columns: slice) -> np.ndarray:
        before(next(calls))
        time.sleep(pause)
        return values[rows, columns]

    layout = DiskLayout(LAYOUT.shape, (), "float32", (chunk, chunk), True)
    fill(open_store(path, job=JOB, layout=layout), tile, share=share)


def start(*args, **kwargs) -> int:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            job(*args, **kwargs)
            code = 0
        finally:
            os._exit(code)
    return child


def files(path: Path) -> dict[str, str]:
    """Name -> hash of every file, temporary ones included."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.rglob("*")
        if file.is_file()
    }


def tiles_done(path: Path) -> int:
    return sum(file.name.isdecimal() for file in path.rglob("c/*/*"))


def kill(folder: Path) -> dict:
    pause = 0.008
    begin = time.monotonic()
    assert os.waitpid(start(folder / "reference", pause=pause), 0)[1] == 0
    duration = time.monotonic() - begin
    reference, path, delays = files(folder / "reference"), folder / "store", random.Random(1)
    done_at_kill, identical = [], []
    while len(done_at_kill) < 20:
        child = start(path, pause=pause)
        time.sleep(delays.uniform(0, duration))
        os.kill(child, signal.SIGKILL)
        if os.WIFSIGNALED(os.waitpid(child, 0)[1]):
            done_at_kill.append(tiles_done(path))
        else:
            identical.append(files(path) == reference)
            shutil.rmtree(path)
    job(path)
    identical.append(files(path) == reference)
    return {"total": TOTAL, "done_at_kill": done_at_kill, "identical": identical}


def share(folder: Path) -> dict:
    results = []
    for attempt in range(3):
        path = folder / str(attempt)
        # They want different tiles; whoever creates the store decides for both.
        children = [start(path, share=(i, 2), chunk=c) for i, c in enumerate((128, 200))]
        codes = [os.waitpid(child, 0)[1] for child in children]
        results.append(codes)
    equal = [
        bool((np.asarray(open_kernel(path)) == whole()).all()) for path in sorted(folder.iterdir())
    ]
    return {"codes": results, "equal": equal}


def full(folder: Path, exhaust, relieve) -> dict:
    path = folder / "store"
    try:
        job(path, before=lambda count: exhaust() if count == 20 else None)
        message = ""
    except OSError as error:
        message = str(error)
    done = tiles_done(path)
    relieve()
    again = []
    job(path, before=again.append)
    equal = bool((np.asarray(open_kernel(path)) == whole()).all())
    leftover = [name for name in files(path) if "lock" in name]
    return {
        "message": message,
        "done": done,
        "total": TOTAL,
        "again": len(again),
        "equal": equal,
        "leftover": leftover,
    }


def full_file(folder: Path) -> dict:
    """No file may grow beyond a limit, as under a quota."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))

    return full(folder, lambda: limit(1000), lambda: limit(hard))


def full_disk(folder: Path) -> dict:
    """Somebody else fills the small disk that is mounted here."""
    ballast = folder / "ballast"

    def exhaust() -> None:
        with open(ballast, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    return full(folder, exhaust, ballast.unlink)


if __name__ == "__main__":
    warnings.simplefilter("ignore", RuntimeWarning)  # JAX warns of forks; none of its code runs
    assert "tensorstore" not in sys.modules, "importing ntk_air must not import tensorstore"
    print(json.dumps(globals()[sys.argv[1]](Path(sys.argv[2]))))
