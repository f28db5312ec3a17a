"""Programs of their own for tests: on several CPU devices, or several programs together."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def start(
    arguments: Sequence[object],
    *,
    devices: int = 1,
    folder: Path | None = None,
    optimized: bool = False,
    variables: Mapping[str, str | None] | None = None,
) -> subprocess.Popen[str]:
    """Starts Python with these arguments.

    Args:
        arguments: of the interpreter.
        devices: how many its CPU is made to be.
        folder: of further modules it can import.
        optimized: False compiles in half of the time: what is tested is how work is spread, not
            what XLA makes of it.
        variables: of its environment, last; None takes one out.
    """
    # A file of tests can be the program.
    paths = [str(ROOT), str(ROOT / "tests"), *([] if folder is None else [str(folder)])]
    environment = os.environ | {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")]),
    }
    if not optimized:
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    for name, value in (variables or {}).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each; none of them outlives the test."""
    try:
        said = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(p.returncode, *texts) for p, texts in zip(processes, said, strict=True)]


def run(
    arguments: Sequence[object],
    *,
    devices: int = 1,
    folder: Path | None = None,
    optimized: bool = False,
    variables: Mapping[str, str | None] | None = None,
) -> str:
    """What such a program printed; it must end well."""
    process = start(
        arguments, devices=devices, folder=folder, optimized=optimized, variables=variables
    )
    ((code, output, errors),) = finish(process)
    assert code == 0, errors[-3000:]
    return output


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
