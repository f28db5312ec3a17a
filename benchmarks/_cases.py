"""What is benchmarked: every case by its name."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import (
    _cases_dynamics,
    _cases_finite,
    _cases_full,
    _cases_infinite,
    _cases_spectral,
    _cases_training,
)
from benchmarks._harness import Case, Settings

_EVERYWHERE = (
    _cases_infinite.infinite_fc,
    _cases_infinite.infinite_conv,
    _cases_infinite.infinite_conv_flatten,
    _cases_finite.finite_mlp,
    _cases_finite.finite_cnn,
    _cases_finite.finite_mlp_symmetric,
    _cases_finite.finite_cnn_symmetric,
    _cases_infinite.store,
    _cases_spectral.eigendecompose,
    _cases_spectral.eigendecompose_flat,
    _cases_spectral.operator,
    _cases_spectral.operator_trace,
    _cases_dynamics.closed_form_outputs,
    _cases_dynamics.retrieval_curves,
    _cases_training.training_mlp,
    _cases_training.training_seeds,
    _cases_training.training_small_cnn,
    _cases_training.training_resnet18,
)
_FULL = (_cases_full.full_fc, _cases_full.full_eigen, _cases_full.full_conv)

CASES: dict[str, Callable[[Settings], Case]] = {
    make.__name__: make for make in (*_EVERYWHERE, *_FULL)
}
DEFAULT = tuple(make.__name__ for make in _EVERYWHERE)
# What `--cases` takes beside the names of cases.
GROUPS = {"gpu_full": tuple(make.__name__ for make in _FULL)}
