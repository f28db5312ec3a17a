"""Words that came from a file or a user, as the place they are written to takes them."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

# What Markdown would read as a mark: a backslash first, since it takes the meaning of what follows.
_MARKS = re.compile(r"([\\`|\[\]])")
# A tag, a comment or an address begins so; a comparison does not.
_TAG = re.compile(r"<(?![=\s])")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def one_line(text: str) -> str:
    """Text on one line, without what a terminal would obey: names in files may hold anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


def markdown(text: str) -> str:
    """Text as words of Markdown: no tags, links or code, and no end of a table's cell."""
    words = _TAG.sub("&lt;", one_line(text).replace("&", "&amp;"))
    return _MARKS.sub(r"\\\1", words)


def spreadsheet(text: str) -> str:
    """Text of a cell that no spreadsheet runs as a formula: those have an apostrophe in front.

    So has what would be read as such text with its apostrophe, so that `from_spreadsheet` takes
    back one and no more.
    """
    return f"'{text}" if _is_formula(text) else text


def from_spreadsheet(text: str) -> str:
    """What `spreadsheet` made a cell of."""
    return text[1:] if text.startswith("'") and _is_formula(text) else text


def plain(value: Any) -> Any:
    """Python numbers and strings only, as JSON knows them; NaN and infinity become None."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, str | bool | int) or value is None:
        return value
    value = np.asarray(value).item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_formula(text: str) -> bool:
    bare = text.lstrip("'")
    return bare.startswith(_FORMULA) and not is_number(bare)


def is_number(text: str) -> bool:
    """Whether a text is read as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True
