"""Write files in full or not at all, and replace existing files only on request."""

import csv
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import IO, NoReturn


class UserError(ValueError):
    """An error that is reported to the user in one line."""


class Interruption(Exception):
    """The user interrupted the command. The message says what that means for the output."""


def printable(text: object) -> str:
    """Escape unprintable characters, so that a file's name or a message stays on one line."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shortened(name: str, length: int) -> str:
    """Make a name printable, and leave out its middle if it is longer than `length`."""
    name = printable(name)
    return name if len(name) <= length else f"{name[: length // 2]}…{name[len(name) + length // 2 - length + 1 :]}"


def check_outputs(*outputs: Path | None, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Check that these files can be written. Without `force`, they must not exist yet.

    Raises:
        UserError: If this check fails, if two outputs are the same file, or if an output is an input.
    """
    read = set(map(os.path.realpath, inputs))
    wanted = [path for path in outputs if path is not None]
    if len(set(map(os.path.realpath, wanted))) < len(wanted):
        raise UserError(f"{wanted[0]} is named for two outputs")
    for path in wanted:
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no file to write to")
        if os.path.realpath(path) in read:
            raise UserError(f"{path} is read; name another file to write")
        if os.path.lexists(path) and not force:
            raise UserError(f"{path} is there already; --force replaces it")
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise UserError(f"cannot write to the folder {path.parent}: {error.strerror}") from error


def check_drawing(path: Path | None) -> None:
    """Import what draws if a picture or a report is to be written, so that what is not installed is missed at once."""
    if path is not None:
        import_module("blursim_jax.cli.figures")


def lock(file: IO) -> bool:
    """Lock an open file against other runs until it is closed. Return False if another run holds the lock."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # This system has no such locks.
    except ImportError:
        return True
    except BlockingIOError:
        return False
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path. Once written in full, the file there replaces `path`, or the file that `path` links to.

    The temporary file is in the same folder as the file that it replaces.
    """
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_table(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a CSV in UTF-8, in full or not at all. Undecodable names keep their bytes."""
    with replacing(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
            csv.writer(file).writerows(rows)


@contextmanager
def keyboard_interrupts() -> Iterator[Callable[[], None]]:
    """Yield a function that raises KeyboardInterrupt if Ctrl-C was pressed before.

    Ctrl-C raises at once too, but Python drops an exception that is raised inside a destructor or a callback. A process
    that ignores Ctrl-C, as in the background of a shell, goes on ignoring it.
    """
    pressed = threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        pressed.set()
        signal.default_int_handler(number, frame)

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, previous)
