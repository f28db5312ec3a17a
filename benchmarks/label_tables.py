"""Wrong labels of a table in a file, beside cleanlab: ``python -m benchmarks.label_tables --help``.

A table of rows with missing entries and a column of words, a quarter of its labels wrong, goes as
.csv to `ntk_air.analysis.label_report`, with all eigenpairs and with some; and to cleanlab with the
probabilities of gradient boosting in five folds, and with ours.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict, cross_val_score

import ntk_air as na
from benchmarks import _harness, _report
from benchmarks._label_errors_scores import HAVE_CLEANLAB
from ntk_air.noise import NoisyLabels

# Constants are chosen on the first, results are of the second.
SEEDS = {"selection": (100,), "reporting": (0, 1, 2)}
CLASSES, WORDS, NUMBERS = ("ash", "elm", "fir", "oak"), ("clay", "loam", "peat", "sand"), 12
_MISSING, _COLUMNS_WITH_GAPS, _FOLDS = 0.05, (1, 4, 9), 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label_tables", description=__doc__)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=0.25, help="of symmetric noise")
    parser.add_argument("--ranks", type=int, nargs="*", default=[600, 300], help="beside all")
    parser.add_argument("--purpose", choices=tuple(SEEDS), default="reporting")
    parser.add_argument("--out", type=Path, help="folder for label-tables.json")
    parser.add_argument("--note", default="", help="kept in the JSON beside the environment")
    options = parser.parse_args(arguments)
    if not HAVE_CLEANLAB:
        print("cleanlab is not installed: its rows are left out.", file=sys.stderr)
    report: dict[str, Any] = {
        "environment": _report.environment(options.note, _harness.load_average()),
        "purpose": options.purpose,
        "num_rows": options.rows,
        "rate": options.rate,
        "rows": [],
    }
    for seed in SEEDS[options.purpose]:
        for row in _rows(seed, options.rows, options.rate, options.ranks):
            print(json.dumps(row), flush=True)
            report["rows"].append(row)
            if options.out is not None:
                _report.write_json(options.out / "label-tables.json", report)
    return 0


def problem(
    seed: int, num_rows: int, rate: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, NoisyLabels]:
    """Numbers (n, 12) with gaps, words (n,), clean classes (n,), and the labels that are judged."""
    drawn = make_classification(
        n_samples=num_rows, n_features=NUMBERS + 1, n_informative=9, n_redundant=2,
        n_classes=len(CLASSES), n_clusters_per_class=2, class_sep=2.4, flip_y=0.0,
        shuffle=True, random_state=seed,
    )  # fmt: skip
    inputs, clean = np.asarray(drawn[0]), np.asarray(drawn[1])
    rng = np.random.default_rng(seed)
    bounds = np.quantile(inputs[:, 0], [0.25, 0.5, 0.75])
    words = np.array(WORDS)[rng.permutation(len(WORDS))][np.digitize(inputs[:, 0], bounds)]
    numbers = inputs[:, 1:] * 10.0 ** rng.integers(-2, 3, NUMBERS)
    for column in _COLUMNS_WITH_GAPS:
        numbers[rng.random(num_rows) < _MISSING, column] = np.nan
    words[rng.random(num_rows) < _MISSING] = ""
    return numbers, words, clean, na.noise.symmetric(clean, rate, num_classes=4, seed=seed)


def write_table(path: Path, numbers: np.ndarray, words: np.ndarray, labels: np.ndarray) -> None:
    """The table as a person would have it."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *(f"x{i}" for i in range(NUMBERS)), "soil", "tree"])
        for i, (row, word, label) in enumerate(zip(numbers, words, labels, strict=True)):
            entries = ["" if np.isnan(x) else f"{x:.6g}" for x in row]
            writer.writerow([f"plot-{i:05d}", *entries, word, CLASSES[label]])


def _rows(seed: int, num_rows: int, rate: float, ranks: Sequence[int]) -> list[dict[str, Any]]:
    numbers, words, clean, noisy = problem(seed, num_rows, rate)
    labels, wrong = np.asarray(noisy.labels), np.asarray(noisy.flipped)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        write_table(path, numbers, words, labels)
        for rank in (None, *(r for r in ranks if r < num_rows)):
            found, cost = _timed(
                lambda rank=rank: na.analysis.label_report(
                    path, label="tree", identifier="id", rank=rank, rules=()
                )
            )
            place = {name: i for i, name in enumerate(found.identifiers.tolist())}
            order = np.array([place[f"plot-{i:05d}"] for i in range(num_rows)])
            row = {"seed": seed, "method": "label_report", "rank": found.rank}
            count = found.num_wrong
            row |= _quality(np.asarray(found.suspected)[order], wrong)
            row |= {"wrong": int(wrong.sum()), "wrong_estimated": round(count.value)}
            row |= {"wrong_interval": [round(count.lower), round(count.upper)]}
            suggested = np.asarray(found.suggested)[order]
            row["right_after"] = float(np.mean(suggested == clean))
            rows.append(row | cost)
    return rows + _boosting(seed, (numbers, words), clean, labels, wrong)


def _boosting(
    seed: int,
    table: tuple[np.ndarray, np.ndarray],
    clean: np.ndarray,
    labels: np.ndarray,
    wrong: np.ndarray,
) -> list[dict[str, Any]]:
    """Cleanlab with gradient boosting, and what boosting reaches on the clean labels."""
    numbers, words = table
    codes = np.array([WORDS.index(w) if w else np.nan for w in words])
    inputs = np.column_stack([numbers, codes])
    columns: Any = [NUMBERS]
    model = HistGradientBoostingClassifier(categorical_features=columns, random_state=0)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    reached = float(np.mean(cross_val_score(model, inputs, clean, cv=folds)))
    rows = [{"seed": seed, "method": "boosting on clean labels", "accuracy": reached}]
    if HAVE_CLEANLAB:
        from cleanlab.filter import find_label_issues  # pyright: ignore[reportMissingImports]

        def judged() -> np.ndarray:
            chances = cross_val_predict(model, inputs, labels, cv=folds, method="predict_proba")
            return find_label_issues(labels, chances)

        suspected, cost = _timed(judged)
        rows.append(
            {"seed": seed, "method": "cleanlab, boosting", **_quality(suspected, wrong), **cost}
        )
    return rows


def _timed(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What it returned; seconds of the clock and of the processors, and the peak so far in GiB."""
    began, used = time.perf_counter(), time.process_time()
    found = work()
    return found, {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
        "peak_gib_so_far": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def _quality(suspected: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    hits = int(np.sum(suspected & wrong))
    precision, recall = hits / max(1, int(suspected.sum())), hits / max(1, int(wrong.sum()))
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-12, precision + recall),
    }


if __name__ == "__main__":
    sys.exit(main())
