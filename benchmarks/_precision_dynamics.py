"""Errors of closed-form training in float32: rows of the table of `benchmarks.precision`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

import ntk_air as na
from benchmarks._precision_cases import (
    EACH,
    LARGEST,
    LOG,
    NORM,
    SHARE,
    Problem,
    Rows,
    in_double,
    or_nan,
    quietly,
    row,
)

_NUM_TIMES = 40
_Filter = Callable[[Any], Any]


def filters(condition: float) -> dict[str, _Filter]:
    """Training stopped early, in the middle of the spectrum and late, by λ_1 t; and ridge."""
    middle = condition**0.5
    return {
        "flow, λ_1 t = 10": na.dynamics.gradient_flow(10.0),
        "flow, λ_1 t = √condition": na.dynamics.gradient_flow(middle),
        "flow, λ_1 t = condition": na.dynamics.gradient_flow(condition),
        "ridge, λ_1/γ = √condition": na.dynamics.ridge(1 / middle),
    }


def outputs(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """Fitted and predicted outputs, their risk and their degrees of freedom."""
    room = na.dynamics
    y, seen, cross = given.clean, given.observed, given.cross
    for name, filter_ in filters(given.condition).items():
        made = {"filter": name, **case}
        exact = room.fit(double, filter_, seen)
        found, said = quietly(lambda f=filter_: room.fit(single, f, seen))
        yield row("dynamics.fit", made, NORM, found, exact, said)
        exact = in_double(lambda f=filter_: room.predict(double, f, seen, cross))
        found, said = quietly(lambda f=filter_: room.predict(single, f, seen, cross))
        yield row("dynamics.predict", made, NORM, found, exact, said)
        exact = room.risk(double, filter_, y, seen)
        found, said = quietly(lambda f=filter_: room.risk(single, f, y, seen))
        for field in ("total", "clean_error"):
            pair = getattr(found, field), getattr(exact, field)
            yield row(f"dynamics.risk: {field}", made, EACH, pair[0], pair[1], said)
        pair = [room.filter_values(es, [filter_]) for es in (single, double)]
        yield row("dynamics.filter_values", made, SHARE, pair[0], pair[1])
        exact = room.degrees_of_freedom(double, filter_)
        found, said = quietly(lambda f=filter_: room.degrees_of_freedom(single, f))
        yield row("dynamics.degrees_of_freedom", made, EACH, found, exact, said)


def curves(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """Retrieval predicted and measured."""
    room = na.dynamics
    y, seen = given.clean, given.observed
    times = np.geomspace(0.01, 10 * given.condition, _NUM_TIMES)
    exact = room.retrieval(double, y, seen, times)
    found, said = quietly(lambda: room.retrieval(single, y, seen, times))
    for field in ("signal", "noise", "draw_signal", "draw_noise"):
        pair = getattr(found, field), getattr(exact, field)
        yield row(f"dynamics.retrieval: {field}", case, LARGEST, pair[0], pair[1], said)
    flows = [room.gradient_flow(float(time)) for time in (0.0, *times)]
    trained = np.asarray(room.fit(double, flows, seen))
    several = np.concatenate([[0.0], times])
    exact = in_double(lambda: room.measured_retrieval(trained, y, seen, several))
    trained32, y32, seen32 = (array.astype(np.float32) for array in (trained, y, seen))
    found = room.measured_retrieval(trained32, y32, seen32, several)
    for field in ("signal", "noise"):
        pair = getattr(found, field), getattr(exact, field)
        yield row(f"dynamics.measured_retrieval: {field}", case, LARGEST, pair[0], pair[1])


def left_out(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """Outputs of training without each point."""
    room, seen = na.dynamics, given.observed
    for name, filter_ in filters(given.condition).items():
        exact, _ = quietly(lambda f=filter_: room.leave_one_out(double, f, seen))
        found, _ = quietly(lambda f=filter_: room.leave_one_out(single, f, seen))
        yield row("dynamics.leave_one_out", {"filter": name, **case}, LARGEST, found, exact)
    times = np.geomspace(1.0, given.condition, 5)
    exact, _ = quietly(lambda: room.leave_one_out_flow(double, times, seen))
    found, _ = quietly(lambda: room.leave_one_out_flow(single, times, seen))
    yield row("dynamics.leave_one_out_flow", case, LARGEST, found, exact)


def stopping(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """Scores and times of the rules, on one grid."""
    seen = given.observed
    times = np.geomspace(0.01, given.condition, _NUM_TIMES)
    for rule in na.dynamics.RULES:
        exact, _ = quietly(
            lambda rule=rule: na.dynamics.stopping_time(double, seen, rule=rule, times=times)
        )
        found, _ = quietly(
            lambda rule=rule: na.dynamics.stopping_time(single, seen, rule=rule, times=times)
        )
        made = {"rule": rule, **case}
        relative_to = SHARE if rule == "leave_one_out_error" else LARGEST
        score = found.score, exact.score
        yield row("dynamics.stopping_time: score", made, relative_to, score[0], score[1])
        yield row("dynamics.stopping_time: time", made, LOG, found.time, exact.time)
    ends = [na.dynamics.time_grid(es)[np.array([0, -1])] for es in (single, double)]
    yield row("dynamics.time_grid: first", case, LOG, ends[0][0], ends[1][0])


def without_clean_labels(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """The noise's estimate, and labels refined."""
    room, seen = na.dynamics, given.observed
    pair = [quietly(lambda es=es: room.estimate_noise(es, seen))[0] for es in (single, double)]
    for field in ("variance", "rate", "standard_error", "lower"):
        ends = [getattr(one, field) for one in pair]
        yield row(f"dynamics.estimate_noise: {field}", case, LARGEST, ends[0], ends[1])
    pair = [quietly(lambda es=es: room.refine_labels(es, seen))[0] for es in (single, double)]
    for field in ("probabilities", "score", "noise_rate"):
        ends = [getattr(one, field) for one in pair]
        yield row(f"dynamics.refine_labels: {field}", case, SHARE, ends[0], ends[1])


def distillation(given: Problem, single: Any, double: Any, case: Mapping[str, Any]) -> Rows:
    """Distillation schemes against early stopping."""
    room, seen = na.dynamics, given.observed
    middle = given.condition**0.5
    for name, filter_ in (
        ("ridge", room.ridge(1 / middle)),
        ("teacher and student stopped", room.teacher_student(middle, middle)),
        ("three rounds of ridge", room.ridge_distillation(1 / middle, 3)),
    ):
        exact = room.equivalent_stopping_time(double, filter_, seen)
        found, said = quietly(lambda f=filter_: room.equivalent_stopping_time(single, f, seen))
        made = {"filter": name, **case}
        yield row(
            "dynamics.equivalent_stopping_time: time", made, LOG, found.time, exact.time, said
        )
        pair = found.relative, exact.relative
        yield row(
            "dynamics.equivalent_stopping_time: relative", made, SHARE, pair[0], pair[1], said
        )
    schemes = {"ridge": [room.ridge(value) for value in np.geomspace(1 / middle, 1.0, 4)]}
    exact = room.equivalence_table(double, seen, schemes).equivalent
    found, said = quietly(lambda: room.equivalence_table(single, seen, schemes).equivalent)
    yield row("dynamics.equivalence_table: time", case, LOG, found.time, exact.time, said)
    exact = room.tolerance_strengths(double, seen, 0.1, 2)
    found = or_nan(lambda: room.tolerance_strengths(single, seen, 0.1, 2))
    found = np.broadcast_to(found, np.shape(exact))
    yield row("dynamics.tolerance_strengths", case, EACH, found, exact)


def values(condition: float, case: Mapping[str, Any]) -> Rows:
    """Filters as functions of eigenvalues that float32 holds."""
    room = na.dynamics
    spectrum = np.geomspace(1.0, 1 / condition, int(case["points"])).astype(np.float32)
    middle = condition**0.5
    steps = round(middle)
    for name, filter_ in {
        "gradient_flow": room.gradient_flow(middle),
        "gradient_descent": room.gradient_descent(0.5, steps),
        "heavy_ball": room.heavy_ball(0.5, steps, 0.9),
        "ridge": room.ridge(1 / middle),
        "truncation": room.truncation(5),
        "distilled": room.distilled(room.ridge(1 / middle), room.gradient_flow(middle), 0.3),
        "teacher_student": room.teacher_student(middle, middle),
        "ridge_distillation": room.ridge_distillation(1 / middle, 3, 0.3),
        "label_averaging": room.label_averaging(1 / middle, 3, num_classes=10, points_per_class=10),
    }.items():
        exact = in_double(lambda f=filter_: f(jnp.asarray(spectrum, jnp.float64)))
        found = np.asarray(filter_(jnp.asarray(spectrum)), np.float64)
        # Truncation is zero beyond its rank, exactly.
        kept = exact != 0
        yield row(f"dynamics.{name}", case, EACH, found[kept], exact[kept])
    signal = spectrum**0.5
    level = 1 / middle
    exact = in_double(
        lambda: room.optimal_teacher_weight(
            spectrum.astype(np.float64), signal.astype(np.float64), 0.1, level
        )
    )
    found = room.optimal_teacher_weight(spectrum, signal, 0.1, level)
    yield row("dynamics.optimal_teacher_weight", case, EACH, found, exact)
