"""The rows of a run over many pairs, and the file that keeps them while the run goes on."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from blursim_jax.cli.files import UserError, lock


class Row(NamedTuple):
    """One line of the CSV. Numbers have the digits of float32. They are empty if there is an error."""

    name: str
    prediction: str = ""
    target: str = ""
    value: str = ""
    general: str = ""
    specific: str = ""
    mse: str = ""
    psnr: str = ""
    ssim: str = ""
    height: str = ""
    width: str = ""
    preset: str = ""
    notes: str = ""
    error: str = ""


# Where a file is, its size, and when it and its entry were last changed. A file with another stamp is another file.
Stamp = list[list[Any]]


class Kept(NamedTuple):
    """A row, and the stamp that its files had when they were read."""

    row: Row
    stamp: Stamp


class Partial:
    """Rows as lines of JSON, in a file that one run appends to. The first line describes the run.

    The run may be interrupted at any time: an incomplete line is ignored.
    """

    def __init__(self, path: Path, head: list[Any]) -> None:
        self.path, self.head = path, head
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Partial":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Release the lock."""
        if self._file is not None:
            self._file.close()

    def start(self, *, resume: bool) -> list[Kept]:
        """Open the file, and return the rows in it if they are to be kept."""
        self._file = self.path.open("a+b")
        if not lock(self._file):
            raise UserError(f"{self.path} is written by another run")
        if resume:
            return self._read(self._file)
        self._file.truncate(0)
        self._append([self.head])
        return []

    def add(self, kept: Iterable[Kept]) -> None:
        """Append rows."""
        self._append([[*row, stamp] for row, stamp in kept])

    def remove(self) -> None:
        """Remove the file, once the rows are in the table."""
        self.path.unlink(missing_ok=True)

    def _append(self, lines: list[Any]) -> None:
        if self._file is not None:
            self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
            self._file.flush()

    def _read(self, file: IO[bytes]) -> list[Kept]:
        file.seek(0)
        content = file.read()
        # An interrupt may have cut off the last line.
        whole = content.rfind(b"\n") + 1
        damaged = f"{self.path} is damaged; --force starts again"
        try:
            head, *lines = map(json.loads, content[:whole].splitlines())
        except ValueError as error:
            raise UserError(damaged) from error
        if head != self.head:
            raise UserError(
                f"the run in {self.path} has other folders or options, or is of another version; --force starts again"
            )
        try:
            rows = [Kept(Row(*values), stamp) for *values, stamp in lines]
        except (ValueError, TypeError) as error:
            raise UserError(damaged) from error
        file.truncate(whole)
        return rows


def stamp(paths: Iterable[Path]) -> Stamp:
    """Return the stamp of some files, to be taken before they are read."""
    found = []
    for path in paths:
        # What reads the file says why it cannot be read.
        with contextlib.suppress(OSError, ValueError):
            now = path.stat()
            found.append([str(path), now.st_size, now.st_mtime_ns, now.st_ctime_ns])
    return found
