"""Mutants of the package's mathematics: which there are, and a sample of them."""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ntk_air"

# What is mutated: rooms, and of kernels and distillation what computes numbers.
ROOMS = {
    "spectral": ["spectral/*.py"],
    "dynamics": ["dynamics/**/*.py"],
    "theory": ["theory/**/*.py"],
    "kernels": [
        *(f"kernels/_{name}.py" for name in ("close", "infinite", "row_products")),
        *("kernels/architectures/*.py", "kernels/finite/*.py"),
        *(f"kernels/tiling/_{name}.py" for name in ("mesh", "ring", "tiles")),
    ],
    "distillation": ["distillation/_*.py", "distillation/training/*.py"],
}
# Of cosmic-ray's operators those that make another number; what only makes another error
# (a number shifted by an array's bits) would count as caught and prove nothing.
OPERATORS = (
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("Pow_Mul", "FloorDiv_Div", "Mod_FloorDiv")),
    *(f"ReplaceBinaryOperator_{pair}" for pair in ("BitAnd_BitOr", "BitOr_BitAnd")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Eq_NotEq", "NotEq_Eq", "Is_IsNot")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_LtE", "LtE_Lt", "Gt_GtE", "GtE_Gt")),
    *(f"ReplaceComparisonOperator_{pair}" for pair in ("Lt_Gt", "Gt_Lt", "IsNot_Is")),
    *(f"ReplaceUnaryOperator_{pair}" for pair in ("USub_UAdd", "Delete_Invert", "Delete_Not")),
    *("ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr", "ReplaceOrWithAnd"),
    *("AddNot", "NumberReplacer", "ZeroIterationForLoop", "ReplaceContinueWithBreak"),
)


@dataclasses.dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        room: key of `ROOMS`.
        file: relative to the root of the checkout.
        operator: of cosmic-ray.
        occurrence: which of the places in the file that the operator can change.
        line: where.
        before: that line.
        after: the same changed.
    """

    room: str
    file: str
    operator: str
    occurrence: int
    line: int
    before: str
    after: str

    @property
    def key(self) -> str:
        """Names it as long as its file stays as it is."""
        digest = hashlib.sha256((ROOT / self.file).read_bytes()).hexdigest()[:12]
        return f"{self.file}:{digest}:{self.operator}:{self.occurrence}"


def sample(rooms: Sequence[str], per_room: int, seed: int) -> list[Mutant]:
    """As many mutants of each room, drawn without replacement; a larger sample holds a smaller."""
    found = []
    for room in rooms:
        drawn = sorted(places(room), key=lambda place: _lot(seed, place))
        different = (mutant for mutant in map(_mutant, drawn) if mutant is not None)
        found += itertools.islice(different, per_room)
    return found


def places(room: str) -> Iterator[Mutant]:
    """Where the operators apply; a few of the changes mean the same as the original."""
    from cosmic_ray.ast import ast_nodes, get_ast  # pyright: ignore[reportMissingImports]

    for path in sorted(path for glob in ROOMS[room] for path in PACKAGE.glob(glob)):
        if path.name == "__init__.py":
            continue
        source = path.read_text(encoding="utf-8")
        lines, nodes = source.splitlines(), list(ast_nodes(get_ast(source)))
        for name in OPERATORS:
            positions = (p for node in nodes for p in _operator(name).mutation_positions(node))
            for occurrence, ((line, _), _) in enumerate(positions):
                file = path.relative_to(ROOT).as_posix()
                yield Mutant(room, file, name, occurrence, line, lines[line - 1].strip(), "")


def _lot(seed: int, place: Mutant) -> str:
    text = f"{seed}:{place.file}:{place.operator}:{place.occurrence}:{place.before}"
    return hashlib.sha256(text.encode()).hexdigest()


def mutated(mutant: Mutant) -> str:
    """The text of its file with the change."""
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    text = _apply(source, mutant.operator, mutant.occurrence)
    if text is None:
        raise ValueError(f"{mutant.file} has no such place: {mutant}")
    return text


def _mutant(place: Mutant) -> Mutant | None:
    """The same with the line as changed; None if what runs does not change."""
    source = (ROOT / place.file).read_text(encoding="utf-8")
    text = _apply(source, place.operator, place.occurrence)
    if text is None or _meaning(text) in (None, _meaning(source)):
        return None
    pairs = zip(source.splitlines(), text.splitlines(), strict=False)
    line, (old, new) = next((i, pair) for i, pair in enumerate(pairs) if pair[0] != pair[1])
    return dataclasses.replace(place, line=line + 1, before=old.strip(), after=new.strip())


@functools.cache
def _operator(name: str) -> Any:
    from cosmic_ray.plugins import get_operator  # pyright: ignore[reportMissingImports]

    return get_operator(f"core/{name}")()


def _apply(source: str, operator: str, occurrence: int) -> str | None:
    from cosmic_ray.mutating import mutate_code  # pyright: ignore[reportMissingImports]

    return mutate_code(source, _operator(operator), occurrence)


def _meaning(source: str) -> str | None:
    """What of it runs, but for the wording of errors; None if it is no Python."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    return ast.dump(_Bare().visit(tree))


class _Bare(ast.NodeTransformer):
    """Takes away annotations, which nothing evaluates, and what an error or a warning says."""

    def visit_arg(self, node: ast.arg) -> Any:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        node.annotation = ast.Constant(0)
        return self.generic_visit(node)

    def visit_keyword(self, node: ast.keyword) -> Any:
        # zip(strict=) only says when an error comes.
        return None if node.arg == "strict" else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> Any:
        return ast.Raise()

    def visit_Call(self, node: ast.Call) -> Any:
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in ("warn", "TypeVar", "NewType", "Protocol"):
            return ast.Constant(0)
        return self.generic_visit(node)
