"""How a small network does on photos it has not seen, by the loss it was trained with: `python -m benchmarks.training`.

One network, four jobs, each with a blur of its own: to sharpen what a lens put out of focus (`defocus`, by a
disparity), what is blurred alike all over (`gaussian`) or by a motion (`motion`), and to render a lens's blur of a
sharp photo whose depth is given (`bokeh`, the original's own case). Crops of five photos to train on, versions of three
other photos to judge by: PSNR, SSIM and GMSD, and relative errors of edges (Sobel 3x3) and of the magnitude spectrum.

The studies: `losses`, the main table; `weights`, of BlurSim beside L1; `alphas`, fixed ones and decaying; `kernels`, of
the Sobel operator; `blind`, without the residual connection. Every run writes files of its own into `--out` once it has
ended, and is not run again: stopped, the same command goes on. (Take a new folder after a change to this file or to the
packages.) `--write` puts the tables into docs/training_results.md; those of other photos need `--photos`.
"""

import argparse
import functools
import hashlib
import itertools
import json
import math
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from scipy import ndimage, stats
from skimage.color import rgb2gray
from skimage.io import imread
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, pixel_shuffle, pixel_unshuffle, relu

from blursim_torch import blursim

sys.path.append(str(Path(__file__).resolve().parents[1] / "examples"))

import photos
from command import replacing

from benchmarks import page
from benchmarks.quality import gmsd

TASKS = "defocus", "gaussian", "motion", "bokeh"
FEATURES, LAYERS, BATCH, SIDE, PEAK_LEARNING_RATE = 24, 6, 4, 64, 3e-3
SEEDS, STEPS = 3, 1200
# Versions of each photo that are blurred beforehand.
TRAINING_VERSIONS, HELD_OUT_VERSIONS = 16, 4


class Run(NamedTuple):
    """What one file of results is about."""

    task: str
    loss: str
    seed: int
    steps: int
    # "residual": what the network makes is added to its input; "default" and "zero": it is not, and the last layer
    # starts as PyTorch has it, or as zero.
    start: str = "residual"

    def path(self, out: Path) -> Path:
        """The file."""
        return out / self.task / f"{self.loss}, {self.start}, {self.steps} steps, seed {self.seed}.json"


# ---- the jobs


class Pair(NamedTuple):
    """What the network is given, (H, W, 3 or 4), and what it should make of it, (H, W, 3)."""

    given: np.ndarray
    target: np.ndarray


def version(task: str, scene: photos.Scene, rng: np.random.Generator) -> Pair:
    """A photo with a random blur of a kind, in 8 bits as a camera has it."""
    focus, aperture = rng.uniform(), rng.uniform(3.0, 7.0)
    match task:
        case "defocus":
            return Pair(scene.blurred(focus, aperture), scene.sharp)
        case "gaussian":
            sigma = rng.uniform(0.5, 2.5)
            return Pair(
                photos.in_8_bits(ndimage.gaussian_filter(scene.sharp, (sigma, sigma, 0), mode="nearest")), scene.sharp
            )
        case "motion":
            kernel = _line(rng.uniform(3.0, 13.0), rng.uniform(0.0, math.pi))
            return Pair(photos.in_8_bits(ndimage.convolve(scene.sharp, kernel[..., None], mode="nearest")), scene.sharp)
        case "bokeh":
            radius = (aperture / photos.RADII[-1] * np.abs(scene.nearness - focus)).astype(np.float32)
            return Pair(np.dstack((photos.in_8_bits(scene.sharp), radius)), scene.blurred(focus, aperture))
    raise ValueError(f"task: expected one of {TASKS}, got {task!r}")


def _line(length: float, angle: float) -> np.ndarray:
    """The kernel of a straight motion of that many pixels."""
    kernel, middle = np.zeros((15, 15), np.float32), 7
    for along in np.linspace(-length / 2, length / 2, 200):
        down, right = middle + along * math.sin(angle), middle + along * math.cos(angle)
        top, left = int(down), int(right)
        for row, column in itertools.product((top, top + 1), (left, left + 1)):
            kernel[row, column] += (1 - abs(down - row)) * (1 - abs(right - column))
    return kernel / kernel.sum()


@functools.cache
def training_pairs(task: str) -> list[Pair]:
    """The versions to cut crops from."""
    rng = np.random.default_rng(0)
    return [version(task, scene, rng) for scene in _scenes(True) for _ in range(TRAINING_VERSIONS)]


@functools.cache
def held_out_pairs(task: str) -> list[Pair]:
    """The versions to judge by."""
    rng = np.random.default_rng(1)
    return [version(task, scene, rng) for scene in _scenes(False) for _ in range(HELD_OUT_VERSIONS)]


@functools.cache
def other_pairs(task: str, folder: Path) -> list[Pair]:
    """Versions of the photos in a folder, as large as those trained on."""
    rng, pairs = np.random.default_rng(2), []
    for path in sorted(x for x in folder.iterdir() if x.suffix.lower() in (".png", ".jpg", ".bmp", ".tif")):
        pairs.append(version(task, photos.make_scene(path.stem, imread(path), photos.MIDDLE), rng))
    return pairs


@functools.cache
def _scenes(training: bool) -> list[photos.Scene]:
    return photos.training_scenes() if training else photos.held_out_scenes()


def batch(pairs: list[Pair], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Random squares, mirrored and turned at random: (N, 3 or 4, SIDE, SIDE) and (N, 3, SIDE, SIDE)."""
    squares: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for _ in range(BATCH):
        pair = pairs[rng.integers(len(pairs))]
        height, width = pair.target.shape[:2]
        top, left = rng.integers(height - SIDE + 1), rng.integers(width - SIDE + 1)
        turns, mirror = int(rng.integers(4)), rng.choice((1, -1))
        for found, image in zip(squares, pair, strict=True):
            found.append(np.rot90(image[top : top + SIDE, left : left + SIDE], turns)[:, ::mirror])
    given, target = (_to_torch(np.stack(found)) for found in squares)
    return given, target


def _to_torch(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)


# ---- the losses: of restored and target photos (N, 3, H, W) and the share of the training that is over


Loss = Callable[[Tensor, Tensor, float], Tensor]


def loss_of(name: str) -> Loss:
    """The loss that a name means: terms with weights, joined by " + "."""
    terms = [_term(term) for term in name.split(" + ")]
    return lambda a, b, done: sum((weight * loss(a, b, done) for weight, loss in terms), torch.zeros(()))


def _term(text: str) -> tuple[float, Loss]:
    weight, _, name = text.rpartition(" x ")
    return float(weight or 1), PEERS[name] if name in PEERS else _blursim(name)


def _blursim(name: str) -> Loss:
    """BlurSim by "BlurSim spectrum normalization kernel alpha", alpha a number or "0.9 to 0.1"."""
    _, spectrum, normalization, size, alpha = name.split(maxsplit=4)
    start, _, end = alpha.partition(" to ")
    options: dict[str, Any] = {"spectrum": spectrum, "normalization": normalization, "sobel_kernel_size": int(size)}

    def loss(a: Tensor, b: Tensor, done: float) -> Tensor:
        mixed = float(start) + done * (float(end or start) - float(start))
        return blursim(a, b, alpha=mixed, channel_axis=-3, **options)

    return loss


def _l1_of_ffts(a: Tensor, b: Tensor, _: float) -> Tensor:
    return torch.view_as_real(torch.fft.rfft2(a - b, norm="ortho")).abs().mean()


def _ssim(a: Tensor, b: Tensor, _: float) -> Tensor:
    from pytorch_msssim import ssim  # pyright: ignore[reportMissingImports]

    return 1 - ssim(a, b, data_range=1.0)


def _focal_frequency_loss(a: Tensor, b: Tensor, _: float) -> Tensor:
    from focal_frequency_loss import FocalFrequencyLoss  # pyright: ignore[reportMissingImports]

    return FocalFrequencyLoss()(a, b)


PEERS: dict[str, Loss] = {
    "MSE": lambda a, b, _: mse_loss(a, b),
    "L1": lambda a, b, _: l1_loss(a, b),
    "SSIM": _ssim,
    "focal-frequency-loss": _focal_frequency_loss,
    "L1 of FFTs": _l1_of_ffts,
}


# ---- a run


class Network(nn.Module):
    """Convolutions at half resolution."""

    def __init__(self, channels: int, start: str) -> None:
        """See `Run.start`."""
        super().__init__()
        self.residual = start == "residual"
        self.first = nn.Conv2d(4 * channels, FEATURES, 3, padding=1)
        middle = [nn.Conv2d(FEATURES, FEATURES, 3, padding=1) for _ in range(LAYERS - 2)]
        self.middle = nn.ModuleList(middle)
        self.last = nn.Conv2d(FEATURES, 12, 3, padding=1)
        for layer in (self.first, *middle):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
        if start != "default":
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, given: Tensor) -> Tensor:
        """Photos (N, 3, H, W) with even sides."""
        x = relu(self.first(pixel_unshuffle(given, 2)))
        for layer in self.middle:
            x = x + relu(layer(x))
        made = pixel_shuffle(self.last(x), 2)
        return given[:, :3] + made if self.residual else made


def train(run: Run) -> Network:
    """A network after its training, which the seed decides."""
    pairs, rng = training_pairs(run.task), np.random.default_rng(run.seed)
    torch.manual_seed(run.seed)
    network = Network(pairs[0].given.shape[-1], run.start)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters(), PEAK_LEARNING_RATE)
    warm_up = run.steps // 20
    schedule = torch.optim.lr_scheduler.SequentialLR(
        optimizer,
        [
            torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, 1.0, warm_up),
            torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, run.steps - warm_up),
        ],
        [warm_up],
    )
    loss = loss_of(run.loss)
    for step in range(run.steps):
        given, target = batch(pairs, rng)
        optimizer.zero_grad()
        loss(network(given), target, step / run.steps).backward()
        optimizer.step()
        schedule.step()
    return network


@torch.inference_mode()
def restored(network: Network, pair: Pair) -> np.ndarray:
    """What the network makes of a photo, (H, W, 3) in 0..1."""
    return network(_to_torch(pair.given[None]))[0].clamp(0, 1).permute(1, 2, 0).contiguous().numpy()


def judge(network: Network | None, pairs: Iterable[Pair]) -> dict[str, float]:
    """The mean scores of what the network makes, or of what it is given."""
    found: dict[str, list[float]] = {}
    for pair in pairs:
        image = pair.given[..., :3] if network is None else restored(network, pair)
        for name, value in scores(image, pair.target).items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def scores(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The scores of a photo (H, W, 3) in 0..1 beside its target; the errors relative to the target."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    grey_a, grey_b = rgb2gray(a), rgb2gray(b)
    edges_a, edges_b = (np.hypot(ndimage.sobel(x, 0), ndimage.sobel(x, 1)) for x in (grey_a, grey_b))
    spectrum_a, spectrum_b = (np.fft.fft2(x - x.mean()) for x in (grey_a, grey_b))
    return {
        "PSNR": float(peak_signal_noise_ratio(b, a, data_range=1.0)),
        "SSIM": float(np.asarray(structural_similarity(b, a, data_range=1.0, channel_axis=-1))),
        "GMSD": gmsd(255 * grey_a, 255 * grey_b),
        "edges": _relative(edges_a - edges_b, edges_b),
        "spectrum": _relative(np.abs(spectrum_a) - np.abs(spectrum_b), spectrum_b),
    }


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.linalg.norm(a) / np.linalg.norm(b))


# ---- what pulls where, before any training


def pulls(task: str, name: str) -> dict[str, float]:
    """What a loss's gradient is like at the pictures given, where a network with a residual connection starts."""
    rng, pairs = np.random.default_rng(0), training_pairs(task)
    batches = [batch(pairs, rng) for _ in range(64)]
    given, target = (torch.cat(images)[:, :3].contiguous() for images in zip(*batches, strict=True))
    image = given.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(loss_of(name)(image, target, 0.5), image)
    waves, away = torch.fft.fft2(gradient), torch.fft.fft2(given - target)
    radius = torch.hypot(*torch.meshgrid(torch.fft.fftfreq(SIDE), torch.fft.fftfreq(SIDE), indexing="ij"))
    power, length = waves.abs().square().sum((0, 1)), gradient.flatten(1).norm(dim=1)
    flattest = target.mean(1).flatten(1).std(1).argsort()[: len(target) // 4]
    return {
        "fine": float(power[radius >= 0.25].sum() / power.sum()),
        "the right way": float((waves * away.conj() / away.abs().clamp_min(1e-12)).real.sum() / waves.abs().sum()),
        "from flat crops": float(length[flattest].sum() / length.sum()),
    }


# ---- the studies

DECAY, DEFAULT = "0.9 to 0.1", "BlurSim magnitude area 5"
RIVALS = "MSE", "L1", "focal-frequency-loss"
# With an L1 distance of the transforms beside it, which alone is what they have to beat too.
BESIDE = "L1 of FFTs"
OURS = [
    f"{BESIDE} + 0.3 x {DEFAULT} 0.9",
    f"{BESIDE} + 0.3 x BlurSim complex area 5 0.9",
    f"{BESIDE} + 0.1 x BlurSim complex area 5 0.9",
]
READINGS = [f"BlurSim {a} {b} 5" for a in ("magnitude", "complex", "log") for b in ("area", "relative")]
LOSSES = [*PEERS, *(f"{x} {alpha}" for alpha in (DECAY, "0.5") for x in READINGS), f"L1 + {DEFAULT} {DECAY}", *OURS]
PULLING = [*(x for x in PEERS if x != "SSIM"), *(f"{x} {alpha}" for x in READINGS for alpha in ("0", "1"))]


class Study(NamedTuple):
    """What is trained with what."""

    tasks: tuple[str, ...]
    losses: list[str]
    starts: tuple[str, ...] = ("residual",)


TWO = "defocus", "gaussian"
STUDIES = {
    "losses": Study(TASKS, LOSSES),
    "alphas": Study(TWO, [f"L1 of FFTs + 0.3 x {DEFAULT} {x}" for x in ("0", "0.5", "0.9", "1", DECAY)]),
    "kernels": Study(TWO, [f"L1 of FFTs + 0.3 x BlurSim magnitude area {x} 0.9" for x in (3, 5, 7)]),
    "weights": Study(
        ("gaussian",),
        [
            *("L1", *(f"L1 + {x}{DEFAULT} {DECAY}" for x in ("0.1 x ", "0.3 x ", "", "3 x ", "10 x "))),
            *("L1 of FFTs", *(f"L1 of FFTs + {x}{DEFAULT} 0.9" for x in ("0.1 x ", "0.3 x ", "", "3 x "))),
        ],
    ),
    "blind": Study(
        ("gaussian",),
        [
            *("MSE", *(f"BlurSim {x} area 5 {DECAY}" for x in ("magnitude", "complex", "log"))),
            *(f"L1 + BlurSim {x} area 5 {DECAY}" for x in ("magnitude", "log")),
        ],
        ("residual", "default", "zero"),
    ),
}


def execute(run: Run, out: Path) -> None:
    """Train, judge, and write the weights, then the file of results, which says that the run has ended."""
    network = train(run)
    path = run.path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path.with_suffix(".pt"))
    _write(path, {"run": run._asdict(), "scores": judge(network, held_out_pairs(run.task))})


def execute_elsewhere(run: Run, out: Path, there: Path, folder: Path) -> None:
    """Judge a network that was trained by other photos."""
    pairs = other_pairs(run.task, folder)
    _write(run.path(there), {"run": run._asdict(), "scores": judge(trained(run, out, pairs[0]), pairs)})


def trained(run: Run, out: Path, pair: Pair) -> Network:
    """The network of a run that has ended, for pictures such as `pair`."""
    network = Network(pair.given.shape[-1], run.start)
    network.load_state_dict(torch.load(run.path(out).with_suffix(".pt"), weights_only=True))
    return network


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=1) + "\n")


def run_all(jobs: list[tuple[Callable[..., None], tuple[Any, ...]]], title: str) -> None:
    """Do the work on all cores, one thread each, under a progress bar."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    pool = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(title, total=len(jobs))
        try:
            for done in as_completed([pool.submit(work, *arguments) for work, arguments in jobs]):
                done.result()
                progress.advance(bar)
        except BaseException:
            # Those that have begun end, and are kept.
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()


def _one_thread() -> None:
    # Ctrl-C is for the process that hands out the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


# ---- the tables


Results = dict[Run, dict[str, float]]
# Of which more is better.
RISING = "PSNR", "SSIM"
HEADINGS = {
    "PSNR": "PSNR in dB, the higher the better",
    "SSIM": "SSIM, the higher the better",
    "GMSD": "GMSD, the lower the better",
    "edges": "Error of the edges, Sobel 3x3, relative to the target's",
    "spectrum": "Error of the magnitude spectrum, relative to the target's",
}


def tables(results: Results, study: str, names: Iterable[str]) -> str:
    """A table a score: a row a loss, and a column a task and start; mean and standard deviation over seeds."""
    tasks, losses, starts = STUDIES[study]
    columns = [(task, start) for task in tasks for start in starts]
    heads = [task if len(starts) == 1 else start for task, start in columns]
    given = [judge(None, held_out_pairs(task)) for task in tasks] if len(starts) == 1 else []
    text = []
    for name in names:
        cells: dict[tuple[str, tuple[str, str]], list[float]] = {}
        for run, found in results.items():
            cells.setdefault((run.loss, (run.task, run.start)), []).append(found[name])
        best = {
            column: (max if name in RISING else min)(np.mean(values) for (_, c), values in cells.items() if c == column)
            for column in columns
        }
        text += [f"{HEADINGS[name]}:\n", f"| loss | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
        if given:
            text.append(f"| (the pictures given) | {' | '.join(_number(name, x[name]) for x in given)} |")
        for loss in losses:
            row = []
            for column in columns:
                mean, spread = np.mean(cells[loss, column]), np.std(cells[loss, column], ddof=1)
                shown = f"{_number(name, mean)} ± {_number(name, spread)}"
                row.append(f"**{shown}**" if mean == best[column] else shown)
            text.append(f"| {loss} | {' | '.join(row)} |")
        text.append("")
    return "\n".join(text)


def _number(name: str, value: float | np.floating) -> str:
    return f"{value:.2f}" if name == "PSNR" else f"{value:.4f}"


def differences(results: Results, losses: Iterable[str], rivals: Iterable[str]) -> str:
    """How much better each of some losses is than the best of its rivals in each score: mean and 95 % over seeds."""
    text = ["| loss | score | " + " | ".join(TASKS) + " |", "|---" * (len(TASKS) + 2) + "|"]
    for loss, name in itertools.product(losses, ("PSNR", "SSIM", "GMSD")):
        sign, digits, row = 1 if name in RISING else -1, ".2f" if name == "PSNR" else ".4f", []
        for task in TASKS:
            values = {
                x: np.array([results[run][name] for run in sorted(results) if (run.loss, run.task) == (x, task)])
                for x in (loss, *rivals)
            }
            best = max(rivals, key=lambda rival: sign * values[rival].mean())
            gains = sign * (values[loss] - values[best])
            half = stats.t.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / math.sqrt(len(gains))
            row.append(f"{gains.mean():+{digits}} ± {half:{digits}} ({best})")
        text.append(f"| {loss} | {name} | {' | '.join(row)} |")
    return "\n".join(text) + "\n"


def draw(results: Results) -> Figure:
    """How far each loss is from MSE, by score and task."""
    figure = Figure(figsize=(10, 0.3 * len(LOSSES) + 1.2), layout="constrained")
    for axes, name in zip(figure.subplots(1, 3, sharey=True), ("PSNR", "SSIM", "GMSD"), strict=True):
        for place, (task, colour) in enumerate(zip(TASKS, ("#0072b2", "#d55e00", "#009e73", "#cc79a7"), strict=True)):
            for row, loss in enumerate(LOSSES):
                values, base = (
                    [results[run][name] for run in results if (run.loss, run.task) == (x, task)] for x in (loss, "MSE")
                )
                gains = np.array(values) - np.mean(base)
                height = row + 0.2 * (place - 1.5)
                axes.plot([gains.min(), gains.max()], [height, height], color=colour, linewidth=1)
                axes.plot(gains.mean(), height, "o", color=colour, markersize=4, label=task if row == 0 else None)
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_title(f"{name} beyond MSE's\n({'right' if name in RISING else 'left'} is better)", fontsize=10)
        axes.grid(axis="y", alpha=0.3)
    axes = figure.axes[0]
    axes.set_yticks(range(len(LOSSES)), LOSSES, fontsize=8)
    axes.invert_yaxis()
    figure.axes[2].legend(loc="lower right", fontsize=8)
    return figure


def draw_photos(out: Path, steps: int) -> Figure:
    """A part of a held-out photo as some of the networks give it back."""
    losses = "MSE", "L1", "focal-frequency-loss", OURS[0], f"{DEFAULT} 0.5", "BlurSim log relative 5 0.5"
    pair = held_out_pairs("gaussian")[5]
    part = np.s_[40:136, 60:188]
    panels = {"blurred": pair.given}
    for loss in losses:
        panels[loss] = restored(trained(Run("gaussian", loss, 0, steps), out, pair), pair)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots(2, 4).ravel()
    for ax, (name, image) in zip(axes, (panels | {"sharp": pair.target}).items(), strict=False):
        ax.imshow(image[part])
        ax.set_title(name.replace(" + ", " +\n"), fontsize=8)
    for ax in axes:
        ax.set_axis_off()
    return figure


def main() -> None:
    """Run what is not there yet, and print or write the tables."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("studies", nargs="*", metavar="study", help=f"of {', '.join(STUDIES)}; all by default")
    parser.add_argument("--out", type=Path, default=Path("training"), help="the folder of results (training)")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how often each network is trained (3)")
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training (1200)")
    parser.add_argument("--photos", type=Path, help="a folder of other photos to judge the rivals and our best by")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/training_results.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.studies) - set(STUDIES):
        parser.error(f"study: expected one of {', '.join(STUDIES)}, got {', '.join(unknown)}")
    if arguments.seeds < 2:
        parser.error("--seeds: expected at least 2, as tables have the spread over seeds")
    if arguments.write and (arguments.seeds, arguments.steps) != (SEEDS, STEPS):
        parser.error("--write: expected the seeds and steps that the page says, which are the defaults")
    # A request to terminate ends the workers too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for study in arguments.studies or STUDIES:
            for name, text in study_tables(study, arguments).items():
                print(f"\n{text}")
                if arguments.write:
                    page.write("training_results.md", name, text)
    except KeyboardInterrupt:
        print("\nStopped. What has ended is kept; the same command goes on.", file=sys.stderr)
        sys.exit(130)


def study_tables(study: str, arguments: argparse.Namespace) -> dict[str, str]:
    """Do a study and return its tables by the names of their places."""
    out, photos_folder = arguments.out, arguments.photos
    tasks, losses, starts = STUDIES[study]
    combinations = itertools.product(range(arguments.seeds), losses, tasks, starts)
    runs = [Run(task, loss, seed, arguments.steps, start) for seed, loss, task, start in combinations]
    run_all([(execute, (run, out)) for run in runs if not run.path(out).exists()], study)
    results = {run: json.loads(run.path(out).read_text())["scores"] for run in runs}
    if study != "losses":
        return {study: tables(results, study, ("PSNR", "SSIM", "GMSD"))}
    found = {"losses": tables(results, study, HEADINGS), "differences": differences(results, OURS, RIVALS)}
    found["beside"] = differences(results, OURS, [BESIDE])
    pulling = {x: pulls("gaussian", x) for x in PULLING}
    lines = ["| loss | " + " | ".join(pulling["MSE"]) + " |", "|---|---|---|---|"]
    lines += [f"| {x} | " + " | ".join(f"{v:.2f}" for v in values.values()) + " |" for x, values in pulling.items()]
    found["pulls"] = "\n".join(lines) + "\n"
    if photos_folder:
        chosen = [run for run in runs if run.loss in (*RIVALS, BESIDE, *OURS)]
        there = out / f"elsewhere-{hashlib.sha256(str(photos_folder.resolve()).encode()).hexdigest()[:8]}"
        todo = [run for run in chosen if not run.path(there).exists()]
        run_all([(execute_elsewhere, (run, out, there, photos_folder)) for run in todo], "other photos")
        elsewhere = {run: json.loads(run.path(there).read_text())["scores"] for run in chosen}
        text = differences(elsewhere, OURS[:1], RIVALS), differences(elsewhere, OURS[:1], [BESIDE])
        found["elsewhere"] = "\n".join(text)
    if arguments.write:
        content = [run._asdict() | {"scores": {k: round(x[k], 5) for k in HEADINGS}} for run, x in results.items()]
        lines = ",\n".join(json.dumps(x) for x in content)
        with replacing(page.DOCS / "training_results.json") as new:
            new.write_text(f"[\n{lines}\n]\n")
        draw(results).savefig(page.DOCS / "training_results.png", dpi=110)
        draw_photos(out, arguments.steps).savefig(page.DOCS / "training_photos.png", dpi=110)
    return found


if __name__ == "__main__":
    main()
