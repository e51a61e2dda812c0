"""Train a small network with BlurSim, in Flax and Optax, to sharpen photos that a lens blurred.

    python examples/train_flax.py --out deblur

It takes two minutes on two processor cores, shows what it does to photos it has not seen, and can be interrupted.
The network and its training step are in deblur_flax.py. The L1 distance beside BlurSim is what sees the faint patterns
in flat parts, to which magnitudes of spectra and edges are almost blind.
"""

import functools
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import command
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import photos
    from deblur_flax import Run


def train(run: "Run", scenes: "list[photos.Scene]", stop: threading.Event, console: Console) -> None:
    """Train until the last step or a request to stop, and save either way."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    steps = run.settings["steps"]
    every = max(1, steps // 10)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("compiling", total=steps, completed=run.step)
        while run.step < steps and not stop.is_set():
            loss = run.advance(scenes)
            terms = ", ".join(f"{name} {values[run.step - 1]:.5f}" for name, values in run.curves.items())
            progress.update(task, completed=run.step, description=f"loss {loss:.5f} ({terms})")
            if run.step % every == 0 or run.step == steps or stop.is_set():
                run.save()
                if not console.is_terminal:
                    console.print(f"step {run.step} of {steps}: loss {loss:.5f} ({terms})", soft_wrap=True)


def main(
    steps: Annotated[int, typer.Option(min=1, help="How many steps to train.")] = 1800,
    loss: Annotated[command.Loss, typer.Option(help="What to minimise.")] = "l1+blursim",
    out: Annotated[Path, typer.Option(help="A new folder for checkpoints and results.")] = Path("deblur"),
    seed: Annotated[int, typer.Option(min=0, help="Decides the first weights and the crops.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Crops a step.")] = 8,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
) -> None:
    """Train a small network with BlurSim to sharpen blurred photos, and show what it does to photos held out."""
    stop = command.catch_signals()
    logging.getLogger("absl").setLevel(logging.ERROR)
    console = Console()
    settings = {"steps": steps, "loss": loss, "seed": seed, "batch-size": batch_size, "features": 32, "layers": 6}
    last_step = command.open_run(out, resume, settings)

    # These take seconds to import: after the checks, so that what is wrong is said at once.
    import photos
    import reporting
    from deblur_flax import Run

    from blursim_jax import blursim

    run = Run(out, settings)
    if last_step:
        run.load(last_step)
    train(run, photos.training_scenes(), stop, console)
    if run.step == steps and not stop.is_set():
        pairs = photos.held_out_pairs()
        restored = [run.restore(pair.blurred) for pair in pairs]
        curves = run.curves | {"alpha": run.alphas()}
        compare = functools.partial(blursim, alpha=0.5, channel_axis=-1)
        reporting.report(out, pairs, restored, curves, compare, console)
    if stop.is_set():
        command.end_interrupted(run.step, steps)


if __name__ == "__main__":
    command.run(main)
