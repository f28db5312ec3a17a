"""Self-distillation in torch: eagerly, with what speeds torch up, and many seeds at once."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks._harness import Run
from benchmarks._jax_training import MOMENTUM


def training(
    network: str,
    *,
    threads: int | None = None,
    channels_last: bool = False,
    fused: bool = False,
    compiled: bool = False,
) -> Callable[[Any], Run]:
    """Steps of a network of `_torch_networks`; losses where they are compared and at the end.

    Args:
        network: its name there.
        threads: of torch; default as many as it takes.
        channels_last: layout of images and filters.
        fused: one call of the optimiser for all parameters.
        compiled: forward pass, loss and gradient by ``torch.compile``.
    """

    def build(inputs: Any) -> Run:
        import torch  # pyright: ignore[reportMissingImports]

        from benchmarks import _torch_networks

        start = getattr(_torch_networks, network)(inputs.variables)
        x, observed = torch.tensor(_channels_first(inputs.points)), _tensor(inputs.observed)
        if channels_last:
            start, x = (
                thing.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
                for thing in (start, x)
            )
        order = _tensor(inputs.order).long()
        rows_of_norms = _torch_networks.rows_of_norms(start, x[: inputs.batch_size])
        trained = copy.deepcopy(start)
        step = _objective(trained)
        if compiled:
            step = torch.compile(step)

        def loss(steps: int) -> float:
            trained.eval()
            with torch.no_grad(), _torch_networks.without_bessel(trained, rows_of_norms, steps):
                found = float(distilled(trained(x), observed))
            trained.train()
            return found

        def run() -> np.ndarray:
            with threads_of_torch(threads):
                trained.load_state_dict(start.state_dict())
                trained.train()
                optimizer = torch.optim.SGD(
                    trained.parameters(), lr=inputs.rate, momentum=MOMENTUM, fused=fused or None
                )
                losses = []
                for done, rows in enumerate(order, 1):
                    optimizer.zero_grad()
                    step(x[rows], observed[rows]).backward()
                    optimizer.step()
                    if done in (inputs.compared, len(order)):
                        losses.append(loss(done))
                return np.array([losses[0], losses[-1]])

        return run

    return build


def seeds(
    *, threads: int | None = None, by_hand: bool = False, compiled: bool = False
) -> Callable[[Any], Run]:
    """Steps of MLPs side by side, their parameters stacked; the losses of each.

    Args:
        threads: of torch.
        by_hand: batched products instead of ``torch.func.vmap``.
        compiled: forward pass, loss and gradient by ``torch.compile``.
    """

    def build(inputs: Any) -> Run:
        import torch  # pyright: ignore[reportMissingImports]

        start = _stacked(inputs)
        x, observed = torch.tensor(_channels_first(inputs.points)), _tensor(inputs.observed)
        order = _tensor(inputs.order).long()
        forward = _batched_mlp if by_hand else _vmapped_mlp(inputs)
        losses = torch.func.vmap(distilled)

        def objective(params: dict, x: Any, observed: Any) -> Any:
            return losses(forward(params, x), observed).sum()

        step = torch.compile(objective) if compiled else objective
        everywhere = (inputs.seeds, *(-1,) * x.ndim)

        def loss(params: dict) -> np.ndarray:
            with torch.no_grad():
                outputs = forward(params, x.expand(everywhere))
                return losses(outputs, observed.expand(len(outputs), -1, -1)).numpy()

        def run() -> np.ndarray:
            with threads_of_torch(threads):
                params = {k: v.clone().requires_grad_() for k, v in start.items()}
                optimizer = torch.optim.SGD(
                    params.values(), lr=inputs.rate, momentum=MOMENTUM, fused=True
                )
                found = []
                for done, rows in enumerate(order, 1):
                    optimizer.zero_grad()
                    step(params, x[rows], observed[rows]).backward()
                    optimizer.step()
                    if done in (inputs.compared, len(order)):
                        found.append(loss(params))
                return np.stack([found[0], found[-1]])

        return run

    return build


def _stacked(inputs: Any) -> dict[str, Any]:
    """Parameters of all networks by name, as torch's layers hold them, with a first axis."""
    import jax
    import torch  # pyright: ignore[reportMissingImports]

    from benchmarks import _torch_networks

    each = [
        _torch_networks.mlp(jax.tree.map(lambda leaf, i=i: leaf[i], inputs.variables))
        for i in range(inputs.seeds)
    ]
    params, _ = torch.func.stack_module_state(each)
    return {name: value.detach() for name, value in params.items()}


def _vmapped_mlp(inputs: Any) -> Callable[[dict, Any], Any]:
    import jax
    import torch  # pyright: ignore[reportMissingImports]

    from benchmarks import _torch_networks

    one = _torch_networks.mlp(jax.tree.map(lambda leaf: leaf[0], inputs.variables)).to("meta")
    return torch.func.vmap(lambda params, x: torch.func.functional_call(one, params, (x,)))


def _batched_mlp(params: dict, x: Any) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    values = list(params.values())
    for layer, (w, b) in enumerate(zip(values[::2], values[1::2], strict=True)):
        x = torch.relu(x) if layer else x
        x = torch.baddbmm(b[:, None], x, w.mT)
    return x


def _objective(network: Any) -> Callable[[Any, Any], Any]:
    return lambda x, wanted: distilled(network(x), wanted)


def distilled(outputs: Any, observed: Any) -> Any:
    """Cross entropy to the authors' target: hard labels, weighted by the agreement of the batch."""
    import torch  # pyright: ignore[reportMissingImports]

    own = outputs.detach().argmax(1)
    alpha = 1 - (own == observed.argmax(1)).float().mean()
    hard = torch.nn.functional.one_hot(own, outputs.shape[1])
    target = alpha * observed + (1 - alpha) * hard
    return torch.nn.functional.cross_entropy(outputs, target)


@contextlib.contextmanager
def threads_of_torch(count: int | None) -> Iterator[None]:
    """So many threads of torch inside, the former number afterwards."""
    import torch  # pyright: ignore[reportMissingImports]

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _channels_first(points: Any) -> np.ndarray:
    points = np.asarray(points)
    return np.ascontiguousarray(points.transpose(0, 3, 1, 2)) if points.ndim == 4 else points


def _tensor(array: Any) -> Any:
    import torch  # pyright: ignore[reportMissingImports]

    return torch.tensor(np.ascontiguousarray(array))
