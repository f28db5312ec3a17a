"""`check_runtime`: does the XLA that runs here compute what NumPy computes?"""

from __future__ import annotations

import os
from typing import Any

import jax
import jaxlib
import numpy as np

from .._results import result, static
from ._forms import Form, forms
from ._guard import FLAG, SWITCH, is_guarded, users_choice
from ._probe import apart

_FULL = {"float32": 2e-5, "float64": 1e-12}
# Products of an accelerator's default precision round inputs to 8 bits or more.
_DEFAULT_ON_ACCELERATORS = 3e-2


@result
class RuntimeCheck:
    """The largest deviation of one kind of computation from NumPy in float64.

    Attributes:
        name: what was computed, and in which dtype.
        device: kind of device, ``"cpu"``, ``"gpu"`` or ``"tpu"``.
        measured: largest deviation relative to the largest entry; infinite without a result.
        limit: what round-off explains.
        error: why it could not be computed, or empty.
    """

    name: str = static()
    device: str = static()
    measured: float = static()
    limit: float = static()
    error: str = static(default="")

    @property
    def holds(self) -> bool:
        """Whether the deviation is one of round-off; NaN is not."""
        return self.measured <= self.limit


@result
class RuntimeReport:
    """What `check_runtime` found; ``print`` it for a table.

    Attributes:
        ok: whether every check holds.
        checks: one `RuntimeCheck` per kind of computation, dtype and kind of device.
        advice: what to do, empty if all is right.
    """

    ok: bool = static()
    checks: tuple[RuntimeCheck, ...]
    advice: str = static(default="")

    def __str__(self) -> str:
        lines = [
            f"{'right' if c.holds else 'WRONG'}  {c.device}  {c.name}: {c.measured:.1e} "
            f"(limit {c.limit:.0e}){' ' + c.error if c.error else ''}"
            for c in self.checks
        ]
        return "\n".join([*lines, *([self.advice] if self.advice else [])])


def check_runtime() -> RuntimeReport:
    """Computes the forms this package relies on in JAX, beside NumPy in float64.

    Batched quadratic forms, reductions of products, products at full precision, residuals of
    ``eigh`` and gradients in loops, in float32 and float64, on the default device and on the CPU.
    XLA for CPUs in jaxlib 0.10.2 and later gets the first two wrong, without an error, where
    ``import ntk_air`` does not keep it from it (docs/runtime.md). Takes a few seconds, most of
    them to compile; starts JAX's backend.

    Returns:
        A `RuntimeReport`.

    Example:
        >>> import ntk_air as na
        >>> na.check_runtime().ok
        True
    """
    devices = [jax.local_devices()[0]]
    if devices[0].platform != "cpu":
        devices += _cpus()
    checks = apart(lambda: [check for device in devices for check in _checks(device)])
    return RuntimeReport(all(c.holds for c in checks), tuple(checks), _advice(checks))


def _cpus() -> list[Any]:
    try:
        return jax.local_devices(backend="cpu")[:1]
    except RuntimeError:
        return []


def _checks(device: Any) -> list[RuntimeCheck]:
    found: dict[tuple[str, str], RuntimeCheck] = {}
    # TPUs have no float64.
    dtypes = (np.float32,) if device.platform == "tpu" else (np.float32, np.float64)
    for dtype in dtypes:
        name = np.dtype(dtype).name
        with jax.enable_x64(dtype == np.float64), jax.default_device(device):
            for form in forms(dtype):
                check = _checked(form, name, device)
                key = form.kind, name
                # `not <=`: a NaN is worse than any number.
                if key not in found or not check.measured <= found[key].measured:
                    found[key] = check
    return list(found.values())


def _checked(form: Form, dtype: str, device: Any) -> RuntimeCheck:
    less = device.platform != "cpu" and not form.precise and "eigh" not in form.kind
    limit = _DEFAULT_ON_ACCELERATORS if less and dtype == "float32" else _FULL[dtype]
    error = ""
    try:
        value = np.asarray(form.compute(*map(jax.device_put, form.inputs)), np.float64)
        reference = np.asarray(form.reference(*(v.astype(np.float64) for v in form.inputs)))
        measured = float(np.abs(value - reference).max() / np.abs(reference).max())
    except Exception as reason:
        # A form that cannot be computed is not right, and the others are still to be told of.
        measured, error = float("inf"), " ".join(str(reason).split())[:200]
    return RuntimeCheck(f"{form.kind}, {dtype}", device.platform, measured, limit, error)


def _advice(checks: list[RuntimeCheck]) -> str:
    wrong = [c for c in checks if not c.holds]
    if not wrong:
        return ""
    if any(c.device == "cpu" and "eigh" not in c.name for c in wrong):
        why = f"Start Python with XLA_FLAGS={FLAG} (nothing after the =)"
        if os.environ.get(SWITCH) == "0":
            why = f"Unset {SWITCH}, which leaves a faulty fusion of XLA on"
        elif users_choice():
            why = f"XLA_FLAGS leaves {users_choice()} of a faulty library on; set it to {FLAG}"
        elif is_guarded():
            why += "; if that changes nothing, install another jaxlib"
        return f"{why}. jaxlib is {jaxlib.__version__}; numbers computed so far may be wrong."
    names = "; ".join(f"{c.name} on {c.device}" for c in wrong)
    return (
        f"Do not trust {names}: compute in float64 or on the CPU (JAX_PLATFORMS=cpu), or install "
        f"another jaxlib than {jaxlib.__version__}."
    )
