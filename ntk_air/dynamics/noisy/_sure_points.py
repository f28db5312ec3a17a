"""How often labels disagree with the prediction of the points that are predicted most surely."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from ..._classes import class_of
from ..._typing import Array, Float
from ...spectral import Eigensystem

_SHARE, _FEWEST = 0.25, 20
# Of directions that predict, the last one at most a quarter of the points.
_FIRST, _GROWTH, _WIDEST = 2, 2, 0.25
_NORMAL_95 = 1.645


def sure_disagreement(
    eigensystem: Eigensystem, codes: Float[np.ndarray, "n C"]
) -> tuple[float, float]:
    """Share of labels unlike the prediction at the surest quarter of the points, and a lower limit.

    Where classes overlap labels cannot be predicted, whether wrong or not; at the points predicted
    most surely they can, and symmetric noise is all that disagrees. So it makes no smaller share of
    all labels wrong than of those, and no larger one. Each point is predicted without its own label
    by the projection onto the leading directions, as many as predict the others' labels best.

    Args:
        eigensystem: of the kernel.
        codes: class codes (n, C), centred, or ±1.

    Returns:
        The share and the lower end of its one-sided 95 % interval (Wilson's); 1 and 1 where there
        are too few points to tell.
    """
    n = len(codes)
    count = int(_SHARE * n)
    if count < _FEWEST:
        return 1.0, 1.0
    outputs = np.asarray(_best_outputs(eigensystem, codes), np.float64)
    pairs = np.hstack([-outputs, outputs]) if outputs.shape[1] == 1 else outputs
    ordered = np.sort(pairs, axis=1)
    surest = np.argsort(ordered[:, -2] - ordered[:, -1], kind="stable")[:count]
    unlike = class_of(outputs[surest]) != class_of(codes[surest])
    share = float(unlike.mean())
    z = _NORMAL_95**2 / count
    middle = share + z / 2
    spread = np.sqrt(z * (share * (1 - share) + z / 4))
    return share, float(max(middle - spread, 0.0) / (1 + z))


def _best_outputs(eigensystem: Eigensystem, codes: np.ndarray) -> Float[Array, "n C"]:
    """Leave-one-out outputs of the projection that predicts best, exact for each."""
    vectors = jnp.asarray(eigensystem.eigenvectors)
    targets = jnp.asarray(codes, vectors.dtype)
    most = max(1, min(eigensystem.rank, int(_WIDEST * len(codes))))
    fitted, own = jnp.zeros_like(targets), jnp.zeros(len(codes), vectors.dtype)
    best, least, begin, end = jnp.zeros_like(targets), np.inf, 0, min(_FIRST, most)
    while begin < most:
        part = vectors[:, begin:end]
        fitted = fitted + part @ (part.T @ targets)
        own = own + jnp.sum(part**2, axis=1)
        free = jnp.maximum(1 - own, 1e-3)[:, None]
        left_out = (fitted - own[:, None] * targets) / free
        error = float(jnp.mean((targets - left_out) ** 2))
        if error < least:
            best, least = left_out, error
        begin, end = end, min(end * _GROWTH, most)
    return best
