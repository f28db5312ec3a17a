"""Random damage to bytes and to JSON trees."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np

_DEEP, _DEPTH = "nested without end", 5000
_NUMBERS = (0, 1, -1, 2, 7, 255, 256, 2**31 - 1, 2**31, -(2**63), 2**64, 10**30)
_VALUES: tuple[Any, ...] = (
    *_NUMBERS, 0.5, 1e308, float("nan"), float("inf"), True, False, None, "", "x", "float32", "|O",
    "../../x", "\x00", "\ud800", "9" * 400, "result", [], [[]], {}, {"float": None},
    {"float": "1e999"}, {"float": "x"}, {"list": 1}, {"list": [1]}, {"tuple": {}}, {"dict": []},
    {"array": 1, "dtype": 2}, {"array": "result.a", "dtype": "bfloat16"},
    {"result": "theory.Check", "fields": {}}, {"result": "os.system", "fields": {}},
    {"result": 1, "fields": 1}, {"result": "spectral.", "fields": {}},
)  # fmt: skip


def damaged_bytes(rng: np.random.Generator, data: bytes) -> bytes:
    """One to four changes: bits, runs, cuts, insertions, copies, numbers written over."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        size = len(out)
        at = int(rng.integers(0, size + 1))
        run = int(min(size - at, rng.choice([1, 2, 4, 16, 200])))
        match int(rng.integers(0, 8)):
            case 0 if at < size:
                out[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                out[at : at + run] = rng.bytes(run)
            case 2:
                del out[at:]
            case 3:
                out[at:at] = rng.bytes(int(rng.choice([1, 3, 64])))
            case 4:
                out[at : at + run] = bytes(run)
            case 5:
                start = int(rng.integers(0, size + 1))
                out[at : at + run] = out[start : start + run]
            case 6:
                out[at : at + 4] = b"\xff\xff\xff\x7f"[: len(out[at : at + 4])]
            case _:
                del out[at : at + run]
    return bytes(out)


def damaged_tree(rng: np.random.Generator, tree: Any) -> Any:
    """One to three nodes replaced, removed, renamed, repeated, wrapped or exchanged."""
    tree = copy.deepcopy({"": tree})
    for _ in range(rng.integers(1, 4)):
        holder, key = _place(rng, tree)
        match int(rng.integers(0, 6)):
            case 0 | 1:
                holder[key] = copy.deepcopy(_VALUES[int(rng.integers(0, len(_VALUES)))])
            case 2 if holder is not tree:
                del holder[key]
            case 3:
                other, name = _place(rng, tree)
                holder[key] = copy.deepcopy(other[name])
            case 4:
                node = holder[key]
                for _ in range(int(rng.choice([1, 2, 30]))):
                    node = {"list": [node]}
                holder[key] = node if rng.random() < 0.7 else _DEEP
            case _ if isinstance(holder, dict) and holder is not tree:
                holder[str(_VALUES[int(rng.integers(0, len(_VALUES)))])] = holder.pop(key)
            case _:
                holder[key] = [holder[key]]
    return tree[""]


def as_json(tree: Any) -> str:
    """The text of a tree; what is nested deeper than Python's own json can write is put in."""
    return json.dumps(tree).replace(f'"{_DEEP}"', '{"list":[' * _DEPTH + "1" + "]}" * _DEPTH)


def _place(rng: np.random.Generator, tree: Any) -> tuple[Any, Any]:
    """A node, as what holds it and under which key: by going down at random."""
    holder, key = tree, ""
    while isinstance(holder[key], dict | list) and len(holder[key]) and rng.random() < 0.85:
        holder = holder[key]
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = keys[int(rng.integers(0, len(keys)))]
    return holder, key
