"""Runs a main way through the package with every shape in its signatures checked by beartype."""

from __future__ import annotations

import jaxtyping
import numpy as np

with jaxtyping.install_import_hook(["ntk_air.spectral", "ntk_air.dynamics"], "beartype.beartype"):
    import ntk_air as na
    import ntk_air.dynamics
    import ntk_air.spectral

rng = np.random.default_rng(0)
x = rng.normal(size=(12, 5)).astype(np.float32)
kernel = x @ x.T + np.eye(12, dtype=np.float32)
clean = rng.integers(0, 3, 12)
wrong = na.noise.symmetric(clean, 0.2, num_classes=3, seed=0)
y, observed = (np.asarray(na.datasets.encode(c, 3)) for c in (clean, wrong.labels))
es = na.spectral.eigendecompose(kernel)
ridge = na.dynamics.ridge(1.0)
na.spectral.project(es, y)
na.spectral.air_profile(es, y, observed)
na.spectral.supervision_complexity(es, observed)
na.dynamics.fit(es, ridge, observed)
na.dynamics.fit(es, [ridge, ridge], observed)
na.dynamics.predict(es, ridge, observed, kernel[:4])
na.dynamics.remainder_bound(es, ridge, observed)
na.dynamics.retrieval(es, y, observed, [0.0, 1.0])
na.dynamics.leave_one_out(es, ridge, observed)
na.dynamics.stopping_time(es, observed)
print("shapes hold")
try:
    na.spectral.project(es, y[:, :, None])
except jaxtyping.TypeCheckError:
    print("a wrong one is refused")
