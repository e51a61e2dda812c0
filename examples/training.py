"""The training command, the same for every framework: its options, its loop and what it reports."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import command
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    import deblur_flax
    import deblur_torch
    import photos

    Run = deblur_flax.Run | deblur_torch.Run


def run(framework: str, make_run: "Callable[[Path, dict[str, Any]], Run]") -> NoReturn:
    """Run the command line.

    Args:
        framework: Its name: a run begun in one does not go on in another.
        make_run: Makes a run at step 0 from its folder and settings. It imports the framework, and is not called before
            the options are checked.
    """

    def main(
        steps: Annotated[int, typer.Option(min=1, help="How many steps to train.")] = 1800,
        loss: Annotated[
            command.Loss, typer.Option(help="What to minimise; ffts: an L1 of Fourier transforms.")
        ] = "ffts+blursim",
        out: Annotated[Path, typer.Option(help="A new folder for checkpoints and results.")] = Path("deblur"),
        # JAX takes a seed modulo 2^32.
        seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides the first weights and the crops.")] = 0,
        batch_size: Annotated[int, typer.Option(min=1, help="Crops a step.")] = 8,
        resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    ) -> None:
        """Train a small network with BlurSim to sharpen blurred photos, and show what it does to photos held out."""
        stop = command.catch_signals()
        console = Console()
        settings = {"framework": framework, "steps": steps, "loss": loss, "seed": seed, "batch-size": batch_size}
        settings |= {"features": 32, "layers": 6}
        last_step = command.open_run(out, resume, settings)

        # These take seconds to import: after the checks, so that what is wrong is said at once.
        import photos
        import reporting

        run = make_run(out, settings)
        if last_step:
            run.load(last_step)
        train(run, photos.training_scenes(), stop, console)
        if run.step == steps and not stop.is_set():
            pairs = photos.held_out_pairs()
            restored = [run.restore(pair.blurred) for pair in pairs]
            reporting.report(out, pairs, restored, run.curves | {"alpha": run.alphas()}, run.compare, console)
        if stop.is_set():
            command.end_interrupted(run.step, steps)

    command.run(main)


def train(run: "Run", scenes: "list[photos.Scene]", stop: threading.Event, console: Console) -> None:
    """Train until the last step or a request to stop, and save either way."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    steps = run.settings["steps"]
    every = max(1, steps // 10)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("first step", total=steps, completed=run.step)
        while run.step < steps and not stop.is_set():
            loss = run.advance(scenes)
            terms = ", ".join(f"{name} {values[run.step - 1]:.5f}" for name, values in run.curves.items())
            progress.update(task, completed=run.step, description=f"loss {loss:.5f} ({terms})")
            if run.step % every == 0 or run.step == steps or stop.is_set():
                run.save()
                if not console.is_terminal:
                    console.print(f"step {run.step} of {steps}: loss {loss:.5f} ({terms})", soft_wrap=True)
