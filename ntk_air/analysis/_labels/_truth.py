"""A report against clean labels, where they are known."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._checks import check_labels, check_same_length
from ..._results import result, static


@result
class TruthComparison:
    """How well wrong labels were found.

    Attributes:
        wrong: share of the given labels that are wrong.
        precision: share of the suspected labels that are wrong; NaN if none is suspected.
        recall: share of the wrong labels that are suspected; NaN if none is wrong.
        average_precision: of the order by score; NaN if none is wrong.
        right_before: share of right labels among the given ones.
        right_after: among the most probable ones.
    """

    wrong: float = static()
    precision: float = static()
    recall: float = static()
    average_precision: float = static()
    right_before: float = static()
    right_after: float = static()


def compare(
    clean: Any,
    num_classes: int,
    given: np.ndarray,
    suspected: np.ndarray,
    score: np.ndarray,
    labels: np.ndarray,
) -> TruthComparison:
    """Compares with clean classes (n,); the others are fields of a report.

    Raises:
        ValueError: if ``clean`` holds no class for each of the points.
    """
    from sklearn.metrics import average_precision_score

    truth = check_labels("clean", clean, num_classes)
    check_same_length("clean", truth, "the report", given)
    wrong = given != truth
    hits = int(np.sum(wrong & suspected))
    some = bool(wrong.any())
    return TruthComparison(
        wrong=float(wrong.mean()),
        precision=hits / int(suspected.sum()) if suspected.any() else np.nan,
        recall=hits / int(wrong.sum()) if some else np.nan,
        average_precision=float(average_precision_score(wrong, -score)) if some else np.nan,
        right_before=float(1 - wrong.mean()),
        right_after=float(np.mean(labels == truth)),
    )
