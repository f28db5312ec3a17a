"""What training on noisy labels can be told, with the defaults that every caller shares."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from ... import distillation
from ..._checks import (
    check_bool,
    check_choice,
    check_in_range,
    check_learning_rate,
    check_seed,
    check_size,
)
from . import _specs as specs


@dataclasses.dataclass(frozen=True, kw_only=True)
class NoisySettings:
    """Settings of `noisy_training`.

    Attributes:
        noise: as of `ntk_air.noise.apply`: none, symmetric:RATE (wrong labels from the other
            classes), uniform:RATE (from all), asymmetric:RATE, pair_flip:RATE, instance:RATE,
            human:worst, ...; drawn anew for each seed.
        network: one of ``ntk_air.networks.NETWORKS``.
        method: self_distill, or a baseline as in ``gce`` or ``gce/q=0.5``; the words of
            self_distill also as in ``self_distill/alpha=exponential:200``.
        alpha: of self_distill: a number, agreement, exponential:STEPS, linear:START:END:STEPS,
            ..., or posterior and posterior:RATE, which find a weight for each label.
        label_fn: of self_distill: hard, identity, softmax:TEMPERATURE or tanh:SLOPE.
        loss: of self_distill: cross_entropy or mse.
        teacher: of self_distill: step (the current network) or epoch (the last epoch's).
        optimizer: sgd, momentum or adam.
        learning_rate: at the first step.
        schedule: of the learning rate: constant, cosine (to zero at the end), or
            steps:FACTOR:SHARE:..., as in steps:0.1:0.5:0.75 for a tenth from half of the training
            on and a hundredth from three quarters on.
        weight_decay: of all parameters: added to the gradient, for adam decoupled.
        batch_size: points of a step.
        epochs: passes over the points.
        seeds: networks, each with its own noise, initialisation and order of the points.
        one_by_one: the seeds after one another instead of together.
        validation: share of the noisy points that is held out from training, to stop by.
        augment: none, crop or crop_flip (images).
        precision: to compute in, such as bfloat16; None is that of the network.
        seed: the first of the seeds.

    Raises:
        ValueError: on a setting that can be judged without data and is not one of those above.

    Example:
        >>> import ntk_air as na
        >>> na.analysis.NoisySettings(method="self_distill/alpha=0.5").words()["alpha"]
        '0.5'
    """

    noise: str = "symmetric:0.4"
    network: str = "mlp"
    method: str = specs.SELF_DISTILL
    alpha: str = "agreement"
    label_fn: str = "hard"
    loss: str = "cross_entropy"
    teacher: str = "step"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    schedule: str = "constant"
    weight_decay: float = 0.0
    batch_size: int = 128
    epochs: int = 20
    seeds: int = 1
    one_by_one: bool = False
    validation: float = 0.1
    augment: str = "none"
    precision: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError on a setting that can be judged without data."""
        from ...networks import NETWORKS

        name, values = specs.parse_method(self.method)
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = [word for word in specs.WORDS if getattr(self, word) != defaults[word]]
        if name != specs.SELF_DISTILL and given:
            raise ValueError(
                f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} of self_distill, and the "
                f"method is {name}; leave out, or give numbers of a method as in gce/q=0.5."
            )
        if twice := [word for word in given if word in values]:
            raise ValueError(f"method {self.method!r} and the option both say {twice[0]}.")
        if name == specs.SELF_DISTILL:
            words = self.words()
            alpha = distillation.alpha.parse(words["alpha"], 1)
            label_fn = distillation.label_fn.parse(words["label_fn"])
            check_choice("loss", words["loss"], ("mse", "cross_entropy"))
            check_choice("teacher", words["teacher"], ("step", "epoch"))
            if isinstance(alpha, distillation.Posterior):
                alpha.check_beside(label_fn, words["teacher"])
        check_choice("network", self.network, tuple(NETWORKS))
        specs.optimizer(self.optimizer, self.weight_decay)
        specs.parse_schedule(self.schedule, self.learning_rate, self.epochs)
        check_choice("augment", self.augment, specs.AUGMENTATIONS)
        for size in ("batch_size", "epochs", "seeds"):
            check_size(size, getattr(self, size), 1)
        check_seed("the last seed", check_seed("seed", self.seed) + self.seeds - 1)
        check_learning_rate(self.learning_rate)
        check_bool("one_by_one", self.one_by_one)
        check_in_range("validation", self.validation, 0.0, 1.0, low_open=True, high_open=True)
        if self.precision is not None and not _is_floating(self.precision):
            raise ValueError(
                f"precision is {self.precision!r}, expected bfloat16, float16, float32 or float64."
            )

    def words(self) -> dict[str, str]:
        """What self_distill is told, in the method's name or beside it.

        Raises:
            ValueError: if ``method`` names none.
        """
        _, values = specs.parse_method(self.method)
        return {word: values.get(word, getattr(self, word)) for word in specs.WORDS}


def _is_floating(name: str) -> bool:
    try:
        dtype = jnp.dtype(name)
    except TypeError:
        return False
    return bool(jnp.issubdtype(dtype, jnp.floating))
