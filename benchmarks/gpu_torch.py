"""The rows of `python -m benchmarks.speed gpu` in PyTorch: as they are, compiled, and recorded as CUDA graphs."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import rows_torch
from benchmarks.gpu_plan import (
    PLAIN,
    TRAINING,
    TRANSFORMS,
    Job,
    NoDevice,
    Plan,
    Programs,
    Shape,
    Step,
    clock,
    missing_because,
    name_of,
)
from benchmarks.nafnet import NAFNet
from benchmarks.speed import AS_RELEASED
from blursim_torch import PRESETS, blursim

Program = Callable[[], Any]


class Bench(Programs):
    """Everything that one process of PyTorch measures."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.device = torch.device("cpu" if plan.device == "cpu" else "cuda")
        if plan.device == "cpu":
            # The processes share the cores.
            torch.set_num_threads(1)
        self.inputs: dict[tuple[Shape, str], tuple[Tensor, Tensor]] = {}
        warnings.filterwarnings("ignore", message="Torchinductor does not support code generation for complex")
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")

    def about(self) -> dict[str, str]:
        """Return the device."""
        if self.device.type == "cpu":
            return {"device": "CPU"}
        if not torch.cuda.is_available():
            raise NoDevice(f"torch {torch.__version__} sees no GPU")
        return {"device": torch.cuda.get_device_name(), "CUDA of PyTorch": str(torch.version.cuda)}

    def bandwidth(self) -> float:
        """Return how many bytes a copy reads and writes in a second."""
        source, target = (torch.zeros(self.plan.copied, dtype=torch.uint8, device=self.device) for _ in range(2))
        return 2 * self.plan.copied / (self.clock(lambda: target.copy_(source))[1] / 1000)

    def peers(self) -> tuple[dict[Shape, list[str]], dict[str, str]]:
        """Return the names of the other losses for each shape, and those that are not installed, with the reason."""
        missing = {}
        for name in rows_torch.PEERS:
            try:
                rows_torch.peer(name)
            except Exception as error:
                missing[name] = missing_because(error)
        names = {shape: [AS_RELEASED, *rows_torch.names_of_peers(shape)] for shape in self.plan.shapes}
        return {shape: [name for name in names[shape] if name not in missing] for shape in names}, missing

    def time(self, job: Job) -> dict[str, Any]:
        """Return the time of a row in ms, and its memory beyond the images as a multiple of one of both batches."""
        program = self.program(job)
        try:
            with self.under(job.precision):
                if job.engine.endswith("CUDA graph"):
                    return {"ms": self.clock(self.record(program))}
                return {"images": self.memory(program, self.images(job)[0]), "ms": self.clock(program)}
        finally:
            # The other processes may need it.
            torch.cuda.empty_cache()

    def kernels(self, job: Job) -> int | None:
        """Return how many kernels a row runs, or None if the device does not say."""
        program = self.program(job)
        if self.device.type == "cpu":
            return None
        kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        with self.under(job.precision), torch.profiler.profile(activities=kinds) as profile:
            program()
            self.wait()
        return count_kernels(profile.events() or [])

    def step(self, step: Step) -> dict[str, Any]:
        """Return the times in ms of a training step and of its loss with the gradient alone."""
        torch.manual_seed(0)
        network = NAFNet(**self.plan.network).to(self.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
        blurred, sharp = self.images(Job("PyTorch", "float32", self.plan.batch, step.row))
        loss = self.loss(step.row)

        def train() -> None:
            optimizer.zero_grad()
            with self.under(step.precision):
                value = loss(network(blurred), sharp)
            value.backward()
            optimizer.step()

        found: dict[str, Any] = {"ms": self.clock(train)}
        with self.under(step.precision):
            restored = network(blurred).detach()
            found["loss_ms"] = self.clock(rows_torch.prepare(loss, True, restored, sharp))
        return found | {"parameters": sum(x.numel() for x in network.parameters()), "batch": name_of(self.plan.batch)}

    def images(self, job: Job) -> tuple[Tensor, Tensor]:
        """Return the images of a row."""
        key = job.shape, job.precision
        if key not in self.inputs:
            dtype = getattr(torch, job.precision)
            a, b = torch.from_numpy(np.random.default_rng(0).random((2, *job.shape), np.float32)).to(self.device, dtype)
            self.inputs[key] = a, b
        return self.inputs[key]

    def loss(self, row: str) -> rows_torch.Loss:
        """Return the loss of this name."""
        if row == PLAIN:
            # A copy of the kernels in each call would make the device wait.
            kernels = rows_torch.KERNELS.to(self.device)
            return lambda a, b: rows_torch.plain(a, b, kernels)
        ours: dict[str, rows_torch.Loss] = {
            "BlurSim": blursim,
            TRAINING: lambda a, b: blursim(a, b, channel_axis=-3, **PRESETS["training"]),
            AS_RELEASED: lambda a, b: blursim(a, b, spectrum="complex"),
        }
        return ours[row] if row in ours else rows_torch.peer(row)

    def make(self, job: Job) -> Program:
        """Return the function to time, compiled if the engine compiles."""
        a, b = self.images(job)
        if job.row == TRANSFORMS:
            program: Program = lambda: transforms(a, b)  # noqa: E731
        else:
            loss = self.loss(job.row)
            if job.engine == "torch.compile":
                # Losses that are made by one line of code share this limit.
                torch._dynamo.config.recompile_limit = 64
                loss = torch.compile(loss, dynamic=False, backend=self.plan.backend)
            program = rows_torch.prepare(loss, True, a, b)
        with self.under(job.precision):
            for _ in range(2):
                program()
        self.wait()
        return program

    def record(self, program: Program) -> Program:
        """Return a function that replays what the program did once. On a CPU, return the program."""
        if self.device.type == "cpu":
            return program
        # Recording what makes the host wait is an error that the process does not recover from, so it comes here first.
        torch.cuda.set_sync_debug_mode("error")
        try:
            program()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                program()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = program()
        # The results stay, as those of a caller would.
        return lambda: (graph.replay(), results)

    def memory(self, program: Program, image: Tensor) -> float | None:
        """Return the peak memory of a call beyond what is there before, in units of `image`."""
        if self.device.type == "cpu":
            return None
        self.wait()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        # The results are alive until the memory is read.
        results = program()
        self.wait()
        peak = torch.cuda.max_memory_allocated()
        del results
        return (peak - before) / image.nbytes

    def clock(self, program: Program) -> list[float]:
        """Return the quartiles of the time of a call in ms."""

        def calls(count: int) -> None:
            for _ in range(count):
                program()
            self.wait()

        return clock(calls, self.plan.least)

    def under(self, precision: str) -> torch.autocast:
        """Return the context of a precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=precision == "bfloat16")

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def transforms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the transforms that the gradient cannot do without."""
    return torch.fft.irfft2(torch.fft.rfft2(a), s=a.shape[-2:]), torch.fft.rfft2(b)


def count_kernels(events: Iterable[Any]) -> int | None:
    """Return how many of a profiler's events are kernels, without copies, or None if it saw nothing of the device."""
    on_device = [x.name for x in events if x.device_type.name == "CUDA" and not getattr(x, "is_user_annotation", False)]
    return sum(not name.startswith(("Memcpy", "Memset")) for name in on_device) or None
