"""What is timed on a GPU by `python -m benchmarks.speed gpu`: the rows, their order, and the clock."""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

Shape = tuple[int, int, int, int]

SHAPES: tuple[Shape, ...] = ((8, 3, 256, 256), (16, 3, 512, 512), (1, 1, 4096, 4096), (32, 3, 64, 64))
# In bfloat16, both frameworks get images of bfloat16, and PyTorch computes under autocast.
PRECISIONS = ("float32", "bfloat16")
# The row of the transforms that the gradient cannot do without.
TRANSFORMS = "transforms"
TRAINING = "BlurSim, training preset"
OURS = ("BlurSim", TRAINING)
PLAIN = "conv2d and autograd"
# The kind of process that each engine is in.
ENGINES = {
    "PyTorch": "PyTorch",
    "PyTorch, CUDA graph": "PyTorch",
    "JAX": "JAX",
    "torch.compile": "torch.compile",
    "torch.compile, CUDA graph": "torch.compile",
}


class Plan(NamedTuple):
    """What to measure, on which device, and for how many seconds."""

    device: str
    shapes: tuple[Shape, ...]
    # The batch of a training step, and the arguments of its network that are not the defaults.
    batch: Shape
    network: dict[str, Any]
    # A timing takes at least so many seconds. What is copied for the bandwidth has so many bytes.
    least: float
    copied: int
    # The backend of `torch.compile`, and how many processes share its work.
    backend: str
    compilers: int
    # Seconds for everything, for compiling before anything is timed, for one row, and kept for counting kernels.
    seconds: float = 228
    compiling: float = 80
    patience: float = 40
    last: float = 15


GPU = Plan(
    device="gpu",
    shapes=SHAPES,
    batch=SHAPES[0],
    network={},
    least=0.02,
    copied=2**30,
    backend="inductor",
    compilers=max(1, min(3, (os.cpu_count() or 1) // 4)),
)
# To try the plumbing without a GPU.
TINY = Plan(
    device="cpu",
    shapes=((2, 3, 16, 24),),
    batch=(1, 3, 16, 16),
    network={"width": 4, "encoders": (1, 1), "decoders": (1, 1)},
    least=0,
    copied=2**16,
    backend="eager",
    compilers=1,
)


class NoDevice(Exception):
    """There is nothing to measure on."""


class Job(NamedTuple):
    """A row to time for one shape."""

    engine: str
    precision: str
    shape: Shape
    row: str

    def __str__(self) -> str:
        return f"{self.engine}: {self.row}, {self.precision}, {name_of(self.shape)}"


class Step(NamedTuple):
    """A training step to time with one loss."""

    precision: str
    row: str

    def __str__(self) -> str:
        return f"training step: {self.row}, {self.precision}"


class Stage(NamedTuple):
    """Jobs that are done together."""

    name: str
    jobs: list[Job | Step]


class Programs:
    """The programs of a process, each made once."""

    def __init__(self) -> None:
        # An error takes the place of a program that does not run.
        self.programs: dict[Job, Any] = {}

    def make(self, job: Job) -> Any:
        """Compile a program, and run it."""
        raise NotImplementedError

    def program(self, job: Job) -> Any:
        """Return the program of a row, after it has run. Raise its error if it does not run."""
        # CUDA graphs record a program of another engine.
        job = job._replace(engine=ENGINES[job.engine])
        if job not in self.programs:
            try:
                self.programs[job] = self.make(job)
            except Exception as error:
                # What led to it would keep the memory of the program.
                error.__context__ = error.__cause__ = None
                self.programs[job] = error.with_traceback(None)
        if isinstance(self.programs[job], Exception):
            raise self.programs[job]
        return self.programs[job]

    def prepare(self, jobs: list[Job], seconds: float) -> None:
        """Make these programs, until the time is over."""
        end = time.monotonic() + seconds
        for job in jobs:
            if time.monotonic() < end:
                # An error comes again when the row is timed.
                with contextlib.suppress(Exception):
                    self.program(job)


def name_of(shape: Iterable[int]) -> str:
    """Return the name of a shape in the tables."""
    return "x".join(map(str, shape))


def missing_because(error: Exception) -> str:
    """Return why a peer cannot be imported."""
    missing = isinstance(error, ModuleNotFoundError)
    return f"{error.name} is not installed" if missing else f"{type(error).__name__}: {error}"


def stages(plan: Plan, kinds: Iterable[str], peers: dict[str, dict[Shape, list[str]]]) -> Iterator[Stage]:
    """Return what the kinds of processes are to time, in the order of its worth.

    `peers` has the other losses of JAX and of PyTorch for each shape, as far as the packages are installed.
    """
    engines = [name for name, kind in ENGINES.items() if kind in set(kinds)]
    compiled = [name for name in engines if ENGINES[name] == "torch.compile"]
    others = [name for name in engines if name not in compiled]

    def jobs(engines: list[str], precision: str, rows: Callable[[str, Shape], Iterable[str]]) -> list[Job | Step]:
        return [
            Job(engine, precision, shape, row)
            for engine in engines
            for shape in plan.shapes
            for row in rows(engine, shape)
        ]

    def of_compiled(engine: str, shape: Shape) -> Iterable[str]:
        # Compiling takes seconds for each shape.
        return [row for row in peers["PyTorch"][shape] if row == PLAIN or shape == plan.shapes[0]]

    def of_others(engine: str, shape: Shape) -> Iterable[str]:
        return peers[ENGINES[engine]][shape]

    float32, bfloat16 = PRECISIONS
    steps = [Step(precision, row) for precision in PRECISIONS for row in ("MSE", TRAINING)]
    yield Stage("the floor", jobs(others, float32, lambda engine, shape: [TRANSFORMS]))
    yield Stage("BlurSim", jobs(engines, float32, lambda engine, shape: OURS))
    yield Stage("training steps", [*steps] if "PyTorch" in peers else [])
    yield Stage("BlurSim in bfloat16", jobs(engines, bfloat16, lambda engine, shape: OURS))
    yield Stage("peers", jobs(others, float32, of_others))
    yield Stage("peers in bfloat16", jobs(others, bfloat16, of_others))
    yield Stage("compiled peers", jobs(compiled, float32, of_compiled) + jobs(compiled, bfloat16, of_compiled))


def clock(calls: Callable[[int], None], least: float, repeats: int = 7) -> list[float]:
    """Return the quartiles in ms of one call. `calls(n)` makes n calls and waits for the device."""

    def timed(count: int) -> float:
        start = time.perf_counter()
        calls(count)
        return time.perf_counter() - start

    calls(3)
    count = 1
    while (taken := timed(count)) < least and count < 10_000:
        count = math.ceil(count * min(10, max(2, least / taken)))
    return np.percentile([1000 * timed(count) / count for _ in range(repeats)], [25, 50, 75]).tolist()
