"""Plot alpha and both terms over a PyTorch training run with BlurSim that is interrupted, saved and resumed.

    python examples/schedules.py --out schedules.png

In Flax, use `optax.linear_schedule(0.9, 0.1, steps)` and `optax.cosine_decay_schedule(0.9, steps, alpha=1 / 9)` for the
same schedules. The photos and the network are those of train_torch.py.
"""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import command
import numpy as np
import photos
import reporting
import torch
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import track
from train_torch import Network

from blursim_torch import BlurSim, blursim_terms
from blursim_torch.schedules import CosineAlpha, LinearAlpha

KINDS = {"linear": LinearAlpha, "cosine": CosineAlpha}


def train(
    kind: str, steps: int, first: int, last: int, start: Path | None, end: Path | None, console: Console
) -> np.ndarray:
    """Train from step `first`, loaded from `start`, to `last`, saved to `end`. Return alpha and both terms per step."""
    torch.manual_seed(0)
    network, loss = Network(16, 4), BlurSim(channel_axis=-3)
    optimizer, schedule = torch.optim.Adam(network.parameters(), 1e-3), KINDS[kind](loss, steps)
    parts: dict[str, Any] = {"network": network, "optimizer": optimizer, "schedule": schedule}
    if start is not None:
        for name, state in torch.load(start, weights_only=True).items():
            parts[name].load_state_dict(state)
    scenes, curves = photos.training_scenes(), []
    description = f"{kind}, steps {first + 1} to {last}"
    for i in track(range(first, last), description, console=console, disable=not console.is_terminal):
        batch = photos.training_batch(scenes, np.random.default_rng(i), 4)
        blurred, sharp = (torch.from_numpy(x).permute(0, 3, 1, 2) for x in batch)
        restored = network(blurred)
        terms = blursim_terms(restored.detach(), sharp, channel_axis=-3)
        curves.append((loss.alpha, terms.general.item(), terms.specific.item()))
        optimizer.zero_grad()
        (torch.nn.functional.l1_loss(restored, sharp) + loss(restored, sharp)).backward()
        optimizer.step()
        schedule.step()
    if not console.is_terminal:
        console.print(f"{description}: alpha {loss.alpha:.3f}")
    if end is not None:
        torch.save({name: part.state_dict() for name, part in parts.items()}, end)
    return np.array(curves).T


def draw(curves: dict[str, np.ndarray], interrupted: int) -> Figure:
    """Plot one column per schedule: both terms, and alpha below."""
    figure = Figure(figsize=(11, 6), layout="constrained")
    axes = figure.subplots(2, len(curves), sharex=True, sharey="row", squeeze=False, height_ratios=(3, 2))
    for (top, bottom), (kind, (alpha, general, specific)) in zip(axes.T, curves.items(), strict=True):
        steps = np.arange(1, len(alpha) + 1)
        # Okabe and Ito's blue and orange, which colour-blind readers can tell apart. The line styles differ too.
        top.plot(steps, general, "-", color="#0072b2", label="general")
        top.plot(steps, specific, "--", color="#d55e00", label="specific")
        top.set(title=f"{kind} schedule", yscale="log")
        bottom.plot(steps, alpha, color="black")
        bottom.set(xlabel="step", ylim=(0, 1))
        for each in (top, bottom):
            each.axvline(interrupted + 0.5, color="gray", linestyle=":", label="interrupted and resumed")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    axes[0, 0].set_ylabel("term")
    axes[1, 0].set_ylabel("alpha")
    return figure


def main(
    steps: Annotated[int, typer.Option(min=2, help="How many steps to train.")] = 100,
    out: Annotated[Path, typer.Option(help="The picture to write, a PNG.")] = Path("schedules.png"),
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that is there.")] = False,
) -> None:
    """Train under a linear and a cosine schedule, in one go and in two, compare, and draw."""
    command.check_file(out, force)
    console, middle, curves = Console(), steps // 2, {}
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder) / "saved.pt"
            parts = [train(kind, steps, 0, middle, None, saved, console)]
            parts.append(train(kind, steps, middle, steps, saved, None, console))
        curves[kind] = np.concatenate(parts, axis=1)
        straight = train(kind, steps, 0, steps, None, None, console)
        same = "the same to the bit as" if np.array_equal(straight, curves[kind]) else "NOT the same as"
        console.print(f"{kind}: alpha and both terms are {same} those of a run without interruption.")
    reporting.save_figure(draw(curves, middle), out)
    console.print(f"Wrote {out}.", soft_wrap=True)


if __name__ == "__main__":
    command.run(main)
