"""How fast `blursim evaluate` is beside decoding alone, and how its memory grows: `python -m benchmarks.folders`.

Pairs of 512x384 are cut from the photos that come with scikit-image and scikit-learn, as PNG. Decoding alone reads the
same files by the same function with as many threads. Both are run in turn, three times, in processes of their own.
Memory is the largest resident set of a run, as Linux tells it (`VmHWM`; `ru_maxrss` would have the parent's).
"""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from rich.progress import track

COUNT, FEWER, REPEATS, THREADS = 2000, 200, 3, 2
HEIGHT, WIDTH = 384, 512


def photos() -> list[Image.Image]:
    """Colour photos of at least the size of a crop."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    images = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.immunohistochemistry()]
    images = [Image.fromarray(x) for x in (*images, *load_sample_images().images)]
    return [x.resize((max(x.width, WIDTH), max(x.height, HEIGHT))) for x in images]


def make(folder: Path, count: int) -> None:
    """Write `count` crops to targets, and blurred ones to predictions."""
    random, sources = np.random.default_rng(0), photos()
    for name in ("predictions", "targets"):
        (folder / name).mkdir()
    for i in track(range(count), f"Writing {count} pairs"):
        source = sources[i % len(sources)]
        x, y = (int(random.integers(n + 1)) for n in (source.width - WIDTH, source.height - HEIGHT))
        target = source.crop((x, y, x + WIDTH, y + HEIGHT))
        target.save(folder / "targets" / f"{i:05}.png", compress_level=1)
        blurred = target.filter(ImageFilter.GaussianBlur(random.uniform(0.5, 4)))
        blurred.save(folder / "predictions" / f"{i:05}.png", compress_level=1)


def decode(folder: Path) -> None:
    """Read every pair as `blursim evaluate` does, and do nothing with it."""
    from blursim_jax.cli.images import read

    def both(path: Path) -> None:
        for image in (path, folder / "targets" / path.name):
            read(image, color=False, max_pixels=2**25)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(both, sorted((folder / "predictions").iterdir())))


def evaluate(folder: Path) -> None:
    """Score them."""
    from blursim_jax.cli.app import app

    out = folder.parent / f"{folder.name}.csv"
    arguments = ["evaluate", folder / "predictions", folder / "targets", "--out", out, "--force", "--threads", THREADS]
    app(list(map(str, arguments)), standalone_mode=False)


def peak_memory() -> float:
    """MiB that this process has had at most, since its program was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


WORK = {"decode": decode, "evaluate": evaluate}


def run(work: str, folder: Path) -> tuple[float, float]:
    """Seconds and MiB of the work in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.folders", work, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, memory = output.splitlines()[-1].split()
    return float(seconds), float(memory)


def main() -> None:
    """Measure, and print a table."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {count: Path(temporary, str(count)) for count in (FEWER, COUNT)}
        for count, folder in folders.items():
            folder.mkdir()
            make(folder, count)
        found = [[run(work, folders[COUNT]) for work in WORK] for _ in range(REPEATS)]
        fewer = [run("evaluate", folders[FEWER])[1] for _ in range(REPEATS)]
    decoding, scoring = (COUNT / np.median([seconds for seconds, _ in x]) for x in zip(*found, strict=True))
    memory, memory_fewer = np.median([scored[1] for _, scored in found]), np.median(fewer)
    print(f"decoding alone: {decoding:.0f} pairs/s; evaluate: {scoring:.0f} pairs/s, {scoring / decoding:.2f} of it")
    print(
        f"memory of evaluate: {memory:.0f} MiB for {COUNT} pairs, {memory_fewer:.0f} for {FEWER}, "
        f"{memory / memory_fewer:.2f} times"
    )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        start = time.perf_counter()
        WORK[sys.argv[1]](Path(sys.argv[2]))
        elapsed = time.perf_counter() - start
        print(elapsed, peak_memory())
    else:
        main()
