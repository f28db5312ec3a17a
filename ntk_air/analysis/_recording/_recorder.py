"""A recorder of anisotropic information retrieval for any training loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ... import dynamics, spectral
from ..._checks import (
    check_choice,
    check_finite,
    check_in_range,
    check_ndim,
    check_same_length,
    check_same_shape,
    check_size,
    is_number,
)
from ..._typing import ApplyFn, ArrayLike, Float, PyTree
from ...distillation import DivergenceError, tabulate
from ._chosen_steps import ChosenSteps
from ._held_out import HeldOut
from ._kernel_steps import KernelMeter, Row, by_direction, movement_of, ranks_to_compare
from ._record import AIRRecord, KernelMovement
from ._watched import Watched

_SAME_OUTPUTS = 1e-3


class Recorder:
    """Records retrieval and the movement of the NTK while a network trains, in any loop.

    Made before training with the untrained parameters, called after every step (or at some of
    them), asked for the result at the end:

        recorder = Recorder(apply_fn, params, x, observed, clean=clean, learning_rate=eta)
        for step in range(1, num_steps + 1):
            params, state = update(params, state)  # any optax loop
            recorder(step, params)
        record = recorder.result()

    `ntk_air.distillation.self_distill` takes it as ``on_record``. A call at a step that is not
    asked for does nothing. No parameters are kept, so a loop may donate its buffers.

    Each recorded step costs a forward pass over the points; each kernel step an n × n NTK and its
    eigensystem, as does making the recorder. It holds two such matrices, and the outputs at all
    recorded steps on the host.

    Example:
        >>> import jax.numpy as jnp, ntk_air as na
        >>> x, observed = jnp.eye(3), jnp.array([[1.0], [-1.0], [1.0]])
        >>> clean, w = jnp.ones((3, 1)), jnp.zeros((3, 1))
        >>> recorder = na.analysis.Recorder(
        ...     lambda w, x: x @ w, w, x, observed, clean=clean, learning_rate=0.5, retention=1.0)
        >>> for step in (1, 2):
        ...     w = w - 0.5 * (w - observed)
        ...     recorder(step, w)
        >>> print(recorder.result().outputs[..., 0])
        [[ 0. 0. 0. ]
         [ 0.5 -0.5 0.5 ]
         [ 0.75 -0.75 0.75]]
    """

    def __init__(
        self,
        apply_fn: ApplyFn | Any,
        params: PyTree,
        inputs: Float[ArrayLike, "n ..."],
        observed: Float[ArrayLike, "n C"],
        *,
        clean: Float[ArrayLike, "n C"],
        learning_rate: float | Callable[[Any], Any],
        momentum: float = 0.0,
        retention: float | None = None,
        steps: int | Sequence[int] | None = None,
        kernel_steps: int | Sequence[int] = (),
        rank: int | None = None,
        overlap_ranks: Sequence[int] | None = None,
        kernel_dtype: str | None = None,
        test: tuple[ArrayLike, ArrayLike] | None = None,
        batch_size: int | None = None,
        implementation: str = "auto",
        memory_budget: float | None = None,
    ) -> None:
        """Records step 0 from ``params``.

        Args:
            apply_fn: ``(params, inputs) -> outputs (n, C)``, pure, each row from its own input; or
                a module of flax linen, of nnx or of equinox, recorded in evaluation mode. Each
                kernel of a module compiles anew, with its statistics of that step.
            params: the parameters that training starts from; of a module what `self_distill` takes,
                and later what it hands out: all variables of linen, the state of an nnx module, an
                equinox module or with its ``State`` a pair.
            inputs: training inputs (n, ...); integers, such as tokens, stay integers.
            observed: targets ỹ (n, C) that the network is trained on.
            clean: clean targets y (n, C), in the same coding.
            learning_rate: η for the loss ½‖f − ỹ‖² SUMMED over points and outputs, a number or a
                function of the step such as an optax schedule: time is its sum over the steps.
                For a loss that is a mean over points give η / n.
            momentum: β of heavy-ball (``optax.sgd``) momentum, which divides the unit of time by
                1 − β.
            retention: κ of the noise model; default the least-squares κ of this draw.
            steps: record outputs every so many steps, or at these steps; None is every call.
            kernel_steps: compute and decompose the current NTK every so many steps, or at these
                steps. Outputs are recorded there too; step 0 is always one of them.
            rank: eigenpairs of each kernel; None is all n.
            overlap_ranks: sizes k of the leading subspaces to compare; default those of 1, 10, 100
                that ``rank`` covers.
            kernel_dtype: ``"float64"`` computes kernels and eigensystems in float64 wherever JAX's
                default is float32, at about twice the cost: the supervision complexities need it.
                None is the dtype of ``inputs``.
            test: ``(inputs, labels (m,) or encoded targets (m, C))``, for the test accuracy.
            batch_size: points of one forward pass; None is all.
            implementation: of `ntk_air.kernels.empirical_ntk`.
            memory_budget: bytes for a kernel; None is half of what is free.

        Raises:
            ValueError: on shapes that do not match, values that are not finite, or numbers out of
                range.
        """
        check_ndim("observed", observed, 2, "(n, C)")
        check_same_shape("clean", clean, "observed", observed)
        check_same_length("inputs", inputs, "observed", observed)
        for name, value in (("inputs", inputs), ("observed", observed), ("clean", clean)):
            check_finite(name, value)
        check_in_range("momentum", momentum, 0.0, 1.0, high_open=True)
        if not callable(learning_rate):
            check_in_range("learning_rate", learning_rate, 0.0, low_open=True, high_open=True)
        if kernel_dtype is not None:
            check_choice("kernel_dtype", kernel_dtype, ("float64",))
        n = len(observed)
        rank = check_size("rank", n if rank is None else rank, 1, n)
        if batch_size is not None:
            check_size("batch_size", batch_size, 1)
        self._steps = None if steps is None else ChosenSteps("steps", steps)
        self._kernel_steps = ChosenSteps("kernel_steps", kernel_steps)
        self._rate, self._momentum, self._batch = learning_rate, float(momentum), batch_size
        self._network = Watched(apply_fn, params, self._batch)
        params = self._network.initial
        self._inputs = jnp.asarray(inputs)
        self._clean, self._observed = np.asarray(clean), np.asarray(observed)
        self._retention = float(spectral.resolve_retention(retention, clean, observed))
        self._signature = _signature(params)
        self._check_outputs(params)
        self._test = None if test is None else HeldOut(*test, self._observed)
        self._taken: list[int] = []
        self._last = 0
        self._outputs: list[np.ndarray] = []
        self._accuracies: list[float] = []
        self._kernel_rows: list[Row] = []
        self._meter = KernelMeter(
            self._network,
            self._inputs if kernel_dtype is None else np.asarray(inputs),
            (self._clean, self._observed),
            retention=self._retention,
            rank=rank,
            overlap_ranks=ranks_to_compare(overlap_ranks, rank),
            dtype=kernel_dtype,
            options={"implementation": implementation, "memory_budget": memory_budget},
        )
        self._record(0, params, with_kernel=True)

    def __call__(self, step: int, params: PyTree) -> None:
        """Records ``params``, the parameters after ``step`` optimiser steps, if asked for.

        Raises:
            ValueError: steps that do not increase, parameters of another structure or shape than
                the recorder was made with, or other ones than those at step 0.
            DivergenceError: outputs that are NaN or infinite; what was recorded before is kept.
        """
        step = int(step)
        if step == 0 and self._last == 0:
            self._check_start(params)
            return
        if step <= self._last:
            raise ValueError(
                f"step is {step} after {self._last}; expected steps that increase: call the "
                "recorder after each update with the number of updates so far, and make a new "
                "recorder for a new run."
            )
        with_kernel = step in self._kernel_steps
        if with_kernel or self._steps is None or step in self._steps:
            self._record(step, params, with_kernel=with_kernel)
        self._last = step

    def result(self) -> AIRRecord:
        """What was recorded so far; training and recording may go on.

        Warns of steps that were asked for and passed over because no call came at them.

        Raises:
            ValueError: if nothing was recorded yet, or recorded outputs are not finite.
        """
        for chosen in (self._steps, self._kernel_steps):
            if chosen is not None:
                chosen.warn_of_missing(self._taken, self._last)
        steps, times = np.asarray(self._taken), self._times()
        outputs = jnp.asarray(np.stack(self._outputs))
        es, clean, observed = self._meter.first, self._clean, self._observed
        common: Any = {"times": times, "retention": self._retention}
        measured = dynamics.measured_retrieval(outputs, clean, observed, eigensystem=es, **common)
        signal, noise = by_direction(
            es.eigenvectors, outputs - outputs[0], clean, observed, self._retention
        )
        filters = None
        if not callable(self._rate):
            filters = [dynamics.heavy_ball(self._rate, s, self._momentum) for s in self._taken]
        return AIRRecord(
            steps=jnp.asarray(steps, jnp.int32),
            outputs=outputs,
            measured=measured,
            predicted=dynamics.retrieval(
                es, clean, observed, initial=outputs[0], filters=filters, **common
            ),
            signal_by_direction=signal,
            noise_by_direction=noise,
            kernel=self._movement(dict(zip(self._taken, times, strict=True))),
            retention=jnp.asarray(self._retention),
            test_accuracy=jnp.asarray(self._accuracies) if self._test else None,
        )

    def _record(self, step: int, params: PyTree, *, with_kernel: bool) -> None:
        if _signature(params) != self._signature:
            raise ValueError(
                f"params at step {step} differ in structure, shapes or dtypes from those the "
                "recorder was made with; pass the same tree that apply_fn takes."
            )
        outputs = self._network.outputs(params, self._inputs)
        if not np.isfinite(outputs).all():
            raise DivergenceError(
                f"the outputs at step {step} are NaN or infinite: training diverged; lower the "
                "learning rate. Recorder.result() still holds what was recorded before."
            )
        accuracies = []
        if self._test is not None:
            found = self._network.outputs(params, self._test.inputs)
            accuracies = [self._test.accuracy(found)]
        row = None
        if with_kernel:
            initial = self._outputs[0] if self._outputs else outputs
            row = self._meter.measure(params, outputs, initial) | {"step": step}
        # Only now, so that what failed leaves nothing behind.
        self._taken.append(step)
        self._outputs.append(outputs)
        self._accuracies += accuracies
        self._kernel_rows += [] if row is None else [row]

    def _times(self) -> list[float]:
        scale = 1.0 / (1.0 - self._momentum)
        if not callable(self._rate):
            return [self._rate * step * scale for step in self._taken]
        rates = tabulate("learning_rate", self._rate, self._taken[-1])
        check_finite("learning_rate", rates)
        sums = np.concatenate([[0.0], np.cumsum(rates)])
        return (scale * sums[self._taken]).tolist()

    def _movement(self, times: dict[int, float]) -> KernelMovement:
        steps = [row["step"] for row in self._kernel_rows]
        rows = [{k: v for k, v in row.items() if k != "step"} for row in self._kernel_rows]
        return movement_of(
            rows,
            steps,
            [times[step] for step in steps],
            ranks=self._meter.overlap_ranks,
            num_points=len(self._observed),
        )

    def _check_outputs(self, params: PyTree) -> None:
        shape = self._network.shape(params, self._inputs)
        if shape != self._observed.shape:
            raise ValueError(
                f"apply_fn returns outputs of shape {shape} for observed targets of shape "
                f"{self._observed.shape}; expected the same (n, C)."
            )

    def _check_start(self, params: PyTree) -> None:
        first = self._outputs[0]
        difference = np.abs(self._network.outputs(params, self._inputs) - first).max()
        if not difference <= _SAME_OUTPUTS * max(1.0, np.abs(first).max()):
            raise ValueError(
                f"the outputs at step 0 differ by {difference:.3g} from those of the parameters "
                "the recorder was made with; make it with the parameters training starts from."
            )


def _signature(params: PyTree) -> Any:
    leaves, structure = jax.tree.flatten(params)
    numbers = [leaf for leaf in leaves if hasattr(leaf, "dtype") or is_number(leaf)]
    return structure, [(np.shape(leaf), jnp.result_type(leaf)) for leaf in numbers]
