"""The result: what is known of each label, of the noise, and of when to stop."""

from __future__ import annotations

from typing import Any

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
