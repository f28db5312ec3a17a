"""Reports: what a theorem assumes and concludes, each with what was required and measured."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from ..._results import result, static
from ..._text import markdown, plain


class TheoremViolationError(AssertionError):
    """A conclusion failed although every assumption holds: the theorem or the code is wrong.

    Example:
        >>> import ntk_air as na
        >>> check = na.theory.Check(name="small", statement="x <= 1", required=1,
        ...                         measured=2, holds=False)
        >>> try:
        ...     na.theory.TheoremReport("T", "a paper", (), (check,), {}, {}).raise_if_violated()
        ... except na.theory.TheoremViolationError as error:
        ...     print(error)
        T (a paper) is violated: small: x <= 1 (required 1, measured 2).
    """


@result
class Scaling:
    """A quantity measured at several sizes, to be held against a power law.

    Attributes:
        quantity: what was measured, in symbols.
        size: what was varied, in symbols.
        predicted: the exponent that the theorem names.
        fitted: the exponent of least squares on logarithms, one constant per seed; NaN where the
            values follow no power law.
        sizes: (W, S).
        values: (W, S), one column per seed.
        low: lower end of the interval of the exponent, 95 % unless the statement of the check
            says otherwise; NaN as above.
        high: upper end.
        correction: (W, S) derived factor by which the values leave the power law at these sizes,
            taken out before the fit; None where there is none.
    """

    quantity: str = static()
    size: str = static()
    predicted: float = static()
    fitted: float = static()
    sizes: np.ndarray
    values: np.ndarray
    low: float = static(default=math.nan)
    high: float = static(default=math.nan)
    correction: np.ndarray | None = None


@result
class Check:
    """One assumption or conclusion.

    Attributes:
        name: a few words.
        statement: what should hold, in symbols.
        required: the bound or value asked for: a number, or words where it is not one number.
        measured: what was found.
        holds: whether the measured value meets the required one.
        scaling: the sweep behind it, where the measured value is an exponent.

    Example:
        >>> import ntk_air as na
        >>> check = na.theory.Check(name="small", statement="x <= 1", required=1,
        ...                         measured=2, holds=False)
        >>> na.theory.TheoremReport("T", "a paper", (), (check,), {}, {}).verdict
        'violated'
    """

    name: str = static()
    statement: str = static()
    required: float | str = static()
    measured: float | str = static()
    holds: bool = static()
    scaling: Scaling | None = None

    @classmethod
    def at_most(
        cls, name: str, statement: str, measured: float, required: float, slack: float = 0.0
    ) -> Check:
        """A check that holds where measured <= required; NaN, on either side, never does.

        ``slack`` is what rounding alone may put the measured value above the required one.

        Example:
            >>> import ntk_air as na
            >>> na.theory.Check.at_most("small", "x <= 1", measured=1.0, required=1.0).holds
            True
        """
        return cls(name, statement, required, measured, bool(measured <= required + slack))

    @classmethod
    def at_least(cls, name: str, statement: str, measured: float, required: float) -> Check:
        """A check that holds where measured >= required; NaN, on either side, never does.

        Example:
            >>> import ntk_air as na
            >>> na.theory.Check.at_least("large", "x >= 1", measured=1.0, required=1.0).holds
            True
        """
        return cls(name, statement, required, measured, bool(measured >= required))

    @classmethod
    def below(cls, name: str, statement: str, measured: float, required: float) -> Check:
        """A check that holds where measured < required; NaN, on either side, never does.

        Example:
            >>> import ntk_air as na
            >>> na.theory.Check.below("small", "x < 1", measured=1.0, required=1.0).holds
            False
        """
        return cls(name, statement, required, measured, bool(measured < required))

    @classmethod
    def above(cls, name: str, statement: str, measured: float, required: float) -> Check:
        """A check that holds where measured > required; NaN, on either side, never does.

        Example:
            >>> import ntk_air as na
            >>> na.theory.Check.above("large", "x > 1", measured=1.0, required=1.0).holds
            False
        """
        return cls(name, statement, required, measured, bool(measured > required))


@result
class TheoremReport:
    """What was found when a theorem was tested on data.

    A failed assumption is a finding, not an error: the theorem then says nothing about the data.

    Attributes:
        name: the theorem in a few words.
        source: the paper, and what is derived here.
        assumptions: what the theorem asks for.
        conclusions: what it promises, as measured.
        tables: name to rows; each row maps column names to strings and numbers.
        histories: name of a training run to its `ntk_air.distillation.History`, for plots.

    Example:
        >>> import ntk_air as na
        >>> holds = na.theory.Check(name="small", statement="x <= 1", required=1,
        ...                         measured=0.5, holds=True)
        >>> report = na.theory.TheoremReport("T", "a paper", (), (holds,), {}, {})
        >>> report.verdict, report.exit_code
        ('confirmed', 0)
    """

    name: str = static()
    source: str = static()
    assumptions: tuple[Check, ...]
    conclusions: tuple[Check, ...]
    tables: dict[str, Any]
    histories: dict[str, Any]

    @property
    def assumptions_hold(self) -> bool:
        """Whether every assumption holds."""
        return all(check.holds for check in self.assumptions)

    @property
    def conclusions_hold(self) -> bool:
        """Whether every conclusion holds, whatever the assumptions."""
        return all(check.holds for check in self.conclusions)

    @property
    def verdict(self) -> str:
        """'confirmed', 'violated', or 'not applicable' where an assumption fails."""
        if not self.assumptions_hold:
            return "not applicable"
        return "confirmed" if self.conclusions_hold else "violated"

    @property
    def exit_code(self) -> int:
        """1 if a conclusion fails while the assumptions hold, else 0."""
        return int(self.verdict == "violated")

    def raise_if_violated(self) -> None:
        """Raises TheoremViolationError if a conclusion fails while the assumptions hold.

        Raises:
            TheoremViolationError: if a conclusion fails while all assumptions hold.
        """
        if self.verdict != "violated":
            return
        failed = "; ".join(
            f"{c.name}: {c.statement} (required {_text(c.required)}, measured {_text(c.measured)})"
            for c in self.conclusions
            if not c.holds
        )
        raise TheoremViolationError(f"{self.name} ({self.source}) is violated: {failed}.")

    def to_markdown(self) -> str:
        """The report as Markdown: verdict, assumptions, conclusions and tables.

        Names and cells are words, whatever they hold: none becomes a tag, a link or a cell more.
        """
        name, source = markdown(self.name), markdown(self.source)
        parts = [f"## {name}", f"Source: {source}", f"Verdict: **{self.verdict}**"]
        for title, checks in (("Assumptions", self.assumptions), ("Conclusions", self.conclusions)):
            rows = [
                {
                    "": "holds" if c.holds else "FAILS",
                    "check": c.name,
                    "statement": c.statement,
                    "required": c.required,
                    "measured": c.measured,
                }
                for c in checks
            ]
            parts += [f"### {title}", _markdown_table(rows)]
        for title, rows in self.tables.items():
            parts += [f"### {markdown(title.capitalize())}", _markdown_table(rows)]
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """The report as JSON, without the histories; NaN and infinity become null."""
        document = {
            "name": self.name,
            "source": self.source,
            "verdict": self.verdict,
            "assumptions_hold": self.assumptions_hold,
            "conclusions_hold": self.conclusions_hold,
            "assumptions": [_fields(check) for check in self.assumptions],
            "conclusions": [_fields(check) for check in self.conclusions],
            "tables": {k: [dict(row) for row in rows] for k, rows in self.tables.items()},
        }
        return json.dumps(plain(document), indent=1, allow_nan=False, ensure_ascii=False)


class TheoremCheck(Protocol):
    """A check of a theorem, as `ntk-air check` calls it; each may take more, with defaults.

    Its ``quick`` report takes seconds; ``seeds`` is how many, or which; ``checkpoint`` a folder for
    finished parts; ``progress`` counts them on a terminal.

    Example:
        >>> import ntk_air as na
        >>> check: na.theory.TheoremCheck = na.theory.check_ntk_concentration
        >>> check.__name__
        'check_ntk_concentration'
    """

    __name__: str

    def __call__(
        self,
        *,
        seeds: int | Sequence[int] = ...,
        quick: bool = False,
        checkpoint: str | os.PathLike[str] | None = None,
        progress: bool = False,
    ) -> TheoremReport:
        """The report, at the defaults of everything else."""
        ...


def _fields(check: Check) -> dict[str, Any]:
    names = ("name", "statement", "required", "measured", "holds")
    return {name: getattr(check, name) for name in names}


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool | str | int):
        return str(value)
    return f"{float(value):.4g}"


def _markdown_table(rows: Any) -> str:
    if not rows:
        return "(none)"
    columns = list(rows[0])
    cells = [columns, *([_text(row[c]) for c in columns] for row in rows)]
    lines = ["| " + " | ".join(map(markdown, line)) + " |" for line in cells]
    lines.insert(1, "|" + " --- |" * len(columns))
    return "\n".join(lines)
