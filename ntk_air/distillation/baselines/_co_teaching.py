"""Co-teaching: two networks, each choosing the points that the other one learns from."""

from __future__ import annotations

from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from ..._checks import check_in_range
from ..._results import result
from ..._typing import ApplyFn, Array, ArrayLike, Float, PyTree
from ..training._history import DistillationResult
from ..training._listener import as_listener
from ..training._method import Batch, Forward, Method, method
from ..training._options import Optimizer, TrainingOptions
from ..training._train import train
from ._methods import per_network
from ._pair import pair
from ._record import NoisyRun, baseline

# Shares such as 0.7 x 10 points come out a little below the whole number they are.
_ROUNDING = 1e-4


@method
class CoTeaching(Method):
    """Cross-entropy of either network, over the points of small loss under the other one."""

    forget_rate: Any
    ramp_epochs: Any
    exponent: Any

    def objective(
        self, forward: Forward, params: PyTree, batch: Batch, memory: PyTree
    ) -> tuple[Array, PyTree]:
        """See `Method`; the sum over the two networks, whose parameters are apart."""
        outputs = forward(params, batch.inputs)  # (2, b, C)
        rows = -jnp.sum(batch.observed * jax.nn.log_softmax(outputs, axis=-1), axis=-1)
        ramp = jnp.minimum(batch.epoch**self.exponent / self.ramp_epochs, 1.0)
        chosen = small(rows, batch.weights, 1 - self.forget_rate * ramp)
        taught = jax.lax.stop_gradient(chosen[::-1])
        return jnp.sum(taught * rows) / jnp.sum(chosen[0]), memory


def small(losses: Array, weights: Array, share: Array) -> Array:
    """1 for the share of points of smallest loss in every row of (2, b), at least one; 0 else."""
    count = jnp.maximum(jnp.floor(share * jnp.sum(weights) + _ROUNDING), 1)
    order = jnp.argsort(jnp.where(weights > 0, losses, jnp.inf), axis=-1)
    return (jnp.argsort(order, axis=-1) < count).astype(weights.dtype)


@result
class CoTeachingResult(DistillationResult):
    """Outcome of co-teaching; ``params`` and ``history`` are the first network's.

    Only ``history.distance_from_init`` is over the parameters of both.

    Attributes:
        peer_params: parameters of the second network after the last step.
    """

    peer_params: Any


def _settle(run: NoisyRun, numbers: dict[str, Any]) -> dict[str, Any]:
    """Published: the rate of wrong labels, reached in 10 epochs; and a second network."""
    rates = list(run.noise_rates)
    own = {
        "ramp_epochs": min(10.0, run.epochs / 2),
        "forget_rate": rates if len(rates) > 1 else rates[0],
        "peer_params": run.fresh_params(),
    }
    return own | numbers


@baseline(
    "co-teaching",
    source="arXiv:1804.06872 alg. 1",
    numbers=("forget_rate", "ramp_epochs", "exponent"),
    required={"forget_rate": 0.4},
    remark="`peer_params` (required)",
    settle=_settle,
)
def co_teaching(
    apply_fn: ApplyFn | Any,
    params: PyTree,
    inputs: Float[ArrayLike, "n ..."],
    observed: Float[ArrayLike, "n C"],
    *,
    optimizer: Optimizer,
    num_steps: int,
    peer_params: PyTree,
    forget_rate: Any,
    ramp_epochs: float = 10.0,
    exponent: float = 1.0,
    **options: Unpack[TrainingOptions],
) -> CoTeachingResult:
    """Two networks on the same batches, each learning from the points the other one finds easy.

    In epoch T = 0, 1, ... either network picks the share 1 - forget_rate min(T^c / T_k, 1) of every
    batch, those with the smallest cross-entropy, rounded down and at least one point, and the
    other takes a step on their mean loss. Source: Han et al., arXiv:1804.06872, algorithm 1 and
    section 3; published forget_rate = rate of wrong labels, T_k = 10, c = 1. Test outputs and
    history are those of the first network, one network as with other methods, not the mean of both.

    Args:
        apply_fn: this and the arguments not named here, see `cross_entropy`.
        params: initial parameters of the first network.
        inputs: (n, ...).
        observed: one-hot observed labels (n, C).
        optimizer: see `cross_entropy`. It sees both networks as one tree: one that joins
            parameters, such as clipping by a global norm, joins the networks.
        num_steps: optimiser steps of each network.
        peer_params: initial parameters of the second, drawn with another key: networks that start
            alike stay alike.
        forget_rate: share of the points left out in the end, in [0, 1); the paper takes the rate
            of wrong labels, known or estimated. With ``replicas`` a number, or a list of one for
            each pair of networks.
        ramp_epochs: T_k > 0; without ``batch_size`` a step is an epoch.
        exponent: c > 0.
        **options: `TrainingOptions`; ``on_record`` is given the first network's parameters.

    Returns:
        Final parameters of both and `History`, see `CoTeachingResult`; ``loss`` is the first
        network's cross-entropy over all points.

    Raises:
        ValueError: see `cross_entropy`; numbers out of range, peers of another shape or equal.

    Example:
        >>> import numpy as np, ntk_air as na
        >>> x, observed, w = np.eye(4), np.eye(2)[[0, 1, 0, 1]], np.zeros((4, 2))
        >>> result = na.distillation.baselines.co_teaching(
        ...     lambda w, x: x @ w, w, x, observed, optimizer=0.1, num_steps=3,
        ...     peer_params=w + 0.1, forget_rate=0.25, key=0)
        >>> print(result.history.loss.round(3))
        [0.693 0.681 0.669 0.657 ]
    """
    check_in_range("ramp_epochs", ramp_epochs, 0.0, low_open=True, high_open=True)
    check_in_range("exponent", exponent, 0.0, low_open=True, high_open=True)
    if params is not None or peer_params is None:  # else an nnx module's own parameters
        _check_same_shapes(params, peer_params)
    peers = pair(apply_fn, params, peer_params)
    first, second = peers.params
    _check_unlike(first, second, options.get("replicas"))

    def make(forget_rate: float) -> CoTeaching:
        check_in_range("forget_rate", forget_rate, 0.0, 1.0, high_open=True)
        return CoTeaching(float(forget_rate), float(ramp_epochs), float(exponent))

    told = as_listener(options.get("on_record"))
    if told is not None:
        options["on_record"] = lambda step, joined, numbers: told(step, joined[0], numbers)
    outcome = train(
        peers,
        None,
        inputs,
        observed,
        per_network(make, options.get("replicas"), forget_rate=forget_rate),
        optimizer=optimizer,
        num_steps=num_steps,
        **options,
    )
    first, second = outcome.params
    return CoTeachingResult(first, outcome.history, second)


def _check_same_shapes(params: PyTree, peer_params: PyTree) -> None:
    a, b = (jax.tree.structure(p) for p in (params, peer_params))
    shapes = [[np.shape(leaf) for leaf in _numbers(p)] for p in (params, peer_params)]
    if a != b or shapes[0] != shapes[1]:
        raise ValueError(
            "peer_params has another structure or other shapes than params; initialise the same "
            "network with another key."
        )


def _check_unlike(params: PyTree, peer_params: PyTree, replicas: int | None) -> None:
    """Raises ValueError if the networks of a pair, or of one of several, are equal."""
    equal = [
        np.asarray(x == y) for x, y in zip(_numbers(params), _numbers(peer_params), strict=True)
    ]
    if replicas is not None and any(e.shape[:1] != (replicas,) for e in equal):
        return  # refused in training
    pairs = [e.reshape(replicas or 1, -1).all(1) for e in equal]
    same = np.flatnonzero(np.all(pairs, axis=0))
    if same.size:
        which = "" if replicas is None else f" for network {same[0]}"
        raise ValueError(
            f"peer_params equals params{which}, and networks that start alike stay alike; "
            "initialise the second one with another key."
        )


def _numbers(params: PyTree) -> list[Array]:
    """The leaves without random keys."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(params)]
    return [x for x in leaves if not jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)]
