"""The house stands as docs/structure.md says: arrows between rooms, sizes, examples."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

import ntk_air

PACKAGE = Path(ntk_air.__file__).parent
ROOT = PACKAGE.parent
# Which rooms each may call; everybody may use the files at the package's root.
CALLS = {
    "_runtime": set(),
    "_jaxpr": set(),
    "_neural_tangents": {"_jaxpr"},
    "datasets": set(),
    "noise": set(),
    "networks": set(),
    "kernels": {"_neural_tangents", "_jaxpr"},
    "spectral": set(),
    "dynamics": {"spectral"},
    "distillation": set(),
    "theory": {"datasets", "noise", "kernels", "spectral", "dynamics", "distillation"},
}
CALLS["analysis"] = {*CALLS, "analysis"} - {"_runtime", "_jaxpr", "_neural_tangents", "analysis"}
CALLS["plots"] = {"datasets", "spectral", "dynamics", "distillation", "theory", "analysis"}
CALLS["reports"] = {*CALLS["plots"], "plots"}
CALLS["cli"] = {*CALLS, "reports", "plots"} - {"_jaxpr", "_neural_tangents"}
# A room's folders, those below first: each imports from those before it and from the room's files.
LAYERS = {
    "kernels": ["architectures", "store", "tiling", "finite"],
    "distillation": ["training", "baselines"],
    "theory": ["reporting", "model", "theorems"],
}
LONGEST_BODY, LONGEST_FILE, MOST_FILES = 60, 330, 22


def sources():
    return sorted(PACKAGE.rglob("*.py"))


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(path, root=ROOT):
    """(module, name) of each import of this package, both as tuples from the package down."""
    own = path.relative_to(root).with_suffix("").parts
    package = own[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, *(node.module.split(".") if node.module else ()))
            if module[:1] == ("ntk_air",):
                yield from ((module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (tuple(alias.name.split(".")), "")
                for alias in node.names
                if alias.name.split(".")[0] == "ntk_air"
            )


def room_of(module):
    """The room of ('ntk_air', 'kernels', ...); None for a file at the root."""
    return module[1] if len(module) > 1 and (PACKAGE / module[1]).is_dir() else None


def called(module, name):
    """The room that an import reaches: of ``from ntk_air import kernels`` too."""
    return room_of((*module, name)) if len(module) == 1 else room_of(module)


def arrows():
    found = defaultdict(set)
    for path in sources():
        room = room_of(module_of(path))
        for module, name in imports(path):
            target = called(module, name)
            if room and target and target != room:
                found[room].add(target)
    return found


def test_every_room_is_known_and_calls_only_those_below():
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert rooms == set(CALLS)
    found = arrows()
    assert {room: found[room] - CALLS[room] for room in rooms if found[room] - CALLS[room]} == {}
    assert sum(map(len, found.values())) > 20


def test_the_table_of_the_page_is_that_of_the_arrows():
    page = (ROOT / "docs" / "structure.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", page, re.M)
    assert [room for room, _, _ in rows] == list(dict.fromkeys(room for room, _, _ in rows))
    assert {room for room, _, _ in rows} == set(CALLS)
    public = {room for room in CALLS if not room.startswith("_")}
    for index, (room, holds, calls) in enumerate(rows):
        said = set(re.findall(r"`(\w+)`", calls))
        if calls.startswith("all"):
            above = {name for name, _, _ in rows[:index]}
            assert above == CALLS[room] & public, room
        elif calls.startswith("as `plots`"):
            assert CALLS[room] == CALLS["plots"] | {"plots"}
        else:
            assert said == CALLS[room], room
        folders = {path.name for path in (PACKAGE / room).iterdir() if any(path.glob("*.py"))}
        assert set(re.findall(r"`(\w+)/`", holds)) == folders, room


def test_the_rules_say_the_sizes():
    page = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    assert f"has at most {LONGEST_BODY} lines, a file at most {LONGEST_FILE}, a folder" in page
    assert f"a folder at most {MOST_FILES} files" in page


def test_no_circle():
    below = {room: set(calls) for room, calls in CALLS.items()}
    while below:
        free = [room for room, calls in below.items() if not calls & set(below)]
        assert free, f"a circle among {sorted(below)}"
        for room in free:
            del below[room]


@pytest.mark.parametrize("room", LAYERS)
def test_folders_of_a_room_are_layers(room):
    order = LAYERS[room]
    for path in sorted((PACKAGE / room).rglob("*.py")):
        own = module_of(path)
        folder = own[2] if len(own) > 2 and own[2] in order else None
        if folder is None:
            continue
        for module, name in imports(path):
            target = next((m for m in (*module, name)[2:3] if m in order), None)
            if module[:2] == ("ntk_air", room) and target not in (None, folder):
                assert order.index(target) < order.index(folder), f"{path}: {module} {name}"


def test_no_room_reads_anothers_private_names():
    wrong = []
    for path in sources():
        room = room_of(module_of(path))
        for module, name in imports(path):
            target = called(module, name)
            if target in (None, room):
                continue
            private = [part for part in (*module[2:], name) if part.startswith("_")]
            if private and not (len(module) == 1 and name == target):
                wrong.append(f"{path.relative_to(ROOT)}: {'.'.join(module)} {name}")
    assert "\n".join(wrong) == ""


def test_benchmarks_use_public_names():
    wrong = []
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        for module, name in imports(path):
            if any(part.startswith("_") for part in (*module, name)):
                wrong.append(f"{path.name}: {'.'.join(module)} {name}")
    assert "\n".join(wrong) == ""


def bodies(path):
    """Name and lines of the body of each function, its docstring not counted."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            yield node.name, body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_sizes():
    paths = sources()
    long = [(p.name, n, k) for p in paths for n, k in bodies(p) if k > LONGEST_BODY]
    assert long == []
    lines = {p.name: len(p.read_text(encoding="utf-8").splitlines()) for p in paths}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}
    folders = {p.parent for p in paths}
    crowded = {d.name: len(list(d.glob("*.py"))) for d in folders}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}
