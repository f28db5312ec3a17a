"""What became of suspected labels from one report to the next, point by point."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..._results import result, static
from ._report import LabelReport


@result
class LabelChanges:
    """What differs between two label reports; points are told by what they are called.

    Each table has the columns ``"index"``, ``"observed_before"``, ``"observed_after"``,
    ``"suggested_before"``, ``"suggested_after"`` (names of classes), ``"score_before"`` and
    ``"score_after"``, the most doubtful first.

    Attributes:
        newly_suspected: points that are suspected after and were not before.
        cleared: points that were suspected before and are not after.
        suggestions: points that are suspected in both, with another suggestion.
        relabelled: points whose given label is another, whether suspected or not.
        kept: how many are suspected in both with the same suggestion.
        only_before: identifiers of points that the second report does not have.
        only_after: of points that the first did not have.
    """

    newly_suspected: dict[str, list[Any]] = static()
    cleared: dict[str, list[Any]] = static()
    suggestions: dict[str, list[Any]] = static()
    relabelled: dict[str, list[Any]] = static()
    kept: int = static()
    only_before: list[Any] = static()
    only_after: list[Any] = static()


def compare_label_reports(before: LabelReport, after: LabelReport) -> LabelChanges:
    """What changed from one label report to another, as after labels were corrected.

    Args:
        before: the first report.
        after: the second, on the same points in any order, some of them, or more.

    Returns:
        The points that differ, as `LabelChanges`.

    Raises:
        ValueError: if several points of a report are called the same, so that nothing tells which
            is which, or if no point is in both.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.array([0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3])[:, None]
        >>> kernel = np.exp(-((x - x.T) ** 2)) + 0.1 * np.eye(8)
        >>> wrong, right = [0, 0, 1, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 1, 1]
        >>> before = na.analysis.label_report(x, wrong, kernel=kernel, noise_rate=0.125)
        >>> after = na.analysis.label_report(x, right, kernel=kernel, noise_rate=0.125)
        >>> changes = na.analysis.compare_label_reports(before, after)
        >>> changes.cleared["index"], changes.newly_suspected["index"]
        ([2], [])
    """
    first, second = _places("before", before), _places("after", after)
    both = [name for name in first if name in second]
    if not both:
        raise ValueError(
            "no point of before is in after, expected reports on the same points; see identifiers."
        )
    old, new = [first[name] for name in both], [second[name] for name in both]
    was, now = np.asarray(before.suspected)[old], np.asarray(after.suspected)[new]
    names = {}
    for when, report, rows in (("before", before, old), ("after", after, new)):
        for column, of_all in (
            ("observed", report.given_names),
            ("suggested", report.suggested_names),
        ):
            names[f"{column}_{when}"] = [of_all[row] for row in rows]
    given, suggested = (
        np.array(names[f"{column}_before"]) != np.array(names[f"{column}_after"])
        for column in ("observed", "suggested")
    )
    scores = np.asarray(before.score)[old], np.asarray(after.score)[new]

    def table(mask: np.ndarray, score: np.ndarray) -> dict[str, list[Any]]:
        rows = np.flatnonzero(mask)
        rows = rows[np.argsort(score[rows], kind="stable")]
        return {
            "index": [_name(after, new[row]) for row in rows],
            **{column: [of_both[row] for row in rows] for column, of_both in names.items()},
            "score_before": scores[0][rows].tolist(),
            "score_after": scores[1][rows].tolist(),
        }

    return LabelChanges(
        newly_suspected=table(now & ~was, scores[1]),
        cleared=table(was & ~now, scores[0]),
        suggestions=table(was & now & suggested, scores[1]),
        relabelled=table(given, scores[1]),
        kept=int(np.sum(was & now & ~suggested)),
        only_before=[_name(before, i) for name, i in first.items() if name not in second],
        only_after=[_name(after, i) for name, i in second.items() if name not in first],
    )


def _name(report: LabelReport, place: int) -> Any:
    return np.asarray(report.identifiers)[place].item()


def _places(what: str, report: LabelReport) -> dict[str, int]:
    """Places by name, numbers and their text alike."""
    names = np.asarray(report.identifiers).astype(str).tolist()
    places = {name: i for i, name in enumerate(names)}
    if len(places) < len(names):
        twice = next(name for i, name in enumerate(names) if places[name] != i)
        raise ValueError(
            f"{what} has several points called {twice!r}, expected identifiers that differ."
        )
    return places
