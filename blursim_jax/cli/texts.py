"""What the commands print: tables on stdout, notes and progress on stderr."""

import csv as csv_module
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from blursim_jax.cli.files import printable

if TYPE_CHECKING:
    from blursim_jax.cli.pairs import Scores
    from blursim_jax.cli.reports import Summary


def print_table(table: Table) -> None:
    """Print a table, in a pipe or file as wide as it is."""
    Console(width=None if sys.stdout.isatty() else 10_000, markup=False, emoji=False, highlight=False).print(table)


def print_notes(notes: Sequence[str]) -> None:
    """Say on stderr what was done to images, a line each."""
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)


def number(value: float | None, digits: str = ".6g") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None or math.isnan(value) else format(value, digits)


def print_scores(scores: "Scores") -> None:
    """A row each of BlurSim, its terms, and what else is known of images."""
    table = Table("", "", "", show_header=False, box=None)
    rows = (
        ("BlurSim", number(scores.value), "0 for the same image"),
        ("  General", number(scores.general), "difference of the spectra"),
        ("  Specific", number(scores.specific), "difference of the edges"),
        ("MSE", number(scores.mse), "for white 1"),
        ("PSNR", number(scores.psnr, ".2f"), "dB, the higher the more alike"),
        ("SSIM", number(scores.ssim, ".4f"), "1 for the same image"),
    )
    for row in rows:
        table.add_row(*row)
    print_table(table)


def print_matrix(values: np.ndarray, names: list[str], *, csv: bool) -> None:
    """The pairwise table; as CSV with all digits of float32."""
    if csv:
        rows = [[name, *(f"{value:.9g}" for value in row)] for name, row in zip(names, values, strict=True)]
        csv_module.writer(sys.stdout, lineterminator="\n").writerows([["", *names], *rows])
        return
    table = Table("", *map(printable, names))
    for column in table.columns[1:]:
        column.justify = "right"
    for name, row in zip(names, values, strict=True):
        table.add_row(printable(name), *(f"{value:.4g}" for value in row))
    print_table(table)


def print_summary(summary: "Summary", outputs: list[Path]) -> None:
    """Mean, median, deciles, the worst pairs and what failed."""
    table = Table("", "BlurSim", show_header=True)
    table.columns[1].justify = "right"
    table.add_row(f"mean of {summary.scored}", number(summary.mean))
    table.add_row("median", number(summary.median))
    for i, decile in enumerate(summary.deciles, 1):
        table.add_row(f"{10 * i} % are at most", number(decile))
    for i, (name, value) in enumerate(summary.worst):
        if i == 0:
            table.add_section()
        table.add_row(f"worst: {printable(name)}" if i == 0 else printable(name), number(value))
    print_table(table)
    if summary.failed:
        print(f"{summary.failed} of {summary.scored + summary.failed} pairs could not be compared:")
        for name, error in summary.errors:
            print(f"  {printable(name)}: {printable(error)}")
        if summary.failed > len(summary.errors):
            print(f"  and {summary.failed - len(summary.errors)} more, in the table")
    print(f"Wrote {' and '.join(printable(path) for path in outputs)}.")


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} pairs/s" if task.speed else "")


@contextmanager
def progress(total: int, done: int) -> Iterator[Callable[[int], None]]:
    """Show on a terminal how far it is, how fast and how long still; yield what is told of more pairs done."""
    columns = TextColumn("Scoring"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda count: bar.advance(task, count)
