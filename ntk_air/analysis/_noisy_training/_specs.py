"""What the options of ``distill`` name: methods, optimisers, learning rates, augmentations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..._checks import check_choice, check_in_range, number_in
from ...distillation.baselines import METHODS

SELF_DISTILL = "self_distill"
OPTIMIZERS = ("sgd", "momentum", "adam")
AUGMENTATIONS = ("none", "crop", "crop_flip")
_MOMENTUM = 0.9
# Held-out labels stop every method here, so that stopping is a column of all and a row of none.
_A_COLUMN = "early_stopping"
WORDS = ("alpha", "label_fn", "loss", "teacher")  # of self_distill


def method_names() -> tuple[str, ...]:
    """Every method, self-distillation first."""
    return (SELF_DISTILL, *(name for name in METHODS if name != _A_COLUMN))


def parse_method(spec: str) -> tuple[str, dict[str, Any]]:
    """``NAME`` or ``NAME/KEY=VALUE/...`` to the name and its numbers, or words.

    Raises:
        ValueError: an unknown method, or a number that it does not have.
    """
    name, *parts = str(spec).strip().split("/")
    if name == _A_COLUMN:
        raise ValueError(
            "method early_stopping is a column here, not a method: every run is also judged at the "
            "step where held-out noisy labels are predicted best; ask for cross_entropy."
        )
    if name not in method_names():
        raise ValueError(f"method is {name!r}, expected one of {', '.join(method_names())}.")
    known = WORDS if name == SELF_DISTILL else METHODS[name].numbers
    values: dict[str, Any] = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals or key not in known or key in values:
            takes = ", ".join(f"{k}=VALUE" for k in known) or "nothing"
            raise ValueError(f"method {spec!r} says {part!r}; {name} takes {takes}, each once.")
        values[key] = value if name == SELF_DISTILL else _number(f"{key} of {name}", value)
    if name != SELF_DISTILL and METHODS[name].settle is None:
        for key, example in METHODS[name].required.items():
            if key not in values:
                raise ValueError(
                    f"{name} has no default {key}; ask for {name}/{key}={example:g}, say."
                )
    return name, values


@functools.lru_cache(maxsize=16)  # one object, by which compiled loops are found again
def optimizer(name: str, weight_decay: float = 0.0) -> Callable[..., Any]:
    """The optax function of a name in `OPTIMIZERS`; momentum is 0.9.

    Weight decay is of all parameters: added to the gradient for sgd and momentum, as ResNets are
    trained, and decoupled for adam.

    Raises:
        ValueError: an unknown name, or a negative decay.
    """
    import optax

    check_choice("optimizer", name, OPTIMIZERS)
    check_in_range("weight_decay", weight_decay, 0.0, high_open=True)
    plain = {
        "sgd": optax.sgd,
        "momentum": functools.partial(optax.sgd, momentum=_MOMENTUM),
        "adam": optax.adam,
    }
    if not weight_decay:
        return plain[name]
    if name == "adam":
        return functools.partial(optax.adamw, weight_decay=weight_decay)

    def decayed(learning_rate: Any) -> optax.GradientTransformation:
        return optax.chain(optax.add_decayed_weights(weight_decay), plain[name](learning_rate))

    return decayed


def parse_schedule(spec: str, learning_rate: float, num_steps: int) -> Any:
    """The learning rate, or its function of the step: ``constant``, ``cosine`` or ``steps:...``.

    ``cosine`` falls to zero at the end; ``steps:FACTOR:SHARE:...`` multiplies by the factor at
    each share of the training.

    Raises:
        ValueError: anything else, or numbers out of range.
    """
    import optax

    kind, numbers = _split(str(spec))
    if spec == "constant":
        return learning_rate
    if spec == "cosine":
        return optax.cosine_decay_schedule(learning_rate, max(1, num_steps))
    values = [_number(f"a number of schedule {spec!r}", number) for number in numbers]
    inside = len(values) > 1 and all(0 < value < 1 for value in values)
    if kind != "steps" or not inside or values[1:] != sorted(set(values[1:])):
        raise ValueError(
            f"schedule is {str(spec)!r}, expected constant, cosine, or steps:FACTOR:SHARE:..., the "
            "factor and the increasing shares of the training in (0, 1), as in steps:0.1:0.5:0.75."
        )
    factor, *shares = values
    places = np.array([round(share * num_steps) for share in shares])
    return lambda step: learning_rate * factor ** jnp.sum(step >= places)


def augmentation(name: str, image_ndim: int) -> Any:
    """The function of a name in `AUGMENTATIONS`, None for none."""
    from ...networks import pad_crop_flip

    check_choice("augment", name, AUGMENTATIONS)
    if name == "none":
        return None
    if image_ndim != 4:
        raise ValueError(f"augment {name!r} is for images (n, H, W, channels); leave it out.")
    return pad_crop_flip(4, flip=name == "crop_flip", mode="constant")


def _split(spec: str) -> tuple[str, list[str]]:
    kind, *numbers = spec.strip().split(":")
    return kind, numbers


def _number(name: str, value: str) -> float:
    number = number_in(name, value)
    return int(number) if name.startswith("start_epoch") and number.is_integer() else number
