"""Time BlurSim and other losses: `python -m benchmarks.speed [PART ...]`, after `pip install '.[bench]'`.

Every engine has its own process. The engines take turns, row by row in random order. Each turn calls a row twice and
times the second call, so that its data are in the cache and the other engines are idle. The tables show medians, and
ratios to the floor of the framework. The floor is MSE and two forward real transforms. With the gradient, it also has
one inverse transform.

Each part is written into docs/speed.md and docs/speed.json as soon as it has ended; `peers` also draws docs/speed.png.
`gpu` measures on a GPU, in another way: benchmarks/gpu.py. It runs only if it is named.
"""

import argparse
import gc
import importlib
import json
import multiprocessing
import os
import random
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import page

ALPHA = 0.9
SHAPES = ((8, 3, 256, 256), (1, 1, 512, 512), (1, 1, 2048, 2048), (32, 3, 64, 64))
SIDES = (64, 128, 251, 256, 509, 512, 1021, 1024, 2039, 2048, 4093, 4096, 8192)
BATCHES = (2, 4, 8, 16, 32, 64)
SCALING = [(1, 1, side, side) for side in SIDES] + [(count, 1, 256, 256) for count in BATCHES]
# Each option's choices beside the defaults of the others, then the presets for training and for scores.
OPTIONS = [
    {"spectrum": spectrum, "normalization": normalization, "sobel_kernel_size": size}
    for spectrum, normalization, size in (
        ("magnitude", "area", 3),
        ("magnitude", "area", 5),
        ("magnitude", "area", 7),
        ("magnitude", "rms", 5),
        ("magnitude", "relative", 5),
        ("complex", "area", 5),
        ("complex_l1", "area", 5),
        ("log", "area", 5),
        ("complex_l1", "rms", 5),
        ("log", "relative", 5),
    )
]
# The name of the row that computes what the original does.
AS_RELEASED = 'BlurSim, "complex"'
# The module and function that make the rows of each engine. `torch.compile` is compared with the floor of PyTorch.
ENGINES = {
    "JAX": ("rows_jax", "rows"),
    "PyTorch": ("rows_torch", "rows"),
    "torch.compile": ("rows_torch", "compiled_rows"),
}
REPEATS = 30
# Every row is timed at least 7 times. Large images are not repeated further after this many seconds.
SECONDS = 60
MODES = {"value": False, "value and gradient": True}

# One measured time: engine, shape, mode, row, quartiles in ms, ratio to the floor.
Figure = dict[str, Any]


def name_of(options: dict[str, Any]) -> str:
    """Return the name of an option set in the tables."""
    return f"{options['spectrum']}, {options['normalization']}, {options['sobel_kernel_size']}"


class Engine:
    """A process that runs one framework: a function that answers questions, called with arguments and a pipe."""

    def __init__(self, answers: Callable[..., None], *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=answers, args=(*arguments, other), daemon=True)
        self.process.start()
        # Or the end of the process would not end a wait for its answer.
        other.close()

    def ask(self, *question: Any) -> Any:
        """Send a question, and wait for the answer."""
        self.tell(*question)
        return self.answer()

    def tell(self, *question: Any) -> None:
        """Send a question."""
        self.pipe.send(question)

    def answer(self, within: float | None = None) -> Any:
        """Wait for the answer to the question sent last, at most so many seconds."""
        if not self.pipe.poll(within):
            raise TimeoutError
        answer = self.pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def questions(pipe: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield each question and its arguments, until the other process ends."""
    while True:
        try:
            question, *arguments = pipe.recv()
        except EOFError:
            return
        yield question, arguments


def serve(module: str, rows: str, pipe: Any) -> None:
    """Answer questions in an engine's process.

    "rows" prepares the rows and returns their names. "time" returns the time of one row in ms. Any other question is
    the name of a function of the module, such as "memory".
    """
    framework = importlib.import_module(f"benchmarks.{module}")
    functions: dict[str, Callable[[], Any]] = {}
    for question, arguments in questions(pipe):
        try:
            if question == "time":
                function = functions[arguments[0]]
                function()
                start = time.perf_counter()
                function()
                pipe.send(1000 * (time.perf_counter() - start))
            elif question == "rows":
                functions = getattr(framework, rows)(*arguments)
                for function in functions.values():
                    function()
                    function()
                pipe.send(list(functions))
            else:
                pipe.send(getattr(framework, question)(*arguments))
        except Exception as error:
            pipe.send(RuntimeError(f"{module}: {type(error).__name__}: {error}"))


def measure(engines: dict[str, Engine], shape: tuple[int, ...], part: str, mode: str) -> list[Figure]:
    """Time every row of a part for one shape and one mode."""
    from rich.console import Console
    from rich.progress import track

    rows = [(name, row) for name, engine in engines.items() for row in engine.ask("rows", shape, part, MODES[mode])]
    times: dict[tuple[str, str], list[float]] = {row: [] for row in rows}
    start, rng = time.perf_counter(), random.Random(0)
    title = f"{'x'.join(map(str, shape))}, {mode}"
    for repeat in track(range(REPEATS), title, console=Console(stderr=True), transient=True):
        if repeat >= 7 and time.perf_counter() - start > SECONDS:
            break
        for name, row in rng.sample(rows, len(rows)):
            times[name, row].append(engines[name].ask("time", row))
    figures = []
    for name, row in rows:
        low, median, high = np.percentile(times[name, row], [25, 50, 75]).tolist()
        floor = times["PyTorch" if name == "torch.compile" else name, "floor"]
        figures.append({"engine": name, "shape": shape, "mode": mode, "row": row, "ms": [low, median, high]})
        figures[-1] |= {"floors": median / statistics.median(floor), "repeats": len(times[name, row])}
    return figures


def peers() -> list[Figure]:
    """Time BlurSim and other losses, for all shapes."""
    engines = {name: Engine(serve, *ENGINES[name]) for name in ENGINES}
    return [f for shape in SHAPES for mode in MODES for f in measure(engines, shape, "peers", mode)]


def options() -> list[Figure]:
    """Time every option set, for one shape."""
    engines = {name: Engine(serve, *ENGINES[name]) for name in ("JAX", "PyTorch")}
    return [f for mode in MODES for f in measure(engines, SHAPES[0], "options", mode)]


def scaling() -> list[Figure]:
    """Time value and gradient for many image sizes and batch sizes."""
    engines = {name: Engine(serve, *ENGINES[name]) for name in ("JAX", "PyTorch")}
    return [f for shape in SCALING for f in measure(engines, shape, "scaling", "value and gradient")]


def cost() -> list[Figure]:
    """Measure the memory, the first call and the import, each in its own process."""
    figures = []
    for name, package, framework in (("JAX", "blursim_jax", "jax"), ("PyTorch", "blursim_torch", "torch")):
        found = Engine(serve, *ENGINES[name]).ask("memory", 4096)
        found["first call at 256x256, s"] = Engine(serve, *ENGINES[name]).ask("first_call", 256)
        timed = f"t = time.perf_counter(); from {package} import *; print(time.perf_counter() - t)"
        code = f"import time, {framework}; {timed}"
        imports = [float(subprocess.check_output([sys.executable, "-c", code])) for _ in range(9)]
        found[f"import beyond that of {framework}, ms"] = 1000 * statistics.median(imports)
        figures += [{"engine": name, "row": row, "figure": figure} for row, figure in found.items()]
    return figures


def peak_of(function: Callable[[], Any]) -> int:
    """Return by how many bytes the resident memory rises during a call, on Linux."""
    import psutil

    gc.collect()
    # This resets the peak memory of the process to its current memory.
    Path("/proc/self/clear_refs").write_text("5")
    before = psutil.Process().memory_info().rss
    function()
    (peak,) = re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(peak) - before


def table(head: Iterable[str], lines: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def cell(figures: list[Figure], **wanted: Any) -> str:
    """Return the time and ratio of the first figure with all the wanted values, or an empty string if there is none."""
    for figure in figures:
        if all(figure[key] == value for key, value in wanted.items()):
            return f"{figure['ms'][1]:,.1f} ms, {figure['floors']:.1f}"
    return ""


def of_peers(figures: list[Figure]) -> str:
    """Return one table per mode, with one row per engine and loss."""
    text = ""
    for mode in MODES:
        rows = dict.fromkeys((f["engine"], f["row"]) for f in figures if f["mode"] == mode)
        lines = (
            [engine, row, *(cell(figures, engine=engine, row=row, mode=mode, shape=shape) for shape in SHAPES)]
            for engine, row in rows
        )
        names = ["x".join(map(str, shape)) for shape in SHAPES]
        text += f"\n{mode.capitalize()}: median time, ratio to the floor\n\n{table(['engine', 'loss', *names], lines)}"
    return text


def of_options(figures: list[Figure]) -> str:
    """Return a table with one row per option set."""
    names = [(engine, mode) for engine in ("JAX", "PyTorch") for mode in MODES]
    lines = (
        [row, *(cell(figures, engine=engine, mode=mode, row=row) for engine, mode in names)]
        for row in ["floor", *map(name_of, OPTIONS)]
    )
    return table(["options", *(f"{engine}, {mode}" for engine, mode in names)], lines)


def of_scaling(figures: list[Figure]) -> str:
    """Return a table with one row per shape: nanoseconds per pixel, of BlurSim and of the floor."""
    lines = []
    for shape in dict.fromkeys(tuple(f["shape"]) for f in figures):
        line = ["x".join(map(str, shape))]
        for engine in ("JAX", "PyTorch"):
            for row in ("BlurSim", "floor"):
                (figure,) = (f for f in figures if (f["engine"], f["row"], tuple(f["shape"])) == (engine, row, shape))
                line.append(f"{1e6 * figure['ms'][1] / np.prod(shape):.1f}")
        lines.append(line)
    return table(["shape", "JAX, ns a pixel", "its floor", "PyTorch, ns a pixel", "its floor"], lines)


def of_cost(figures: list[Figure]) -> str:
    """Return a table with one row per figure."""
    return table(["engine", "what", "figure"], ([f["engine"], f["row"], f"{f['figure']:.3g}"] for f in figures))


def plot(figures: list[Figure], path: Path) -> None:
    """Draw bars for the times of value and gradient at the first shape."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.layout_engine import ConstrainedLayoutEngine
    from matplotlib.ticker import LogLocator, NullLocator, ScalarFormatter

    chosen = [f for f in figures if f["mode"] == "value and gradient" and tuple(f["shape"]) == SHAPES[0]]
    groups = [[f for f in chosen if f["engine"] == engine] for engine in ENGINES]
    rows = [len(group) for group in groups]
    layout = ConstrainedLayoutEngine(h_pad=0.1)
    fig, axes = plt.subplots(len(rows), 1, figsize=(8, 7.6), sharex=True, height_ratios=rows, layout=layout)
    times = [f["ms"][1] for f in chosen]
    # The longest bar leaves room for its number.
    limits = 0.7 * min(times), 1.6 * max(times)
    for axis, group, engine in zip(axes, groups, ENGINES, strict=True):
        group = sorted(group, key=lambda f: -f["ms"][1])
        names = [f["row"] for f in group]
        colors = ["tab:orange" if name.startswith("BlurSim") else "darkgray" for name in names]
        bars = axis.barh(names, [f["ms"][1] for f in group], color=colors)
        axis.bar_label(bars, [f" {f['floors']:.1f}" for f in group], fontsize=9)
        axis.set(title=engine, xscale="log", xlim=limits)
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_locator(NullLocator())
        axis.tick_params(labelbottom=True)
        axis.spines[["top", "right"]].set_visible(False)
    fig.supxlabel("ms, value and gradient of 8x3x256x256; beside the bars: ratio to the floor", fontsize=9)
    new = path.with_suffix(".new.png")
    fig.savefig(new, dpi=120, **page.MARGIN)
    new.replace(path)


PARTS = {
    "peers": (peers, of_peers),
    "options": (options, of_options),
    "scaling": (scaling, of_scaling),
    "cost": (cost, of_cost),
}


def main() -> None:
    """Run the parts named on the command line, or all parts that need no GPU."""
    names = [*PARTS, "gpu"]
    parser = argparse.ArgumentParser(description="Time BlurSim beside other losses.")
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"out of {', '.join(names)}; if none is given, all but gpu"
    )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="try the plumbing of gpu on a CPU, with tiny images, torch.compile without Inductor; print, write nothing",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(names)
    if unknown:
        parser.error(f"no parts: {', '.join(sorted(unknown))}")
    if arguments.tiny and arguments.parts != ["gpu"]:
        parser.error("--tiny is for gpu alone")
    for name in arguments.parts or PARTS:
        if name == "gpu":
            on_gpu(parser, arguments.tiny)
            continue
        run, show = PARTS[name]
        # This comes first, because it fails if a peer is not installed.
        machine = versions()
        figures = run()
        publish(name, machine, figures, show(figures))
        if name == "peers":
            plot(figures, page.DOCS / "speed.png")


def on_gpu(parser: argparse.ArgumentParser, tiny: bool) -> None:
    """Run the part for a GPU, or end the program if there is none."""
    # They import this module.
    from benchmarks import gpu, gpu_plan, gpu_tables

    try:
        device, figures = gpu.measure(gpu_plan.TINY if tiny else gpu_plan.GPU)
    except gpu_plan.NoDevice as reason:
        parser.exit(2, f"gpu: nothing to measure on: {reason}\n")
    machine, text = device | versions(required=False), gpu_tables.of_gpu(figures)
    if tiny:
        print(text)
    else:
        publish("gpu", machine, figures, text)


def publish(name: str, machine: dict[str, str], figures: Any, text: str) -> None:
    """Write a part into the page and its data, and print it."""
    store = page.DOCS / "speed.json"
    found = json.loads(store.read_text()) if store.exists() else {}
    found[name] = {"versions": machine, "figures": figures}
    new = store.with_suffix(".new")
    new.write_text(json.dumps(found, indent=1) + "\n")
    new.replace(store)
    text = f"{text}\nMeasured with: {', '.join(f'{key} {value}' for key, value in machine.items())}.\n"
    page.write("speed.md", name, text)
    print(text)


def versions(required: bool = True) -> dict[str, str]:
    """Return the processor, the number of cores, and the versions of the frameworks and peers.

    If they are not required, those that are not installed are left out.
    """
    about = Path("/proc/cpuinfo")
    processor = re.search(r"model name\s*: (.*)", about.read_text()) if about.exists() else None
    peers = ("dm-pix", "focal-frequency-loss", "kornia", "opencv-python-headless", "pytorch-msssim", "torchmetrics")
    found = {"processor": processor[1] if processor else "unknown", "cores": str(len(os.sched_getaffinity(0)))}
    for name in ("jax", "torch", *peers):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            if required:
                raise
    return found


if __name__ == "__main__":
    main()
