"""Helpers of the example scripts: one-line errors, and output files and folders that replace nothing unless asked."""

import hashlib
import json
import os
import shlex
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.exceptions import TyperException

# The options of both training scripts.
Loss = Literal["blursim", "l1", "mse"]
LossOption = Annotated[Loss, typer.Option(help="What to minimise; blursim: its preset for training.")]
Steps = Annotated[int, typer.Option(min=1, help="How many steps to train.")]
RunFolder = Annotated[Path, typer.Option(help="A new folder for checkpoints and results.")]
# JAX takes a seed modulo 2^32.
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Decides the first weights and the crops.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Crops per step.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]


class UserError(Exception):
    """An error to report to the user in one line."""


def run(command: Callable[..., Any]) -> NoReturn:
    """Run a command line. An error prints one line on stderr and exits with status 2."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    try:
        sys.exit(app(standalone_mode=False))
    except typer.Abort:
        sys.exit(130)
    except TyperException as error:
        message = error.format_message()
    except (UserError, OSError) as error:
        message = str(error)
    print("Error:", " ".join(message.split()), file=sys.stderr)
    sys.exit(2)


def catch_signals() -> threading.Event:
    """Make Ctrl-C and SIGTERM set the returned event instead of stopping the process."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def open_run(out: Path, resume: bool, settings: Mapping[str, Any]) -> int:
    """Check that a run can start or resume in the folder `out`, and return how many steps are already done.

    A new run needs a new or an empty folder. A resumed one needs the same settings and an undamaged checkpoint.

    Args:
        out: The folder. It is created if it does not exist.
        resume: Whether to resume the run in it.
        settings: The settings that a resumed run must share.

    Raises:
        UserError: If the run cannot start or resume.
    """
    step = _check_run(out, settings) if resume else 0
    if not resume and out.is_dir() and any(out.iterdir()):
        raise UserError(f"{out} is not empty: go on with the run in it by --resume, or choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise UserError(f"cannot write to the folder {out}: {error.strerror}") from error
    return step


def check_file(out: Path, force: bool) -> None:
    """Check that the file `out` can be written. Without `force`, it must not exist yet.

    Raises:
        UserError: If this check fails.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file in it")
    if out.exists() and not force:
        raise UserError(f"{out} is there already; replace it by --force, or choose another --out")
    try:
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as error:
        raise UserError(f"cannot write to the folder {out.parent}: {error.strerror}") from error


def is_due(step: int, steps: int) -> bool:
    """Return whether to save and report after this step: after each tenth of the steps, and at the end."""
    return step % max(1, steps // 10) == 0 or step == steps


@contextmanager
def show_progress(first_step: int, steps: int) -> Iterator[Callable[[int, str], None]]:
    """Yield a function that shows the step and a text, in a progress bar or, without a terminal, as lines."""
    console = Console()
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("first step", total=steps, completed=first_step)

        def show(step: int, text: str) -> None:
            progress.update(task, completed=step, description=text)
            if not console.is_terminal and is_due(step, steps):
                console.print(f"step {step} of {steps}: {text}", soft_wrap=True)

        yield show


def write_run(out: Path, settings: Mapping[str, Any], step: int) -> None:
    """Record in run.json the checkpoint to resume from, and its digest. `checkpoints/<step>` must be complete."""
    with replacing(out / "run.json") as path:
        digest = _digest(out / "checkpoints" / str(step))
        path.write_text(json.dumps({"settings": dict(settings), "step": step, "sha256": digest}, indent=2) + "\n")


def end_interrupted(step: int, steps: int) -> NoReturn:
    """Print how to resume, and exit with status 130."""
    words = [word for word in sys.orig_argv if word != "--resume"]
    if step:
        message = f"Interrupted; step {step} of {steps} is saved. Go on: {shlex.join([*words, '--resume'])}"
    else:
        message = f"Interrupted before the first step; nothing is saved. Start again: {shlex.join(words)}"
    print(message, file=sys.stderr)
    sys.exit(130)


def _check_run(out: Path, settings: Mapping[str, Any]) -> int:
    if not (out / "run.json").is_file():
        raise UserError(f"{out} holds no checkpoint to resume from; to start a run, leave --resume out")
    try:
        run = json.loads((out / "run.json").read_text())
        step, saved, digest = run["step"], dict(run["settings"]), run["sha256"]
    except (ValueError, TypeError, KeyError) as error:
        raise UserError(f"{out / 'run.json'} is damaged") from error
    differing = [f"{key} {saved.get(key)}, not {value}" for key, value in settings.items() if saved.get(key) != value]
    if differing:
        raise UserError(f"the run in {out} has {', '.join(differing)}: resume it as it was, or choose another --out")
    checkpoint = out / "checkpoints" / str(step)
    if _digest(checkpoint) != digest:
        raise UserError(f"the checkpoint {checkpoint} is damaged")
    return step


def _digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files. Orbax does not notice a changed byte in an array."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, and rename it to `path` once it is written in full."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
