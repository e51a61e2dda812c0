"""What the commands print: tables on stdout, notes and progress on stderr."""

import csv as csv_module
import itertools
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from blursim_jax.cli.files import printable
from blursim_jax.cli.scores import HEADS, best_of

if TYPE_CHECKING:
    from blursim_jax.cli.scores import Scores
    from blursim_jax.cli.settings import Settings
    from blursim_jax.cli.summaries import Summary
    from blursim_jax.cli.sweeps import Level


# Images of so many pixels take seconds.
LARGE = 2**22
# The digits of the scores that have others than most.
DIGITS = {"psnr": ".2f", "ssim": ".4f"}


def print_table(table: Table) -> None:
    """Print a table at full width, so that no number is cut off."""
    Console(width=10_000, markup=False, emoji=False, highlight=False).print(table)


def print_notes(notes: Sequence[str]) -> None:
    """Print on stderr what was done to the images, one note per line."""
    for note in notes:
        print(f"Note: {note}", file=sys.stderr)


def number(value: float | None, digits: str = ".6g") -> str:
    """Format a number, or return a dash if there is none."""
    return "-" if value is None or math.isnan(value) else format(value, digits)


MEANING = "0 for the same image"


def print_scores(scores: "Scores", blurred: Mapping[str, float], settings: "Settings") -> None:
    """Print BlurSim, its terms and the other metrics, one per row."""
    table = Table("", "", "", show_header=False, box=None)
    rows = [
        (settings.label, number(scores.value), MEANING),
        ("  General", number(scores.general), "difference of the spectra"),
        ("  Specific", number(scores.specific), "difference of the edges"),
        *(("", number(value), _of_blur(sigma)) for sigma, value in blurred.items()),
        ("MSE", number(scores.mse), "for white 1"),
        ("PSNR", number(scores.psnr, ".2f"), "dB, the higher the more alike"),
        ("SSIM", number(scores.ssim, ".4f"), "1 for the same image; Gaussian window, as published"),
    ]
    for row in rows:
        table.add_row(*row)
    print_table(table)


def print_several(
    found: "Sequence[Scores]", names: list[str], blurred: Mapping[str, float], settings: "Settings"
) -> None:
    """Print the scores of several predictions of one target, a row each, and mark the best of each column."""
    best = best_of(list(found))
    table = Table("", settings.label, *HEADS.values())
    for column in table.columns[1:]:
        column.justify = "right"
    for name, scores in zip(names, found, strict=True):
        numbers = (
            number(value, DIGITS.get(key, ".6g")) + ("*" if value == best.get(key) else " ")
            for key, value in scores._asdict().items()
        )
        table.add_row(printable(name), *numbers)
    print_table(table)
    print(f"* the best of its column. {settings.label}: {MEANING}")
    for sigma, value in blurred.items():
        print(f"{number(value)} {_of_blur(sigma)}")


def print_comparison_json(
    found: "Sequence[Scores]",
    notes: Sequence[str],
    blurred: Mapping[str, float],
    paths: tuple[Sequence[Path], Path],
    settings: "Settings",
) -> None:
    """Print the scores of one prediction or of several as JSON."""
    predictions, target = paths
    rows = [{"prediction": str(path), **scores._asdict()} for path, scores in zip(predictions, found, strict=True)]
    content: dict[str, Any] = {"target": str(target)}
    if len(found) == 1:
        content |= rows[0]
    else:
        best = best_of(list(found))
        content["predictions"] = [row | {"best": [key for key in best if row[key] == best[key]]} for row in rows]
    content |= {"blurred_target": blurred} if blurred else {}
    print_json(content | {"notes": notes, "options": settings._asdict()})


def _of_blur(sigma: str) -> str:
    return f"would be this target under a blur of sigma {sigma}"


def print_matrix(values: np.ndarray, names: list[str], settings: "Settings", *, csv: bool) -> None:
    """Print the pairwise table. The CSV has all digits of float32, and the preset in its corner."""
    if csv:
        rows = [[name, *(f"{value:.9g}" for value in row)] for name, row in zip(names, values, strict=True)]
        csv_module.writer(sys.stdout, lineterminator="\n").writerows([[settings.preset or "", *names], *rows])
        return
    table = Table("", settings.label, *(str(i) for i in range(1, len(names) + 1)))
    for column in (table.columns[0], *table.columns[2:]):
        column.justify = "right"
    for i, (name, row) in enumerate(zip(names, values, strict=True), 1):
        table.add_row(str(i), printable(name), *(f"{value:.4g}" for value in row))
    print_table(table)


def print_sweep(rows: "Sequence[Level]", settings: "Settings") -> None:
    """Print BlurSim for every spectrum, at the middle level of every distortion."""
    levels = {row.distortion: [r.level for r in rows if r.distortion == row.distortion] for row in rows}
    spectra = dict.fromkeys(row.spectrum for row in rows)
    table = Table(settings.label, *(f"--spectrum {spectrum}" for spectrum in spectra))
    for column in table.columns[1:]:
        column.justify = "right"
    for distortion, all_levels in levels.items():
        middle = all_levels[len(all_levels) // 2]
        values = [row.value for row in rows if (row.distortion, row.level) == (distortion, middle)]
        table.add_row(f"{distortion}: {middle:g}", *map(number, values))
    print_table(table)


def print_summary(summary: "Summary", outputs: list[Path], settings: "Settings") -> None:
    """Print the mean, median, deciles, worst pairs and errors."""
    from blursim_jax.cli.summaries import spread_rows

    names = list(summary.scores) or ["value"]
    table = Table("", *(HEADS.get(name, settings.label) for name in names))
    for column in table.columns[1:]:
        column.justify = "right"
    for head, values in spread_rows(summary):
        table.add_row(head, *(number(x, DIGITS.get(name, ".6g")) for name, x in zip(names, values, strict=False)))
    for i, pair in enumerate(summary.worst):
        if i == 0:
            table.add_section()
        name = printable(pair["name"])
        table.add_row(f"worst {i + 1}: {name}", number(pair["value"]))
    print_table(table)
    if summary.failed:
        print(f"{summary.failed} of {summary.scored + summary.failed} pairs could not be compared:")
        _print_listed([(x["name"], x["error"]) for x in summary.errors], summary.failed)
    if summary.noted:
        print(f"{summary.noted} pair{'s have' if summary.noted > 1 else ' has'} notes:")
        _print_listed([(x["name"], x["notes"]) for x in summary.pair_notes], summary.noted)
    print(f"Wrote {' and '.join(printable(path) for path in outputs)}.")


def _print_listed(pairs: list[tuple[str, str]], total: int) -> None:
    """Print pairs and what is said of them, and how many more there are."""
    for name, said in pairs:
        print(f"  {printable(name)}: {printable(said)}")
    if total > len(pairs):
        print(f"  and {total - len(pairs)} more, in the table")


def status_of(value: float | None, limit: float | None, settings: "Settings") -> int:
    """Return the exit status for a value. If it is 1, print the reason on stderr."""
    if limit is None or value is None or value <= limit:
        return 0
    print(f"{settings.label} {value:.6g} is above --fail-above {limit:.6g}", file=sys.stderr)
    return 1


def print_json(content: dict[str, Any]) -> None:
    """Print JSON, with null for NaN and infinity, which JSON lacks."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {key: plain(x) for key, x in value.items()}
        return [plain(x) for x in value] if isinstance(value, (list, tuple)) else value

    print(json.dumps(plain(content), indent=2))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} pairs/s" if task.speed else "")


@contextmanager
def progress(total: int, done: int) -> Iterator[Callable[[int], None]]:
    """Show progress, speed and remaining time on a terminal. Yield a function that reports more pairs done."""
    columns = TextColumn("Scoring"), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda count: bar.advance(task, count)


@contextmanager
def steps(total: int, pixels: int) -> Iterator[Callable[[str], None]]:
    """Show on a terminal how far work on large images is. Yield a function that says what is done next."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    disable = pixels < LARGE or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=disable) as bar:
        task, count = bar.add_task("", total=total), itertools.count()
        yield lambda what: bar.update(task, description=what, completed=next(count))
