"""Two folders of images: matched by name, decoded in parallel, scored in batches, and noted as it goes."""

import collections
import csv
import functools
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from blursim_jax.cli.batches import Batches
from blursim_jax.cli.files import Failure, Interruption, check_outputs, printable, replacing
from blursim_jax.cli.images import KNOWN
from blursim_jax.cli.pairs import Pair, Settings, read_pair
from blursim_jax.cli.texts import progress


class Row(NamedTuple):
    """What is said of a pair, each number with the digits that float32 has; empty where there is an error instead."""

    name: str
    value: str = ""
    general: str = ""
    specific: str = ""
    mse: str = ""
    psnr: str = ""
    height: str = ""
    width: str = ""
    error: str = ""


class Run:
    """The scores of a folder of predictions against a folder of targets, in a CSV.

    While it runs, rows go to `<out>.partial`, a line each of JSON, the first of which says what the run is. So it can
    be interrupted anywhere: a line is whole or is not counted.
    """

    def __init__(self, predictions: Path, targets: Path, out: Path, settings: Settings) -> None:
        self.predictions, self.targets, self.out, self.settings = predictions, targets, out, settings
        self.partial = out.with_name(f"{out.name}.partial")
        self.head = [str(predictions.absolute()), str(targets.absolute()), list(settings)]

    def score(self, report: Path | None, *, resume: bool, force: bool, threads: int | None) -> list[Row]:
        """Score every pair that is not noted yet, and return the rows of all, in the order of names.

        Raises:
            Failure: An output is there already, there is nothing to resume, or no image in the folders.
        """
        check_outputs(self.out, report, force=force or resume)
        if not resume and not force and self.partial.exists():
            raise Failure(f"an interrupted run is in {self.partial}: --resume goes on with it, --force starts again")
        if resume and self.out.exists() and not self.partial.exists():
            with self.out.open(newline="", errors="surrogateescape") as file:
                return [Row(*row) for row in list(csv.reader(file))[1:]]
        done = self._noted() if resume else []
        names = self._names
        missing = sorted(set(names) - {row.name for row in done})
        with self.partial.open("a" if resume else "w") as file, progress(len(names), len(done)) as advance:
            if not resume:
                file.write(json.dumps(self.head) + "\n")
            try:
                for rows in self._rows(missing, threads or os.cpu_count() or 1):
                    file.write("".join(json.dumps(row) + "\n" for row in rows))
                    file.flush()
                    done += rows
                    advance(len(rows))
            except KeyboardInterrupt:
                raise Interruption(
                    f"Interrupted. What was scored is in {self.partial}; --resume goes on with it."
                ) from None
        return sorted(row for row in done if row.name in names)

    def finish(self, rows: list[Row]) -> None:
        """Write the CSV, and remove what was noted on the way."""
        with replacing(self.out) as path, path.open("w", newline="", errors="surrogateescape") as file:
            csv.writer(file, lineterminator="\n").writerows([Row._fields, *rows])
        self.partial.unlink(missing_ok=True)

    def files_of(self, name: str) -> tuple[Path, Path]:
        """Both images of a pair."""
        (prediction,), (target,) = self._names[name]
        return prediction, target

    def _noted(self) -> list[Row]:
        if not self.partial.exists():
            raise Failure(f"{self.partial} is not there: no interrupted run to resume")
        with self.partial.open("r+b") as file:
            content = file.read()
            # What was being written when the run was interrupted.
            file.truncate(content.rfind(b"\n") + 1)
        try:
            head, *rows = map(json.loads, content[: content.rfind(b"\n") + 1].splitlines())
            rows = [Row(*row) for row in rows]
        except (ValueError, TypeError) as error:
            raise Failure(f"{self.partial} is damaged; --force starts again") from error
        if head != self.head:
            raise Failure(f"the run in {self.partial} has other folders or options; --force starts again")
        return rows

    @functools.cached_property
    def _names(self) -> dict[str, tuple[list[Path], list[Path]]]:
        """The files of each name, which is the path in the folder without suffix: predictions, targets."""
        names: dict[str, tuple[list[Path], list[Path]]] = collections.defaultdict(lambda: ([], []))
        for i, folder in enumerate((self.predictions, self.targets)):
            for path in _images(folder):
                names[path.relative_to(folder).with_suffix("").as_posix()][i].append(path)
        return names

    def _rows(self, missing: list[str], threads: int) -> Iterator[list[Row]]:
        batches = Batches(self.settings)

        def read(name: str) -> Pair:
            for role, paths in zip(("prediction", "target"), self._names[name], strict=True):
                if len(paths) != 1:
                    found = ", ".join(printable(path.name) for path in paths) or "none"
                    raise Failure(f"expected one {role} of this name, found {found}")
            return read_pair(*self.files_of(name), self.settings)

        for name, future in _in_order(read, missing, threads):
            try:
                pair = future.result()
            except Failure as failure:
                yield [Row(name, error=str(failure))]
                continue
            try:
                yield _scored(batches.add(name, pair))
            # The loss takes no such images: too small for the kernel, for instance.
            except ValueError as error:
                yield [Row(name, error=str(error))]
        for batch in batches.rest():
            yield _scored(batch)


def _images(folder: Path) -> Iterator[Path]:
    """Every file with an image's suffix in a folder and the folders inside, hidden ones left out."""
    if not folder.is_dir():
        raise Failure(f"{printable(folder)} is not a folder")

    def fail(error: OSError) -> None:
        raise Failure(f"{printable(error.filename)}: {error.strerror}")

    found = False
    for here, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in KNOWN:
                found = True
                yield Path(here, name)
    if not found:
        raise Failure(f"no images ({', '.join(sorted(KNOWN))}) in {printable(folder)}")


def _in_order(read: Callable[[str], Pair], names: list[str], threads: int) -> Iterator:
    """Each name with the future of its pair, of which no more than a few are decoded ahead."""
    ahead: collections.deque[tuple[str, Future[Pair]]] = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for name in names:
            ahead.append((name, pool.submit(read, name)))
            if len(ahead) > 2 * threads:
                yield ahead.popleft()
        while ahead:
            yield ahead.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


def _scored(batch: list[tuple[str, list[float], tuple[int, ...]]]) -> list[Row]:
    return [
        Row(name, *(f"{x:.9g}" for x in numbers), height=str(shape[0]), width=str(shape[1]))
        for name, numbers, shape in batch
    ]
