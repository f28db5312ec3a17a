"""The result: what is known of each label, of the noise, and of when to stop."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..._results import result, static
from ..._typing import Array, ArrayLike, Float, Int
from ...dynamics import NoiseEstimate, StoppingTime
from ._truth import TruthComparison, compare


@result
class NoiseRate:
    """The share of wrong labels, to use whatever for; ``float`` gives its value.

    Attributes:
        value: (), as `ntk_air.dynamics.RefinedLabels` has it, or as given.
        lower: (), lower end of its 95 % interval.
        upper: (), upper end.
        confident: (), the rate that confident learning implies, evidence and not one to use.
        tail: the rate that the labels' energy in the last directions implies, likewise.
        identified: whether the noise is given, or told by the labels.
    """

    value: Float[Array, ""]
    lower: Float[ArrayLike, ""] | float
    upper: Float[ArrayLike, ""] | float
    confident: Float[Array, ""]
    tail: NoiseEstimate
    identified: bool = static()

    def __float__(self) -> float:
        """The value."""
        return float(self.value)


class WrongCount(NamedTuple):
    """A number of wrong labels that was estimated, and its 95 % interval.

    Example:
        >>> import ntk_air as na
        >>> na.analysis.WrongCount(value=12.0, lower=9.0, upper=16.5).upper
        16.5
    """

    value: float
    lower: float
    upper: float


@result
class LabelReport:
    """Which labels are probably wrong, how many are, and when to stop training on them.

    Attributes:
        given: (n,) int32, the labels that are judged, numbers of classes.
        suggested: (n,) int32, what a suspected label would be if it is wrong, the given one of the
            others.
        score: (n,), probability that the given label is right; the lower, the likelier wrong.
        suspected: (n,) bool, labels worth checking by hand.
        margin: (n,), output of the given class minus the largest other one, both without the
            point's own label.
        confidence: (n,), probability of the suggested class.
        labels: (n,) int32, the most probable classes, to train on; they replace fewer labels.
        probabilities: (n, C) of each class given label and inputs, to train on soft labels.
        noise_rate: share of wrong labels, with its interval.
        transition: (C, C), the probability of each given class (column) given the clean one.
        per_class: of the points given each class (C,): ``"count"``; ``"suspected"``, how many of
            them are; ``"rate"``, the share of wrong labels among them by ``probabilities``, NaN
            where there are none.
        stopping_times: by each rule asked for, of kernel gradient flow.
        degrees_of_freedom: of the kernel smoother at the times of these rules.
        test_accuracy: (T,), of kernel gradient flow on the test points at each time of the rules'
            grid; None if it was not asked for or there are none.
        identifiers: (n,) NumPy array of integers or text, what each point is called.
        class_names: C names.
        rule: by which the labels were judged.
        rank: directions of the kernel that were used.
    """

    given: Int[Array, " n"]
    suggested: Int[Array, " n"]
    score: Float[Array, " n"]
    suspected: Array
    margin: Float[Array, " n"]
    confidence: Float[Array, " n"]
    labels: Int[Array, " n"]
    probabilities: Float[Array, "n C"]
    noise_rate: NoiseRate
    transition: Float[Array, "C C"]
    per_class: dict[str, Float[Array, " C"]]
    stopping_times: dict[str, StoppingTime]
    degrees_of_freedom: dict[str, float]
    test_accuracy: Float[Array, " T"] | None
    identifiers: Any
    class_names: tuple[str, ...] = static()
    rule: str = static()
    rank: int = static()

    @property
    def stopping_time(self) -> StoppingTime:
        """When to stop, by the rule that judged the labels."""
        return self.stopping_times[self.rule]

    @property
    def given_names(self) -> list[str]:
        """The names of the given classes, n of them."""
        return [self.class_names[c] for c in np.asarray(self.given).tolist()]

    @property
    def suggested_names(self) -> list[str]:
        """The names of the suggested classes, n of them."""
        return [self.class_names[c] for c in np.asarray(self.suggested).tolist()]

    @property
    def num_wrong(self) -> WrongCount:
        """How many of the labels are wrong: the noise rate of so many, and its interval."""
        n, noise = len(self.given), self.noise_rate
        value, lower, upper = (n * float(x) for x in (noise.value, noise.lower, noise.upper))
        return WrongCount(value, lower, upper)

    def table(self) -> dict[str, list[Any]]:
        """Every label, the most doubtful first: columns of numbers and text by name."""
        return self._columns(self._doubtful_first())

    def suspects(self) -> dict[str, list[Any]]:
        """The suspected labels of `table`."""
        order = self._doubtful_first()
        return self._columns(order[np.asarray(self.suspected)[order]])

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` of every label in the order of the points, by their identifiers.

        Raises:
            ImportError: if there is no pandas.
        """
        try:
            import pandas  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas: pip install pandas, or use table()."
            ) from error
        columns = self._columns(np.arange(len(self.given)))
        return pandas.DataFrame(columns).set_index("index")

    def label_issues(self) -> dict[str, np.ndarray]:
        """Every label in the order of the points, in columns as those who use cleanlab know them.

        ``pandas.DataFrame(report.label_issues())`` is what ``CleanLearning.find_label_issues``
        returns, and ``CleanLearning.fit(label_issues=...)`` takes. The column that is called
        ``label_quality`` there is ``label_score`` in ``Datalab.get_issues``.

        Returns:
            ``"is_label_issue"`` (n,) bool, as ``suspected``; ``"label_quality"`` (n,) in [0, 1], as
            ``score``, low where a label is probably wrong; ``"given_label"`` and
            ``"predicted_label"`` (n,), numbers of classes, as ``given`` and ``suggested``, which
            differ for label issues alone.

        Source: names of cleanlab 2.9, docs.cleanlab.ai (``CleanLearning``, Datalab issue types).

        Example:
            >>> import numpy as np, ntk_air as na
            >>> x = np.array([0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3])[:, None]
            >>> kernel = np.exp(-((x - x.T) ** 2)) + 0.1 * np.eye(8)
            >>> labels = [0, 0, 1, 0, 1, 1, 1, 1]
            >>> report = na.analysis.label_report(x, labels, kernel=kernel, noise_rate=0.125)
            >>> issues = report.label_issues()
            >>> np.flatnonzero(issues["is_label_issue"]).tolist(), int(issues["predicted_label"][2])
            ([2], 0)
        """
        return {
            "is_label_issue": np.array(self.suspected),
            "label_quality": np.array(self.score),
            "given_label": np.array(self.given),
            "predicted_label": np.array(self.suggested),
        }

    def compare_with_truth(self, clean: Int[ArrayLike, " n"]) -> TruthComparison:
        """How well the wrong labels were found, where the clean ones are known.

        Args:
            clean: (n,) classes.

        Raises:
            ValueError: if they are no classes of the report's points.
        """
        known = (self.given, self.suspected, self.score, self.labels)
        return compare(clean, len(self.class_names), *map(np.asarray, known))

    def _doubtful_first(self) -> np.ndarray:
        return np.lexsort((np.asarray(self.margin), np.asarray(self.score)))

    def _columns(self, rows: np.ndarray) -> dict[str, list[Any]]:
        given, suggested = (np.asarray(one)[rows].tolist() for one in (self.given, self.suggested))
        return {
            "index": np.asarray(self.identifiers)[rows].tolist(),
            "observed": given,
            "observed_name": [self.class_names[c] for c in given],
            "suggested": suggested,
            "suggested_name": [self.class_names[c] for c in suggested],
            "score": np.asarray(self.score)[rows].tolist(),
            "margin": np.asarray(self.margin)[rows].tolist(),
            "confidence": np.asarray(self.confidence)[rows].tolist(),
            "suspected": np.asarray(self.suspected)[rows].tolist(),
        }
