"""Score many pairs: decode them in parallel, score them in batches, save row by row."""

import collections
import contextlib
import itertools
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from blursim_jax import __version__
from blursim_jax.cli.files import Interruption, UserError, check_outputs, keyboard_interrupts, printable, write_table
from blursim_jax.cli.listing import match_listed
from blursim_jax.cli.matching import Matches, match_folders, one_each
from blursim_jax.cli.pairs import Pair, read_pair
from blursim_jax.cli.rows import Kept, Partial, Row, Stamp, stamp
from blursim_jax.cli.scores import ssim_of
from blursim_jax.cli.settings import Settings

if TYPE_CHECKING:
    from blursim_jax.cli.batches import Scored

# What a batch computes of a pair, in this order.
NUMBERS = "value", "general", "specific", "mse", "psnr"
# Takes the number of pairs and the number already done. Yields a function that reports more pairs done.
Progress = Callable[[int, int], AbstractContextManager[Callable[[int], None]]]


class Run:
    """The scores of a folder of predictions against a folder of targets, in a CSV.

    Pairs are matched by name, or are those of `table`, a CSV. During the run, rows are kept in `<out>.partial`. The run
    may be interrupted at any time.
    """

    def __init__(
        self,
        predictions: Path,
        targets: Path,
        out: Path,
        settings: Settings,
        *,
        table: Path | None = None,
        ssim: bool = True,
    ) -> None:
        self.folders, self.out, self.settings = (predictions, targets), out, settings
        for folder in self.folders:
            if not folder.is_dir():
                raise UserError(f"{printable(folder)} is not a folder")
        self.table, self._ssim = table, ssim
        self.matches: Matches = match_listed(table, *self.folders) if table else match_folders(*self.folders)
        self.notes = self.matches.notes
        places = [str(path.absolute()) for path in (*self.folders, *([table] if table else []))]
        head = [__version__, places, list(settings), ssim]
        self._partial = Partial(out.with_name(f"{out.name}.partial"), head)
        self._done: dict[str, Row] = {}

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release the lock. After an interrupt, say how to resume."""
        self._partial.__exit__(None, None, None)
        if kind is KeyboardInterrupt:
            partial = self._partial.path
            went = f"What was scored is in {partial}; --resume goes on with it."
            raise Interruption(f"Interrupted. {went if partial.exists() else 'Nothing was scored yet.'}") from None

    def start(self, report: Path | None, *, resume: bool, force: bool) -> None:
        """Check what will be written, and take over the rows of an interrupted run.

        Raises:
            UserError: If an output exists already, if there is nothing to resume, or if another run is active.
        """
        partial = self._partial.path
        files = [path for pair in self.matches.pairs.values() for path in itertools.chain(*pair)]
        files += [self.table] if self.table else []
        check_outputs(report, force=force, inputs=files)
        check_outputs(self.out, report, partial, force=True, inputs=files)
        if resume and not partial.exists():
            complete = f"; {self.out} is complete, and --force scores anew" if self.out.exists() else ""
            raise UserError(f"{partial} is not there: no interrupted run to resume{complete}")
        if not resume and not force and partial.exists():
            raise UserError(f"an interrupted run is in {partial}: --resume goes on with it, --force starts again")
        if not resume:
            check_outputs(self.out, force=force)
        kept = [x for x in self._partial.start(resume=resume) if x.row.name in self.matches.pairs]
        # A row that comes later replaces an earlier one. Pairs with an error are tried again.
        latest = {x.row.name: x for x in kept if not x.row.error}
        self._done = {name: x.row for name, x in latest.items() if x.stamp == self._stamp(name)}
        stale = len(latest) - len(self._done)
        if stale:
            self.notes.append(f"{stale} pair{'s' * (stale > 1)} scored anew: files have changed since")

    def score(
        self,
        *,
        threads: int | None,
        progress: Progress = lambda total, done: contextlib.nullcontext(lambda count: None),
    ) -> list[Row]:
        """Score every pair that has no score yet. Return all rows, sorted by name."""
        missing = [name for name in sorted(self.matches.pairs) if name not in self._done]
        with (
            keyboard_interrupts() as check_interrupt,
            progress(len(self.matches.pairs), len(self._done)) as advance,
        ):
            for rows in self._rows(missing, threads or os.cpu_count() or 1):
                self._partial.add(rows)
                self._done |= {row.name: row for row, _ in rows}
                advance(len(rows))
                check_interrupt()
        return [self._done[name] for name in sorted(self._done)]

    def write(self, rows: list[Row]) -> None:
        """Write the CSV."""
        write_table(self.out, [Row._fields, *rows])

    def finish(self) -> None:
        """Remove the partial rows."""
        self._partial.remove()

    def files_of(self, name: str) -> tuple[Path, Path]:
        """Return the paths of both images of a pair. Raise `UserError` if there is not one of each."""
        return one_each(name, self.matches, self.folders)

    def _stamp(self, name: str) -> Stamp:
        return stamp(itertools.chain(*self.matches.pairs[name]))

    def _rows(self, missing: list[str], threads: int) -> Iterator[list[Kept]]:
        from blursim_jax.cli.batches import Batches

        batches = Batches(self.settings)
        stamps: dict[str, Stamp] = {}
        ssims: dict[str, str] = {}

        def read(name: str) -> Pair:
            stamps[name] = self._stamp(name)
            pair = read_pair(*self.files_of(name), self.settings)
            self.settings.check_shape(pair.prediction.shape)
            # Beside decoding, in as many threads. Small images have none.
            ssim = ssim_of(pair) if self._ssim else math.nan
            ssims[name] = "" if math.isnan(ssim) else f"{ssim:.9g}"
            return pair

        def kept(rows: list[Row]) -> list[Kept]:
            done = []
            for row in rows:
                files = zip(self.folders, self.matches.pairs[row.name], strict=True)
                prediction, target = (", ".join(str(x.relative_to(folder)) for x in paths) for folder, paths in files)
                ssim = ssims.pop(row.name, "")
                row = row._replace(prediction=prediction, target=target, preset=self.settings.preset or "")
                done.append(Kept(row if row.error else row._replace(ssim=ssim), stamps.pop(row.name)))
            return done

        for name, future in _in_order(read, missing, threads):
            try:
                pair = future.result()
            except UserError as error:
                yield kept([Row(name, error=str(error))])
            else:
                yield kept(list(map(_scored, batches.add(name, pair))))
        for batch in batches.rest():
            yield kept(list(map(_scored, batch)))


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
    values = dict(zip(NUMBERS, (f"{x:.9g}" for x in numbers), strict=True))
    return Row(name, **values, height=str(height), width=str(width), notes="; ".join(pair.notes))
