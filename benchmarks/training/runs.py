"""Train one network with one loss for one job, score it, and write the files of results."""

import json
import multiprocessing
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from skimage.color import rgb2gray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, relu

from benchmarks.quality import gmsd
from benchmarks.training.jobs import SIDE, Pair, batch, held_out_pairs, other_pairs, to_torch, training_pairs
from benchmarks.training.losses import loss_of
from blursim_jax.cli.files import replacing

FEATURES, LAYERS, PEAK_LEARNING_RATE = 24, 6, 3e-3


class Run(NamedTuple):
    """The settings of one run, which has one file of results."""

    task: str
    loss: str
    seed: int
    steps: int
    # "residual" adds the output of the last layer to the input. The others do not. With "default" and "tanh", the last
    # layer starts with PyTorch's own initialization, with "zero" as zero. "tanh" maps its output to 0..1 by tanh.
    start: str = "residual"
    side: int = SIDE

    def path(self, out: Path) -> Path:
        """Return the path of the file of results."""
        crops = "" if self.side == SIDE else f"crops of {self.side}, "
        return out / self.task / f"{self.loss}, {self.start}, {crops}{self.steps} steps, seed {self.seed}.json"


class Network(nn.Module):
    """Convolutions at half resolution."""

    def __init__(self, channels: int, start: str) -> None:
        """Initialize the layers. See `Run.start` for `start`."""
        super().__init__()
        self.start = start
        self.first = nn.Conv2d(4 * channels, FEATURES, 3, padding=1)
        middle = [nn.Conv2d(FEATURES, FEATURES, 3, padding=1) for _ in range(LAYERS - 2)]
        self.middle = nn.ModuleList(middle)
        self.last = nn.Conv2d(FEATURES, 12, 3, padding=1)
        for layer in (self.first, *middle):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.get_parameter("bias"))
        if start in ("residual", "zero"):
            for parameter in self.last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, given: Tensor) -> Tensor:
        """Return photos (N, 3, H, W) from inputs (N, channels, H, W) with even sides."""
        x = relu(self.first(pixel_unshuffle(given, 2)))
        for layer in self.middle:
            x = x + relu(layer(x))
        made = pixel_shuffle(self.last(x), 2)
        match self.start:
            case "residual":
                return given[:, :3] + made
            case "tanh":
                return (torch.tanh(made) + 1) / 2
        return made


def train(run: Run) -> Network:
    """Train a network. The seed decides its first weights and its crops."""
    pairs, rng = training_pairs(run.task, run.side), np.random.default_rng(run.seed)
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
        given, target = batch(pairs, rng, run.side)
        optimizer.zero_grad()
        loss(network(given), target, step / run.steps).backward()
        optimizer.step()
        schedule.step()
    return network


@torch.inference_mode()
def restored(network: Network, pair: Pair) -> np.ndarray:
    """Return the network's output for a photo, (H, W, 3) in 0..1."""
    return network(to_torch(pair.given[None]))[0].clamp(0, 1).permute(1, 2, 0).contiguous().numpy()


def judge(network: Network | None, pairs: Iterable[Pair]) -> dict[str, float]:
    """Return the mean scores of the network's outputs, or of its inputs if `network` is None."""
    found: dict[str, list[float]] = {}
    for pair in pairs:
        image = pair.given[..., :3] if network is None else restored(network, pair)
        for name, value in scores(image, pair.target).items():
            found.setdefault(name, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def scores(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Return the scores of a photo (H, W, 3) in 0..1 against its target."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    grey_a, grey_b = rgb2gray(a), rgb2gray(b)
    return {
        "PSNR": float(peak_signal_noise_ratio(b, a, data_range=1.0)),
        "SSIM": float(np.asarray(structural_similarity(b, a, data_range=1.0, channel_axis=-1))),
        "GMSD": gmsd(255 * grey_a, 255 * grey_b),
        "correlation": float(np.corrcoef(grey_a.ravel(), grey_b.ravel())[0, 1]),
    }


def execute(run: Run, out: Path) -> None:
    """Train and judge. Write the weights, then the file of results, which marks the run as ended."""
    network = train(run)
    path = run.path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(network.state_dict(), path.with_suffix(".pt"))
    _write(path, {"run": run._asdict(), "scores": judge(network, held_out_pairs(run.task, run.side))})


def execute_elsewhere(run: Run, out: Path, there: Path, folder: Path) -> None:
    """Judge a trained network on the photos in `folder`."""
    pairs = other_pairs(run.task, folder)
    _write(run.path(there), {"run": run._asdict(), "scores": judge(trained(run, out, pairs[0]), pairs)})


def trained(run: Run, out: Path, pair: Pair) -> Network:
    """Return the network of a run that has ended, for pictures with as many channels as those of `pair`."""
    network = Network(pair.given.shape[-1], run.start)
    network.load_state_dict(torch.load(run.path(out).with_suffix(".pt"), weights_only=True))
    return network


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as new:
        new.write_text(json.dumps(content, indent=1) + "\n")


def run_all(jobs: list[tuple[Callable[..., None], tuple[Any, ...]]], title: str) -> None:
    """Run the jobs on all cores, one thread each, with a progress bar."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    pool = ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn"), initializer=_one_thread)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(title, total=len(jobs))
        try:
            for done in as_completed([pool.submit(work, *arguments) for work, arguments in jobs]):
                done.result()
                progress.advance(bar)
        except BaseException:
            # Jobs that have started run to their end, and their results are kept.
            pool.shutdown(cancel_futures=True)
            raise
        pool.shutdown()


def _one_thread() -> None:
    # Only the main process reacts to Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
