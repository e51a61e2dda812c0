"""The studies: which losses are trained for which tasks. Also the gradients of the losses before training."""

from typing import NamedTuple

import numpy as np
import torch

from benchmarks.training.jobs import SIDE, TASKS, batch, training_pairs
from benchmarks.training.losses import loss_of
from benchmarks.training.runs import Run

STEPS = 1200
# `PRESETS["training"]`, the loss that makes the claims, and those that it has to beat.
READING = "BlurSim complex_l1 rms 5"
OURS = f"{READING} 0.15"
RIVALS = "MSE", "L1", "SSIM", "focal-frequency-loss"
# What networks for deblurring are trained with, with the weights of their authors: MIMO-UNet, MPRNet, NAFNet, and a
# mixture of three as in recent challenges.
EDGES = "Charbonnier + 0.05 x Laplacian edges"
MIXTURES = [
    "L1 + 0.1 x L1 of unnormalised FFTs",
    EDGES,
    "PSNR",
    f"{EDGES} + 0.01 x L1 of unnormalised FFTs",
]
LOSSES = [*RIVALS, "L1 of FFTs", *MIXTURES, OURS]
DECAY, DEFAULT = "0.9 to 0.1", "BlurSim magnitude area 5"
READINGS = [
    f"{DEFAULT} {DECAY}",
    f"BlurSim complex area 5 {DECAY}",
    "BlurSim log relative 5 0.5",
    f"L1 of FFTs + 0.3 x {DEFAULT} 0.9",
]
PULLING = [
    *("MSE", "L1", "focal-frequency-loss", "L1 of FFTs"),
    *(f"BlurSim {x} 5 {alpha}" for x in ("magnitude area", "complex area", "log relative") for alpha in ("0", "1")),
    *(f"{READING} {alpha}" for alpha in ("0", "0.15", "1")),
]


class Study(NamedTuple):
    """The losses of a study, and the tasks, seeds, network starts, sides of crops and steps of their runs."""

    tasks: tuple[str, ...]
    losses: list[str]
    seeds: int
    starts: tuple[str, ...] = ("residual",)
    sides: tuple[int, ...] = (SIDE,)
    steps: int = STEPS

    def runs(self) -> list[Run]:
        """Return every run of the study."""
        return [
            Run(task, loss, seed, self.steps, start, side)
            for seed in range(self.seeds)
            for loss in self.losses
            for task in self.tasks
            for start in self.starts
            for side in self.sides
        ]


# Rows that carry a claim have five seeds.
STUDIES = {
    "losses": Study(TASKS, LOSSES, 5),
    "readings": Study(TASKS, READINGS, 3),
    "alphas": Study(
        ("defocus", "motion"), [f"{READING} {x}" for x in ("0", "0.08", "0.15", "0.25", "0.4", "0.4 to 0")], 3
    ),
    "crops": Study(
        ("defocus", "motion"),
        ["MSE", OURS],
        seeds=2,
        sides=(128, 256),
        steps=800,
    ),
    "blind": Study(("gaussian",), ["MSE", f"{DEFAULT} {DECAY}", OURS], 5, ("default", "tanh")),
}


def pulls(task: str, name: str) -> dict[str, float]:
    """Describe the gradient of a loss at the input photos, where a network with a residual connection starts."""
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
