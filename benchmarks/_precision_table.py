"""The precision table as Markdown, and which public names have no row in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ntk_air.kernels import ARCHITECTURES

_MADE_OF_IT = "an architecture; its kernels are infinite_ntk's"
_LOOP = "the loop of self_distill"
_DOUBLE = "float64 in NumPy, or counts, whatever JAX's default"
_PLAIN = "no computation in floating point, or one operation"

# Public names without a row, each with the reason.
NO_ROW: dict[str, tuple[str, ...]] = {
    _MADE_OF_IT: (
        *(f"kernels.{name}" for name in ARCHITECTURES), "kernels.as_architecture",
        "kernels.functional", "kernels.architecture", "kernels.architecture_names",
        "kernels.find_architecture",
    ),
    "moves numbers and computes none": (
        "kernels.open_kernel", "kernels.gather",
    ),
    "counts operations or tiles": (
        "kernels.cheapest_implementation", "kernels.implementation_costs", "kernels.count_tiles",
    ),
    "a bound on errors, or an error, itself": (
        "spectral.residual_norms", "dynamics.remainder_bound",
    ),
    "stopping_time": ("dynamics.stopping_times",),
    "retention_of": ("spectral.resolve_retention",),
    "lists of filters that have rows": ("dynamics.distillation_schemes",),
    _LOOP: ("distillation.teacher_student", "distillation.train", "distillation.evaluate"),
    _PLAIN: (
        "dynamics.to_neural_tangents_time", "dynamics.from_neural_tangents_time",
        "distillation.as_schedule", "distillation.tabulate", "distillation.method",
        "distillation.switch", "distillation.agreement", "distillation.constant",
        "distillation.cosine", "distillation.exponential", "distillation.inverse_time",
        "distillation.linear", "distillation.hard", "distillation.identity",
        "distillation.nearest", "distillation.posterior", "distillation.sign",
        "distillation.softmax", "distillation.tanh",
        "theory.two_layer_init",
    ),
    _DOUBLE: (
        "theory.convergence_bound", "theory.measure_clusterability", "theory.measure_clusters",
        "theory.cluster_kernel", "theory.power_law",
    ),
}  # fmt: skip


BEGIN, END = "<!-- begin table -->", "<!-- end table -->"


def with_table(page: str, report: Mapping[str, Any]) -> str:
    """A page with the table between its two marks.

    Raises:
        ValueError: if it does not hold both marks.
    """
    before, _, rest = page.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the page does not hold {BEGIN} and {END} after it.")
    return f"{before}{BEGIN}\n{markdown_table(report)}\n{END}{after}"


def markdown_table(report: Mapping[str, Any]) -> str:
    """Every row, kernels and networks by depth, the rest by condition number."""
    blocks = []
    for title, rows in (
        ("float32 against float64", report["float32"]),
        ("float64 against 60 digits", report["float64"]),
    ):
        for column, heading in (("depth", "depth"), ("condition", "λ_1/λ_n =")):
            chosen = [one for one in rows if column in one["case"]]
            if chosen:
                blocks.append(_table(title, chosen, column, heading))
    return "\n\n".join(blocks)


def _table(title: str, rows: Iterable[Mapping[str, Any]], column: str, heading: str) -> str:
    rows = list(rows)
    values = sorted({one["case"][column] for one in rows})
    lines: dict[tuple[str, str], dict[float, list[str]]] = {}
    sizes: dict[tuple[str, str], list[int]] = {}
    for one in rows:
        line = _label(one, column), one["relative_to"]
        cells = lines.setdefault(line, {})
        points = one["case"]["points"]
        if points not in sizes.setdefault(line, []):
            sizes[line].append(points)
        cells.setdefault(one["case"][column], []).append(_cell(one))
    head = [f"{heading} {value:g}" for value in values]
    found = [
        f"**{title}**",
        "",
        f"| quantity | error | points | {' | '.join(head)} |",
        "|---" * (len(head) + 3) + "|",
    ]
    for (label, relative_to), cells in lines.items():
        shown = [" · ".join(cells.get(value, ["—"])) for value in values]
        escaped = relative_to.replace("|", "\\|")
        points = " · ".join(map(str, sizes[label, relative_to]))
        found.append(f"| {label} | {escaped} | {points} | {' | '.join(shown)} |")
    return "\n".join(found)


def _label(one: Mapping[str, Any], column: str) -> str:
    case = {key: value for key, value in one["case"].items() if key not in (column, "points")}
    room, _, rest = one["quantity"].partition(".")
    name, _, part = rest.partition(":")
    return ", ".join([f"`{room}.{name}`{part}", *(str(value) for value in case.values())])


def _cell(one: Mapping[str, Any]) -> str:
    if one["error"] is None:
        return "not told"
    text = "0" if one["error"] == 0 else f"{one['error']:.0e}".replace("e-0", "e-")
    text = text.replace("e+00", "")
    if one["told"] < 1:
        text += f" of {one['told']:.0%}"
    return f"{text} ({one['warned']:.0%})" if one["warned"] else text
