"""Label functions: network outputs (n, C) to the labels (n, C) that self-distillation teaches.

Targets come in several codings: +-1 for a single output, one-hot, or one-hot minus 1/C
("centred"). The trainers bind `hard` and `softmax` to the coding of the observed targets, so that
what the network teaches itself and what it was given are the same kind of numbers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from .._checks import check_choice, check_finite, check_in_range, number_in, real_array
from .._classes import class_of
from .._typing import Array, ArrayLike

CODINGS = ("sign", "centered_one_hot", "one_hot")


@dataclasses.dataclass(frozen=True, eq=False)
class LabelFn:
    """A label function whose numbers are traced; call it with outputs (n, C).

    Attributes:
        kind: name of the formula.
        parameters: its numbers.
        coding: "sign", "centered_one_hot", "one_hot", or None: sign for a single output, centred
            one-hot for several.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.softmax(2.0)
        LabelFn(kind='softmax', parameters=(2.0,), coding=None)
    """

    kind: str
    parameters: tuple[Any, ...] = ()
    coding: str | None = None

    def __call__(self, outputs: ArrayLike) -> Array:
        """Returns the labels of outputs (n, C), same shape."""
        outputs = jnp.asarray(outputs)
        return KINDS[self.kind].formula(outputs, self.coding, *self.parameters)


jax.tree_util.register_dataclass(
    LabelFn, data_fields=["parameters"], meta_fields=["kind", "coding"]
)


def _offset(outputs: Array, coding: str | None) -> float:
    return 0.0 if coding == "one_hot" else 1.0 / outputs.shape[-1]


def _kept(outputs: Array, labels: Array) -> Array:
    """The labels, but NaN where an output is NaN: training that diverged names no class."""
    return jnp.where(outputs != outputs, outputs, labels)


def _sign(outputs: Array, coding: str | None) -> Array:
    del coding
    signs = jnp.where(outputs > 0, 1.0, -1.0).astype(outputs.dtype)
    return _kept(outputs, signs)


def _hard(outputs: Array, coding: str | None) -> Array:
    classes = outputs.shape[-1]
    if classes == 1:
        return _sign(outputs, coding)
    one_hot = jax.nn.one_hot(class_of(outputs), classes, dtype=outputs.dtype)
    return one_hot - _offset(outputs, coding)


def _softmax(outputs: Array, coding: str | None, temperature: Any) -> Array:
    # One that the dtype holds no more is as good as zero: hard labels.
    temperature = jnp.maximum(temperature, jnp.finfo(outputs.dtype).tiny)
    if outputs.shape[-1] == 1:
        # Two classes with outputs +-f/2: the expected sign under their softmax.
        return jnp.tanh(outputs / 2.0 / temperature)
    # The largest first: infinity less infinity, where a small temperature overflows, is no number.
    below = outputs - outputs.max(axis=-1, keepdims=True)
    return jax.nn.softmax(below / temperature, axis=-1) - _offset(outputs, coding)


def _tanh(outputs: Array, coding: str | None, slope: Any) -> Array:
    del coding
    return jnp.tanh(slope * outputs)


def _identity(outputs: Array, coding: str | None) -> Array:
    del coding
    return outputs


def _nearest(outputs: Array, coding: str | None, levels: Any) -> Array:
    del coding
    levels = jnp.asarray(levels, outputs.dtype)
    return _kept(outputs, levels[jnp.argmin(jnp.abs(outputs[..., None] - levels), axis=-1)])


hard = LabelFn("hard")
"""The most likely label: argmax as a one-hot row (centred unless bound to one-hot targets), or the
sign for a single output, with sign(0) = -1: the first class, as of equals. The paper's choice
(arXiv:1910.01255)."""

sign = LabelFn("sign")
"""The sign of every output, with sign(0) = -1: the first of two classes, as of equals."""

identity = LabelFn("identity")
"""The outputs themselves. It leaves the fixed point of training on the observed labels where it
was and only slows the way there: the control that shows why a label function must sharpen."""


def softmax(temperature: float = 1.0) -> LabelFn:
    """Soft labels: the softmax of outputs / temperature, minus 1/C where the targets are centred.

    For a single output it is tanh(output / (2 temperature)), the same formula for two classes.

    Raises:
        ValueError: if ``temperature`` is not a positive number.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> soft = na.distillation.softmax(0.5)
        >>> print(soft(np.array([[0.0, 0.0], [1.0, 0.0]])).round(3))  # less 1 / 2
        [[ 0. 0. ]
         [ 0.381 -0.381]]
    """
    check_in_range("temperature", temperature, 0.0, low_open=True, high_open=True)
    return LabelFn("softmax", (float(temperature),))


def tanh(slope: float = 1.0) -> LabelFn:
    """A smooth sign for targets of +-1: the hyperbolic tangent of slope x output.

    Raises:
        ValueError: if ``slope`` is not a positive number.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> print(na.distillation.tanh(2.0)(np.array([[0.5], [-5.0]])).round(3))
        [[ 0.762]
         [-1. ]]
    """
    check_in_range("slope", slope, 0.0, low_open=True, high_open=True)
    return LabelFn("tanh", (float(slope),))


def nearest(levels: Sequence[float] | ArrayLike) -> LabelFn:
    """Rounds every output to the nearest of ``levels``, for labels in [-1, 1] with more than two
    values (the data model of arXiv:1903.11680); of two equally near ones, the first.

    Raises:
        ValueError: if ``levels`` is empty, masked, not one-dimensional or not finite.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> print(na.distillation.nearest([-1.0, 0.0, 1.0])(np.array([[0.3], [0.7], [-9.0]])).T)
        [[ 0. 1. -1.]]
    """  # noqa: D205
    array = real_array("levels", levels).astype(np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"levels has shape {array.shape}, expected at least one number, (L,).")
    check_finite("levels", array)
    return LabelFn("nearest", (jnp.asarray(array),))


class Kind(NamedTuple):
    """A kind of label function.

    Attributes:
        formula: from outputs (n, C), their coding and its numbers to labels (n, C).
        make: from its numbers to a label function.
        forms: how it is written as text, a number in capitals; none where it cannot be.
        coded: whether its labels depend on how the observed targets are coded.
        probabilities: whether its labels are, where the targets are: cross-entropy needs them.
    """

    formula: Callable[..., Array]
    make: Callable[..., LabelFn]
    forms: tuple[str, ...] = ()
    coded: bool = False
    probabilities: bool = False


KINDS: dict[str, Kind] = {
    "hard": Kind(_hard, lambda: hard, ("hard",), coded=True, probabilities=True),
    "identity": Kind(_identity, lambda: identity, ("identity",)),
    "softmax": Kind(
        _softmax, softmax, ("softmax", "softmax:TEMPERATURE"), coded=True, probabilities=True
    ),
    "tanh": Kind(_tanh, tanh, ("tanh", "tanh:SLOPE")),
    "sign": Kind(_sign, lambda: sign, coded=True),
    "nearest": Kind(_nearest, nearest),
}
"""Every kind of label function by name: another is its function and a line here."""

__all__ = ["LabelFn", "parse", *KINDS]  # pyright: ignore[reportUnsupportedDunderAll]


def parse(text: str) -> LabelFn:
    """The label function that a text names: KIND or KIND:NUMBER.

    Args:
        text: as in ``"hard"`` or ``"softmax:0.5"``.

    Returns:
        The label function.

    Raises:
        ValueError: an unknown kind, or a number that it does not take.

    Example:
        >>> import ntk_air as na
        >>> na.distillation.label_fn.parse("tanh:2")
        LabelFn(kind='tanh', parameters=(2.0,), coding=None)
    """
    kind, *numbers = str(text).strip().split(":")
    known = KINDS.get(kind)
    if known is None or len(numbers) not in {form.count(":") for form in known.forms}:
        longest = [one.forms[-1] for one in KINDS.values() if one.forms]
        raise ValueError(
            f"label_fn is {str(text)!r}, expected {', '.join(longest[:-1])} or {longest[-1]}."
        )
    name = f"the number of label_fn {kind}"
    return known.make(*(number_in(name, number) for number in numbers))


def coding_of(targets: ArrayLike) -> str | None:
    """The coding of concrete targets (n, C), or None if they follow none of the three.

    Soft labels count as one-hot (rows of probabilities) or as centred one-hot (the same minus 1/C).
    """
    rows = np.asarray(targets, np.float64)
    classes, tolerance = rows.shape[1], 1e-3
    if classes == 1:
        return "sign" if np.allclose(np.abs(rows), 1.0, atol=tolerance) else None
    for coding, shift in (("one_hot", 0.0), ("centered_one_hot", 1.0 / classes)):
        probabilities = rows + shift
        inside = probabilities.min() >= -tolerance and probabilities.max() <= 1 + tolerance
        if inside and np.allclose(probabilities.sum(1), 1.0, atol=tolerance):
            return coding
    return None


def bind(label_fn: Any, observed: ArrayLike) -> Any:
    """Gives `hard`, `sign` and `softmax` the coding of ``observed`` (n, C); others stay as is.

    What comes back is a pytree: a user's function becomes part of the tree's structure, so that
    both kinds are handed to compiled code in the same way.

    Raises:
        ValueError: if the label function needs a coding and ``observed`` follows none.
        TypeError: if ``label_fn`` is not callable.
    """
    if not callable(label_fn):
        raise TypeError(
            f"label_fn is a {type(label_fn).__name__}, expected a function (n, C) -> (n, C) such "
            "as ntk_air.distillation.hard."
        )
    if not isinstance(label_fn, LabelFn):
        return jax.tree_util.Partial(label_fn)
    if not KINDS[label_fn.kind].coded:
        return label_fn
    coding = label_fn.coding or coding_of(observed)
    if coding is None:
        raise ValueError(
            f"label_fn {label_fn.kind!r} cannot tell how the observed targets are coded: a single "
            "output should hold +-1, several one-hot rows (sum 1) or centred one-hot rows (sum 0); "
            "encode them with ntk_air.datasets.encode, or pass `nearest(levels)` or a function of "
            "your own as label_fn."
        )
    check_choice("label_fn.coding", coding, CODINGS)
    return dataclasses.replace(label_fn, coding=coding)
