"""The plumbing of `python -m benchmarks.speed gpu`, on a CPU: what runs, what is left out and named, and the tables."""

import json
import multiprocessing
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from frameworks import NAMES, require

from benchmarks import gpu, gpu_plan, gpu_tables, page, speed
from benchmarks.gpu_plan import ENGINES, GPU, PLAIN, TINY, TRAINING, TRANSFORMS, Job, Step

SHAPE = TINY.shapes[0]
KINDS = dict.fromkeys(ENGINES.values())


class InThread(speed.Engine):
    """An engine in a thread, which uses what this process has imported and patched."""

    def __init__(self, answers: Any, *arguments: Any) -> None:
        self.pipe, other = multiprocessing.Pipe()
        thread = threading.Thread(target=answers, args=(*arguments, other), daemon=True)
        thread.start()
        self.process: Any = SimpleNamespace(kill=self.pipe.close, join=thread.join)


@pytest.fixture
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "Engine", InThread)
    # What a process sets for itself is undone after the test.
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")


@pytest.fixture
def few_peers(monkeypatch: pytest.MonkeyPatch) -> None:
    """MSE, and peers of packages that are not installed. What takes long to compile is MSE too."""
    require(*NAMES)
    from benchmarks import gpu_jax, rows_jax, rows_torch

    monkeypatch.setitem(sys.modules, "dm_pix", None)
    monkeypatch.setattr(rows_jax, "PEERS", {"MSE": rows_jax.mse})
    monkeypatch.setattr(gpu_jax, "blursim", lambda a, b, **options: rows_jax.mse(a, b))
    no_package = ("no_such_package", lambda package: package.loss)
    monkeypatch.setattr(rows_torch, "PEERS", {"MSE": rows_torch.mse_loss, "a peer": no_package})
    # A slow test has the compiler.
    monkeypatch.setattr(rows_torch.torch, "compile", lambda loss, **options: loss)
    monkeypatch.setattr(rows_torch.torch._dynamo.config, "recompile_limit", 8)


def keys(figures: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {(x["engine"], x["precision"], x["row"]) for x in figures["rows"]}


@pytest.mark.system
def test_everything_is_measured_but_peers_that_are_not_installed(
    in_threads: None, few_peers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared: list[Job] = []
    prepare = gpu_plan.Programs.prepare
    monkeypatch.setattr(
        gpu_plan.Programs, "prepare", lambda self, jobs, seconds: prepared.extend(jobs) or prepare(self, jobs, seconds)
    )
    machine, figures = gpu.measure(TINY)
    assert machine == {"device": "CPU"}
    engines = {(engine, precision) for engine in ENGINES for precision in gpu_plan.PRECISIONS}
    ours = {(*x, row) for x in engines for row in ("BlurSim", TRAINING, speed.AS_RELEASED, "MSE")}
    ours |= {("JAX", precision, "BlurSim under vmap") for precision in gpu_plan.PRECISIONS}
    assert {(job.engine, job.precision, job.row) for job in prepared} == keys(figures)
    assert keys(figures) == ours | {(x, "float32", TRANSFORMS) for x in ENGINES if "compile" not in x}
    assert all(0 < x["ms"][0] <= x["ms"][1] <= x["ms"][2] for x in figures["rows"] + figures["steps"])
    assert [(x["precision"], x["row"]) for x in figures["steps"]] == [
        (precision, row) for precision in gpu_plan.PRECISIONS for row in ("MSE", TRAINING)
    ]
    assert figures["left_out"] == [
        {"what": "dm_pix SSIM", "reason": "dm_pix is not installed"},
        {"what": "a peer", "reason": "no_such_package is not installed"},
    ]
    text = gpu_tables.of_gpu(json.loads(json.dumps(figures)))
    assert "- dm_pix is not installed: dm_pix SSIM\n- no_such_package is not installed: a peer\n" in text
    assert text.count(f"Value and gradient of {gpu_plan.name_of(SHAPE)}, ") == 2
    assert text.count(f"\n| {TRAINING} |") == 3 and text.count(f"| float32 | {TRAINING} |") == 1


@pytest.mark.parametrize(("framework", "kind"), [("jax", "JAX"), ("torch", "PyTorch")])
def test_a_framework_alone(framework: str, kind: str, in_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    require(framework)
    other = {"jax": "torch", "torch": "jax"}[framework]
    find = gpu.importlib.util.find_spec
    monkeypatch.setattr(gpu.importlib.util, "find_spec", lambda name: None if name == other else find(name))
    session = gpu.Session(TINY)
    session.open()
    assert set(session.workers) == {x for x in KINDS if gpu.KINDS[x][1] == framework}
    assert {x["reason"] for x in session.left_out} == {f"{other} is not installed"}
    assert kind in session.workers
    for workers in session.workers.values():
        session.close(workers)


@pytest.mark.system
def test_programs_compute_value_and_gradient_of_these_images() -> None:
    require(*NAMES)
    import jax
    import torch

    from benchmarks import gpu_jax, gpu_torch

    torch_bench, jax_bench = gpu_torch.Bench(TINY), gpu_jax.Bench(TINY)
    for precision, row in [
        ("float32", TRAINING),
        ("float32", speed.AS_RELEASED),
        ("bfloat16", "BlurSim"),
        ("float32", "L1 of FFTs"),
    ]:
        value, gradient = torch_bench.program(Job("PyTorch", precision, SHAPE, row))()
        expected, expected_gradient = jax_bench.program(Job("JAX", precision, SHAPE, row))[0]()
        assert gradient.dtype == getattr(torch, precision) and expected_gradient.dtype == precision
        np.testing.assert_allclose(value.item(), expected, rtol=1e-5)
        tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[precision]
        difference = gradient.float().numpy() - np.asarray(expected_gradient, np.float32)
        assert np.linalg.norm(difference) < tolerance * np.linalg.norm(gradient.float().numpy())
    restored, spectrum = torch_bench.program(Job("PyTorch", "float32", SHAPE, TRANSFORMS))()
    torch.testing.assert_close(restored, torch_bench.images(Job("PyTorch", "float32", SHAPE, ""))[0])
    assert spectrum.shape == jax.eval_shape(gpu_jax.transforms, *[np.zeros(SHAPE, np.float32)] * 2)[1].shape
    # The plain formula has its kernels on the device.
    plain = torch_bench.program(Job("PyTorch", "float32", SHAPE, PLAIN))()[0]
    np.testing.assert_allclose(
        plain.item(), torch_bench.program(Job("PyTorch", "float32", SHAPE, "BlurSim"))()[0].item()
    )


def test_precisions_are_dtypes_and_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    require("torch")
    import torch

    from benchmarks import gpu_torch, rows_torch

    seen = set()

    def loss(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.add((torch.is_autocast_enabled("cpu"), b.dtype))
        return rows_torch.mse_loss(a, b)

    monkeypatch.setitem(rows_torch.PEERS, "MSE", loss)
    bench = gpu_torch.Bench(TINY)
    for ask, dtype in (
        (lambda precision: bench.time(Job("PyTorch", precision, SHAPE, "MSE")), torch.bfloat16),
        (lambda precision: bench.step(Step(precision, "MSE")), torch.float32),
    ):
        for precision, expected in (("float32", (False, torch.float32)), ("bfloat16", (True, dtype))):
            seen.clear()
            ask(precision)
            assert seen == {expected}


class Failing(gpu_plan.Programs):
    """Programs that do not run."""

    made = 0

    def make(self, job: Job) -> None:
        self.made += 1
        raise ValueError(job.row)


def test_a_program_that_does_not_run_is_made_once_and_its_error_comes_again() -> None:
    programs, job = Failing(), Job("PyTorch", "float32", SHAPE, "a loss")
    programs.prepare([job], 0)
    assert programs.made == 0
    programs.prepare([job], 60)
    for engine in ("PyTorch", "PyTorch, CUDA graph"):
        with pytest.raises(ValueError, match="a loss"):
            programs.program(job._replace(engine=engine))
    assert programs.made == 1


def test_the_networks_size_is_naf_nets() -> None:
    require("torch")
    import torch

    from benchmarks.nafnet import NAFNet

    with torch.device("meta"):
        network = NAFNet()
        restored = network(torch.empty(1, 3, 32, 48))
    assert 16e6 < sum(x.numel() for x in network.parameters()) < 18e6
    assert restored.shape == (1, 3, 32, 48)


def test_every_parameter_of_the_network_is_trained() -> None:
    require("torch")
    import torch

    from benchmarks.nafnet import NAFNet

    torch.manual_seed(0)
    network = NAFNet(**TINY.network)
    for x in network.parameters():
        # The scales are 0 at first.
        torch.nn.init.normal_(x)
    network(torch.rand(1, 3, 8, 8)).square().sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in network.parameters())


class Moody:
    """A bench that fails as it is asked to."""

    def __init__(self, plan: gpu_plan.Plan) -> None:
        self.asked = 0

    def fail(self, message: str) -> int:
        self.asked += 1
        if message:
            raise ValueError(message)
        return self.asked

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def test_a_process_is_started_anew_after_errors_that_stay(in_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks.moody", SimpleNamespace(Bench=Moody))
    plan = TINY._replace(patience=0.2)
    session, worker = gpu.Session(plan), gpu.Worker("moody", plan)
    try:
        refused = "called a synchronizing CUDA operation"
        assert [session.ask("a", worker, "fail", message) for message in (refused, "")] == [None, 2]
        assert [session.ask("b", worker, "fail", message) for message in ("CUDA error: <broken>", "")] == [None, 1]
        assert [session.ask("c", worker, "sleep", 0.4), session.ask("c", worker, "fail", "")] == [None, 1]
        session.start -= plan.seconds
        assert session.ask("d", worker, "fail", "") is None
        session.start += plan.seconds
        for _ in range(gpu.STARTS):
            session.ask("e", worker, "fail", "CUDA error")
    finally:
        worker.stop()
    reasons = [(x["what"], x["reason"]) for x in session.left_out]
    assert reasons[:4] == [
        ("a", f"ValueError: {refused}"),
        ("b", "ValueError: CUDA error: <broken>"),
        ("c", "took too long"),
        ("d", "no time left"),
    ]
    assert reasons[-1] == ("e", f"its process failed {gpu.STARTS} times")


def test_no_gpu_is_one_line_and_status_2(
    in_threads: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    require(*NAMES)
    import jax
    import torch

    if torch.cuda.is_available() or jax.default_backend() != "cpu":
        pytest.skip("there is a GPU")
    monkeypatch.setattr(sys, "argv", ["speed", "gpu"])
    with pytest.raises(SystemExit) as ended:
        speed.main()
    assert ended.value.code == 2
    line = f"gpu: nothing to measure on: jax {jax.__version__} sees no GPU; torch {torch.__version__} sees no GPU"
    assert capsys.readouterr().err.splitlines()[1:] == [line]


def test_it_runs_when_asked_for_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ran = []
    monkeypatch.setattr(page, "DOCS", tmp_path)
    (tmp_path / "speed.md").write_text("<!-- gpu -->\nNot measured yet\n<!-- end of gpu -->\n")
    monkeypatch.setattr(speed, "PARTS", {"options": (lambda: ran.append("options"), str)})
    monkeypatch.setattr(speed, "publish", lambda name, *rest: ran.append(f"publish {name}"))
    monkeypatch.setattr(speed, "versions", lambda required=True: {})
    empty = {"bandwidth": None, "rows": [], "steps": [], "left_out": [], "seconds": 1.0}
    monkeypatch.setattr(gpu, "measure", lambda plan: ran.append(plan) or ({}, empty))
    for words, expected in (
        ([], ["options", "publish options"]),
        (["gpu"], [GPU, "publish gpu"]),
        (["gpu", "--tiny"], [TINY]),
    ):
        ran.clear()
        monkeypatch.setattr(sys, "argv", ["speed", *words])
        speed.main()
        assert ran == expected
    monkeypatch.setattr(sys, "argv", ["speed", "options", "--tiny"])
    with pytest.raises(SystemExit):
        speed.main()


def test_what_matters_most_comes_first() -> None:
    peers = {kind: {shape: [speed.AS_RELEASED, PLAIN] for shape in GPU.shapes} for kind in ("PyTorch", "JAX")}
    stages = list(gpu_plan.stages(GPU, KINDS, peers))
    jobs = [job for stage in stages for job in stage.jobs]
    assert len(set(jobs)) == len(jobs)
    assert {job.shape for job in jobs if isinstance(job, Job)} == set(gpu_plan.SHAPES)
    rows = [job.row for job in jobs]
    assert rows.index(TRANSFORMS) < rows.index("BlurSim") < rows.index("MSE") < rows.index(speed.AS_RELEASED)
    assert len([job for job in jobs if isinstance(job, Step)]) == 4
    compiled = [job for job in jobs if isinstance(job, Job) and job.engine == "torch.compile"]
    assert {job.shape for job in compiled if job.row == PLAIN} == set(GPU.shapes)
    assert {job.shape for job in compiled if job.row == speed.AS_RELEASED} == {GPU.shapes[0]}
    # Without processes that compile, the others have all their rows.
    fewer = [job for stage in gpu_plan.stages(GPU, ["PyTorch", "JAX"], peers) for job in stage.jobs]
    assert fewer == [job for job in jobs if isinstance(job, Step) or "compile" not in job.engine]


def test_the_clock_counts_calls() -> None:
    counts = []

    def calls(count: int) -> None:
        counts.append(count)
        time.sleep(0.001 * count)

    low, median, high = gpu_plan.clock(calls, least=0.01, repeats=5)
    assert 1 <= low <= median <= high < 10
    assert counts[0] == 3 and counts[1] == 1 and len(set(counts[-5:])) == 1 and counts[-1] >= 3


def test_kernels_are_counted_without_copies_and_annotations() -> None:
    require("torch")
    from benchmarks.gpu_torch import count_kernels

    def event(name: str, place: str = "CUDA", annotation: bool = False) -> SimpleNamespace:
        return SimpleNamespace(name=name, device_type=SimpleNamespace(name=place), is_user_annotation=annotation)

    events = [
        event("fft"),
        event("fft"),
        event("Memcpy DtoD"),
        event("aten::mul", "CPU"),
        event("region", "CUDA", True),
    ]
    assert count_kernels(events) == 2
    assert count_kernels([event("aten::mul", "CPU")]) is None


def test_tables_show_times_floors_memory_shares_and_what_was_left_out() -> None:
    shape = [8, 3, 256, 256]
    row = {"engine": "PyTorch", "precision": "float32", "shape": shape, "ms": [0.3, 0.4, 0.5]}
    lost = {"engine": "JAX", "precision": "bfloat16", "reason": "no time left", "what": ""}
    figures = {
        "bandwidth": 4e12,
        "rows": [
            row | {"row": "MSE", "images": 2.04, "kernels": 5},
            row | {"row": "BlurSim", "images": 3, "kernels": None},
            row | {"row": TRANSFORMS},
            row | {"row": TRANSFORMS, "engine": "JAX", "ms": [0.1, 0.1, 0.1]},
            row | {"row": "BlurSim", "precision": "bfloat16"},
        ],
        "steps": [
            {"precision": "float32", "row": "MSE", "ms": [9, 80, 99], "loss_ms": [1, 2, 3], "batch": "8x3x256x256"}
            | {"parameters": 17_111_907}
        ],
        "left_out": [lost | {"row": x, "shape": s} for s in ((1, 1), (2, 2)) for x in ("L1", "MSE")]
        + [{"what": "a peer", "reason": "<odd>"}],
        "seconds": 200,
    }
    text = gpu_tables.of_gpu(figures)
    assert "4,000.0 GB/s. All of this took 200 s." in text
    # 1,572,864 pixels of 4 bytes, three times, take 4.7 us.
    assert "The floor is 0.1047 ms: the transforms 0.1000 ms, and 18.9 MB" in text
    assert "bfloat16, in PyTorch under autocast: median time, ratio to the floor. The floor is 0.1024 ms" in text
    table = text[text.index("| loss | PyTorch | JAX |") :].splitlines()
    assert table[2:5] == [
        "| transforms | 0.400 ms, 3.8 | 0.100 ms, 1.0 |",
        "| BlurSim | 0.400 ms, 3.8 |  |",
        "| MSE | 0.400 ms, 3.8 |  |",
    ]
    assert "| BlurSim | 3.0 images |\n| MSE | 2.0 images, 5 kernels |" in text
    assert "17.1 million parameters, 8x3x256x256" in text
    assert "| float32 | MSE | 80.00 ms | 2.000 ms | 2.5 % |" in text
    assert "- &lt;odd&gt;: a peer\n- no time left: JAX, bfloat16, 1x1, 2x2: L1, MSE" in text
    # Neither copies nor transforms: there are no ratios.
    bare = gpu_tables.of_gpu(figures | {"bandwidth": None, "steps": [], "left_out": []})
    assert "| MSE | 0.400 ms |" in bare and "floor" not in bare and "Left out" not in bare


def test_the_pages_say_that_nothing_was_measured_as_long_as_nothing_was() -> None:
    readme = (page.DOCS.parent / "README.md").read_text()
    assert ("measured on a CPU only" in readme) == ("Not measured yet" in page.read("speed.md", "gpu"))


@pytest.mark.slow
def test_everything_in_processes_of_its_own() -> None:
    require(*NAMES)
    _, figures = gpu.measure(TINY._replace(seconds=600, patience=100))
    assert len(figures["steps"]) == 4
    for engine in ENGINES:
        assert {(engine, x, "BlurSim") for x in gpu_plan.PRECISIONS} <= keys(figures)
    named = {x["reason"] for x in figures["left_out"]}
    assert all("not installed" in reason or "got bfloat16" in reason for reason in named), named


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated:DeprecationWarning")
def test_compiled_programs_compute_the_same() -> None:
    """With the compiler that a GPU is measured with."""
    require("torch")
    import torch

    from benchmarks import gpu_torch

    bench = gpu_torch.Bench(TINY._replace(backend=GPU.backend))
    limit = torch._dynamo.config.recompile_limit
    try:
        for precision in gpu_plan.PRECISIONS:
            job = Job("torch.compile, CUDA graph", precision, SHAPE, TRAINING)
            assert "ms" in bench.time(job)
            torch.testing.assert_close(bench.program(job)(), bench.program(job._replace(engine="PyTorch"))())
    finally:
        torch._dynamo.config.recompile_limit = limit
        torch._dynamo.reset()
