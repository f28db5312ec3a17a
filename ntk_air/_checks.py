"""Shared argument checks: every message says what came, what was expected and what to do."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

_SYMMETRY_TOLERANCE = 100
_LARGEST_SEED = 2**32 - 1


def is_traced(*trees: Any) -> bool:
    """Whether any leaf is a value that jit, grad or vmap traces, which nobody can look at."""
    return any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(trees))


def shape_of(value: Any) -> tuple[int, ...]:
    """Returns the shape of anything array-like without moving it between devices."""
    return tuple(np.shape(value))


def check_finite(name: str, value: Any) -> None:
    """Raises ValueError unless a value is real numbers, none of them NaN, infinite or masked.

    Integers and bools are numbers; a concrete array of half precision is one too. Tracers pass.
    """
    if isinstance(value, Tracer):
        return
    array = value if isinstance(value, jax.Array) else real_array(name, value)
    check_real(name, array)
    if not jnp.issubdtype(array.dtype, jnp.inexact) or array.size == 0:
        return
    if isinstance(array, jax.Array):
        finite = is_finite(array)
    elif array.dtype.kind == "f":
        # Two reductions instead of a mask as large as the array: NumPy's min keeps a NaN (that of
        # JAX, compiled for CPU, does not).
        finite = np.isfinite(array.min()) & np.isfinite(array.max())
    else:
        finite = np.isfinite(array).all()
    if bool(finite):
        return
    bad = np.argwhere(~np.isfinite(np.asarray(array)))
    raise ValueError(
        f"{name} holds {len(bad)} value(s) that are NaN or infinite, the first at index "
        f"{tuple(int(i) for i in bad[0])}; expected finite numbers: drop or repair those points."
    )


def real_array(name: str, value: Any) -> np.ndarray:
    """Returns a value as a NumPy array; ValueError if it is none of real numbers, or is masked."""
    if np.ma.is_masked(value):
        missing = int(np.ma.count_masked(value))
        raise ValueError(
            f"{name} has {missing} masked value(s), expected numbers everywhere: a mask would be "
            "dropped and what lies under it used; drop those points or fill them in."
        )
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} is no array of numbers: {error}.") from error
    check_real(name, array)
    return array


def check_real(name: str, array: Any) -> None:
    """Raises ValueError unless the dtype of an array or tracer is one of real numbers or bools."""
    dtype = array.dtype
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} is complex ({dtype}), expected real numbers: keep real and imaginary parts "
            "apart."
        )
    if not (jnp.issubdtype(dtype, jnp.number) or jnp.issubdtype(dtype, jnp.bool_)):
        raise ValueError(
            f"{name} has dtype {dtype}, expected numbers: missing values and text have none; "
            "drop those points or encode them."
        )


def is_finite(array: jax.Array) -> bool:
    """Whether no entry of an array at hand is NaN or infinite."""
    return seen_finite(array) or bool(_all_finite(array))


def seen_finite(value: Any) -> bool:
    """Whether the host sees at once that all entries are finite; False where it has to be asked.

    One NaN or infinity makes a sum NaN or infinite. On CPUs NumPy adds up a few times faster than
    XLA compares, and waits for no program.
    """
    if isinstance(value, jax.Array):
        devices = value.devices()
        if len(devices) > 1 or next(iter(devices)).platform != "cpu":
            return False
    elif not isinstance(value, np.ndarray):
        return False
    if value.dtype.kind != "f" or value.dtype.itemsize < 4:  # sums of half precision overflow
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.add.reduce(np.asarray(value), axis=None)))


@jax.jit
def _all_finite(array: jax.Array) -> jax.Array:
    """The same compiled, (): no mask as large as the array is held."""
    return jnp.all(jnp.isfinite(array))


def check_ndim(name: str, value: Any, ndim: int, meaning: str) -> None:
    """Raises ValueError unless ``value`` has ``ndim`` axes; ``meaning`` is e.g. '(n, C)'."""
    shape = shape_of(value)
    if len(shape) != ndim:
        raise ValueError(
            f"{name} has shape {shape}, expected {meaning}; add or drop an axis "
            f"(for example {name}[:, None] for a single output)."
        )


def check_same_length(name_a: str, a: Any, name_b: str, b: Any) -> None:
    """Raises ValueError unless two arrays have the same first axis."""
    la, lb = shape_of(a)[:1], shape_of(b)[:1]
    if la != lb:
        raise ValueError(
            f"{name_a} has length {la[0] if la else 'none'} and {name_b} has length "
            f"{lb[0] if lb else 'none'}; expected one entry of each per point."
        )


def check_same_shape(name_a: str, a: Any, name_b: str, b: Any) -> None:
    """Raises ValueError unless two arrays have the same shape."""
    if shape_of(a) != shape_of(b):
        raise ValueError(
            f"{name_a} has shape {shape_of(a)} and {name_b} has shape {shape_of(b)}; "
            "expected equal shapes."
        )


def check_square(name: str, value: Any) -> None:
    """Raises ValueError unless ``value`` is a square matrix."""
    shape = shape_of(value)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"{name} has shape {shape}, expected a square matrix (n, n).")


def check_symmetric(name: str, asymmetry: float, scale: float, dtype: Any) -> None:
    """Raises ValueError if the largest |K - Kᵀ| is more than round-off of the largest |K|."""
    if asymmetry > _SYMMETRY_TOLERANCE * float(jnp.finfo(dtype).eps) * scale:
        raise ValueError(
            f"{name} is not symmetric: entries differ from their mirror image by up to "
            f"{asymmetry:.3g} at a scale of {scale:.3g}; pass ({name} + {name}.T) / 2 if that is "
            "round-off."
        )


def check_in_range(
    name: str,
    value: float,
    low: float,
    high: float = np.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    """Raises ValueError unless ``low <= value <= high`` (open ends excluded); NaN never passes."""
    if not is_number(value):
        raise ValueError(f"{name} is {value!r}, expected a number.")
    above = value > low if low_open else value >= low
    below = value < high if high_open else value <= high
    if not (above and below):
        ends = f"{'(' if low_open else '['}{low:g}, {high:g}{')' if high_open else ']'}"
        raise ValueError(f"{name} is {value}, expected a number in {ends}.")


def is_number(value: Any) -> bool:
    """Whether a value is one real number, in an array or not."""
    try:
        array = np.asarray(value)
    except ValueError:  # lists of different lengths
        return False
    # ml_dtypes' bfloat16 is no floating point to NumPy.
    return array.size == 1 and (
        array.dtype.kind in "iuf" or jnp.issubdtype(array.dtype, jnp.floating)
    )


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}.")


def check_labels(name: str, labels: Any, num_classes: int | None = None) -> np.ndarray:
    """Returns integer labels (n,) as int32; ValueError on wrong type, shape or range."""
    array = real_array(name, labels)
    if array.ndim != 1:
        raise ValueError(f"{name} has shape {array.shape}, expected integer labels (n,).")
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"{name} has dtype {array.dtype}, expected integer class labels; "
            "encoded targets become labels through argmax."
        )
    if array.size and array.min() < 0:
        raise ValueError(f"{name} holds {array.min()}, expected labels from 0 up.")
    if num_classes is not None and array.size and array.max() >= num_classes:
        raise ValueError(
            f"{name} holds {array.max()}, expected labels in 0..{num_classes - 1} "
            f"(num_classes = {num_classes})."
        )
    return array.astype(np.int32)


def check_size(name: str, value: Any, low: int, high: int | None = None, hint: str = "") -> int:
    """Returns ``value`` as an int; ValueError unless it is a whole number in ``low..high``."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or value < low or (high is not None and value > high):
        ends = f"from {low} up" if high is None else f"in {low}..{high}"
        raise ValueError(
            f"{name} is {value!r}, expected a whole number {ends}{hint and '; '}{hint}."
        )
    return int(value)


def check_seed(name: str, value: Any) -> int:
    """Returns a seed as an int; ValueError unless it is one of the 2³² that JAX tells apart.

    In 32-bit mode `jax.random.key` drops the upper bits of larger ones, as of negative ones.
    """
    return check_size(name, value, 0, _LARGEST_SEED)


def check_bool(name: str, value: Any) -> bool:
    """Returns a switch as a bool; ValueError for anything else, such as the text "no"."""
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{name} is {value!r}, expected True or False.")
    return bool(value)


def check_learning_rate(value: float) -> None:
    """Raises ValueError unless the learning rate is a positive finite number."""
    check_in_range("learning_rate", value, 0.0, low_open=True, high_open=True)


def number_in(name: str, text: str) -> float:
    """The number that a text holds; ValueError if it holds none."""
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, expected a number.") from None
