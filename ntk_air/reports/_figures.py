"""The figures of the main job's report: drawn from the result, nothing computed."""

from __future__ import annotations

import dataclasses
from typing import Any

from matplotlib.figure import Figure

from .. import plots
from ..analysis import AIRAnalysis


@dataclasses.dataclass(frozen=True)
class ReportFigure:
    """A drawn figure, its file name, and what it says in one sentence."""

    name: str
    caption: str
    figure: Figure


def air_figures(analysis: AIRAnalysis) -> list[ReportFigure]:
    """Every figure of the report, in reading order.

    Example:
        >>> import ntk_air as na
        >>> data = na.datasets.load("digits", train_size=60, test_size=20)
        >>> noisy = na.noise.symmetric(data.train_labels, 0.4, num_classes=10, seed=0)
        >>> result = na.analysis.air(data, noisy, steps=0)
        >>> [one.name for one in na.reports.air_figures(result)][:2]
        ['air_profile', 'retrieval']
    """
    figures = [
        ReportFigure(
            "air_profile",
            "Share of the clean labels' energy and of the label noise's energy in the first k "
            "eigendirections of the NTK. The gap is anisotropic information retrieval; noise that "
            "falls on the dashed line is spread evenly.",
            plots.standalone(plots.air_profile, analysis),
        ),
        ReportFigure(
            "retrieval",
            "How much of the signal and of the noise is fitted at each training time: lines from "
            "the kernel's spectrum in closed form, points measured on the trained network.",
            plots.standalone(plots.retrieval, analysis),
        ),
        ReportFigure(
            "spectrum",
            "Eigenvalues of the NTK: direction k is fitted at rate λ_k.",
            plots.standalone(plots.spectrum, analysis),
        ),
    ]
    if analysis.num_test:
        figures.append(
            ReportFigure(
                "stopping",
                "Accuracy of kernel gradient flow stopped at each time: on test points, and on the "
                "training points against their clean labels.",
                plots.standalone(plots.stopping, analysis),
            )
        )
    figures += _of_parts(analysis)
    if analysis.plain is None:
        return figures
    histories = [
        (
            "l2_to_clean",
            "Distance of the network's outputs to the clean labels: plain training passes the "
            "signal and turns to the noise, self-distillation goes on towards the clean labels.",
        )
    ]
    if analysis.num_test:
        histories.insert(
            0,
            ("test_accuracy", "Test accuracy of the network, plainly trained and self-distilled."),
        )
    for field, caption in histories:
        drawn = plots.standalone(plots.history, analysis, field=field)
        figures.append(ReportFigure(field, caption, drawn))
    return figures


def _of_parts(analysis: AIRAnalysis) -> list[ReportFigure]:
    """Test points, classes, layers and the moved kernel, as far as the analysis has them."""
    figures: list[ReportFigure] = []

    def add(name: str, caption: str, draw: Any, *args: Any) -> None:
        figures.append(ReportFigure(name, caption, plots.standalone(draw, *args)))

    if analysis.test is not None:
        add(
            "test_retrieval",
            "The same at the test points: how much of their clean signal the outputs hold, and how "
            "much of the label noise that the kernel brings there.",
            plots.retrieval,
            analysis.test,
        )
    if analysis.by_class is not None:
        add(
            "by_class",
            "How much of the signal on each class's own points is retrieved: lines predicted, "
            "points measured on the network.",
            plots.by_class,
            analysis,
        )
    if analysis.by_layer is not None:
        add(
            "by_layer",
            "Which layers' parameters each eigendirection is learned by.",
            plots.by_layer,
            analysis,
        )
    if analysis.kernel_movement is not None:
        add(
            "before_and_after",
            "Where signal and noise lie in the network's own NTK before and after training.",
            plots.before_and_after,
            analysis,
        )
    if analysis.cross_entropy is not None:
        add(
            "cross_entropy",
            "Trained by cross-entropy: signal and noise in the probabilities, and the closed form "
            "that holds while they are near uniform.",
            plots.retrieval,
            analysis.cross_entropy,
        )
    return figures
