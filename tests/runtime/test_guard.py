"""After ``import ntk_air`` a user's compiled sums of products are NumPy's, however it starts."""

from __future__ import annotations

import json
import types
import warnings

import jaxlib
import pytest
from jax._src import compiler
from processes import run

from ntk_air._runtime import _guard

FLAG = "--xla_cpu_experimental_ynn_fusion_type="
# Faulty from jaxlib 0.10.2 on; what the tests below expect of the releases before is less.
FAULTY = tuple(map(int, jaxlib.__version__.split(".")[:3])) >= (0, 10, 2)
FRESH = {"XLA_FLAGS": None, "NTK_AIR_RUNTIME_GUARD": None}

# What a user writes, and NumPy's value of it; `error()` is the largest relative deviation.
USER = """
import json, os, subprocess, sys, warnings
warnings.simplefilter("always")
caught = warnings.catch_warnings(record=True)
said = caught.__enter__()
import jax, jax.numpy as jnp, numpy as np
E = np.random.default_rng(0).normal(size=(4, 300, 8)).astype(np.float32)
forms = [
    (jax.jit(lambda e: jnp.sum((e @ jnp.full((8, 8), 0.5, e.dtype)) * e, -1)),
     0.5 * E.astype(float).sum(-1) ** 2),
    (jax.jit(lambda e: jnp.sum((e @ jnp.ones((8, 8), e.dtype)) ** 2, -1)),
     8 * E.astype(float).sum(-1) ** 2),
]
def error():
    return max(float(np.abs(np.asarray(f(E)) / v - 1).max(where=v > 1e-2, initial=0))
               for f, v in forms)
def ours():
    return [str(w.message) for w in said if "sums of products" in str(w.message)]
"""


def told(program, **variables):
    """What a program printed last, as JSON."""
    out = run(["-c", USER + program], optimized=True, variables=FRESH | variables)
    return json.loads(out.splitlines()[-1])


def test_import_first_leaves_the_environment_and_its_children_alone():
    found = told(
        """
import ntk_air
before = dict(os.environ)
# What is set between the import and the start still counts.
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
errors = [error()]
with jax.enable_x64(True):
    E = E.astype(np.float64)
    errors.append(error())
# Unguarded, jaxlib 0.10.2 ends the process here (jax issue 40412).
A, B = np.random.default_rng(1).normal(size=(2, 3, 1, 2, 2, 8, 8, 8)).astype(np.float32)
errors.append(float(np.abs(jax.jit(lambda a, b: jnp.sum(a * b, 3))(A, B) - (A * B).sum(3)).max()))
del os.environ["XLA_FLAGS"]
child = subprocess.run([sys.executable, "-c", "import os; print(os.environ.get('XLA_FLAGS'))"],
                       capture_output=True, text=True).stdout.strip()
print(json.dumps([errors, len(jax.devices()), dict(os.environ) == before, child, ours()]))
"""
    )
    (single, double, deep), devices, same, child, said = found
    assert max(single, deep) < 1e-3
    assert double < 1e-10
    assert (devices, same, child, said) == (2, True, "None", [])


def test_import_after_the_start_is_found_out_and_said_once():
    before, after, again, said = told(
        """
before = error()
import ntk_air
after = error()
import importlib
importlib.reload(ntk_air)
print(json.dumps([before, after, error(), ours()]))
"""
    )
    assert (before > 0.1) == FAULTY
    assert max(after, again) < 1e-3
    assert len(said) == FAULTY
    assert all(FLAG in text for text in said)


def test_import_after_the_start_inside_a_trace_and_with_compilation_off():
    inside, after, said = told(
        """
jnp.zeros(3).block_until_ready()
jax.config.update("jax_disable_jit", True)
jax.config.update("jax_transfer_guard", "disallow")
jax.config.update("jax_numpy_dtype_promotion", "strict")
def traced(e):
    import ntk_air
    return forms[0][0](e)
with jax.disable_jit(False), jax.transfer_guard("allow"):
    value = np.asarray(jax.jit(traced)(E))
jax.config.update("jax_disable_jit", False)
jax.config.update("jax_transfer_guard", "allow")
inside = float(np.abs(value - forms[0][1]).max())
print(json.dumps([inside, error(), ours()]))
"""
    )
    assert inside < 1e-3
    assert after < 1e-3
    assert len(said) == FAULTY


@pytest.mark.parametrize("how", ["flags", "file"])
def test_flags_of_ones_own_are_kept(how, tmp_path):
    flags = "--xla_force_host_platform_device_count=2"
    file = tmp_path / "xla.flags"
    file.write_text(flags + "\n")
    found = told(
        "import ntk_air\nprint(json.dumps([error(), len(jax.devices()), ours()]))",
        XLA_FLAGS=str(file) if how == "file" else flags,
    )
    assert found[0] < 1e-3
    assert found[1:] == [2, []]


@pytest.mark.parametrize("late", [False, True])
def test_a_fusion_that_the_user_leaves_on_stays_and_is_said_once(late, tmp_path):
    file = tmp_path / "xla.flags"
    file.write_text(f"{FLAG}reduce\n")
    left_on, said = told(
        ("jnp.zeros(3).block_until_ready()\n" if late else "")
        + "import ntk_air\nleft_on = error()\nerror()\nprint(json.dumps([left_on, ours()]))",
        XLA_FLAGS=str(file) if late else f"{FLAG}reduce",
    )
    assert (left_on > 0.1) == FAULTY
    assert len(said) == FAULTY
    assert all("XLA_FLAGS leaves" in text and FLAG in text for text in said)


def test_the_flag_that_repairs_is_silent_whenever_the_import_comes():
    assert told(
        "before = error()\nimport ntk_air\n"
        "print(json.dumps([before < 1e-3, error() < 1e-3, ours()]))",
        XLA_FLAGS=FLAG,
    ) == [True, True, []]


def test_programs_kept_on_disk_by_an_unguarded_process_are_not_taken(tmp_path):
    keep = f"""
jax.config.update("jax_compilation_cache_dir", {str(tmp_path)!r})
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
import ntk_air
print(json.dumps(error()))
"""
    assert (told(keep, NTK_AIR_RUNTIME_GUARD="0") > 0.1) == FAULTY
    assert any(tmp_path.iterdir())
    assert told(keep) < 1e-3


# Releases that are not installed, and places where there is nothing to guard.


def options(fusions):
    """What JAX makes for one program, as much as the guard reads of it."""
    debug = f"xla_x: true\n{_guard.OPTION}: {fusions}\n" if fusions else "xla_x: true\n"
    build = types.SimpleNamespace(debug_options=type("", (), {"__repr__": lambda _: debug})())
    return types.SimpleNamespace(executable_build_options=build, env_option_overrides=[("a", "b")])


@pytest.fixture
def unguarded(monkeypatch):
    """JAX as it was before the import; what `install` does to it is undone."""
    function = compiler.get_compile_options
    monkeypatch.setattr(
        compiler, "get_compile_options", getattr(function, "ntk_air_original", function)
    )
    monkeypatch.setattr(_guard, "_started_cpu", lambda: None)
    monkeypatch.delenv("NTK_AIR_RUNTIME_GUARD", raising=False)
    monkeypatch.delenv("XLA_FLAGS", raising=False)


def overrides(monkeypatch, platform="cpu", fusions="REDUCE"):
    """The options of one program after `install`."""
    made = options(fusions)
    monkeypatch.setattr(compiler, "get_compile_options", lambda **_: made)
    _guard.install()
    backend = types.SimpleNamespace(platform=platform)
    return compiler.get_compile_options(backend=backend).env_option_overrides


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("0.10.0", False),
        ("0.10.1", False),
        ("0.10.2", True),
        ("0.10.2.dev20260601", True),
        ("0.11.0", True),
        ("0.12.0.1", True),
        ("1.0", True),
    ],
)
def test_releases_that_are_right_are_left_alone(release, expected, unguarded, monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", release)
    found = overrides(monkeypatch)
    assert found == [("a", "b"), *([(_guard.OPTION, "")] if expected else [])]


@pytest.mark.parametrize(
    ("platform", "fusions"), [("cuda", "REDUCE"), ("tpu", "REDUCE"), ("cpu", "")]
)
def test_other_backends_and_a_jaxlib_without_the_option_get_no_option(
    platform, fusions, unguarded, monkeypatch
):
    """An option that XLA does not know stops a compilation; a flag, the process."""
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    assert overrides(monkeypatch, platform, fusions) == [("a", "b")]


def test_a_flag_set_too_late_to_reach_xla_does_not_count(unguarded, monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    monkeypatch.setenv("XLA_FLAGS", FLAG)
    assert (_guard.OPTION, "") in overrides(monkeypatch)


def test_a_jax_that_cannot_be_guarded_is_said(unguarded, monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    monkeypatch.delattr(compiler, "get_compile_options")
    with pytest.warns(UserWarning, match="cannot switch it off"):
        _guard.install()


@pytest.mark.parametrize(("setting", "installed"), [("0", False), ("1", True), ("", True)])
def test_the_switch(setting, installed, unguarded, monkeypatch):
    monkeypatch.setattr(jaxlib, "__version__", "0.10.2")
    monkeypatch.setenv("NTK_AIR_RUNTIME_GUARD", setting)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(overrides(monkeypatch)) == 1 + installed


def test_a_bad_setting_of_the_switch(monkeypatch):
    monkeypatch.setenv("NTK_AIR_RUNTIME_GUARD", "off")
    with pytest.raises(ValueError, match="NTK_AIR_RUNTIME_GUARD is 'off', expected 1"):
        _guard.install()


@pytest.mark.parametrize(
    ("flags", "choice"),
    [
        ("", ""),
        ("--xla_a=1", ""),
        (f"{FLAG}", ""),
        (f"--xla_a=1 {FLAG}-reduce", "-reduce"),
        (f"{FLAG}reduce {FLAG}", ""),
        (f"{FLAG}'reduce'", "reduce"),
        ("/no/such/file", ""),
    ],
)
def test_what_the_users_flags_choose(flags, choice, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", flags)
    assert _guard.users_choice() == choice
