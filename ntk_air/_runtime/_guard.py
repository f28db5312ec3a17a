"""Keeps one faulty fusion of XLA out of every program that is compiled for CPUs.

XLA for CPUs in jaxlib 0.10.2 and later hands reductions of products to a library (YNNPACK) and gets
some of them wrong, without an error (jax issues 39103, 39257, 40412). Its flag reaches a process
only through the environment, once, at the start: there, a flag that another jaxlib does not know
ends a child process, and one appended to the name of a file of flags ends this one. So the choice
is made where JAX asks for the options of each program, and the environment stays as it is.
"""

from __future__ import annotations

import functools
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import jaxlib
from jax._src import compiler, xla_bridge

from ._probe import sums_are_right

OPTION = "xla_cpu_experimental_ynn_fusion_type"
FLAG = f"--{OPTION}="
SWITCH = "NTK_AIR_RUNTIME_GUARD"
# jaxlib 0.10.0 and 0.10.1 have the fusion too, and compute it right.
_FIRST_WRONG = (0, 10, 2)
_HOOK = "get_compile_options"
_LEFT_ON = "XLA_FLAGS leaves the fusion on that does it"


def install() -> None:
    """Guards this process, once; says so where programs were already compiled wrongly.

    Raises:
        ValueError: if the environment's ``NTK_AIR_RUNTIME_GUARD`` is neither 0, 1 nor empty.
    """
    setting = os.environ.get(SWITCH) or "1"
    if setting not in ("0", "1"):
        raise ValueError(
            f"{SWITCH} is {setting!r}, expected 1 (the default) or 0, which leaves a fusion of XLA "
            "on that computes some sums wrongly."
        )
    if setting == "0" or not is_wrong_release() or is_guarded():
        return
    original = getattr(compiler, _HOOK, None)
    if original is None:
        _warn(f"this JAX has no jax._src.compiler.{_HOOK}, so ntk_air cannot switch it off")
        return
    device = _started_cpu()
    was_right = device is None or sums_are_right(device)
    _replace(original, _guarded(original, checked=device is not None))
    if was_right or device is None:
        return
    if users_choice():
        _warn(_LEFT_ON)
        return
    # What was compiled so far may be wrong as well.
    jax.clear_caches()
    _warn(
        "JAX had started before `import ntk_air`. The programs compiled so far were dropped and "
        "compile anew without that fusion, but results computed so far may be wrong"
        if sums_are_right(device)
        else "JAX had started before `import ntk_air`, and it could not be switched off"
    )


def is_guarded() -> bool:
    """Whether programs compiled from now on are guarded, or left as the user chose by a flag."""
    return hasattr(getattr(compiler, _HOOK, None), "ntk_air_original")


def is_wrong_release() -> bool:
    """Whether this jaxlib is one that computes the fusion wrongly."""
    numbers = re.findall(r"\d+", jaxlib.__version__)[:3]
    return tuple(map(int, numbers)) >= _FIRST_WRONG


def users_choice() -> str:
    """The fusions that the user's own flags leave on; "" where they name none."""
    value = os.environ.get("XLA_FLAGS", "").strip()
    if value and not value.startswith("-"):
        # XLA takes what does not look like a flag for the name of a file of flags.
        try:
            value = Path(value).read_text(errors="replace")
        except OSError:
            return ""
    found = re.findall(rf"(?:^|\s)--?{OPTION}=(\S*)", value)
    return found[-1].strip("'\"") if found else ""


def _started_cpu() -> Any:
    """A CPU device of this process if JAX has started its backends; None if not, or without."""
    if not xla_bridge.backends_are_initialized():
        return None
    try:
        return jax.local_devices(backend="cpu")[0]
    except (RuntimeError, IndexError):
        return None


def _guarded(original: Any, *, checked: bool) -> Any:
    """JAX's function that makes the options of one program, with the fusion left out for CPUs.

    Args:
        original: that function.
        checked: whether what a user's own flags leave on was found out already.
    """

    @functools.wraps(original)
    def get_compile_options(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        options = original(*args, **kwargs)
        if not _is_for_cpu(kwargs.get("backend")):
            return options
        # Options of XLA that this jaxlib does not have would stop the compilation.
        if OPTION not in repr(options.executable_build_options.debug_options):
            return options
        if users_choice():
            if not checked:
                checked = True
                _check_users_choice()
        elif all(name != OPTION for name, _ in options.env_option_overrides):
            options.env_option_overrides = [*options.env_option_overrides, (OPTION, "")]
        return options

    get_compile_options.ntk_air_original = original  # pyright: ignore[reportAttributeAccessIssue]
    return get_compile_options


def _is_for_cpu(backend: Any) -> bool:
    platform = jax.default_backend() if backend is None else backend.platform
    return platform == "cpu"


def _check_users_choice() -> None:
    if not sums_are_right(jax.local_devices(backend="cpu")[0]):
        _warn(_LEFT_ON)


def _replace(original: Any, guarded: Any) -> None:
    setattr(compiler, _HOOK, guarded)
    public = sys.modules.get("jax.extend.backend")
    if getattr(public, _HOOK, None) is original:
        setattr(public, _HOOK, guarded)


def _warn(why: str) -> None:
    warnings.warn(
        f"XLA of jaxlib {jaxlib.__version__} computes some sums of products on CPUs wrongly, "
        f"without an error: {why}. Set XLA_FLAGS={FLAG} (nothing after the =) before Python "
        "starts, or import ntk_air before JAX computes anything; na.check_runtime() tells.",
        stacklevel=2,
    )
