"""What the example commands share: errors in one line, and folders and files that never replace anything unasked."""

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
from typing import Any, Literal, NoReturn

import typer
from typer.exceptions import TyperException

Loss = Literal["ffts+blursim", "blursim", "ffts", "l1", "mse"]


class UserError(Exception):
    """What the user has to know, in one line."""


def run(command: Callable[..., Any]) -> NoReturn:
    """Run a command line: what goes wrong is one line on stderr and exit status 2."""
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
    """From now on, Ctrl-C and a request to terminate set the event returned, and do not break off anything."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def open_run(out: Path, resume: bool, settings: Mapping[str, Any]) -> int:
    """See that a run can start in the folder `out`, or go on there, and return after which step.

    A new run needs a new or an empty folder. A resumed one needs the same settings and an undamaged checkpoint.

    Args:
        out: The folder; made if it is not there.
        resume: Whether to go on with the run in it.
        settings: What a run is not the same without.

    Raises:
        UserError: If it can not.
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
    """See that the file `out` can be written, and is not there yet unless `force` lets it be replaced.

    Raises:
        UserError: If it is not so.
    """
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file in it")
    if out.exists() and not force:
        raise UserError(f"{out} is there already; replace it by --force, or choose another --out")
    try:
        tempfile.TemporaryFile(dir=out.parent).close()
    except OSError as error:
        raise UserError(f"cannot write to the folder {out.parent}: {error.strerror}") from error


def write_run(out: Path, settings: Mapping[str, Any], step: int) -> None:
    """Note in run.json the checkpoint to go on from, `checkpoints/<step>`, which is complete, and its digest."""
    with replacing(out / "run.json") as path:
        digest = _digest(out / "checkpoints" / str(step))
        path.write_text(json.dumps({"settings": dict(settings), "step": step, "sha256": digest}, indent=2) + "\n")


def end_interrupted(step: int, steps: int) -> NoReturn:
    """Say how to go on, and exit with status 130."""
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
    """SHA-256 of the names and contents of all files. Orbax itself does not notice a changed byte in an array."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode() + content)
    return digest.hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` that takes its place once written in full."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
