"""Importing neural-tangents through the repairs, each time in a fresh interpreter."""

import importlib.util
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("neural_tangents") is None, reason="neural-tangents is not installed"
)

HAVE_TENSORFLOW = importlib.util.find_spec("tensorflow") is not None


def run(code: str) -> None:
    """Run `code` in a fresh interpreter; it must end without an error."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_install_is_light_and_load_leaves_nothing_behind():
    run(
        """
        import importlib.util, sys, time, types
        # The private package on its own, without what else `import ntk_air` brings.
        spec = importlib.util.find_spec("ntk_air")
        sys.modules["ntk_air"] = types.ModuleType("ntk_air")
        sys.modules["ntk_air"].__path__ = list(spec.submodule_search_locations)
        from ntk_air._neural_tangents import install, load
        start = time.perf_counter()
        install()
        install()
        assert time.perf_counter() - start < 0.05
        assert not {"jax", "numpy", "neural_tangents"} & set(sys.modules)
        assert len([f for f in sys.meta_path if getattr(f, "ntk_air_finder", False)]) == 1

        import jax, jax.core, jax.extend.core, jax.random
        from jax.interpreters import ad
        # What neural-tangents imports of JAX itself binds submodules on `jax`.
        import jax.example_libraries.stax, jax.experimental.ode, jax.extend.linear_util
        import jax.scipy.linalg, jax.ops
        watched = (jax, jax.core, jax.random, jax.extend.core, ad)
        before = [set(dir(m)) | set(vars(m)) for m in watched]
        nt = load()
        assert load() is nt
        assert [set(dir(m)) | set(vars(m)) for m in watched] == before
        assert "jax.util" not in sys.modules or hasattr(jax, "util")
        assert not {"tensorflow", "tf2jax"} & set(sys.modules)
        """
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import neural_tangents as nt; stax = nt.stax",
        "from neural_tangents import stax",
        "import neural_tangents.stax as stax",
        "from neural_tangents.stax import Dense; import neural_tangents.stax as stax",
    ],
)
def test_plain_import_after_install(statement):
    run(
        f"""
        from ntk_air._neural_tangents import install, load
        install()
        {statement}
        import neural_tangents
        assert load() is neural_tangents
        assert neural_tangents._src._ntk_air_repaired
        assert stax.serial(stax.Dense(3), stax.Relu())
        """
    )


@pytest.mark.parametrize("call", ["install", "load"])
def test_broken_earlier_import_is_healed(call):
    run(
        f"""
        import sys, types
        try:
            import neural_tangents
        except Exception:
            pass
        # Whatever the failure left, make sure that there is something half-made.
        sys.modules["neural_tangents"] = types.ModuleType("neural_tangents")
        sys.modules["neural_tangents._src"] = types.ModuleType("neural_tangents._src")
        import ntk_air._neural_tangents as private
        private.{call}()
        import neural_tangents
        assert neural_tangents is private.load()
        assert neural_tangents.empirical_ntk_fn
        """
    )


def test_failed_import_leaves_nothing_and_can_be_retried():
    run(
        """
        import sys
        import ntk_air._neural_tangents as private
        sys.modules["frozendict"] = None
        try:
            private.load()
        except ImportError as error:
            assert "pip install --no-deps neural-tangents" in str(error), error
            assert "frozendict" in str(error)
        else:
            raise AssertionError
        assert not [m for m in sys.modules if m.startswith("neural_tangents")]
        del sys.modules["frozendict"]
        private.load()
        """
    )


def test_not_installed():
    run(
        """
        import sys
        from importlib.machinery import PathFinder
        real = PathFinder.find_spec
        PathFinder.find_spec = classmethod(
            lambda cls, name, *a: None if name == "neural_tangents" else real(name, *a)
        )
        import ntk_air._neural_tangents as private
        try:
            private.load()
        except ImportError as error:
            assert "pip install --no-deps neural-tangents" in str(error)
            assert "frozendict" in str(error) and "\\n" not in str(error)
        else:
            raise AssertionError
        """
    )


def test_eight_threads_get_one_working_module():
    run(
        """
        import importlib, threading
        import ntk_air._neural_tangents as private
        private.install()
        barrier, found, errors = threading.Barrier(8), [], []

        def work(i):
            barrier.wait()
            try:
                if i % 2:
                    found.append(private.load())
                else:
                    found.append(importlib.import_module("neural_tangents"))
                    found[-1].stax.Dense(2)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not errors, errors
        assert len(found) == 8 and len(set(map(id, found))) == 1
        """
    )


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("del empirical._eqn_vjp_fn", "equation_derivatives"),
        ("del predict.max_learning_rate", "largest_eigenvalue"),
        ("empirical._read_primal = lambda v: v", "primal_and_cotangent_access"),
    ],
)
def test_repair_that_does_not_fit_says_so(damage, named):
    run(
        f"""
        import sys
        import jax
        import ntk_air._neural_tangents as private
        from ntk_air._neural_tangents._standins import standins
        # `import ntk_air` has installed the hook; here the package comes unrepaired.
        sys.meta_path = [f for f in sys.meta_path if not hasattr(f, "ntk_air_finder")]
        with standins():
            import neural_tangents
        from neural_tangents._src import empirical, predict
        flops = empirical._get_flops
        {damage}
        for attempt in (private.install, private.load):
            try:
                attempt()
            except private.IncompatibleJaxError as error:
                text = str(error)
                assert "{named}" in text and jax.__version__ in text, text
                assert "0.6.5" in text and "Known to work" in text
            else:
                raise AssertionError
        assert empirical._get_flops is flops, "a misfit must leave everything as it was"
        """
    )


def test_complete_module_is_repaired_in_place():
    run(
        """
        import sys
        import ntk_air._neural_tangents as private
        from ntk_air._neural_tangents._standins import standins
        # `import ntk_air` has installed the hook; here the package comes unrepaired.
        sys.meta_path = [f for f in sys.meta_path if not hasattr(f, "ntk_air_finder")]
        with standins():
            import neural_tangents
        unrepaired = neural_tangents._src.empirical._get_flops
        private.install()
        assert neural_tangents._src.empirical._get_flops is not unrepaired
        assert private.load() is neural_tangents
        """
    )


@pytest.mark.skipif(HAVE_TENSORFLOW, reason="TensorFlow is installed")
def test_experimental_is_put_off_until_used():
    run(
        """
        import sys
        from ntk_air._neural_tangents import load
        nt = load()
        assert not hasattr(nt.experimental, "__wrapped__")
        try:
            nt.experimental.empirical_ntk_fn_tf
        except ImportError as error:
            assert "TensorFlow" in str(error)
        else:
            raise AssertionError
        assert nt.stax.Dense(2)
        """
    )
