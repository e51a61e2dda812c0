"""Compare the speed of `blursim evaluate` with decoding alone, and measure memory: `python -m benchmarks.folders`.

The image pairs are 512x384 PNG files, cut from the photos of scikit-image and scikit-learn. Decoding alone reads the
same files with the same function and as many threads. All alternate, three times each, and each run has its own
process. Memory is the peak resident set of a run. It is read from Linux's `VmHWM`, because `ru_maxrss` would include
the parent's peak. It is measured for few and for many pairs, which shows how it grows.
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
    """Return colour photos that are at least as large as a crop."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    images = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket(), data.immunohistochemistry()]
    images = [Image.fromarray(x) for x in (*images, *load_sample_images().images)]
    return [x.resize((max(x.width, WIDTH), max(x.height, HEIGHT))) for x in images]


def make(folder: Path, count: int) -> None:
    """Write `count` crops to `targets`, and blurred copies of them to `predictions`."""
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
    """Read every pair like `blursim evaluate` does, and do nothing with it."""
    from blursim_jax.cli.images import read

    def both(path: Path) -> None:
        for image in (path, folder / "targets" / path.name):
            read(image, color=False, max_pixels=2**25)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(both, sorted((folder / "predictions").iterdir())))


def evaluate(folder: Path, *options: str) -> None:
    """Score every pair with `blursim evaluate`."""
    from blursim_jax.cli.app import app

    out = folder.parent / f"{folder.name}.csv"
    arguments = ["evaluate", folder / "predictions", folder / "targets", "--out", out, "--force", "--threads", THREADS]
    arguments += options
    app(list(map(str, arguments)), standalone_mode=False)


def peak_memory() -> float:
    """Return the peak memory of this process in MiB, since its program was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def evaluate_without_ssim(folder: Path) -> None:
    """The same without SSIM."""
    evaluate(folder, "--no-ssim")


WORK = {"decode": decode, "evaluate": evaluate, "evaluate_without_ssim": evaluate_without_ssim}


def run(work: str, folder: Path) -> tuple[float, float]:
    """Do the work in its own process, and return the seconds and MiB it took."""
    command = [sys.executable, "-m", "benchmarks.folders", work, str(folder)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, memory = output.splitlines()[-1].split()
    return float(seconds), float(memory)


def main() -> None:
    """Measure, and print the results."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {count: Path(temporary, str(count)) for count in (FEWER, COUNT)}
        for count, folder in folders.items():
            folder.mkdir()
            make(folder, count)
        found = [[run(work, folders[COUNT]) for work in WORK] for _ in range(REPEATS)]
        fewer = [run("evaluate", folders[FEWER])[1] for _ in range(REPEATS)]
    decoding, scoring, without = (COUNT / np.median([seconds for seconds, _ in x]) for x in zip(*found, strict=True))
    memory, memory_fewer = np.median([scored[1] for _, scored, _ in found]), np.median(fewer)
    print(f"decoding alone: {decoding:.0f} pairs/s; evaluate: {scoring:.0f} pairs/s, {scoring / decoding:.2f} of it")
    print(f"evaluate --no-ssim: {without:.0f} pairs/s, {without / decoding:.2f} of it")
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
