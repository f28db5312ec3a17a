"""What the main job can be told, with the defaults that every caller shares."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from ..._checks import check_bool, check_in_range, check_seed, check_size
from ..._numerics import check_precision

_OF_TRAINING = ("learning_rate", "momentum", "time_constant", "cross_entropy", "steps")
_OF_NETWORK = ("depth", "width", "weight_std", "bias_std")
# Steps and momentum of the fully connected network that is taken where none is named, and of
# others, a step of which costs a hundred times as much: momentum takes them as far in fewer.
_STEPS, _MOMENTUM = (1000, 60), (0.0, 0.9)


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast a network is trained.

    Attributes:
        learning_rate: for the loss summed over points.
        momentum: β.
        time_constant: τ of the self-distillation, in steps.
    """

    learning_rate: float
    momentum: float
    time_constant: float

    def time(self, step: int) -> float:
        """Training time after so many steps."""
        return self.learning_rate / (1 - self.momentum) * step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of `air`.

    Attributes:
        depth: hidden layers of a network given by name; None is its own default. The fully
            connected network that is taken where none is named has 1, of width 2048, weight_std 1.4
            and bias_std 0.1.
        width: units or channels of each hidden layer, of a network with stages those of the first;
            an infinite-width kernel has no use for it.
        weight_std: standard deviation of the weights in NTK parameterisation.
        bias_std: standard deviation of the biases.
        rank: eigenpairs to compute; None is all of them.
        steps: training steps of each network; 0 trains none. None is 1000, or 60 where
            a network is given.
        learning_rate: for the loss summed over points; None is 1/λ_1 of the kernel.
        momentum: β of heavy-ball gradient descent in [0, 1); one step then advances the time by
            about learning_rate / (1 − β). None is 0, or 0.9 where a network is given.
        time_constant: τ of the self-distillation, in steps: the given labels have weight 1 for the
            first τ steps and exp(−(s − τ)/τ) after them; None is the stopping time that
            generalised cross-validation chooses from the noisy labels.
        cross_entropy: also train by cross-entropy, from the same parameters, and measure retrieval
            in the probabilities.
        standardize: whether inputs are prepared, see `air`; None does not for a network or a
            kernel of your own.
        memory_budget: bytes for the kernel and its eigensystem; None is half of what is free.
        seed: of the network's initial parameters.
        precision: ``"float64"`` computes all of it in float64, whatever JAX's default is;
            ``"float32"`` likewise; None is JAX's default.

    Raises:
        ValueError: on a setting out of range, or one of training where ``steps`` is 0.

    Example:
        >>> import ntk_air as na
        >>> na.analysis.Settings(depth=2, steps=100).depth
        2
    """

    depth: int | None = None
    width: int | None = None
    weight_std: float | None = None
    bias_std: float | None = None
    rank: int | None = None
    steps: int | None = None
    learning_rate: float | None = None
    momentum: float | None = None
    time_constant: float | None = None
    cross_entropy: bool = False
    standardize: bool | None = None
    memory_budget: float | None = None
    seed: int = 0
    precision: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError on a number out of range, or one that nothing would read."""
        check_precision(self.precision)
        check_seed("seed", self.seed)
        if self.steps is not None:
            check_size("steps", self.steps, 0)
        if self.momentum is not None:
            check_in_range("momentum", self.momentum, 0.0, 1.0, high_open=True)
        check_bool("cross_entropy", self.cross_entropy)
        if self.standardize is not None:
            check_bool("standardize", self.standardize)
        for name in ("learning_rate", "time_constant"):
            value = getattr(self, name)
            if value is not None:
                check_in_range(name, value, 0.0, math.inf, low_open=True, high_open=True)
        if self.steps == 0:
            self._refuse("where steps is 0: no network is trained", _OF_TRAINING[:-1])

    def of_network(self) -> dict[str, Any]:
        """What makes a network by name; None where it is left to that."""
        return {name: getattr(self, name) for name in _OF_NETWORK}

    def completed(self, *, fully_connected: bool, trains: bool) -> Settings:
        """These settings with steps and momentum, those of what is trained.

        Raises:
            ValueError: if nothing is trained and one of training was given.
        """
        if not trains:
            names = (*_OF_NETWORK, *_OF_TRAINING)
            self._refuse("beside a kernel of one's own without a network", names)
            return dataclasses.replace(self, steps=0)
        index = 0 if fully_connected else 1
        steps = _STEPS[index] if self.steps is None else self.steps
        if steps == 0:
            return dataclasses.replace(self, steps=0)
        momentum = _MOMENTUM[index] if self.momentum is None else self.momentum
        return dataclasses.replace(self, steps=steps, momentum=momentum)

    def paced(self, largest: float, stopping: float) -> Pace:
        """Learning rate, momentum and time constant of training.

        Args:
            largest: eigenvalue of the kernel.
            stopping: the time that is chosen from the noisy labels.
        """
        rate, momentum = self.learning_rate or 1.0 / largest, self.momentum or 0.0
        step = stopping * (1 - momentum) / rate
        return Pace(rate, momentum, self.time_constant or max(1.0, step))

    def _refuse(self, why: str, names: tuple[str, ...]) -> None:
        """Raises ValueError if one of these settings was given."""
        given = [name for name in names if getattr(self, name) not in (None, 0, False)]
        if given:
            raise ValueError(
                f"{', '.join(given)} {'has' if len(given) == 1 else 'have'} no effect {why}; "
                "leave it out."
            )
