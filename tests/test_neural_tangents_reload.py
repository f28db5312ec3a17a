"""The repairs outlive reloads of any module, IPython's autoreload, and reloads that fail."""

import importlib.util
import shutil
from pathlib import Path

import pytest
from test_neural_tangents import run

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)

# Each needs another repair; `check` is called again and again after reloads.
CHECK = """
import importlib, os, sys
import ntk_air
import jax, jax.numpy as jnp, numpy as np
import neural_tangents as nt
from neural_tangents import stax

x = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)

def check():
    import neural_tangents as nt
    from neural_tangents import stax
    init_fn, f, kernel_fn = stax.serial(stax.Dense(4), stax.Relu(), stax.Dense(1))
    _, params = init_fn(jax.random.key(0), x.shape)
    kernels = [nt.empirical_ntk_fn(f, implementation=i)(x, None, params) for i in (1, 3)]
    np.testing.assert_allclose(*kernels, rtol=1e-5, atol=1e-6)
    eye = jnp.eye(3)
    predict = lambda k: nt.predict.gradient_descent_mse(k, jnp.ones((3, 1)))(1.0)
    np.testing.assert_allclose(jax.jit(predict)(eye), predict(eye), rtol=1e-5)
    np.testing.assert_allclose(nt.predict.max_learning_rate(eye), 6.0, rtol=1e-6)
    exact = kernel_fn(x, None, "ntk")
    np.testing.assert_allclose(nt.batch(kernel_fn, 2, 0)(x, None, "ntk"), exact, rtol=1e-3)
"""


def test_reload_of_any_module():
    run(
        CHECK
        + """
check()
names = [n for n in sys.modules if n.split(".")[0] == "neural_tangents"]
for name in sorted(names):
    if name == nt.experimental.__name__:
        continue
    module = importlib.reload(sys.modules[name])
    assert sys.modules[name] is module
# Leaves first: what a module took over from another is then of the same making.
for name in sorted(names, key=lambda n: -n.count(".")):
    if name != nt.experimental.__name__:
        importlib.reload(sys.modules[name])
check()
private = sys.modules["ntk_air._neural_tangents"]
assert private.load() is sys.modules["neural_tangents"]
for name in [n for n in sys.modules if n.startswith("ntk_air._neural_tangents")]:
    importlib.reload(sys.modules[name])
importlib.reload(ntk_air)
importlib.reload(nt._src.predict)
importlib.reload(nt._src.empirical)
check()
assert len([f for f in sys.meta_path if hasattr(f, "ntk_air_finder")]) == 1
"""
    )


def test_threads_that_reload():
    run(
        CHECK
        + """
import threading
modules = [nt._src.predict, nt._src.empirical, nt._src.batching, nt]
errors = []

def work(module):
    try:
        for _ in range(3):
            importlib.reload(module)
    except BaseException as error:
        errors.append(error)

threads = [threading.Thread(target=work, args=(m,)) for m in modules]
for t in threads: t.start()
for t in threads: t.join(60)
assert not errors and not any(t.is_alive() for t in threads), errors
check()
assert not hasattr(jax.core, "Jaxpr")
"""
    )


@pytest.fixture
def copied(tmp_path, monkeypatch) -> Path:
    """A copy of neural-tangents that may be edited, ahead of the installed one."""
    source = Path(str(importlib.util.find_spec("neural_tangents").origin)).parent
    shutil.copytree(source, tmp_path / source.name, ignore=shutil.ignore_patterns("*.pyc"))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    return tmp_path / source.name


EDIT = """
def edit(path, text, tick=[0]):
    tick[0] += 10
    module = sys.modules["neural_tangents"]
    path = os.path.join(os.path.dirname(module.__file__), path)
    with open(path) as file:
        before = file.read()
    with open(path, "w") as file:
        file.write(before + text)
    stamp = os.stat(path).st_mtime + tick[0]
    os.utime(path, (stamp, stamp))
    return path, before

def restore(path, before):
    with open(path, "w") as file:
        file.write(before)
    stamp = os.stat(path).st_mtime + 1000
    os.utime(path, (stamp, stamp))
"""


def test_failed_reload_keeps_the_repairs(copied):
    run(
        CHECK
        + EDIT
        + """
predict = nt._src.predict
names = dict(vars(predict))
for damage in (
    "def broken(:",
    "raise RuntimeError('half way')",
    "jax = ADDED = None; 1 / 0",
    "del max_learning_rate",  # what a repair replaces
):
    path, before = edit("_src/predict.py", "\\n" + damage + "\\n")
    try:
        importlib.reload(predict)
    except Exception as error:
        assert not damage.startswith("del") or "largest_eigenvalue" in str(error), error
    else:
        raise AssertionError("the reload must fail")
    assert vars(predict)["jax"] is names["jax"] and set(vars(predict)) == set(names)
    assert sys.modules["neural_tangents._src.predict"] is predict
    restore(path, before)
check()
restore(path, before + "\\nADDED = 1\\n")
assert importlib.reload(predict).ADDED == 1
path, before = edit("__init__.py", "\\nraise RuntimeError('half way')\\n")
try:
    importlib.reload(nt)
except RuntimeError:
    pass
else:
    raise AssertionError("the reload must fail")
check()
"""
    )


@pytest.mark.parametrize("mode", [1, 2])
def test_autoreload(copied, mode):
    pytest.importorskip("IPython")
    run(
        EDIT
        + f"""
import os, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()

def cell(code):
    shell.run_cell(code, store_history=True).raise_error()

cell("%load_ext autoreload")
cell("%autoreload {mode}")
cell({CHECK!r})
if {mode} == 1:
    cell("%aimport neural_tangents, neural_tangents._src.predict, neural_tangents._src.empirical")
for path in ("_src/predict.py", "_src/empirical.py", "__init__.py"):
    edit(path, "\\nADDED = 1\\nfor _ in range(2): ADDED += 1\\n")
cell("1")
cell("predict = sys.modules['neural_tangents._src.predict']")
cell("empirical = sys.modules['neural_tangents._src.empirical']")
cell("check(); assert predict.ADDED == empirical.ADDED == nt.ADDED == 3")
edit("_src/empirical.py", "\\ndef _new(): return 1\\n")
cell("1")
cell("check(); assert empirical._new() == 1")
edit("_src/empirical.py", "\\n1 / 0\\n")
cell("1")
cell("check()")
"""
    )
