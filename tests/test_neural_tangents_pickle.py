"""What pickle, cloudpickle and tools that probe modules see of the repaired package."""

import base64
import copy
import importlib.util
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_neural_tangents import HAVE_TENSORFLOW, run

from ntk_air._neural_tangents import load

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)


def test_probes_of_every_module_are_answered():
    """As `pickle.whichmodule`, `inspect`, `doctest`, `warnings` and `unittest` do."""
    run(
        """
        import doctest, importlib.util, inspect, pickle, sys, unittest, warnings
        import ntk_air
        import neural_tangents as nt
        import scipy.special

        assert pickle.loads(pickle.dumps(scipy.special.expit)) is scipy.special.expit
        lazy = [m for n, m in list(sys.modules.items()) if n.startswith("neural_tangents")]
        assert nt.experimental in lazy
        for module in lazy:
            for name in ("expit", "_ipython_canary_method_should_not_exist_", "__wrapped__",
                         "__warningregistry__", "__test__", "__path__", "__file__", "__loader__"):
                getattr(module, name, None)
            inspect.getmembers(module)
            assert module.__file__ and module.__spec__.name == module.__name__
            assert importlib.util.find_spec(module.__name__) is module.__spec__
        assert doctest.DocTestFinder().find(nt.experimental, "experimental") == []
        with unittest.TestCase().assertWarns(UserWarning):
            warnings.warn("seen", UserWarning)
        assert isinstance(inspect.getmodule(nt.batch), type(sys))
        """
    )


@pytest.mark.skipif(HAVE_TENSORFLOW, reason="TensorFlow is installed")
def test_real_use_of_the_missing_part_says_what_it_needs():
    run(
        """
        import importlib
        import ntk_air
        import neural_tangents as nt
        before = nt.experimental
        for use in (
            "nt.experimental.empirical_ntk_fn_tf",
            "nt.experimental.get_apply_fn_and_params",
            "from neural_tangents.experimental import empirical_ntk_fn_tf",
            "importlib.reload(nt.experimental)",
        ):
            for attempt in range(2):
                try:
                    exec(use)
                except ImportError as error:
                    assert "tensorflow" in str(error).lower(), error
                else:
                    raise AssertionError(use)
                assert nt.experimental is before and not hasattr(before, "expit")
        """
    )


def layers(stax):
    yield from (stax.Dense(3), stax.Conv(3, (3,)), stax.ConvLocal(3, (3,)), stax.LayerNorm())
    yield from (stax.ImageResize((4, 4, 2), "bilinear"), stax.AvgPool((2,)), stax.Gelu())
    yield stax.serial(stax.Conv(3, (3,)), stax.Relu(), stax.Flatten(), stax.Dense(1))
    yield stax.parallel(stax.Dense(3), stax.Dense(2))


def test_functions_of_layers_travel():
    cloudpickle = pytest.importorskip("cloudpickle")
    nt = load()
    for layer in layers(nt.stax):
        for function in layer:
            assert callable(pickle.loads(cloudpickle.dumps(function)))
            assert copy.deepcopy(function) is function
    x = jnp.linspace(-1.0, 1.0, 24).reshape(2, 6, 2)
    kernel_fn = nt.stax.serial(nt.stax.Conv(2, (3,)), nt.stax.Relu(), nt.stax.Flatten())[2]
    again = pickle.loads(cloudpickle.dumps(kernel_fn))
    np.testing.assert_array_equal(again(x, None, "ntk"), kernel_fn(x, None, "ntk"))
    # In the same process, a module that is shown changed comes back as the same one.
    view = nt._src.stax.linear.jax
    for way in (pickle, cloudpickle):
        assert way.loads(way.dumps(view)) is view
        assert way.loads(way.dumps(view.core)) is view.core
    assert copy.deepcopy(view) is view


def test_a_fresh_process_unpickles_without_importing_anything_first():
    cloudpickle = pytest.importorskip("cloudpickle")
    nt = load()
    init_fn, f, kernel_fn = nt.stax.serial(nt.stax.Conv(2, (3,)), nt.stax.Flatten())
    x = jnp.linspace(-1.0, 1.0, 24).reshape(2, 6, 2)
    _, params = init_fn(jax.random.key(0), x.shape)
    structured = nt.empirical_ntk_fn(f, implementation=3)
    sent = {
        "function": cloudpickle.dumps(lambda: structured(x, None, params)),
        "kernel": pickle.dumps(kernel_fn(x, None)),
    }
    code = """
import base64, pickle, sys
thing = pickle.loads(base64.b64decode(sys.stdin.read()))
assert "ntk_air" in sys.modules
print(float((thing() if callable(thing) else thing.ntk).sum()))
"""
    want = {"function": structured(x, None, params), "kernel": kernel_fn(x, None, "ntk")}
    for name, message in sent.items():
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=base64.b64encode(message).decode(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        np.testing.assert_allclose(float(done.stdout), float(want[name].sum()), rtol=1e-5)


def test_kernels_are_copied_and_pickled_whole():
    nt = load()
    x = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)
    kernel = nt.stax.serial(nt.stax.Dense(1), nt.stax.Relu(), nt.stax.Dense(1))[2](x, None)
    for again in (
        pickle.loads(pickle.dumps(kernel)),
        copy.copy(kernel),
        copy.deepcopy(kernel),
        jax.tree.map(lambda a: a, kernel),
    ):
        assert type(again) is nt.Kernel
        assert again.shape1 == kernel.shape1 and again.diagonal_batch == kernel.diagonal_batch
        for name, value in kernel.asdict().items():
            if isinstance(value, jax.Array):
                np.testing.assert_array_equal(getattr(again, name), value)
            else:
                assert getattr(again, name) == value
    assert pickle.loads(pickle.dumps(nt.NtkImplementation.AUTO)) is nt.NtkImplementation.AUTO
