"""Files that are written whole or not at all, and never over another unasked."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Failure(Exception):
    """What the user has to know, in one line."""


class Interruption(Exception):
    """The user ended it; what is to be said of that."""


def printable(text: object) -> str:
    """A file's name, or what is said of it, on one line, whatever its characters."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(text))


def check_outputs(*outputs: Path | None, force: bool) -> None:
    """See that these files can be written, and are not there yet unless `force` lets them be replaced.

    Raises:
        Failure: If it is not so, or if two of them are the same.
    """
    wanted = [path for path in outputs if path is not None]
    if len({path.absolute() for path in wanted}) < len(wanted):
        raise Failure(f"{wanted[0]} is named for two outputs")
    for path in wanted:
        if path.exists() and not path.is_file():
            raise Failure(f"{path} is no file to write to")
        if path.exists() and not force:
            raise Failure(f"{path} is there already; --force replaces it")
        try:
            tempfile.TemporaryFile(dir=path.parent).close()
        except OSError as error:
            raise Failure(f"cannot write to the folder {path.parent}: {error.strerror}") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path` that takes its place once written in full."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
