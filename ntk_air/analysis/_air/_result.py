"""The result of the main job."""

from __future__ import annotations

from ..._results import result, static
from ..._typing import Array, Float
from ...distillation import History
from ...dynamics import RetrievalCurves, StoppingTime
from ...spectral import AIRProfile
from .._recording._record import KernelMovement
from ._by_class import ClassRetrieval
from ._by_layer import LayerShares
from ._cross_entropy import CrossEntropyRetrieval
from ._held_out import HeldOutRetrieval


@result
class AIRAnalysis:
    """How much signal and how much noise a network retrieves, and when.

    Attributes:
        eigenvalues: (r,) of the analysed kernel over the training points, descending.
        profile: energy of signal and noise in each eigendirection.
        curves: predicted retrieval on a fine grid of times (gradient flow, f_0 = 0, expectation).
        measured: retrieval of the trained network at its recorded times, per direction in the
            eigenbasis of its own NTK at initialisation; None if none was trained.
        predicted: predicted retrieval at those times from that NTK, for the same discrete steps.
        predicted_infinite: the same from the infinite-width NTK; None where that was not analysed.
        stopping: stopping time chosen without clean labels.
        times: (T,) the grid of ``curves`` and of the next two.
        test_accuracy: (T,) of kernel gradient flow stopped at each time.
        train_accuracy: (T,) against the clean training labels.
        converged_accuracy: (), test accuracy of kernel gradient flow at infinite time.
        plain: history of the network trained on the observed labels; None if none was trained.
        self_distilled: history of the same network under self-distillation.
        noise_rate: (), fraction of training labels that are wrong.
        test: signal and noise at the test points; None without any, or without the kernel there.
        by_class: signal and noise of each class's points. None in files of earlier versions, as
            what follows.
        by_layer: shares of the network's layers in its kernel; None unless that is finite.
        kernel_movement: the network's NTK before training and after plain training, in its own
            eigenbasis each; None if none was trained.
        cross_entropy: retrieval of the network trained by that; None unless asked for.
        dataset, noise, architecture: what they were.
        kernel: ``"infinite"``, ``"finite"``, ``"nngp"`` or ``"own"``.
        num_points, num_test, num_classes: sizes n, m, C.
        trusted_rank: eigenvalues above round-off.
        seed: of the network.
        learning_rate, momentum, time_constant: as used.
        versions: pairs (package, version).
    """

    eigenvalues: Float[Array, " r"]
    profile: AIRProfile
    curves: RetrievalCurves
    measured: RetrievalCurves | None
    predicted: RetrievalCurves | None
    predicted_infinite: RetrievalCurves | None
    stopping: StoppingTime
    times: Float[Array, " T"]
    test_accuracy: Float[Array, " T"]
    train_accuracy: Float[Array, " T"]
    converged_accuracy: Float[Array, ""]
    plain: History | None
    self_distilled: History | None
    noise_rate: Float[Array, ""]
    dataset: str = static()
    noise: str = static()
    architecture: str = static()
    num_points: int = static()
    num_test: int = static()
    num_classes: int = static()
    trusted_rank: int = static()
    seed: int = static()
    learning_rate: float = static()
    momentum: float = static()
    time_constant: float = static()
    versions: tuple[tuple[str, str], ...] = static()
    test: HeldOutRetrieval | None = None
    by_class: ClassRetrieval | None = None
    by_layer: LayerShares | None = None
    kernel_movement: KernelMovement | None = None
    cross_entropy: CrossEntropyRetrieval | None = None
    kernel: str = static(default="infinite")
