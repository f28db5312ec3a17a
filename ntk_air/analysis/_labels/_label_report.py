"""Labels that are probably wrong, the noise rate and the stopping time, from data to result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from ... import datasets, dynamics
from ..._checks import check_bool, check_choice, check_in_range, check_seed
from ..._classes import class_of
from ..._numerics import check_precision, computing_in
from ..._typing import Array, ArrayLike, Float, PyTree
from ...datasets import Dataset
from ...dynamics import RefinedLabels, StoppingTime
from ...noise import NoisyLabels
from ...spectral import Eigensystem
from ._given import GivenLabels, TableColumns, given_labels
from ._kernel import KernelChoice, eigensystem_of
from ._report import LabelReport, NoiseRate


def label_report(
    data: Dataset | Float[ArrayLike, "n ..."] | Any,
    labels: NoisyLabels | ArrayLike | Sequence[Any] | str | None = None,
    *,
    label: str | None = None,
    identifier: str | None = None,
    drop: Sequence[str] = (),
    network: Any = None,
    params: PyTree = None,
    kernel: Any = "auto",
    cross: Float[ArrayLike, "m n"] | None = None,
    depth: int | None = None,
    width: int | None = None,
    weight_std: float | None = None,
    bias_std: float | None = None,
    rank: int | None = None,
    noise_rate: float | None = None,
    transition: str | Float[ArrayLike, "C C"] | None = None,
    rule: str = "leave_one_out",
    rules: Iterable[str] | None = None,
    test: bool = False,
    class_names: Sequence[Any] | None = None,
    identifiers: Sequence[Any] | ArrayLike | None = None,
    standardize: bool | None = None,
    seed: int = 0,
    memory_budget: float | None = None,
    precision: str | None = None,
    progress: bool = False,
) -> LabelReport:
    """Which labels are probably wrong, how many are, and when to stop training on them.

    The kernel's spectrum is computed once and everything else from it: the stopping time by each
    rule (`ntk_air.dynamics.stopping_times`), the noise rate, and the judgement of each label by
    kernel gradient flow that never saw it (`ntk_air.dynamics.refine_labels`). It is what
    ``ntk-air labels`` and ``ntk-air stop`` compute.

    Args:
        data: a dataset, whose training points are judged; a table, as
            `ntk_air.datasets.from_table` takes it (a frame, a mapping, the path of a .csv, .tsv or
            .parquet file), whose rows are; or inputs (n, d) or (n, H, W, ch), held in float32. They
            are prepared as in `air`.
        labels: the labels that are judged. Of a dataset: default its training labels, noisy ones
            from `ntk_air.noise`, classes (n,), or the name of one of its ``extra_labels``; points
            without a label there are left out. Of an array: (n,) text, integers, bools, or anything
            else that can be sorted; the classes are the distinct labels, in their order. Not of a
            table.
        label: of a table, the column of the labels that are judged.
        identifier: of a table, the column of what its rows are called, as in `from_table`.
        drop: of a table, columns to leave out.
        network: whose kernel judges: None is fully connected with ReLU, depth 1, weight_std 1.4 and
            bias_std 0.1; or any that `air` takes.
        params: of a function, or the variables of a linen module, as in `air`.
        kernel: ``"auto"``, ``"infinite"``, ``"finite"`` or ``"nngp"``, as in `air`; or one over the
            points of one's own, an array (n, n), a `StoredKernel` (with a ``rank``) or a function
            ``k(x1, x2) -> (n1, n2)``, beside which there is no network; for more than 2048 points
            it is called on blocks of rows.
        cross: values (m, n) of an own kernel between test and training points, for ``test``.
        depth: of a network that is None or a name; default the network's own.
        width: of its layers, likewise; the infinite-width kernel has no use for it.
        weight_std: of its weights, likewise.
        bias_std: of its biases, likewise.
        rank: eigenpairs; default all.
        noise_rate: share of wrong labels, where it is known, for symmetric noise.
        transition: what is known of the noise, as in `ntk_air.dynamics.refine_labels`.
        rule: of `ntk_air.dynamics.RULES`, to judge the labels at.
        rules: whose stopping times and degrees of freedom are reported; default all. ``rule`` is
            always among the stopping times.
        test: whether to measure accuracy on the dataset's test points over times.
        class_names: of an array's labels, if not the labels themselves: labels are then these
            names, or integers that count them from 0.
        identifiers: integer or text of each point; default `Dataset.identifiers` (paths, the
            entries of a column, or numbers of rows), 0..n - 1 of an array.
        standardize: whether inputs are prepared; None does not for a network of your own.
        seed: of the parameters of a finite network that has none.
        memory_budget: bytes for kernels; default half of what is free.
        precision: ``"float64"`` or ``"float32"``; default JAX's.
        progress: show a progress bar on a terminal, and for 4000 points or more say beforehand how
            much memory it takes.

    Returns:
        A `LabelReport`; ``.suspects()`` lists what to check, the most doubtful first.

    Raises:
        ValueError: for data, labels, networks or kernels of other kinds or of shapes that do not
            match, settings out of range or without effect, a kernel that does not fit in memory, or
            a rule whose score is known at no time (name the ``rules`` that are).
        RuntimeError: if an eigensolver fails.
        TypeError: for labels or a table of a type that is none.
        ImportError: if neural-tangents and JAX are of versions that do not fit, or for a table
            without pyarrow.
        OSError: if a stored kernel or a table cannot be read.

    Source: derived; see `ntk_air.dynamics.refine_labels`.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x = np.array([0.0, 0.1, 0.2, 0.3, 3.0, 3.1, 3.2, 3.3])[:, None]
        >>> animals = ["cat", "cat", "dog", "cat", "dog", "dog", "dog", "dog"]
        >>> kernel = np.exp(-((x - x.T) ** 2)) + 0.1 * np.eye(8)
        >>> report = na.analysis.label_report(x, animals, kernel=kernel, noise_rate=0.125)
        >>> found = report.suspects()
        >>> found["index"], found["observed_name"], found["suggested_name"]
        ([2], ['dog'], ['cat'])
        >>> flowers = {"petal": x[:, 0], "animal": animals}  # or a frame, or "animals.csv"
        >>> na.analysis.label_report(flowers, label="animal", rules=()).class_names
        ('cat', 'dog')
    """
    check_choice("rule", rule, tuple(dynamics.RULES))
    listed = tuple(dynamics.RULES if rules is None else rules)
    for one in listed:
        check_choice("rules", one, tuple(dynamics.RULES))
    wanted = check_precision(precision)
    check_bool("test", test)
    columns = TableColumns(label, identifier, drop)
    given = given_labels(data, labels, class_names, identifiers, columns)
    if noise_rate is not None:
        most = 1.0 - 1.0 / given.dataset.num_classes
        check_in_range("noise_rate", noise_rate, 0.0, most, high_open=True)
    choice = KernelChoice(
        network,
        params,
        kernel,
        cross,
        {"depth": depth, "width": width, "weight_std": weight_std, "bias_std": bias_std},
        check_seed("seed", seed),
        standardize,
        rank,
        memory_budget,
        wanted,
        progress,
    )
    with computing_in(wanted):
        eigensystem, between = eigensystem_of(choice, given.dataset, cross=test)
        observed = datasets.encode(given.dataset.train_labels, given.dataset.num_classes)
        tail = dynamics.estimate_noise(eigensystem, observed)
        stopping = dynamics.stopping_times(
            eigensystem,
            observed,
            rules=dict.fromkeys((*listed, rule)),
            noise_variance=float(tail.variance),
            remainder="mean",
        )
        accuracy = None
        if between is not None:
            labelled = given.dataset.test_labels
            times = stopping[rule].times
            accuracy = _test_accuracy(eigensystem, observed, between, labelled, times)
        refined = dynamics.refine_labels(
            eigensystem,
            observed,
            noise_rate=noise_rate,
            transition=transition,
            time=float(stopping[rule].time),
        )
        freedom = {name: _freedom(eigensystem, stopping[name]) for name in listed}
        rate = NoiseRate(
            value=refined.noise_rate,
            lower=refined.lower,
            upper=refined.upper,
            confident=refined.confident_rate,
            tail=tail,
            identified=refined.identified,
        )
        return _report(given, refined, rate, stopping, freedom, accuracy, rule, eigensystem.rank)


def _report(
    given: GivenLabels,
    refined: RefinedLabels,
    rate: NoiseRate,
    stopping: dict[str, StoppingTime],
    freedom: dict[str, float],
    accuracy: Array | None,
    rule: str,
    rank: int,
) -> LabelReport:
    observed = given.dataset.train_labels
    suggested = jnp.where(refined.suspected, refined.alternative, observed)
    points = jnp.arange(len(observed))
    return LabelReport(
        given=observed,
        suggested=suggested,
        score=refined.score,
        suspected=refined.suspected,
        margin=refined.margin,
        confidence=refined.probabilities[points, suggested],
        labels=refined.labels,
        probabilities=refined.probabilities,
        noise_rate=rate,
        transition=refined.transition,
        per_class=_per_class(np.asarray(observed), refined),
        stopping_times=stopping,
        degrees_of_freedom=freedom,
        test_accuracy=accuracy,
        identifiers=given.identifiers,
        class_names=given.dataset.class_names,
        rule=rule,
        rank=rank,
    )


def _per_class(observed: np.ndarray, refined: RefinedLabels) -> dict[str, Array]:
    """Counts of the given classes, of the suspected among them, and the share that is wrong."""
    probabilities = np.asarray(refined.probabilities, np.float64)
    classes = probabilities.shape[1]
    wrong = 1.0 - probabilities[np.arange(len(observed)), observed]
    count = np.bincount(observed, minlength=classes)
    suspected = np.bincount(observed[np.asarray(refined.suspected)], minlength=classes)
    total = np.bincount(observed, wrong, minlength=classes)
    rate = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return {
        "count": jnp.asarray(count),
        "suspected": jnp.asarray(suspected),
        "rate": jnp.asarray(rate, refined.score.dtype),
    }


def _freedom(eigensystem: Eigensystem, stopping: StoppingTime) -> float:
    flow = dynamics.gradient_flow(float(stopping.time))
    return float(dynamics.degrees_of_freedom(eigensystem, flow))


def _test_accuracy(
    eigensystem: Eigensystem,
    observed: Array,
    cross: Float[Array, "m n"],
    labels: Array,
    times: Float[Array, " T"],
) -> Float[Array, " T"]:
    filters = [dynamics.gradient_flow(float(time)) for time in times]
    outputs = dynamics.predict(eigensystem, filters, observed, cross)
    return jnp.mean(class_of(outputs) == labels, axis=-1)
