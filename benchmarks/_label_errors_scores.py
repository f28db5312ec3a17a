"""How well wrong labels are found: ours, and cleanlab on the same and on its own probabilities."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import scipy.linalg
import scipy.special
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import SVC

import ntk_air as na
from benchmarks._label_errors_data import Problem
from ntk_air.noise import NoisyLabels

HAVE_CLEANLAB = importlib.util.find_spec("cleanlab") is not None
# Scores of cleanlab, each with its probabilities adjusted or not (its entropy takes no adjustment);
# the first is its default.
SCORES = {
    "self_confidence": ("self_confidence", False),
    "normalized_margin": ("normalized_margin", False),
    "confidence_weighted_entropy": ("confidence_weighted_entropy", False),
    "self_confidence, adjusted": ("self_confidence", True),
    "normalized_margin, adjusted": ("normalized_margin", True),
}
# Its ways to a set of suspected labels; the first is its default.
FILTERS = (
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
_PENALTIES = (1e-3, 1e-1)
_FOLDS = 5


def detection(
    one: Problem, noisy: NoisyLabels, refined: na.dynamics.RefinedLabels
) -> dict[str, Any]:
    """Average precision of every score and the quality of every hard set.

    ``cleanlab`` holds all its scores and hard sets on out-of-sample probabilities: those of our
    model, calibrated as ours (``ours``) and by one sharpness (``leave_one_out``); the same kernel
    in five-fold cross-validation (``kernel_folds``); and its usual pipeline, a scikit-learn
    classifier in five folds: logistic regression (``logistic``) and gradient boosting
    (``boosting``) on 100 principal components, support vectors on the inputs (``svc``).
    """
    labels, wrong = np.asarray(noisy.labels), np.asarray(noisy.flipped)
    observed = na.datasets.encode(labels, noisy.num_classes)
    estimated = np.ptp(np.asarray(refined.transition)[~np.eye(10, dtype=bool)]) > 1e-6
    record: dict[str, Any] = {
        "ours": average_precision(refined.score, wrong),
        "margin": average_precision(refined.margin, wrong),
        "hard": _hard(np.asarray(refined.suspected), wrong),
        "transition": "estimated" if estimated else "symmetric",
        "observed_accuracy": float(1 - wrong.mean()),
        "refined_accuracy": float(np.mean(np.asarray(refined.labels) == np.asarray(noisy.clean))),
        "cleanlab": {},
    }
    if not HAVE_CLEANLAB:
        return record
    time = float(refined.time)
    left_out = na.dynamics.leave_one_out(one.eigensystem, na.dynamics.gradient_flow(time), observed)
    predicted = np.asarray(refined.predicted, np.float64)
    sets = {
        "ours": predicted @ np.asarray(refined.transition, np.float64),
        "ours_clean": predicted,
        "leave_one_out": _softmax_of_most_likely_sharpness(np.asarray(left_out), labels),
        "kernel_folds": _kernel_folds(one, labels, np.asarray(observed), 1 / time),
        "logistic": _logistic(one.components, labels),
        "svc": _in_folds(_support_vectors(), np.asarray(one.dataset.train_inputs), labels),
        "boosting": _in_folds(_boosting(), one.components, labels),
    }
    record["cleanlab"] = {key: _cleanlab(labels, value, wrong) for key, value in sets.items()}
    return record


def average_precision(score: Any, wrong: np.ndarray) -> float:
    """Of finding the wrong labels by the least scores."""
    return float(average_precision_score(wrong, -np.asarray(score)))


def _hard(suspected: np.ndarray, wrong: np.ndarray) -> dict[str, float]:
    hits = float(np.sum(wrong & suspected))
    return {
        "precision": hits / max(suspected.sum(), 1),
        "recall": hits / max(wrong.sum(), 1),
        "f1": 2 * hits / max(wrong.sum() + suspected.sum(), 1),
    }


def _cleanlab(labels: np.ndarray, probabilities: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    from cleanlab.filter import find_label_issues  # pyright: ignore[reportMissingImports]
    from cleanlab.rank import get_label_quality_scores  # pyright: ignore[reportMissingImports]

    probabilities = np.asarray(probabilities, np.float64)
    probabilities = probabilities / probabilities.sum(axis=1, keepdims=True)
    scores = {
        name: average_precision(
            get_label_quality_scores(
                labels, probabilities, method=method, adjust_pred_probs=adjusted
            ),
            wrong,
        )
        for name, (method, adjusted) in SCORES.items()
    }
    hard = {
        rule: _hard(
            np.asarray(find_label_issues(labels, probabilities, filter_by=rule, n_jobs=1)), wrong
        )
        for rule in FILTERS
    }
    return {"scores": scores, "hard": hard}


def _softmax_of_most_likely_sharpness(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The usual way from outputs of a regression to probabilities: temperature scaling."""
    outputs = np.asarray(outputs, np.float64)
    size = np.sqrt(np.mean(outputs**2))
    candidates = (
        scipy.special.softmax(sharpness / size * outputs, axis=1)
        for sharpness in np.geomspace(0.1, 100, 61)
    )
    return min(candidates, key=lambda p: _log_loss(p, labels))


def _log_loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    own = probabilities[np.arange(len(labels)), labels]
    return -float(np.mean(np.log(np.maximum(own, 1e-12))))


def _folds() -> StratifiedKFold:
    return StratifiedKFold(_FOLDS, shuffle=True, random_state=0)


def _kernel_folds(
    one: Problem, labels: np.ndarray, observed: np.ndarray, strength: float
) -> np.ndarray:
    """Kernel ridge regression of the same kernel, at the ridge that matches the stopping time."""
    outputs = np.empty_like(observed)
    for train, held in _folds().split(labels, labels):
        system = one.kernel[np.ix_(train, train)]
        system[np.diag_indices(len(train))] += strength
        weights = scipy.linalg.solve(system, observed[train], assume_a="pos", overwrite_a=True)
        outputs[held] = one.kernel[np.ix_(held, train)] @ weights
    return _softmax_of_most_likely_sharpness(outputs, labels)


def _in_folds(model: Any, inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.asarray(cross_val_predict(model, inputs, labels, cv=_folds(), method="predict_proba"))


def _support_vectors() -> Any:
    """Radial basis functions of the width scikit-learn chooses, Platt's probabilities."""
    # Its type is inferred from the default, "auto".
    options: Any = {"ensemble": False}
    return CalibratedClassifierCV(SVC(), **options)


def _boosting() -> Any:
    # Its stopping rule would judge by the noisy labels that it holds out.
    options: Any = {"early_stopping": False, "max_iter": 50}
    return HistGradientBoostingClassifier(random_state=0, **options)


def _logistic(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Logistic regression; of two penalties the one that predicts the labels better."""
    found = [_in_folds(LogisticRegression(C=penalty), inputs, labels) for penalty in _PENALTIES]
    return min(found, key=lambda p: _log_loss(p, labels))
