"""float64 against arithmetic of 60 digits on a few points: rows of `benchmarks.precision`.

Each reference is another route than the package's: the recursions of the kernels, the matrix
exponential, linear systems, and training again without a point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath as mp
import numpy as np

import ntk_air as na
from benchmarks._precision_cases import (
    DEPTHS,
    EACH,
    ENTRY,
    LARGEST,
    NORM,
    SHARE,
    TOP,
    Problem,
    Rows,
    in_double,
    near,
    problem,
    quietly,
    row,
    scattered,
)
from benchmarks._precision_dynamics import filters
from benchmarks._precision_kernels import architecture

POINTS, _DIMENSION = 8, 10
DIGITS = 60


def kernels(seed: int, activations: Sequence[str] = ("relu", "erf")) -> Rows:
    """Infinite-width kernels by their recursion over layers."""
    for placed, make in (("apart", scattered), ("near", near)):
        x = make(POINTS, _DIMENSION, seed)
        for activation in activations:
            for depth in DEPTHS if activation == "relu" else DEPTHS[:2]:
                net = architecture(depth, activation)
                found = na.kernels.infinite_ntk(net, x, kind=("nngp", "ntk"), precision="float64")
                case = {"activation": activation, "placed": placed}
                case |= {"points": POINTS, "depth": depth}
                references = recursion(x, depth, activation)
                for kind, one, exact in zip(("nngp", "ntk"), found, references, strict=True):
                    yield row("kernels.infinite_ntk", {"kind": kind, **case}, ENTRY, one, exact)


def recursion(x: np.ndarray, depth: int, activation: str) -> tuple[np.ndarray, np.ndarray]:
    """NNGP and NTK of a fully connected network, in units of the last layer's weights and bias."""
    step = {"relu": _arc_cosine, "erf": _arc_sine}[activation]
    with mp.workdps(DIGITS):
        w, b = mp.mpf(2.0**0.5) ** 2, mp.mpf(0.1) ** 2
        rows = [[mp.mpf(float(value)) for value in point] for point in x]
        n, d = x.shape
        nngp = [[w * mp.fdot(one, two) / d + b for two in rows] for one in rows]
        ntk = [list(line) for line in nngp]
        for _ in range(depth):
            own = [nngp[i][i] for i in range(n)]
            pairs = [[step(nngp[i][j], own[i], own[j], i == j) for j in range(n)] for i in range(n)]
            nngp = [[w * pairs[i][j][0] + b for j in range(n)] for i in range(n)]
            ntk = [
                [nngp[i][j] + w * pairs[i][j][1] * ntk[i][j] for j in range(n)] for i in range(n)
            ]
        return _host(mp.matrix(nngp)), _host(mp.matrix(ntk))


def _arc_cosine(cross: Any, one: Any, two: Any, same: bool) -> tuple[Any, Any]:
    """E[φφ'] and E[φ'φ''] of a rectified linear unit (Cho and Saul, 2009)."""
    scale = mp.sqrt(one * two)
    angle = mp.mpf(0) if same else mp.acos(min(cross / scale, mp.mpf(1)))
    value = scale * (mp.sin(angle) + (mp.pi - angle) * mp.cos(angle)) / (2 * mp.pi)
    return value, (mp.pi - angle) / (2 * mp.pi)


def _arc_sine(cross: Any, one: Any, two: Any, same: bool) -> tuple[Any, Any]:
    """The same of the error function (Williams, 1997)."""
    del same
    size = (1 + 2 * one) * (1 + 2 * two)
    value = 2 / mp.pi * mp.asin(2 * cross / mp.sqrt(size))
    return value, 4 / mp.pi / mp.sqrt(size - 4 * cross**2)


def closed_forms(condition: float, seed: int) -> Rows:
    """Spectra and training in function space."""
    given = problem(POINTS, condition, seed)
    case = {"points": POINTS, "condition": condition}
    es = na.spectral.eigendecompose(given.kernel, precision="float64")
    with mp.workdps(DIGITS):
        kernel = mp.matrix(given.kernel.tolist())
        yield from _spectrum(given, es, kernel, case)
        for name, filter_ in filters(condition).items():
            smoother = _smoother(filter_, kernel)
            yield from _trained(given, es, smoother, filter_, {"filter": name, **case})
            found, _ = quietly(lambda f=filter_: na.dynamics.leave_one_out(es, f, given.observed))
            exact = _left_out(given, filter_)
            made = {"filter": name, **case}
            yield row("dynamics.leave_one_out", made, LARGEST, found, exact)
        yield from _scores(given, es, kernel, case)


def _spectrum(given: Problem, es: Any, kernel: Any, case: Mapping[str, Any]) -> Rows:
    values = sorted(mp.eigsy(kernel, eigvals_only=True), reverse=True)
    exact = [float(value) for value in values]
    made = {"method": "dense", **case}
    yield row("spectral.eigendecompose: eigenvalues", made, TOP, es.eigenvalues, exact)
    level = given.condition**-0.5
    exact = float(sum(value / (value + level) for value in values))
    found = na.spectral.effective_dimension(es, level)
    yield row("spectral.effective_dimension", case, EACH, found, exact)
    y = mp.matrix(given.clean.tolist())
    gram = y.T * y
    inner = _trace(y.T * kernel * y)
    exact = float(inner / mp.sqrt(_square(kernel) * _square(gram)))
    found = na.spectral.kernel_target_alignment(given.kernel, given.clean, precision="float64")
    yield row("spectral.kernel_target_alignment", case, EACH, found, exact)
    inverse = _trace(y.T * (kernel**-1) * y)
    exact = float(mp.sqrt(inverse * _trace(kernel)) / POINTS)
    found = na.spectral.supervision_complexity(es, given.clean)
    yield row("spectral.supervision_complexity", case, EACH, found, exact)


def _smoother(filter_: Callable[[Any], Any], kernel: Any) -> Any:
    """g(Θ) by the matrix exponential, or by the inverse of Θ + γ."""
    one = mp.eye(kernel.rows)
    time = getattr(filter_, "flow_time", None)
    if time is not None:
        return one - mp.expm(-kernel * mp.mpf(time))
    strength = mp.mpf(vars(filter_)["ridge_strength"])
    return kernel * (kernel + strength * one) ** -1


def _trained(given: Problem, es: Any, smoother: Any, filter_: Any, case: Mapping[str, Any]) -> Rows:
    room = na.dynamics
    y, seen = (mp.matrix(array.tolist()) for array in (given.clean, given.observed))
    outputs = smoother * seen
    found = room.fit(es, filter_, given.observed)
    yield row("dynamics.fit", case, NORM, found, _host(outputs))
    weights = mp.matrix(given.kernel.tolist()) ** -1 * outputs
    predicted = _host(mp.matrix(given.cross.tolist()) * weights)
    found = in_double(lambda: room.predict(es, filter_, given.observed, given.cross))
    yield row("dynamics.predict", case, NORM, found, predicted)
    kappa = _inner(y, seen) / _inner(y, y)
    found = room.risk(es, filter_, given.clean, given.observed)
    exact = float(_square(outputs - kappa * y) / POINTS), float(_square(outputs - y) / POINTS)
    yield row("dynamics.risk: total", case, EACH, found.total, exact[0])
    yield row("dynamics.risk: clean_error", case, EACH, found.clean_error, exact[1])
    found = room.degrees_of_freedom(es, filter_)
    yield row("dynamics.degrees_of_freedom", case, EACH, found, float(_trace(smoother)))
    if filter_.flow_time is not None:
        xi = seen - kappa * y
        found = room.retrieval(es, given.clean, given.observed, [filter_.flow_time])
        exact = [float(_inner(part, smoother * part) / _inner(part, part)) for part in (y, xi)]
        yield row("dynamics.retrieval: signal", case, SHARE, found.signal[0], exact[0])
        yield row("dynamics.retrieval: noise", case, SHARE, found.noise[0], exact[1])


def _left_out(given: Problem, filter_: Any) -> np.ndarray:
    """Outputs of training again without each point."""
    found = []
    for i in range(POINTS):
        kept = [j for j in range(POINTS) if j != i]
        kernel = mp.matrix(given.kernel[np.ix_(kept, kept)].tolist())
        seen = mp.matrix(given.observed[kept].tolist())
        cross = mp.matrix(given.kernel[[i]][:, kept].tolist())
        found.append(_host(cross * (kernel**-1) * (_smoother(filter_, kernel) * seen))[0])
    return np.asarray(found)


def _scores(given: Problem, es: Any, kernel: Any, case: Mapping[str, Any]) -> Rows:
    times = sorted({0.1, 10.0, given.condition**0.5})
    seen, level = mp.matrix(given.observed.tolist()), 0.05
    columns = given.observed.shape[1]
    exact = {"gcv": [], "sure": [], "discrepancy": []}
    for time in times:
        smoother = _smoother(na.dynamics.gradient_flow(time), kernel)
        left = _square(seen - smoother * seen) / POINTS
        free = _trace(smoother) / POINTS
        exact["gcv"].append(float(left / (1 - free) ** 2))
        exact["sure"].append(float(left + 2 * mp.mpf(level) * columns * free))
        exact["discrepancy"].append(float(abs(mp.log(left / (columns * mp.mpf(level))))))
    for rule, scores in exact.items():
        noise = None if rule == "gcv" else level
        found, _ = quietly(
            lambda rule=rule, noise=noise: na.dynamics.stopping_time(
                es, given.observed, rule=rule, times=times, noise_variance=noise
            )
        )
        made = {"rule": rule, **case}
        yield row("dynamics.stopping_time: score", made, LARGEST, found.score, scores)


def _host(matrix: Any) -> np.ndarray:
    return np.array(matrix.tolist(), dtype=np.float64)


def _trace(matrix: Any) -> Any:
    return mp.fsum(matrix[i, i] for i in range(matrix.rows))


def _square(matrix: Any) -> Any:
    return mp.fsum(value**2 for value in matrix)


def _inner(first: Any, second: Any) -> Any:
    return mp.fsum(a * b for a, b in zip(first, second, strict=True))
