"""Compare two folders: match images by name, decode them in parallel, score them in batches, save row by row."""

import collections
import contextlib
import functools
import itertools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from blursim_jax.cli.files import (
    Interruption,
    UserError,
    check_outputs,
    keyboard_interrupts,
    lock,
    printable,
    write_table,
)
from blursim_jax.cli.images import KNOWN
from blursim_jax.cli.pairs import Pair, Settings, read_pair

if TYPE_CHECKING:
    from blursim_jax.cli.batches import Scored

Names = dict[str, tuple[list[Path], list[Path]]]
# Takes the number of pairs and the number already done. Yields a function that reports more pairs done.
Progress = Callable[[int, int], AbstractContextManager[Callable[[int], None]]]


class Row(NamedTuple):
    """One line of the CSV. Numbers have the digits of float32. They are empty if there is an error."""

    name: str
    value: str = ""
    general: str = ""
    specific: str = ""
    mse: str = ""
    psnr: str = ""
    height: str = ""
    width: str = ""
    notes: str = ""
    error: str = ""


class Run:
    """The scores of a folder of predictions against a folder of targets, in a CSV.

    During the run, rows are appended to `<out>.partial` as lines of JSON. The first line describes the run. The run may
    be interrupted at any time: an incomplete line is ignored.
    """

    def __init__(self, predictions: Path, targets: Path, out: Path, settings: Settings) -> None:
        self.predictions, self.targets, self.out, self.settings = predictions, targets, out, settings
        self.partial = out.with_name(f"{out.name}.partial")
        self._files = contextlib.ExitStack()
        self.head = [str(predictions.absolute()), str(targets.absolute()), list(settings)]
        for folder in (predictions, targets):
            if not folder.is_dir():
                raise UserError(f"{printable(folder)} is not a folder")

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release the lock. After an interrupt, say how to resume."""
        self._files.close()
        if kind is KeyboardInterrupt:
            went = f"What was scored is in {self.partial}; --resume goes on with it."
            raise Interruption(f"Interrupted. {went if self.partial.exists() else 'Nothing was scored yet.'}") from None

    @property
    def notes(self) -> list[str]:
        """What the user should know about the folders."""
        others = self._names[1]
        return [f"left out {others} file{'s' * (others > 1)} of other kinds, by suffix"] if others else []

    def score(
        self,
        report: Path | None,
        *,
        resume: bool,
        force: bool,
        threads: int | None,
        progress: Progress = lambda total, done: contextlib.nullcontext(lambda count: None),
    ) -> list[Row]:
        """Score every pair that has no score yet. Return all rows, sorted by name.

        Raises:
            UserError: If an output exists already, if there is nothing to resume, if a folder has no image, or if
                another run is active.
        """
        files = list(itertools.chain.from_iterable(itertools.chain(*pair) for pair in self._pairs.values()))
        check_outputs(report, force=force, inputs=files)
        check_outputs(self.out, report, self.partial, force=True, inputs=files)
        if resume and not self.partial.exists():
            complete = f"; {self.out} is complete" if self.out.exists() else ""
            raise UserError(f"{self.partial} is not there: no interrupted run to resume{complete}")
        if not resume and not force and self.partial.exists():
            raise UserError(f"an interrupted run is in {self.partial}: --resume goes on with it, --force starts again")
        if not resume:
            check_outputs(self.out, force=force)
        self._file = self._files.enter_context(self.partial.open("a+b"))
        if not lock(self._file):
            raise UserError(f"{self.partial} is written by another run")
        done = {row.name: row for row in self._noted() if row.name in self._pairs} if resume else {}
        if not resume:
            self._file.truncate(0)
            self._note([self.head])
        # Retry pairs with an error: their files may have been replaced.
        missing = [name for name in sorted(self._pairs) if name not in done or done[name].error]
        with (
            keyboard_interrupts() as check_interrupt,
            progress(len(self._pairs), len(self._pairs) - len(missing)) as advance,
        ):
            for rows in self._rows(missing, threads or os.cpu_count() or 1):
                self._note(rows)
                done |= {row.name: row for row in rows}
                advance(len(rows))
                check_interrupt()
        return [done[name] for name in sorted(done)]

    def write(self, rows: list[Row]) -> None:
        """Write the CSV."""
        write_table(self.out, [Row._fields, *rows])

    def finish(self) -> None:
        """Remove the partial rows."""
        self.partial.unlink(missing_ok=True)

    def files_of(self, name: str) -> tuple[Path, Path]:
        """Return the paths of both images of a pair.

        Raises:
            UserError: If an image is missing, or if there are several of this name.
        """
        for folder, paths in zip((self.predictions, self.targets), self._pairs[name], strict=True):
            if len(paths) != 1:
                found = ", ".join(printable(path.name) for path in paths) or "none"
                raise UserError(f"expected one image of this name in {printable(folder)}, found {found}")
        (prediction,), (target,) = self._pairs[name]
        return prediction, target

    def _note(self, lines: list) -> None:
        self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file.flush()

    def _noted(self) -> list[Row]:
        self._file.seek(0)
        content = self._file.read()
        # An interrupt may have cut off the last line.
        whole = content.rfind(b"\n") + 1
        try:
            head, *rows = map(json.loads, content[:whole].splitlines())
            rows = [Row(*row) for row in rows]
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.partial} is damaged; --force starts again") from error
        if head != self.head:
            raise UserError(f"the run in {self.partial} has other folders or options; --force starts again")
        self._file.truncate(whole)
        return rows

    @functools.cached_property
    def _names(self) -> tuple[Names, int]:
        """The predictions and targets per name, and the number of other files. A name is a path without suffix."""
        names: Names = collections.defaultdict(lambda: ([], []))
        others = 0
        for i, folder in enumerate((self.predictions, self.targets)):
            for path in _files(folder):
                if path.suffix.lower() in KNOWN:
                    names[path.relative_to(folder).with_suffix("").as_posix()][i].append(path)
                else:
                    others += 1
            if not any(pair[i] for pair in names.values()):
                raise UserError(f"no images ({', '.join(sorted(KNOWN))}) in {printable(folder)}")
        if not any(predictions and targets for predictions, targets in names.values()):
            raise UserError(f"no names in common between {printable(self.predictions)} and {printable(self.targets)}")
        return names, others

    @property
    def _pairs(self) -> Names:
        return self._names[0]

    def _rows(self, missing: list[str], threads: int) -> Iterator[list[Row]]:
        from blursim_jax.cli.batches import Batches

        batches = Batches(self.settings)

        def read(name: str) -> Pair:
            pair = read_pair(*self.files_of(name), self.settings)
            self.settings.check_shape(pair.prediction.shape)
            return pair

        for name, future in _in_order(read, missing, threads):
            try:
                pair = future.result()
            except UserError as error:
                yield [Row(name, error=str(error))]
            else:
                yield list(map(_scored, batches.add(name, pair)))
        for batch in batches.rest():
            yield list(map(_scored, batch))


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files in a folder and its subfolders, except hidden ones."""

    def fail(error: OSError) -> None:
        raise UserError(f"{printable(error.filename)}: {error.strerror}")

    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(here, name) for name in files if not name.startswith("."))


def _in_order(read: Callable[[str], Pair], names: list[str], threads: int) -> Iterator[tuple[str, Future[Pair]]]:
    """Yield each name with the future of its pair. A few pairs are decoded ahead."""
    ahead: collections.deque[tuple[str, Future[Pair]]] = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for name in names:
            ahead.append((name, pool.submit(read, name)))
            if len(ahead) > threads + 2:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _scored(scored: "Scored") -> Row:
    name, pair, numbers = scored
    if isinstance(numbers, str):
        return Row(name, error=numbers)
    height, width = pair.prediction.shape[:2]
    values = (f"{x:.9g}" for x in numbers)
    return Row(name, *values, height=str(height), width=str(width), notes="; ".join(pair.notes))
