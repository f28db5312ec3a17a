"""How far float32 is from float64: kernels, training outputs, and what a warning says of them.

python -m benchmarks.precision --out benchmarks/results/precision.json
"""

from __future__ import annotations

import argparse
import json
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import ntk_air as na

_TIMES = (1e1, 1e3, 1e5)


def _cases() -> dict[str, tuple[Any, np.ndarray, np.ndarray]]:
    """Architecture, inputs and targets by name."""
    net = na.kernels.fully_connected
    data = na.datasets.load("digits", train_size=400, test_size=0)
    flat = data.standardized(per_image=True).flattened(unit_norm="sqrt_d")
    labels = np.asarray(na.datasets.encode(data.train_labels, 10))
    line = np.linspace(-10 * np.pi, 10 * np.pi, 100)[:, None]
    waves = np.sin(line) + np.sin(2 * line)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(10, 20))
    near = np.repeat(centres, 20, axis=0) + 1e-3 * rng.normal(size=(200, 20))
    flipped = np.sign(rng.normal(size=(200, 1)))
    return {
        "digits, 1 ReLU layer": (net(1, weight_std=1.4), np.asarray(flat.train_inputs), labels),
        "digits, 4 ReLU layers": (net(4), np.asarray(flat.train_inputs), labels),
        "one dimension, 2 ReLU layers": (net(2, weight_std=1.5, bias_std=0.05), line, waves),
        "one dimension, 2 erf layers": (net(2, activation="erf"), line, waves),
        "clusters of radius 1e-3, 2 ReLU layers": (net(2), near, flipped),
    }


def _relative(found: Any, exact: Any) -> float:
    found, exact = np.asarray(found, np.float64), np.asarray(exact, np.float64)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


def _warned(call: Callable[[], Any]) -> tuple[Any, float | None]:
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        found = call()
    texts = [str(one.message) for one in record if "trusted_rank" in str(one.message)]
    shares = [float(m[1]) / 100 for text in texts if (m := re.search(r"by ([\d.]+)%", text))]
    return found, shares[0] if shares else None


def _least(call: Callable[[], Any], repeats: int = 3) -> float:
    call()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(call())
        found.append(time.perf_counter() - began)
    return min(found)


def measure(architecture: Any, inputs: np.ndarray, targets: np.ndarray) -> dict[str, Any]:
    """Errors of float32 on one case."""
    inputs = inputs.astype(np.float32)
    single = na.kernels.infinite_ntk(architecture, inputs)
    double = na.kernels.infinite_ntk(architecture, inputs, precision="float64")
    exact = np.asarray(double)
    size = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
    es, es64 = na.spectral.eigendecompose(single), na.spectral.eigendecompose(double)
    largest = float(np.asarray(es64.eigenvalues)[0])
    rows = []
    for steps in _TIMES:
        flow = na.dynamics.gradient_flow(steps / largest)
        found, said = _warned(lambda flow=flow: na.dynamics.fit(es, flow, targets))
        reference = na.dynamics.fit(es64, flow, targets.astype(np.float64))
        rows.append({"time": steps, "error": _relative(found, reference), "warned": said})
    return {
        "points": len(inputs),
        "trusted_rank": es.trusted_rank,
        "kernel_error": float(np.max(np.abs(np.asarray(single) - exact) / size)),
        "seconds": {
            "float32": _least(lambda: na.kernels.infinite_ntk(architecture, inputs)),
            "float64": _least(
                lambda: na.kernels.infinite_ntk(architecture, inputs, precision="float64")
            ),
        },
        "fit": rows,
    }


def main() -> None:
    """Measures every case and writes what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    found = {name: measure(*case) for name, case in _cases().items()}
    text = json.dumps(found, indent=1) + "\n"
    print(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
