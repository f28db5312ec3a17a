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

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.array([0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3])[:, None]
        >>> kernel = np.exp(-((x - x.T) ** 2)) + 0.1 * np.eye(8)
        >>> labels = [0, 0, 1, 0, 1, 1, 1, 1]
        >>> report = na.analysis.label_report(x, labels, kernel=kernel, noise_rate=0.125)
        >>> found = report.compare_with_truth([0, 0, 0, 0, 1, 1, 1, 1])
        >>> found.right_before, found.right_after
        (0.875, 1.0)
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
