import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ntk_air as na
from benchmarks import _harness, _jax_training, _plain_networks, _report, _torch, kernels, page
from benchmarks._cases import CASES, DEFAULT, GROUPS
from benchmarks._harness import Settings
from benchmarks._inputs import white

ROOT = Path(__file__).resolve().parents[2]
RESULTS = [page.KERNELS, page.TRAINING]
TORCH = "torch.func Jacobian"
# What computes something else than the others, and is a bound or a comparison of size only.
BOUNDS = {("infinite_fc", "X Xᵀ + one pass"), ("training_seeds", "ntk_air, one seed")}


def run(*arguments):
    command = [sys.executable, "-m", "benchmarks.kernels", *arguments]
    # What is tested is what is measured and printed, not how fast: half of the time.
    environment = dict(os.environ, JAX_DISABLE_MOST_OPTIMIZATIONS="1")
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def check_case(case):
    records = case["contestants"]
    assert set(case["ratios"]) == set(records)
    ours = next(iter(records))
    assert case["ratios"][ours] == 1.0
    for name, record in records.items():
        assert 0 < record["min_s"] <= record["median_s"], name
        assert record["repeats"] >= 1
        if (case["name"], name) in BOUNDS:
            assert "deviation" not in record
            continue
        assert record["agrees"] == (record["deviation"] <= _harness.AGREEMENT)
        assert record["agrees"], (case["name"], name, record["deviation"])


def check_report(report):
    environment = report["environment"]
    assert {"date", "platform", "cpu_count", "packages", "device_kind"} <= set(environment)
    assert environment["matmul_precision"] == "float32"
    assert environment["gemm"]["gflops_per_s"] > 0
    for case in report["cases"]:
        check_case(case)


@pytest.fixture
def settings(tmp_path):
    return Settings(scale=0.01, folder=tmp_path / "new")


@pytest.fixture(autouse=True)
def without_compiling_in_torch():
    """A minute's compilation is not what is tested."""
    if not _torch.installed():
        yield
        return
    torch = importlib.import_module("torch")
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.mark.parametrize("name", CASES)
def test_every_case_runs_and_its_contestants_agree(name, settings):
    case = CASES[name](settings)
    assert case.name == name
    assert len({contestant.name for contestant in case.contestants}) == len(case.contestants)
    record = _harness.measure(case, repeats=1)
    check_case(json.loads(json.dumps(record)))
    for contestant in record["contestants"].values():
        residual = contestant.get("quality", {}).get("residual", 0.0)
        assert residual < 1e-5
    if name.startswith("finite_"):
        # Torch's sums over millions of parameters are longer than the others'.
        off = {k: r["deviation"] for k, r in record["contestants"].items() if k != TORCH}
        assert max(off.values()) < 1e-5


def test_the_cases_of_the_default_run_and_of_the_groups_are_all_there_are():
    assert [*DEFAULT, *(name for group in GROUPS.values() for name in group)] == list(CASES)


def test_sizes_are_those_asked_for_at_scale_1():
    sizes = {name: CASES[name](Settings()).sizes["n"] for name in CASES}
    assert sizes == {
        **{"infinite_fc": 4000, "infinite_conv": 128, "infinite_conv_flatten": 512},
        **{"finite_mlp": 96, "finite_cnn": 96},
        **{"finite_mlp_symmetric": 512, "finite_cnn_symmetric": 512},
        **{"store": 20_000, "eigendecompose": 8000, "eigendecompose_flat": 4000},
        **{"operator": 5000, "operator_trace": 5000},
        **{"closed_form_outputs": 2000, "retrieval_curves": 2000},
        **{"training_mlp": 4096, "training_seeds": 4096, "training_small_cnn": 128},
        **{"training_resnet18": 32},
        **{"full_fc": 50_000, "full_eigen": 50_000, "full_conv": 10_000},
    }
    assert CASES["operator"](Settings()).sizes["p"] >= 10**6


def test_a_store_is_computed_anew_every_time_and_deleted_in_the_end(settings):
    case = CASES["store"](settings)
    inputs = case.prepare()
    compute = case.contestants[1].build(inputs)
    paths = [compute().path for _ in range(2)]
    assert paths[0] != paths[1]
    assert all(path.is_dir() for path in paths)
    del compute
    assert list(settings.folder.iterdir()) == []


@pytest.mark.parametrize("name", ["finite_mlp", "finite_cnn"])
def test_without_torch_its_contestant_is_skipped_with_a_line(name, settings, monkeypatch):
    monkeypatch.setattr(_torch, "installed", lambda: False)
    case = CASES[name](settings)
    assert TORCH not in [contestant.name for contestant in case.contestants]
    assert len(case.notes) == 1
    assert "torch is not installed" in case.notes[0]


@pytest.mark.peers
@pytest.mark.parametrize("name", ["finite_mlp", "finite_cnn"])
def test_torch_has_the_same_network(name, settings):
    case = CASES[name](settings)
    named = {contestant.name: contestant for contestant in case.contestants}
    inputs = case.prepare()
    expected, found = (
        np.asarray(contestant.build(inputs)()) for contestant in (case.contestants[0], named[TORCH])
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_another_order_of_the_batches_is_a_disagreement():
    module, points = na.networks.MLP(num_outputs=3, features=(8,)), white(32, 4)
    observed = jnp.eye(3)[np.arange(32) % 3]
    order = _jax_training.batch_order(jax.random.key(0), 32, 8, 8)
    variables = module.init(jax.random.key(1), points)
    inputs = _jax_training.Inputs(module, variables, points, observed, order, 0.05, 8)
    losses = [
        _jax_training.step_by_step(inputs._replace(order=np.asarray(batches)), donate=False)()[0]
        for batches in (order, order[::-1])
    ]
    assert _harness.deviation(losses[1], losses[0]) > _harness.AGREEMENT


def test_the_plain_networks_have_the_parameters_of_ours():
    images = jnp.zeros((2, 32, 32, 3))
    pairs = {
        na.networks.create("resnet18", num_outputs=3): _plain_networks.ResNet(3),
        na.networks.create("small_cnn", num_outputs=3): _plain_networks.SmallCNN(3),
    }
    for ours, plain in pairs.items():
        variables = jax.eval_shape(ours.init, jax.random.key(0), images)
        assert jax.eval_shape(plain.init, jax.random.key(0), images) == variables
        assert jax.eval_shape(plain.apply, variables, images).shape == (2, 3)


@pytest.mark.peers
def test_torch_has_the_same_residual_network():
    torch = importlib.import_module("torch")
    module = na.networks.ResNet(num_outputs=3, blocks=(1, 1), stem_features=4)
    images = np.random.default_rng(0).standard_normal((2, 6, 6, 3), np.float32)
    variables = module.init(jax.random.key(0), images)
    network = importlib.import_module("benchmarks._torch_networks").ResNet(variables).eval()
    with torch.no_grad():
        found = network(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(found, module.apply(variables, images), atol=1e-5)


def test_command_line_writes_a_report_in_which_all_contestants_agree(tmp_path):
    out = tmp_path / "new" / "report.json"
    done = run(
        *("--scale", "0.02", "--repeats", "1", "--cases", "infinite_fc,eigendecompose"),
        *("--out", str(out), "--no-memory", "--note", "a test"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    check_report(report)
    assert [case["name"] for case in report["cases"]] == ["infinite_fc", "eigendecompose"]
    assert report["environment"]["note"] == "a test"
    bound = report["cases"][0]["contestants"]["X Xᵀ + one pass"]
    assert bound["gflops_per_s"] > 0
    assert _report.markdown_table(report) in done.stdout


def test_a_group_stands_for_its_cases(monkeypatch):
    measured = []

    def pretend(cases, options):
        measured.extend(case.name for case in cases)
        return {"environment": {"gemm": {"gflops_per_s": 1.0}}, "cases": []}

    monkeypatch.setattr(kernels, "_measured", pretend)
    assert kernels.main(["--cases", "store,gpu_full"]) == 0
    assert measured == ["store", "full_fc", "full_eigen", "full_conv"]


def test_memory_of_one_contestant_is_measured_in_its_own_process():
    done = run("--scale", "0.02", "--cases", "eigendecompose", "--alone", "numpy eigh")
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout)
    assert 2**20 < peaks["before"] <= peaks["peak"]
    assert peaks["device_peak"] is None


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_recorded_reports_are_of_the_cases_and_contestants_that_there_are(path, monkeypatch):
    report = json.loads(path.read_text(encoding="utf-8"))
    check_report(report)
    monkeypatch.setattr(_torch, "installed", lambda: True)
    training = path == page.TRAINING
    expected = {
        name: [contestant.name for contestant in CASES[name](Settings()).contestants]
        for name in DEFAULT
        if name.startswith("training_") == training
    }
    recorded = {case["name"]: list(case["contestants"]) for case in report["cases"]}
    assert recorded == expected
    assert report["scale"] == 1.0


def test_the_page_is_made_from_the_recorded_reports(tmp_path, capsys):
    out = tmp_path / "benchmarks.md"
    assert page.main(["--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == page.PAGE.read_text(encoding="utf-8"), (
        "run python -m benchmarks.page"
    )


def test_the_page_says_where_ours_is_behind():
    ratios = {"ntk_air": 1.0, "ntk_air store": 0.9, "peer": 0.8, "slower": 1.2, "bound": 0.5}
    records = {name: {} if name == "bound" else {"deviation": 0.0} for name in ratios}
    case = {"name": "toy", "ratios": ratios, "contestants": records}
    assert page.behind({"cases": [case]}) == ["| toy | peer | 1.25 times as fast |"]


def test_unknown_case_is_exit_code_2_with_the_list(capsys):
    assert kernels.main(["--cases", "infinite_fc,nonsense"]) == 2
    said = capsys.readouterr().err
    assert "nonsense" in said
    assert all(name in said for name in [*CASES, *GROUPS])


def test_seeds_over_two_devices():
    done = run("--cases", "training_seeds", "--scale", "0.004", "--devices", "2", "--no-memory")
    assert done.returncode == 0, done.stderr
    assert "| ntk_air, 8 seeds over 2 devices (loss at the end " in done.stdout


def test_no_devices_is_exit_code_2(capsys):
    assert kernels.main(["--devices", "0"]) == 2
    assert "--devices is 0, expected at least 1" in capsys.readouterr().err


def test_unknown_device_is_exit_code_2():
    with pytest.raises(SystemExit) as ended:
        kernels.main(["--device", "abacus"])
    assert ended.value.code == 2


@pytest.mark.parametrize("memory", [True, False])
def test_missing_device_is_exit_code_2_with_one_line(memory):
    done = run("--device", "tpu", "--cases", "eigendecompose", *([] if memory else ["--no-memory"]))
    if done.returncode != 2:
        pytest.skip("this machine has a TPU")
    assert "no tpu for JAX on this machine" in done.stderr
    assert "Traceback" not in done.stderr
