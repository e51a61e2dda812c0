"""Run `python -m benchmarks.speed gpu`: start the processes, ask them in turn, and keep to the time.

JAX and PyTorch have a process each, the programs of `torch.compile` have several. First all of them compile at the same
time. Then each row is timed while the other processes are idle, and what matters most comes first. What no time is left
for, what fails and what is not installed is left out, and the tables name it.
"""

import importlib
import importlib.util
import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

from benchmarks.gpu_plan import ENGINES, PRECISIONS, TRANSFORMS, Job, NoDevice, Plan, Shape, Step, stages
from benchmarks.speed import Engine, questions

# The module for each kind of process, and the package that it needs.
KINDS = {"JAX": ("gpu_jax", "jax"), "PyTorch": ("gpu_torch", "torch"), "torch.compile": ("gpu_torch", "torch")}
# A process is started at most this often.
STARTS = 6


class LeftOut(Exception):
    """The reason why something was not measured."""


class Worker:
    """A process that measures. It is started anew after an error that could spoil what it measures next."""

    def __init__(self, module: str, plan: Plan) -> None:
        self.module, self.plan, self.starts = module, plan, 0
        self.engine: Engine | None = None

    def tell(self, *question: Any) -> None:
        """Send a question, to a new process if there is none."""
        if self.engine is None:
            if self.starts == STARTS:
                raise LeftOut(f"its process failed {STARTS} times")
            self.engine = Engine(serve, self.module, self.plan)
            self.starts += 1
        try:
            self.engine.tell(*question)
        except OSError:
            self.stop()
            raise LeftOut("its process ended") from None

    def answer(self, within: float) -> Any:
        """Wait for the answer, at most so many seconds."""
        if self.engine is None:
            raise LeftOut("its process ended")
        try:
            return self.engine.answer(max(0, within))
        except TimeoutError:
            self.stop()
            raise LeftOut("took too long") from None
        except (EOFError, OSError):
            self.stop()
            raise LeftOut("its process ended") from None
        except RuntimeError as error:
            # After such an error the process may not be able to use the device, or not to free memory.
            if re.search("CUDA.?ERROR|captur", str(error), re.IGNORECASE):
                self.stop()
            raise LeftOut(str(error)) from None

    def stop(self) -> None:
        """End the process."""
        if self.engine is not None:
            self.engine.process.kill()
            self.engine.process.join()
            self.engine = None


def serve(module: str, plan: Plan, pipe: Any) -> None:
    """Answer questions in a process: each is the name of a method of the module's `Bench`, and its arguments."""
    # Or JAX would take most of the memory, which the other processes need too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    # Each process of `torch.compile` starts as many others, and there are several.
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "4")
    bench = None
    for question, arguments in questions(pipe):
        try:
            bench = bench or importlib.import_module(f"benchmarks.{module}").Bench(plan)
            answer = getattr(bench, question)(*arguments)
        except NoDevice as error:
            answer = RuntimeError(str(error))
        except Exception as error:
            answer = RuntimeError(" ".join(f"{type(error).__name__}: {error}".split())[:160])
        try:
            pipe.send(answer)
        except OSError:
            # Nobody waits for it.
            return


class Session:
    """The processes, what they have found, and how much time is left."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.start = plan, time.monotonic()
        self.workers: dict[str, list[Worker]] = {}
        # The rows that the processes of each kind compile, in order.
        self.programs: dict[str, list[Job]] = {}
        self.machine: dict[str, str] = {}
        self.rows: list[dict[str, Any]] = []
        self.steps: list[dict[str, Any]] = []
        self.left_out: list[dict[str, Any]] = []

    def seconds(self) -> float:
        """Return how many seconds have passed."""
        return time.monotonic() - self.start

    def say(self, what: str) -> None:
        """Print what is done next."""
        print(f"{self.seconds():4.0f} s: {what}", file=sys.stderr, flush=True)

    def leave_out(self, what: object, reason: object) -> None:
        """Write down what was not measured, and why."""
        self.left_out.append(
            {"what": str(what), "reason": str(reason)} | (what._asdict() if isinstance(what, Job) else {})
        )

    def open(self) -> None:
        """Start the processes of each kind whose package is installed and sees the device."""
        for kind, (module, package) in KINDS.items():
            if importlib.util.find_spec(package) is None:
                self.leave_out(kind, f"{package} is not installed")
                continue
            count = self.plan.compilers if kind == "torch.compile" else 1
            self.workers[kind] = [Worker(module, self.plan) for _ in range(count)]
            for worker in self.workers[kind]:
                worker.tell("about")
        for kind, workers in list(self.workers.items()):
            try:
                for worker in workers:
                    self.machine = worker.answer(self.plan.compiling) | self.machine
            except LeftOut as reason:
                self.leave_out(kind, reason)
                self.close(self.workers.pop(kind))
        if not self.workers:
            raise NoDevice("; ".join(dict.fromkeys(x["reason"] for x in self.left_out)))

    def close(self, workers: Iterable[Worker]) -> None:
        """End processes."""
        for worker in workers:
            worker.stop()

    def worker(self, job: Job | Step) -> Worker:
        """Return the process for a job. An engine with CUDA graphs records what another engine of its process runs."""
        if isinstance(job, Step):
            return self.workers["PyTorch"][0]
        kind = ENGINES[job.engine]
        program, programs = job._replace(engine=kind), self.programs.setdefault(kind, [])
        if program not in programs:
            programs.append(program)
        return self.workers[kind][programs.index(program) % len(self.workers[kind])]

    def ask(self, what: object, worker: Worker, *question: Any, kept: float = 0) -> Any:
        """Ask a process. If there is no answer, write down why and return None."""
        left = self.plan.seconds - kept - self.seconds()
        try:
            if left <= 0:
                raise LeftOut("no time left")
            worker.tell(*question)
            return worker.answer(min(self.plan.patience, left))
        except LeftOut as reason:
            self.leave_out(what, reason)

    def prepare(self, jobs: list[Job]) -> None:
        """Let all processes compile what they will run, at the same time."""
        tasks: dict[Worker, list[Job]] = {}
        for job in jobs:
            tasks.setdefault(self.worker(job), []).append(job)
        end = self.seconds() + self.plan.compiling + self.plan.patience
        for worker, own in tasks.items():
            worker.tell("prepare", own, self.plan.compiling)
        for worker in tasks:
            try:
                worker.answer(end - self.seconds())
            except LeftOut as reason:
                # Its rows are compiled when it is their turn, as far as the time goes.
                self.say(f"a process did not end compiling: {reason}")

    def run(self) -> dict[str, Any]:
        """Return all figures: the bandwidth, rows, training steps, what was left out, and the seconds that it took."""
        plan = self.plan
        self.say("start")
        self.open()
        frameworks = {name: self.workers[name][0] for name in ("JAX", "PyTorch") if name in self.workers}
        # The last is PyTorch, if there is one: it has a copy of its own.
        bandwidth = self.ask("bandwidth", [*frameworks.values()][-1], "bandwidth")
        peers: dict[str, dict[Shape, list[str]]] = {}
        for name, worker in frameworks.items():
            nothing = {shape: [] for shape in plan.shapes}, {}
            peers[name], missing = self.ask(f"peers of {name}", worker, "peers") or nothing
            for peer, reason in missing.items():
                self.leave_out(peer, reason)
        order = [*stages(plan, self.workers, peers)]
        self.say("compile")
        self.prepare([job for stage in order for job in stage.jobs if isinstance(job, Job)])
        for stage in order:
            self.say(stage.name)
            for job in stage.jobs:
                question, found = ("time", self.rows) if isinstance(job, Job) else ("step", self.steps)
                figure = self.ask(job, self.worker(job), question, job, kept=plan.last)
                if figure is not None:
                    found.append(job._asdict() | figure)
        self.say("count kernels")
        self.count()
        self.say("end")
        return {
            "bandwidth": bandwidth,
            "rows": self.rows,
            "steps": self.steps,
            "left_out": self.left_out,
            "seconds": self.seconds(),
        }

    def count(self) -> None:
        """Count the kernels of PyTorch's rows for the first shape. It is last: a profiler can slow what follows."""
        for figure in self.rows:
            job = Job(*(figure[name] for name in Job._fields))
            chosen = (job.precision, job.shape) == (PRECISIONS[0], self.plan.shapes[0]) and job.row != TRANSFORMS
            if chosen and job.engine in ("PyTorch", "torch.compile"):
                figure["kernels"] = self.ask(f"kernels of {job}", self.worker(job), "kernels", job)


def measure(plan: Plan) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the device and versions, and all figures. Raise `NoDevice` if no framework sees the device."""
    session = Session(plan)
    try:
        figures = session.run()
        return session.machine, figures
    finally:
        for workers in session.workers.values():
            session.close(workers)
