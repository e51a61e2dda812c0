"""Train with BlurSim in several processes, by PyTorch's DistributedDataParallel, and compare with one process.

    torchrun --standalone --nproc-per-node 4 examples/ddp_torch.py

The processes get unequal shares of a batch, as happens with the last batch of a data set. DDP averages gradients over
the processes. So each process sums the loss over its own photos, multiplies it by the number of processes, and divides
it by the number of photos in the whole batch. DDP's average is then the mean over all photos.
The photos and the network are those of train_torch.py.
"""

import datetime
import os
import sys
from pathlib import Path
from typing import Annotated

import command
import numpy as np
import typer
from rich.console import Console
from rich.progress import track

# A process ends with an error if another process does not answer for this long.
TIMEOUT = datetime.timedelta(seconds=60)


def train(rank: int, world: int, steps: int, batch_size: int, out: Path | None, console: Console) -> np.ndarray:
    """Train on this process's share of every batch, and return the loss of the whole batch at every step."""
    import photos
    import torch
    import torch.distributed as dist
    from torch.nn.parallel import DistributedDataParallel
    from train_torch import Network

    from blursim_torch import BlurSim
    from blursim_torch.schedules import LinearAlpha

    torch.manual_seed(0)
    network = Network(16, 4)
    model = DistributedDataParallel(network) if world > 1 else network
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    blursim = BlurSim(channel_axis=-3, reduction="sum")
    schedule = LinearAlpha(blursim, steps)

    scenes, losses = photos.training_scenes(), []
    name = f"{world} process{'es' if world > 1 else ''}"
    rounds = track(range(steps), name, console=console, disable=rank > 0 or not console.is_terminal)
    for i in rounds:
        batch = photos.training_batch(scenes, np.random.default_rng(i), batch_size)
        blurred, sharp = (torch.from_numpy(x[rank::world]).permute(0, 3, 1, 2) for x in batch)
        restored = model(blurred)
        l1 = torch.abs(restored - sharp).mean(dim=(1, 2, 3)).sum()
        # The factor `world` turns the average that DDP takes over processes into a sum.
        loss = (l1 + blursim(restored, sharp)) * world / batch_size
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        total = loss.detach() / world
        if world > 1:
            dist.all_reduce(total)
        losses.append(total.item())
        if rank == 0 and ((i + 1) % max(1, steps // 4) == 0 or i + 1 == steps):
            if out is not None:
                with command.replacing(out / "checkpoint.pt") as path:
                    parts = {"network": network, "optimizer": optimizer, "schedule": schedule}
                    torch.save({name: part.state_dict() for name, part in parts.items()}, path)
            if not console.is_terminal:
                console.print(f"{name}, step {i + 1} of {steps}: loss {losses[-1]:.5f}")
    return np.array(losses)


def main(
    steps: Annotated[int, typer.Option(min=1, help="How many steps to train.")] = 40,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops a step, of all processes together.")] = 10,
    out: Annotated[Path, typer.Option(help="A new folder for checkpoint and picture.")] = Path("ddp"),
) -> None:
    """Train in the processes that torchrun started, then in one, and compare."""
    if "RANK" not in os.environ:
        raise command.UserError("start it by: torchrun --standalone --nproc-per-node 4 examples/ddp_torch.py")
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if batch_size < world:
        raise command.UserError(f"--batch-size {batch_size} leaves some of the {world} processes without a photo")
    # Every process checks this before they connect. Nothing is written until all have found the folder empty.
    if out.is_dir() and any(out.iterdir()):
        raise command.UserError(f"{out} is not empty; choose another --out")
    import reporting
    import torch.distributed as dist

    console = Console()
    dist.init_process_group("gloo", timeout=TIMEOUT)
    if rank == 0:
        command.open_run(out, False, {})
    losses = train(rank, world, steps, batch_size, out, console)
    dist.destroy_process_group()
    if rank == 0:
        curves = {f"{world} processes": losses, "1 process": train(0, 1, steps, batch_size, None, console)}
        reporting.report_losses(curves, out / "losses.png", console)
    # Exit at once: in a normal exit, gloo's threads sometimes abort the process.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    command.run(main)
