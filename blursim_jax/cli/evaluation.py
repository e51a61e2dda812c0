"""The command that scores folders: its options and output. The modules that it imports do the work."""

from pathlib import Path
from typing import Annotated

import typer

from blursim_jax.cli import options
from blursim_jax.cli.files import check_drawing
from blursim_jax.cli.options import IMAGES, MAX_PIXELS, OUTPUT
from blursim_jax.cli.settings import checked_settings


def evaluate(
    context: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="The folder of results.", show_default=False)],
    targets: Annotated[Path, typer.Argument(help="The folder of what they should be.", show_default=False)],
    preset: options.Preset = None,
    alpha: options.Alpha = None,
    sobel_kernel_size: options.KernelSize = None,
    spectrum: options.Spectrum = None,
    normalization: options.Normalization = None,
    color: options.Color = False,
    luma: options.Luma = "full",
    data_range: options.DataRange = None,
    as_stored: options.AsStored = False,
    resize: options.Resize = False,
    crop: options.Crop = False,
    crop_at: options.CropAt = None,
    crop_border: options.CropBorder = 0,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    pairs: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.csv",
            help="Score the pairs of this CSV alone: columns prediction and target, with paths inside the two "
            "folders, as a/x.png. A file may be in several pairs.",
            show_default="matched by name",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    ssim: Annotated[
        bool, typer.Option(help="SSIM, too, which takes about as long as all the rest.", rich_help_panel=OUTPUT)
    ] = True,
    out: Annotated[Path, options.table("The table to write: a CSV.")] = Path("blursim.csv"),
    report: Annotated[Path | None, options.table("Write a report with the worst pairs: one HTML file.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Go on with an interrupted run of the same folders and options. Pairs with an error, and those of "
            "which a file has changed since, are scored anew. A complete run cannot go on: --force scores all anew.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="How many images to decode at a time.", show_default="the number of cores"),
    ] = None,
    json: options.Json = False,
    force: options.Force = False,
    fail_above: options.FailAbove = None,
) -> int:
    """Score a folder of results against a folder of targets, matched by path without suffix: a/x.png with a/x.jpg.

    The CSV has a row a pair, in the order of names. One that cannot be compared has its error there; the rest goes on.
    At the end stand the means and deciles of all scores, and the ten worst pairs.

    Folders inside are gone through too. Links to folders, hidden files and files of other suffixes are left out: a note
    says so.

    [bold]Examples[/bold]

    blursim evaluate results/ sharp/ --out scores.csv

    blursim evaluate results/ sharp/ --out scores.csv --report scores.html --color

    blursim evaluate results/ sharp/ --out cut.csv --crop-at top-left

    blursim evaluate results/ sharp/ --out scores.csv --resume

    blursim evaluate results/ sharp/ --out listed.csv --pairs pairs.csv
    """
    from blursim_jax.cli import console, folders, reports, summaries

    settings = checked_settings(context.params)
    check_drawing(report)
    with folders.Run(predictions, targets, out, settings, table=pairs, ssim=ssim) as run:
        run.start(report, resume=resume, force=force)
        console.print_notes(run.notes)
        rows = run.score(threads=threads, progress=console.progress)
        summary = summaries.summarize(rows)
        run.write(rows)
        if report is not None:
            reports.write(report, run, rows, summary)
        run.finish()
    if json:
        console.print_json(summary._asdict() | {"notes": run.notes} | {"options": settings._asdict()})
    else:
        console.print_summary(summary, [path for path in (out, report) if path is not None], settings)
    status = console.status_of(summary.mean, fail_above, settings)
    return 2 if summary.failed else status
