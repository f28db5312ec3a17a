"""Labels as people have them (words, truth values, 1..C, columns) to classes 0..C-1 and names."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._checks import check_labels, check_size, real_array

_SHOWN = 5


@dataclass(frozen=True)
class Numbered:
    """Labels by name as int32 (n,) in 0..C-1, and the C names; no names means numbers."""

    labels: dict[str, np.ndarray]
    names: tuple[str, ...] | None


def number_labels(
    given: Mapping[str, Any],
    *,
    further: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    num_classes: int | None = None,
    any_integers: bool = False,
) -> Numbered:
    """Classes of labels of one kind, numbered together.

    Words are numbered in the order of ``class_names``, or else sorted, numbers by size; truth
    values are False and True. Integers from 0 up are what they are; those from 1 up, and -1 beside
    1, are numbered in order, with a warning, unless it was said how many classes there are.

    Args:
        given: name for messages to labels (n,) or (n, 1): integers, words or truth values.
        further: likewise, labels where -1, or an empty word, stands for none.
        class_names: the names of the classes in order; None takes what is found.
        num_classes: number of classes; None takes what is found.
        any_integers: whether integers are numbered in order whatever they are.

    Raises:
        ValueError: for labels that are missing, several to a point, fractions, of different kinds,
            or not among ``class_names``.
    """
    check_names(class_names, num_classes)
    plain = {name: plain_labels(name, values) for name, values in given.items()}
    more = {name: plain_labels(name, values) for name, values in (further or {}).items()}
    # An empty set of labels is of no kind.
    kinds = {name: x.dtype.kind for name, x in plain.items() if x.size}
    if len(set(map(_family, kinds.values()))) > 1:
        words = ", ".join(f"{name} holds {_family(kind)}" for name, kind in kinds.items())
        raise ValueError(f"{words}; expected labels of one kind.")
    kind = next(iter(kinds.values()), "i")
    if kind == "U":
        values = class_names or in_order({str(x) for one in plain.values() for x in one})
        names = tuple(map(str, values))
    elif kind == "b":
        values, names = (False, True), tuple(map(str, class_names or ("False", "True")))
        if len(names) != 2:
            raise ValueError(f"class_names has {len(names)} names and the labels are truth values.")
    else:
        values = None
        if class_names is None and num_classes is None:
            values = _values(plain, any_integers)
        names = tuple(map(str, values if values is not None else class_names or ()))
    if values is None:
        return Numbered({**plain, **more}, names or None)
    numbers = {value: i for i, value in enumerate(values)}
    labels = {name: _looked_up(name, x, numbers, none=False) for name, x in plain.items()}
    labels |= {name: _looked_up(name, x, numbers, none=True) for name, x in more.items()}
    if num_classes is not None and num_classes < len(names):
        raise ValueError(f"num_classes is {num_classes} and the labels name {_listed(names)}.")
    return Numbered(labels, names)


def check_names(class_names: Sequence[str] | None, num_classes: int | None) -> None:
    """Raises ValueError if names are named twice, or are not as many as there are classes."""
    if class_names is None:
        return
    if num_classes is not None and len(class_names) != num_classes:
        raise ValueError(
            f"class_names has {len(class_names)} names and num_classes is {num_classes}."
        )
    if len(set(map(str, class_names))) != len(class_names):
        raise ValueError(f"class_names holds a name twice: {', '.join(map(str, class_names))}.")


def class_count(
    num_classes: int | None, names: Sequence[str] | None, labels: Mapping[str, np.ndarray]
) -> int:
    """How many classes there are: as named, as said, or up to the largest label."""
    if names is not None:
        num_classes = len(names) if num_classes is None else num_classes
    elif num_classes is None:
        largest = max(check_labels(*one).max(initial=0) for one in labels.items())
        num_classes = max(int(largest) + 1, 2)
    return check_size("num_classes", num_classes, 2)


def plain_labels(name: str, value: Any) -> np.ndarray:
    """Labels (n,) as an array of integers, truth values or words; see `number_labels`."""
    if np.ma.is_masked(value):
        real_array(name, value)  # raises
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name} holds lists of different lengths, as of several labels to a point; expected "
            "one label for each point."
        ) from error
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(
            f"{name} has shape {array.shape}, expected one label for each point (n,); one-hot "
            f"labels (n, C) become classes by {name}.argmax(1)."
        )
    if array.dtype.kind == "O":
        array = _of_one_type(name, array)
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8", "replace")
    if array.dtype.kind == "T":  # NumPy's strings of any length
        array = np.array([str(x) for x in array])
    if not array.size:  # of no kind, whatever its dtype
        return np.zeros(0, np.int32)
    if array.dtype.kind == "U":
        if (empty := np.flatnonzero(np.char.strip(array) == "")).size:
            raise ValueError(
                f"{name} has {len(empty)} empty label(s), the first at {empty[0]}; drop those "
                "points or fill them in."
            )
        return array
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(_missing(name, np.isnan(array)))
    if array.dtype.kind not in "biu":
        check_labels(name, array)  # raises
    return array


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted, those that are numbers by size and before the others."""
    return sorted(names, key=lambda x: (0, int(x), x) if _is_decimal(x) else (1, 0, x))


def _is_decimal(name: str) -> bool:
    return name.isdecimal() and name.isascii()


def _of_one_type(name: str, array: np.ndarray) -> np.ndarray:
    """An array of objects as one of words, integers or truth values."""
    missing = np.array([x is None or x != x or str(x) == "<NA>" for x in array], bool)
    if missing.any():
        raise ValueError(_missing(name, missing))
    kinds = {type(x) for x in array}
    if all(issubclass(kind, str) for kind in kinds):
        return array.astype(str)
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return array.astype(bool)
    if all(issubclass(k, int | np.integer) and not issubclass(k, bool) for k in kinds):
        return array.astype(np.int64)
    if any(issubclass(kind, list | tuple | set | np.ndarray | dict) for kind in kinds):
        raise ValueError(
            f"{name} holds several labels to a point, such as {_first_of(array)}; expected one."
        )
    named = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ValueError(f"{name} holds objects of type {named}, expected integers or words.")


def _first_of(array: np.ndarray) -> str:
    text = repr(next(x for x in array if not isinstance(x, str | int | np.integer)))
    return text if len(text) <= 40 else f"{text[:37]}..."


def _missing(name: str, missing: np.ndarray) -> str:
    return (
        f"{name} has {missing.sum()} missing label(s), the first at {missing.argmax()}; drop those "
        "points or fill them in."
    )


def _values(plain: Mapping[str, np.ndarray], any_integers: bool) -> list[int] | None:
    """The integers in order where their sizes are no classes; None where they are."""
    distinct = sorted(set().union(*(np.unique(x).tolist() for x in plain.values())))
    least = distinct[0] if distinct else 0
    if distinct == list(range(len(distinct))):
        return None
    if least == 0 and not any_integers:
        if distinct[-1] + 1 > 2 * max(2, len(distinct)):
            warnings.warn(
                f"{next(iter(plain))} holds {len(distinct)} different labels up to {distinct[-1]}: "
                "most classes have no points; pass num_classes= if that is meant, or number them.",
                stacklevel=5,
            )
        return None
    if not any_integers and (len(distinct) < 2 or (least < 0 and distinct != [-1, 1])):
        return None
    said = _listed([f"{value} -> {i}" for i, value in enumerate(distinct)])
    warnings.warn(
        f"{next(iter(plain))} holds the classes {_listed(distinct)}; they are numbered {said}, and "
        "class_names keeps what they were.",
        stacklevel=5,
    )
    return distinct


def _listed(values: Sequence[Any]) -> str:
    if len(values) <= 2 * _SHOWN:
        return ", ".join(map(str, values))
    first, last = values[:_SHOWN], values[-_SHOWN:]
    return f"{', '.join(map(str, first))}, ..., {', '.join(map(str, last))}"


def _looked_up(
    name: str, array: np.ndarray, numbers: Mapping[Any, int], *, none: bool
) -> np.ndarray:
    """The number of each label; -1 stays where it may stand for none."""
    distinct, inverse = np.unique(array, return_inverse=True)
    known = [numbers.get(x, -1 if none and x in (-1, "-1") else None) for x in distinct.tolist()]
    if None in known:
        unknown = [x for x, number in zip(distinct.tolist(), known, strict=True) if number is None]
        raise ValueError(
            f"{name} holds {_listed([repr(x) for x in unknown])}, expected one of the classes "
            f"{_listed(list(numbers))}."
        )
    return np.array(known, np.int32)[inverse] if known else np.zeros(0, np.int32)


def _family(kind: str) -> str:
    return {"U": "words", "b": "truth values"}.get(kind, "integers")
