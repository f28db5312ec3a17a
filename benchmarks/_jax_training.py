"""Self-distillation in JAX as people write it, with the batches that the trainer takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks._harness import Run

MOMENTUM = 0.9


class Inputs(NamedTuple):
    """What all contestants of a case train, and on what.

    Attributes:
        module: the network.
        variables: its initial parameters and state; with ``seeds`` a first axis of that length.
        points: (n, ...).
        observed: one-hot labels (n, C).
        order: points of every batch, (steps, batch), or (steps, seeds, batch).
        rate: learning rate.
        compared: the step after which losses are compared: later they differ by round-off, which
            hard labels amplify.
        seeds: networks that are trained together; None for one.
    """

    module: Any
    variables: Any
    points: jax.Array
    observed: jax.Array
    order: np.ndarray
    rate: float
    compared: int
    seeds: int | None = None

    @property
    def batch_size(self) -> int:
        return self.order.shape[-1]


def batch_order(key: jax.Array, n: int, size: int, steps: int) -> jax.Array:
    """The points of every step, (steps, size): the order that ``TrainingOptions`` documents."""
    per_epoch = n // size
    epochs = jnp.arange(-(-steps // per_epoch))
    orders = jax.vmap(lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), n))
    return orders(epochs)[:, : per_epoch * size].reshape(-1, size)[:steps]


class Loop(NamedTuple):
    """A network with its optimiser.

    Attributes:
        start: initial parameters, state of the network and of the optimiser.
        step: one step of it, ``step(state, rows)``.
        loss: loss on all points, with running statistics.
    """

    start: tuple[Any, Any, Any]
    step: Callable[[Any, jax.Array], Any]
    loss: Callable[[Any], jax.Array]


def loop_of(inputs: Inputs, module: Any = None) -> Loop:
    """The step and the final loss of one network, or of all together by ``jax.vmap``.

    Args:
        inputs: what is trained.
        module: another form of the same network; its parameters take those of the inputs.
    """
    optimizer = optax.sgd(inputs.rate, momentum=MOMENTUM)
    module = inputs.module if module is None else module
    params = inputs.variables["params"]
    state = {name: value for name, value in inputs.variables.items() if name != "params"}

    def step(now: Any, rows: jax.Array) -> Any:
        params, state, memory = now
        points, observed = inputs.points[rows], inputs.observed[rows]

        def objective(params: Any) -> tuple[jax.Array, Any]:
            outputs, new = module.apply(
                {"params": params, **state}, points, train=True, mutable=list(state)
            )
            return distilled(outputs, observed), new

        gradient, new = jax.grad(objective, has_aux=True)(params)
        updates, memory = optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, updates), new, memory

    def loss(now: Any) -> jax.Array:
        outputs = module.apply({"params": now[0], **now[1]}, inputs.points)
        return distilled(outputs, inputs.observed)

    start = (params, state, optimizer.init(params))
    if inputs.seeds is None:
        return Loop(start, step, loss)
    return Loop(start, jax.vmap(step), jax.vmap(loss))


def distilled(outputs: jax.Array, observed: jax.Array) -> jax.Array:
    """Cross entropy to the authors' target: hard labels, weighted by the agreement of the batch."""
    own = jnp.argmax(outputs, 1)
    alpha = 1 - jnp.mean(own == jnp.argmax(observed, 1))
    target = alpha * observed + (1 - alpha) * jax.nn.one_hot(own, outputs.shape[1])
    return optax.softmax_cross_entropy(outputs, jax.lax.stop_gradient(target)).mean()


def step_by_step(inputs: Inputs, module: Any = None, *, donate: bool = True) -> Run:
    """A jitted step, called once per batch; donated, its state is written over.

    The network's parameters have to be copied first, since donation takes them.
    """
    loop = loop_of(inputs, module)
    step = jax.jit(loop.step, donate_argnums=0 if donate else ())
    loss, start = jax.jit(loop.loss), loop.start

    def run() -> np.ndarray:
        now, losses = jax.tree.map(jnp.copy, start) if donate else start, []
        for done, rows in enumerate(inputs.order, 1):
            now = step(now, rows)
            if done in (inputs.compared, len(inputs.order)):
                losses.append(loss(now))
        return np.stack([losses[0], losses[-1]])

    return run


def scanned(inputs: Inputs) -> Run:
    """An epoch as one call: ``jax.lax.scan`` over its batches, its state donated."""
    loop, per_epoch = loop_of(inputs), len(inputs.points) // inputs.batch_size

    def epoch(now: Any, order: Any) -> Any:
        return jax.lax.scan(lambda now, rows: (loop.step(now, rows), None), now, order)[0]

    epoch, loss = jax.jit(epoch, donate_argnums=0), jax.jit(loop.loss)

    def run() -> np.ndarray:
        now, losses = jax.tree.map(jnp.copy, loop.start), []
        for begin in range(0, len(inputs.order), per_epoch):
            batches = inputs.order[begin : begin + per_epoch]
            now = epoch(now, batches)
            if begin + len(batches) in (inputs.compared, len(inputs.order)):
                losses.append(loss(now))
        return np.stack([losses[0], losses[-1]])

    return run
