"""Train a small network with BlurSim, in PyTorch, to sharpen photos that a lens blurred.

    python examples/train_torch.py --out deblur

It takes a minute or two on two processor cores, and shows what the network does to photos it has not seen. It can be
interrupted and resumed. It does the same job as train_flax.py, on the same crops.
"""

import math
import os
import shutil
from pathlib import Path
from typing import Any

# This is read when torch is imported. By default, threads wait in a busy loop for milliseconds. If another program
# keeps a core busy, a step then takes twenty times as long.
os.environ["GOMP_SPINCOUNT"] = os.environ.get("GOMP_SPINCOUNT", "1000")

import command
import numpy as np
import photos
import reporting
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss, pixel_shuffle, pixel_unshuffle, relu

from blursim_torch import PRESETS, BlurSim, BlurSimTerms

FEATURES, LAYERS, PEAK_LEARNING_RATE = 32, 6, 3e-3
BLURSIM = BlurSim(**PRESETS["training"], channel_axis=-3)
CHECKPOINTS_KEPT = 3


class Network(nn.Module):
    """Convolutions at half resolution. Their output is added to the blurred photo."""

    def __init__(self, features: int, layers: int) -> None:
        """Start as the identity: the last layer is zero."""
        super().__init__()
        middle = [nn.Conv2d(features, features, 3, padding=1) for _ in range(layers - 2)]
        self.first = nn.Conv2d(12, features, 3, padding=1)
        self.middle = nn.ModuleList(middle)
        self.last = nn.Conv2d(features, 12, 3, padding=1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="linear")
        for layer in middle:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, blurred: Tensor) -> Tensor:
        """Sharpen photos (N, 3, H, W) with even sides."""
        # Every 2 x 2 pixels become one pixel with 12 channels: a quarter of the work, and twice the receptive field.
        x = relu(self.first(pixel_unshuffle(blurred, 2)))
        for layer in self.middle:
            x = x + relu(layer(x))
        return blurred + pixel_shuffle(self.last(x), 2)


def compute_loss(restored: Tensor, sharp: Tensor, loss: command.Loss) -> tuple[Tensor, BlurSimTerms]:
    """Return the loss of photos (N, 3, H, W) and both terms of BlurSim, for the curves."""
    terms = BLURSIM.terms(restored, sharp)
    match loss:
        case "blursim":
            # The same as BLURSIM(restored, sharp), without computing the terms twice.
            return (1 - BLURSIM.alpha) * terms.general + BLURSIM.alpha * terms.specific, terms
        case "l1":
            return l1_loss(restored, sharp), terms
        case "mse":
            return mse_loss(restored, sharp), terms


@torch.inference_mode()
def restore(network: Network, blurred: np.ndarray, device: torch.device) -> np.ndarray:
    """Sharpen one photo (H, W, 3)."""
    restored = network(to_tensor(blurred[None], device))[0]
    return restored.clamp(0, 1).permute(1, 2, 0).cpu().numpy()


def to_tensor(photos: np.ndarray, device: torch.device) -> Tensor:
    """Convert photos (N, H, W, 3) to a tensor (N, 3, H, W)."""
    return torch.from_numpy(photos).to(device).permute(0, 3, 1, 2)


def save(out: Path, step: int, parts: dict[str, Any], curves: dict[str, np.ndarray]) -> None:
    """Write the checkpoint of a step: all that a resumed run needs to end exactly like an uninterrupted one."""
    folder = out / "checkpoints" / str(step)
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: part.state_dict() for name, part in parts.items()}
    state["curves"] = {name: torch.from_numpy(values) for name, values in curves.items()}
    with command.replacing(folder / "state.pt") as path:
        torch.save(state, path)
    for old in checkpoint_steps(out)[:-CHECKPOINTS_KEPT]:
        shutil.rmtree(out / "checkpoints" / str(old))


def load(out: Path, step: int, parts: dict[str, Any], device: torch.device) -> dict[str, np.ndarray]:
    """Load the checkpoint of a step into `parts`, and return the curves."""
    state = torch.load(out / "checkpoints" / str(step) / "state.pt", map_location=device, weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    # Later checkpoints were being written when the run was killed.
    for later in checkpoint_steps(out):
        if later > step:
            shutil.rmtree(out / "checkpoints" / str(later))
    return {name: values.cpu().numpy() for name, values in state["curves"].items()}


def checkpoint_steps(out: Path) -> list[int]:
    """Return the steps that have a checkpoint, in order."""
    return sorted(int(path.name) for path in (out / "checkpoints").iterdir())


def main(
    steps: command.Steps = 1800,
    loss: command.LossOption = "blursim",
    out: command.RunFolder = Path("deblur"),
    seed: command.Seed = 0,
    batch_size: command.BatchSize = 8,
    resume: command.Resume = False,
) -> None:
    """Train a small network with BlurSim to sharpen blurred photos, and show what it does to photos held out."""
    settings = {"framework": "torch", "steps": steps, "loss": loss, "seed": seed, "batch-size": batch_size}
    settings |= {"features": FEATURES, "layers": LAYERS}
    stop = command.catch_signals()
    first_step = command.open_run(out, resume, settings)

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # This makes a resumed run end exactly like an uninterrupted one on a GPU too.
    torch.backends.cudnn.deterministic = True
    torch.manual_seed(seed)
    network = Network(FEATURES, LAYERS).to(device)
    optimizer = torch.optim.Adam(network.parameters(), PEAK_LEARNING_RATE)
    warm_up = steps // 20

    def share_of_peak(step: int) -> float:
        """Return the factor of the learning rate: it rises linearly from 0, then falls to 0 along a cosine."""
        if step < warm_up:
            return step / warm_up
        return (1 + math.cos(math.pi * (step - warm_up) / (steps - warm_up))) / 2

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, share_of_peak)
    curves = {name: np.full(steps, np.nan, np.float32) for name in BlurSimTerms._fields}
    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
    if first_step:
        curves = load(out, first_step, parts, device)

    scenes = photos.training_scenes()
    if stop.is_set():
        command.end_interrupted(first_step, steps)
    with command.show_progress(first_step, steps) as show:
        for step in range(first_step, steps):
            # The batch depends only on the seed and the step.
            batch = photos.training_batch(scenes, np.random.default_rng((seed, step)), batch_size)
            blurred, sharp = (to_tensor(squares, device) for squares in batch)
            value, terms = compute_loss(network(blurred), sharp, loss)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            schedule.step()
            for name, term in terms._asdict().items():
                curves[name][step] = term.item()
            show(step + 1, f"loss {value:.5f} (general {terms.general:.5f}, specific {terms.specific:.5f})")
            stopping = stop.is_set()
            if stopping or command.is_due(step + 1, steps):
                save(out, step + 1, parts, curves)
                command.write_run(out, settings, step + 1)
            if stopping:
                command.end_interrupted(step + 1, steps)

    pairs = photos.held_out_pairs()
    restored = [restore(network, pair.blurred, device) for pair in pairs]
    reporting.report(
        out, pairs, restored, curves, lambda a, b: BLURSIM(*(to_tensor(x[None], torch.device("cpu")) for x in (a, b)))
    )


if __name__ == "__main__":
    command.run(main)
