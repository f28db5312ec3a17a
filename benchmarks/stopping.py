"""What stopping scores say of the test error: ``python -m benchmarks.stopping --help``.

Generalised cross-validation, the leave-one-out shortcut (f − A ỹ)/(1 − A) and leave-one-out by
retraining, of gradient flow, against the test error on noisy labels, as more directions are fitted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.optimize import brentq

import ntk_air as na
from benchmarks import _harness, _report
from benchmarks._label_errors_data import problem

_USAGE_ERROR = 2
_SHARES = (0.05, 0.1, 0.2, 0.4, 0.62, 0.8, 0.86, 0.96, 0.99)
_SCORES = ("gcv", "shortcut", "leave_one_out")
_RATE, _CLASSES = 0.4, 10
_TEST_POINTS = 2000
_GAUSSIAN = 200
_QUICK = 60


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stopping", description=__doc__)
    parser.add_argument("--train-size", type=int, default=1000, help="MNIST's training points")
    parser.add_argument(
        "--draws", type=int, default=5, help="of the noise; of Gaussians four times"
    )
    parser.add_argument("--out", type=Path, help="folder for stopping.json")
    parser.add_argument("--quick", action="store_true", help="60 Gaussian points, one draw")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    options = parser.parse_args(arguments)
    if options.draws < 1 or options.train_size < 100:
        print("expected --draws from 1 and --train-size from 100.", file=sys.stderr)
        return _USAGE_ERROR
    report: dict[str, Any] = {
        "environment": _report.environment(options.note, _harness.load_average()),
        "scores": list(_SCORES),
        "rows": [],
    }
    size, draws = (_QUICK, 1) if options.quick else (_GAUSSIAN, 4 * options.draws)
    with jax.enable_x64(True):
        report["rows"] += _rows("gaussian", size, [_gaussian(size, s) for s in range(draws)])
        if not options.quick:
            try:
                made = _mnist(options.train_size, options.draws)
                report["rows"] += _rows("mnist", options.train_size, made)
            except (FileNotFoundError, ImportError) as error:
                print(f"mnist is left out: {error}", file=sys.stderr)
    if options.out is not None:
        _report.write_json(options.out / "stopping.json", report)
    print(markdown(report))
    return 0


# Kernel, observed targets, and time -> test error per output on noisy labels.
_Case = tuple[na.spectral.Eigensystem, np.ndarray, Callable[[float], float]]


def _gaussian(n: int, seed: int) -> _Case:
    """A linear model in 2n dimensions with as much noise as signal; its test error is exact."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2 * n)) / np.sqrt(2 * n)
    truth = rng.normal(size=(2 * n, 1))
    observed = x @ truth + rng.normal(size=(n, 1))
    es = na.spectral.eigendecompose(x @ x.T)
    values, vectors = np.asarray(es.eigenvalues), np.asarray(es.eigenvectors)

    def error(time: float) -> float:
        weights = (vectors * (-np.expm1(-values * time) / values)) @ (vectors.T @ observed)
        return float(np.sum((truth - x.T @ weights) ** 2) / (2 * n)) + 1.0

    return es, observed, error


def _mnist(n: int, draws: int) -> list[_Case]:
    """MNIST's kernel under symmetric noise of which the test error takes the expectation."""
    one = problem("mnist", n, test_size=_TEST_POINTS)
    es = na.spectral.eigendecompose(np.asarray(one.kernel, np.float64))
    cross = np.asarray(one.cross, np.float64)
    codes = np.eye(_CLASSES) - 1 / _CLASSES
    noise = np.full((_CLASSES, _CLASSES), _RATE / (_CLASSES - 1))
    np.fill_diagonal(noise, 1 - _RATE)
    observed_as = noise[np.asarray(one.dataset.test_labels)]

    def case(seed: int) -> _Case:
        noisy = na.noise.symmetric(one.clean, _RATE, num_classes=_CLASSES, seed=seed)
        observed = codes[np.asarray(noisy.labels)]

        def error(time: float) -> float:
            flow = na.dynamics.gradient_flow(time)
            outputs = np.asarray(na.dynamics.predict(es, flow, observed, cross))
            distances = ((outputs[:, None] - codes) ** 2).sum(-1)
            return float(np.mean(np.sum(observed_as * distances, axis=1)) / _CLASSES)

        return es, observed, error

    return [case(seed) for seed in range(draws)]


def _rows(name: str, n: int, cases: list[_Case]) -> list[dict[str, Any]]:
    measured = [_measured(*case) for case in cases]
    rows = []
    for index, share in enumerate(_SHARES):
        test = np.array([draw["test"][index] for draw in measured])
        row = {"data": name, "num_points": n, "draws": len(cases), "share": share}
        row["test"] = float(test.mean())
        for score in _SCORES:
            excess = np.array([draw[score][index] for draw in measured]) / test - 1
            error = excess.std(ddof=1) / np.sqrt(len(excess)) if len(excess) > 1 else np.nan
            row[score] = {"excess": float(excess.mean()), "standard_error": float(error)}
        rows.append(row)
        print(name, share, row, file=sys.stderr, flush=True)
    return rows


def _measured(
    es: na.spectral.Eigensystem, observed: np.ndarray, error: Callable[[float], float]
) -> dict[str, list[float]]:
    """Every score per output, and the test error, where flow fits each share of the directions."""
    values, vectors = np.asarray(es.eigenvalues), np.asarray(es.eigenvectors)

    def excess(log_time: float, share: float) -> float:
        return float(np.mean(-np.expm1(-values * np.exp(log_time)))) - share

    ends = np.log(1e-6 / values[0]), np.log(1e3 / values[-1])
    logs: list[Any] = [brentq(excess, *ends, args=(share,)) for share in _SHARES]
    times = [float(np.exp(one)) for one in logs]
    found = na.dynamics.stopping_time(es, observed, rule="gcv", times=times)
    retrained = na.dynamics.leave_one_out_flow(es, times, observed)
    shortcut = []
    for time in times:
        left = np.exp(-values * time)
        residual = (vectors * left) @ (vectors.T @ observed) / (vectors**2 @ left)[:, None]
        shortcut.append(float(np.mean(residual**2)))
    return {
        "test": [error(time) for time in times],
        "gcv": (np.asarray(found.score) / observed.shape[1]).tolist(),
        "shortcut": shortcut,
        "leave_one_out": np.mean((np.asarray(retrained) - observed) ** 2, axis=(1, 2)).tolist(),
    }


def markdown(report: dict[str, Any]) -> str:
    """The table: how far each score is above the test error."""
    lines = [
        "| data | df/n | test error | GCV | shortcut (f − Aỹ)/(1 − A) | leave-one-out, retrained |",
        "|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        cells = [
            f"{100 * row[score]['excess']:+.1f} ± {100 * row[score]['standard_error']:.1f} %"
            for score in _SCORES
        ]
        lines.append(
            f"| {row['data']}, n = {row['num_points']} | {row['share']:g} | {row['test']:.4f} | "
            + " | ".join(cells)
            + " |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
