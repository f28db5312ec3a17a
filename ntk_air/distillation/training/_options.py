"""What every training method takes besides its own numbers."""

from __future__ import annotations

import difflib
import functools
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any, Required, TypedDict, TypeVar, cast

import optax
from jax.sharding import Mesh

from ..._typing import Array, ArrayLike

_F = TypeVar("_F", bound=Callable[..., Any])

# Lookahead, schedule-free and sharpness-aware optimisers keep a second set of parameters: results,
# history and `on_record` are of the one to use the network with.
# A number: gradient descent with that rate; a function of ``learning_rate`` such as optax.adam, or
# a finished transformation, which compiles the loop anew.
Optimizer = float | ArrayLike | optax.GradientTransformation | Callable[..., Any]


class TrainingOptions(TypedDict, total=False):
    """Keyword arguments that every training method takes beside ``optimizer`` and ``num_steps``.

    Attributes:
        batch_size: points per step; None takes all of them. Every epoch visits each point exactly
            once, in a new order drawn on the device: that of epoch e is
            ``jax.random.permutation(jax.random.fold_in(key, e), n)``, with the network's own key of
            ``replicas``. Its last batch may hold fewer points (it is padded with points of weight
            zero).
        clean: clean targets (n, C) in the coding of the observed ones; without them what needs
            them is NaN.
        test: ``(inputs, labels (m,) or encoded targets (m, C))`` for the test accuracy.
        record_every: record each so many steps (None: about 100 records), or at the steps of an
            increasing sequence. The first record is before any step, the last after the last one.
        record_outputs: keep the outputs of every record, (R, n, C), and those at test points.
        on_record: called with ``(step, params)`` at every record, such as an
            `ntk_air.analysis.Recorder`; not for records that a checkpoint already holds. A function
            of three arguments, without a default for the third, also gets the numbers of the
            record, a dict: ``step``, ``epoch`` (whole ones done), ``time``, ``learning_rate`` of
            the step to come, ``loss``, ``test_accuracy`` and all others of a `History`, NaN where
            they are not known; with ``replicas`` arrays over the networks.
        checkpoint: a folder to store the run in at records (by orbax), at most one twentieth of
            the time; the same call goes on from it, to the same history. It is left there when the
            run is done.
        key: a JAX key or a seed for the order of the points, and for methods, networks and
            augmentations that draw random numbers.
        learning_rate: for an optimiser function, a number or a function of the step that it is
            called with. For a finished transformation it only sets the ``time`` of the history
            (time = learning_rate x step), which is NaN without it.
        augment: ``(key, inputs (b, ...)) -> inputs``, applied to every batch that is trained on,
            such as `ntk_air.networks.pad_crop_flip()`.
        precision: dtype to compute the network in, such as "bfloat16"; parameters, optimiser,
            statistics and losses keep theirs. "float64" computes everything in float64, parameters
            and losses too, whatever JAX's default is.
        subtract_initial: train and measure the network minus its own initial outputs,
            f(theta, x) - f(theta_0, x), which starts at 0 as in the kernel regime (Chizat, Oyallon,
            Bach, arXiv:1812.07956, section 1); gradients, and so the NTK, are unchanged. The
            initial outputs are computed once for each point; at inputs that ``augment`` or a method
            changes, by one more forward pass at every step. ``params`` of the result are those of
            the network itself: subtract `evaluate` at the initial ones from its outputs. Not for
            BatchNorm, unless `ntk_air.kernels.functional` freezes it.
        replicas: train this many networks together, by one program; on a CPU in shares that its
            cores train side by side. ``params`` then has a first axis of that length on every
            leaf; so may ``observed`` (R, n, C), the learning rate (an array (R,)), the key (R keys
            or seeds; one is split), and what the method says.
        mesh: devices to share the work. Each trains ``replicas`` / devices networks of its own,
            without communication, where that is a whole number; otherwise the points of every
            batch are spread over them, and parameters are on all.
        progress: show a progress bar over the steps, with the accuracy, on a terminal.

    Example:
        >>> import ntk_air as na
        >>> "batch_size" in na.distillation.TrainingOptions.__annotations__
        True
    """

    batch_size: int | None
    clean: ArrayLike | None
    test: tuple[ArrayLike, ArrayLike] | None
    record_every: int | Sequence[int] | None
    record_outputs: bool
    on_record: Callable[..., Any] | None
    checkpoint: str | os.PathLike[str] | None
    key: Array | int | Sequence[int] | None
    learning_rate: float | ArrayLike | Callable[[Any], Any] | None
    augment: Callable[[Array, Array], Array] | None
    precision: Any
    subtract_initial: bool
    replicas: int | None
    mesh: Mesh | None
    progress: bool


class TrainingArguments(TrainingOptions, total=False):
    """What a training method hands on to the loop: `TrainingOptions`, and what every call needs.

    Attributes:
        optimizer: a learning rate, a function of ``learning_rate``, or an optax transformation.
        num_steps: optimiser steps.
    """

    optimizer: Required[Optimizer]
    num_steps: Required[int]


def training_call(function: _F) -> _F:
    """Decorator of a training function: refuses keywords that it does not have, in its own name.

    Where it takes `TrainingArguments` as a whole, its signature shows those that every call needs.

    Raises:
        TypeError: by the function made, on such a keyword, with the nearest valid one in the
            message, or without an argument that every call needs.
    """
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    known = {p.name for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)}
    rest = [p for p in parameters if p.kind is p.VAR_KEYWORD]
    needed: list[inspect.Parameter] = []
    if rest:
        if TrainingArguments.__name__ in str(rest[0].annotation):
            needed = [
                inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
                for name, annotation in (("optimizer", "Optimizer"), ("num_steps", "int"))
            ]
        known |= {"optimizer", "num_steps", *TrainingOptions.__annotations__}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        for name in kwargs.keys() - known:
            near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(known))}."
            raise TypeError(f"{function.__name__}() has no argument {name!r}; {hint}")
        for one in needed:
            if one.name not in kwargs:
                raise TypeError(f"{function.__name__}() needs the argument {one.name!r}.")
        return function(*args, **kwargs)

    before = [p for p in parameters if p.kind < inspect.Parameter.KEYWORD_ONLY]
    shown = [*before, *needed, *parameters[len(before) :]]
    call.__dict__["__signature__"] = signature.replace(parameters=shown)
    return cast(_F, call)
