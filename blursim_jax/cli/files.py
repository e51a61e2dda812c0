"""Files that are written whole or not at all, and never over another unasked."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


class UserError(Exception):
    """What the user has to know, in one line."""


class Interruption(Exception):
    """The user ended it; what is to be said of that."""


def printable(text: object) -> str:
    """A file's name, or what is said of it, on one line, whatever its characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def shortened(name: str, length: int) -> str:
    """The same, of at most this length, without the middle where it is longer."""
    name = printable(name)
    return name if len(name) <= length else f"{name[: length // 2]}…{name[len(name) + length // 2 - length + 1 :]}"


def check_outputs(*outputs: Path | None, force: bool, inputs: Iterable[Path] = ()) -> None:
    """See that these files can be written, and are not there yet unless `force` lets them be replaced.

    Raises:
        UserError: If it is not so, if two of them are the same, or if one is an input.
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


def lock(file: IO) -> bool:
    """Keep other runs from an open file until it is closed; whether none has it."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    # A system without such locks, and a file that is locked.
    except ImportError:
        return True
    except BlockingIOError:
        return False
    return True


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`, or to what it links to, that takes its place once written in full."""
    path = path.resolve()
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
