"""Progress bars: on a terminal, and only where asked for."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")


def progress_bar(
    total: int, unit: str, shown: bool, *, description: str | None = None, leave: bool = False
) -> Any:
    """A bar of tqdm to `update` and `close`, which draws on a terminal only; None if not shown.

    Args:
        total: how many of ``unit`` there are.
        unit: what is counted.
        shown: whether it was asked for.
        description: what stands before the bar.
        leave: whether it stays when it is full.
    """
    if not shown:
        return None
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, desc=description, disable=None, leave=leave)


def with_progress(
    items: Sequence[_T], unit: str, shown: bool, *, description: str | None = None
) -> Iterator[_T]:
    """The items, with a bar if there are several and it was asked for."""
    bar = progress_bar(len(items), unit, shown and len(items) > 1, description=description)
    try:
        for item in items:
            yield item
            if bar is not None:
                bar.update()
    finally:
        if bar is not None:
            bar.close()


def announce(text: str, shown: bool) -> None:
    """A line before long work, where a bar would be drawn: on a terminal, if it was asked for."""
    if shown and sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
