"""The commands: their options and output. The modules that they import do the work."""

import json as json_module
import math
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from blursim_jax.cli import options
from blursim_jax.cli.files import UserError, check_outputs, printable
from blursim_jax.cli.options import MAX_PIXELS, OUTPUT


def compare(
    context: typer.Context,
    prediction: Annotated[Path, typer.Argument(help="The image to judge.", show_default=False)],
    target: Annotated[Path, typer.Argument(help="The image that it should be.", show_default=False)],
    alpha: options.Alpha = 0.9,
    sobel_kernel_size: options.KernelSize = 5,
    spectrum: options.Spectrum = "magnitude",
    normalization: options.Normalization = "area",
    color: options.Color = False,
    data_range: options.DataRange = None,
    resize: options.Resize = False,
    crop: options.Crop = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    figure: options.Figure = None,
    json: options.Json = False,
    force: options.Force = False,
    fail_above: options.FailAbove = None,
) -> int:
    """Compare two images: BlurSim and its terms, with MSE, PSNR and SSIM beside them.

    Of two restorations the one with the lower BlurSim, under the same options, is nearer to the target.

    [bold]Examples[/bold]

    blursim compare restored.png sharp.png

    blursim compare restored.png sharp.png --spectrum log --normalization relative --alpha 0.8 --figure where.png

    blursim compare restored.png sharp.png --json --fail-above 0.05
    """
    from blursim_jax.cli import console, pairs

    settings = pairs.checked_settings(context.params)
    check_outputs(figure, force=force, inputs=(prediction, target))
    check_drawing(figure)
    pair = pairs.read_pair(prediction, target, settings)
    console.print_notes(pair.notes)
    scores = pairs.score(pair, settings)
    if figure is not None:
        from blursim_jax.cli import figures

        figures.save(figures.draw_comparison(pair, settings, scores, (prediction.name, target.name)), figure)
    if json:
        found = {"prediction": str(prediction), "target": str(target), **scores._asdict()}
        print_json(found | {"options": settings._asdict()})
    else:
        console.print_scores(scores)
    return status_of(scores.value, fail_above)


def matrix(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Two images or more.", show_default=False)],
    alpha: options.Alpha = 0.9,
    sobel_kernel_size: options.KernelSize = 5,
    spectrum: options.Spectrum = "magnitude",
    normalization: options.Normalization = "area",
    color: options.Color = False,
    data_range: options.DataRange = None,
    resize: options.Resize = False,
    crop: options.Crop = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    format: Annotated[
        Literal["text", "csv", "json"], typer.Option(help="What to print.", rich_help_panel=OUTPUT)
    ] = "text",
    figure: Annotated[Path | None, options.picture("Write a heat map with thumbnails: a PNG.")] = None,
    force: options.Force = False,
) -> None:
    """Compare each of some images with each: a row a prediction, a column a target.

    [bold]Examples[/bold]

    blursim matrix sharp.png slight.png strong.png

    blursim matrix sharp.png slight.png strong.png --format csv > table.csv

    blursim matrix sharp.png slight.png strong.png --figure table.png
    """
    from blursim_jax.cli import console, pairs

    settings = pairs.checked_settings(context.params)
    if len(images) < 2:
        raise UserError("IMAGES: expected two images or more, got one")
    check_outputs(figure, force=force, inputs=images)
    check_drawing(figure)
    arrays, white, notes = pairs.read_all(images, settings, model=0)
    console.print_notes(notes)
    values, names = pairs.score_all(arrays, white, settings), pairs.names_of(images)
    if figure is not None:
        from blursim_jax.cli import figures

        figures.save(figures.draw_matrix(values, arrays, white, names), figure)
    if format == "json":
        found = {"images": [str(image) for image in images], "values": values.tolist()}
        print_json(found | {"options": settings._asdict()})
    else:
        console.print_matrix(values, names, csv=format == "csv")


def evaluate(
    context: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="The folder of results.", show_default=False)],
    targets: Annotated[Path, typer.Argument(help="The folder of what they should be.", show_default=False)],
    alpha: options.Alpha = 0.9,
    sobel_kernel_size: options.KernelSize = 5,
    spectrum: options.Spectrum = "magnitude",
    normalization: options.Normalization = "area",
    color: options.Color = False,
    data_range: options.DataRange = None,
    resize: options.Resize = False,
    crop: options.Crop = False,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    out: Annotated[Path, options.table("The table to write: a CSV.")] = Path("blursim.csv"),
    report: Annotated[Path | None, options.table("Write a report with the worst pairs: one HTML file.")] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            metavar="",
            help="Go on with an interrupted run of the same folders and options; what had an error is tried again.",
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

    Folders inside are gone through too; links to folders, hidden files, and files of other suffixes are not.

    [bold]Examples[/bold]

    blursim evaluate results/ sharp/ --out scores.csv

    blursim evaluate results/ sharp/ --out scores.csv --report scores.html --color

    blursim evaluate results/ sharp/ --out scores.csv --resume
    """
    from blursim_jax.cli import console, folders, pairs, reports

    settings = pairs.checked_settings(context.params)
    check_drawing(report)
    with folders.Run(predictions, targets, out, settings) as run:
        console.print_notes(run.notes)
        rows = run.score(report, resume=resume, force=force, threads=threads, progress=console.progress)
        summary = reports.summarize(rows)
        run.write(rows)
        if report is not None:
            reports.write(report, run, rows, summary)
        run.finish()
    if json:
        print_json(summary._asdict() | {"options": settings._asdict()})
    else:
        console.print_summary(summary, [path for path in (out, report) if path is not None])
    status = status_of(summary.mean, fail_above)
    return 2 if summary.failed else status


def sweep(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="A sharp image of the kind you compare.", show_default=False)],
    alpha: options.Alpha = 0.9,
    sobel_kernel_size: options.KernelSize = 5,
    normalization: options.Normalization = "area",
    color: options.Color = False,
    data_range: options.DataRange = None,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    out: Annotated[Path, options.picture("The curves to write: a PNG.")] = Path("sweep.png"),
    csv: Annotated[Path | None, options.table("The numbers to write: a CSV.")] = None,
    force: options.Force = False,
) -> None:
    """See what blur, noise, shift and brightness do to BlurSim and its terms, for every choice of --spectrum.

    A loss suits a task if it grows with what the task should remove, and stays low for what does not matter.

    To compare kernel sizes or normalizations, run it once for each, with another --out.

    [bold]Examples[/bold]

    blursim sweep sharp.png

    blursim sweep sharp.png --normalization relative --out curves.png --csv curves.csv
    """
    from blursim_jax.cli import console, figures, pairs, sweeps
    from blursim_jax.cli.images import read

    settings = pairs.checked_settings(context.params)
    check_outputs(out, csv, force=force, inputs=[image])
    picture = read(image, color=color, max_pixels=max_pixels)
    console.print_notes([f"{image}: {', '.join(picture.notes)}"] if picture.notes else [])
    settings.check_shape(picture.pixels.shape)
    rows = sweeps.sweep(picture, settings)
    figures.save(figures.draw_sweep(rows, settings, image.name), out)
    if csv is not None:
        sweeps.write(rows, settings, csv)
    console.print_sweep(rows)
    print(f"Wrote {' and '.join(printable(path) for path in (out, csv) if path is not None)}.")


def check_drawing(path: Path | None) -> None:
    """Import what draws if a picture or a report is to be written, so that what is not installed is missed at once."""
    if path is not None:
        import_module("blursim_jax.cli.figures")


def status_of(value: float | None, limit: float | None) -> int:
    """Return the exit status for a value. If it is 1, print the reason on stderr."""
    if limit is None or value is None or value <= limit:
        return 0
    print(f"BlurSim {value:.6g} is above --fail-above {limit:.6g}", file=sys.stderr)
    return 1


def print_json(content: dict[str, Any]) -> None:
    """Print JSON, with null for NaN and infinity, which JSON lacks."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, dict):
            return {key: plain(x) for key, x in value.items()}
        return [plain(x) for x in value] if isinstance(value, (list, tuple)) else value

    print(json_module.dumps(plain(content), indent=2))
