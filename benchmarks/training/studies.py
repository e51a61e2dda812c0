"""The studies: which losses are trained for which tasks. Also the gradients of the losses before training."""

from typing import NamedTuple

import numpy as np
import torch

from benchmarks.training.jobs import SIDE, TASKS, batch, training_pairs
from benchmarks.training.losses import PEERS, loss_of

SEEDS, STEPS = 3, 1200
DECAY, DEFAULT = "0.9 to 0.1", "BlurSim magnitude area 5"
RIVALS = "MSE", "L1", "focal-frequency-loss"
# Our losses add BlurSim to this L1 distance of the transforms. They also have to beat this distance alone.
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
    """The losses of a study, and the tasks and network starts that each is trained with."""

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
