"""The precision table: its rows hold on this machine, are not loose, and cover every function."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import numpy as np
import pytest
from precision_table import MARGIN, REPORT, allowed

import ntk_air as na
from benchmarks import _precision_exact, precision
from benchmarks._precision_cases import SEEDS, logarithmic, near, norm, told

ROOT = Path(__file__).resolve().parents[1]
# The rest takes many seconds to compile, and has tests of its own.
_PARTS = ("spectra", "measures", "outputs", "curves")
_ROUNDING = {"float32": 1.2e-7, "float64": 2.3e-16}


def _check(found, kind):
    """Every row within its allowance, and none a thousand times below it; how many compared."""
    recorded = {json.dumps([row["quantity"], row["case"]]): row for row in REPORT[kind]}
    compared = 0
    for row in precision.worst(found):
        reference = recorded[json.dumps([row["quantity"], row["case"]])]
        if row["error"] is None or reference["error"] is None:
            assert row["error"] == reference["error"], row
            continue
        # A number right to its last bit need not stay so on another machine.
        allowance = MARGIN * max(reference["error"], _ROUNDING[kind])
        assert row["error"] <= allowance, (row, reference)
        if row["error"] > _ROUNDING[kind]:
            assert row["error"] > allowance / 1000, (row, reference)
            compared += 1
        assert row["told"] == pytest.approx(reference["told"], abs=0.1), (row, reference)
        # Where all may be wrong, by how many times is rounding, and another on each machine.
        said = min(row["warned"] or 0, 1), min(reference["warned"] or 0, 1)
        assert said[0] == pytest.approx(said[1], rel=0.5, abs=0.02), (row, reference)
    return compared


def test_float32_errs_as_recorded():
    rows = [row for seed in SEEDS for row in precision.single_rows((50,), seed, _PARTS)]
    assert _check(rows, "float32") > 60


def test_float64_errs_as_recorded_against_sixty_digits():
    assert _check(_precision_exact.kernels(0, ("relu",)), "float64") > 6
    assert _check(_precision_exact.closed_forms(1e5, 0), "float64") > 20


def test_the_table_in_the_docs_is_that_of_the_file():
    page = (ROOT / "docs" / "precision.md").read_text(encoding="utf-8")
    assert precision.markdown_table(REPORT) in page
    assert precision.with_table(page, REPORT) == page
    with pytest.raises(ValueError, match="does not hold <!-- begin table -->"):
        precision.with_table("nothing", REPORT)


def test_every_public_function_has_a_row_or_a_reason():
    public = set()
    for name in ("kernels", "spectral", "dynamics", "distillation", "theory"):
        room = getattr(na, name)
        for member in room.__all__:
            value = getattr(room, member)
            # Checks of theorems report statistics; results are what the functions give.
            if inspect.isclass(value) or not callable(value) or member.startswith("check_"):
                continue
            public.add(f"{name}.{member}")
    measured = {row["quantity"].partition(":")[0] for row in REPORT["float32"]}
    excused = {name for names in precision.NO_ROW.values() for name in names}
    assert public - measured - excused == set()
    assert excused & measured == set()
    assert excused <= public
    assert measured - public <= {"kernels.NTKOperator"}


def test_rows_of_both_kinds_span_sizes_depths_and_conditions():
    cases = [row["case"] for row in REPORT["float32"]]
    assert {case["points"] for case in cases} == {20, 50, 200, 800}
    assert {case.get("depth") for case in cases} == {None, 1, 4, 16}
    assert {case.get("condition") for case in cases} == {None, 1e2, 1e5, 1e9}
    assert REPORT["seeds"] == 3


def test_a_value_not_told_is_no_error_and_is_counted():
    found, exact = np.array([1.0, np.nan, 3.0]), np.array([1.0, 2.0, 3.3])
    assert norm(found, exact) == pytest.approx(0.3 / np.hypot(1.0, 3.3))
    assert told(found, exact) == pytest.approx(2 / 3)
    assert np.isnan(norm(np.full(3, np.nan), exact))
    assert logarithmic([0.0, np.inf, 2.0], [0.0, np.inf, 1.0]) == pytest.approx(np.log(2))
    assert logarithmic([0.0], [1.0]) == np.inf
    with pytest.raises(ValueError, match="shapes"):
        norm(np.ones(2), np.ones((2, 1)))


def test_allowances_are_four_times_what_was_recorded():
    case = {"filter": "flow, λ_1 t = 10", "points": 50}
    rows = [
        row["error"]
        for row in REPORT["float32"]
        if row["quantity"] == "dynamics.fit" and case.items() <= row["case"].items()
    ]
    assert len(rows) == 3
    assert allowed("dynamics.fit", **case) == 4 * max(rows)
    with pytest.raises(KeyError, match="no row"):
        allowed("dynamics.fit", points=51)


def test_a_deep_ntk_of_a_point_with_itself_is_right_to_float64():
    """Its covariance and its variance are one number: no angle is left between them."""
    x = near(6, 10, 0)
    found = na.kernels.infinite_diagonal(na.kernels.fully_connected(16), x, precision="float64")
    _, exact = _precision_exact.recursion(x, 16, "relu")
    np.testing.assert_allclose(found, np.diag(exact), rtol=1e-14)


def test_degrees_of_freedom_of_rounding_are_warned_of():
    values = np.array([1.0, 0.5, 1e-9, 1e-10])
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    kernel = (basis * values) @ basis.T
    kernel = (kernel + kernel.T) / 2
    es = na.spectral.eigendecompose(kernel.astype(np.float32))
    with pytest.warns(UserWarning, match=r"degrees of freedom .* beyond the 2 whose"):
        na.dynamics.degrees_of_freedom(es, na.dynamics.ridge(1e-7))
    exact = na.spectral.eigendecompose(kernel, precision="float64")
    for known, strength in ((es, 1e-2), (exact, 1e-7)):
        found = na.dynamics.degrees_of_freedom(known, na.dynamics.ridge(strength))
        np.testing.assert_allclose(found, np.sum(values / (values + strength)), rtol=1e-4)
