"""The commands on single images: their options and output. The modules that they import do the work."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from blursim_jax.cli import options
from blursim_jax.cli.files import UserError, check_drawing, check_outputs, printable
from blursim_jax.cli.options import MAX_PIXELS, OUTPUT
from blursim_jax.cli.settings import checked_settings


def compare(
    context: typer.Context,
    predictions: Annotated[
        list[Path], typer.Argument(help="The images to judge.", metavar="PREDICTION...", show_default=False)
    ],
    target: Annotated[
        Path, typer.Argument(help="What they should be: the last file.", metavar="TARGET", show_default=False)
    ],
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
    figure: options.Figure = None,
    json: options.Json = False,
    force: options.Force = False,
    fail_above: options.FailAbove = None,
) -> int:
    """Compare one image or several with a target: BlurSim and its terms, with MSE, PSNR and SSIM beside them.

    Of two restorations the one with the lower BlurSim, under the same options, is nearer to the target.

    [bold]Examples[/bold]

    blursim compare restored.png sharp.png

    blursim compare restored.png sharp.png --preset perceptual --figure where.png

    blursim compare slight.png restored.png strong.png sharp.png --preset perceptual

    blursim compare restored.png sharp.png --json --fail-above 0.05
    """
    from blursim_jax.cli import console, pairs, scores

    settings = checked_settings(context.params)
    check_outputs(figure, force=force, inputs=(*predictions, target))
    if figure is not None and len(predictions) > 1:
        raise UserError(f"--figure draws one prediction, got {len(predictions)}")
    check_drawing(figure)
    read = pairs.read_pairs(predictions, target, settings)
    console.print_notes(read[0].notes)
    names = pairs.names_of(predictions)
    with console.steps(len(read) + bool(preset) + bool(figure), read[0].target.size) as step:
        found = []
        for name, pair in zip(names, read, strict=True):
            step(f"Scoring {printable(name)}")
            found.append(scores.score(pair, settings))
        blurred, more = {}, []
        if preset:
            step("Scoring blurs of the target")
            blurred, more = scores.score_blurred(read[0], settings)
        if figure is not None:
            from blursim_jax.cli import figures

            step("Drawing")
            drawn = predictions[0].name, target.name
            figures.save(figures.draw_comparison(read[0], settings, found[0], drawn), figure)
    console.print_notes(more)
    if json:
        console.print_comparison_json(found, [*read[0].notes, *more], blurred, (predictions, target), settings)
    elif len(found) == 1:
        console.print_scores(found[0], blurred, settings)
    else:
        console.print_several(found, names, blurred, settings)
    return console.status_of(max(one.value for one in found), fail_above, settings)


def matrix(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Two images or more.", show_default=False)],
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
    from blursim_jax.cli import console, pairs, scores

    settings = checked_settings(context.params)
    if len(images) < 2:
        raise UserError("IMAGES: expected two images or more, got one")
    check_outputs(figure, force=force, inputs=images)
    check_drawing(figure)
    arrays, white, notes = pairs.read_all(images, settings, model=0)
    console.print_notes(notes)
    values, names = scores.score_all(arrays, white, settings), pairs.names_of(images)
    if figure is not None:
        from blursim_jax.cli import figures

        figures.save(figures.draw_matrix(values, arrays, white, names, settings, notes), figure)
    if format == "json":
        found = {"images": [str(image) for image in images], "values": values.tolist(), "notes": notes}
        console.print_json(found | {"options": settings._asdict()})
    else:
        console.print_matrix(values, names, settings, csv=format == "csv")


def sweep(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="A sharp image of the kind you compare.", show_default=False)],
    preset: options.Preset = None,
    alpha: options.Alpha = None,
    sobel_kernel_size: options.KernelSize = None,
    normalization: options.Normalization = None,
    color: options.Color = False,
    luma: options.Luma = "full",
    data_range: options.DataRange = None,
    crop_border: options.CropBorder = 0,
    max_pixels: options.MaxPixels = MAX_PIXELS,
    out: Annotated[Path, options.picture("The curves to write: a PNG.", "--figure", "--out")] = Path("sweep.png"),
    csv: Annotated[Path | None, options.table("The numbers to write: a CSV.")] = None,
    force: options.Force = False,
) -> None:
    """See what blur, noise, shift and brightness do to BlurSim and its terms, for every choice of --spectrum.

    A loss suits a task if it grows with what the task should remove, and stays low for what does not matter.

    If a side of the image has more than 1536 pixels, the command takes the middle of the image.

    To compare kernel sizes or normalizations, run it once for each, with another --figure.

    [bold]Examples[/bold]

    blursim sweep sharp.png

    blursim sweep sharp.png --normalization relative --figure curves.png --csv curves.csv
    """
    from blursim_jax.cli import console, figures, pairs, scores, sweeps

    settings = checked_settings(context.params)
    check_outputs(out, csv, force=force, inputs=[image])
    (pixels,), white, notes = pairs.read_all([image], settings, model=0)
    pixels, more = scores.middle_of(pixels)
    notes = [*notes, *more]
    console.print_notes(notes)
    settings.check_shape(pixels.shape)
    rows = sweeps.sweep(pixels / white, settings)
    figures.save(figures.draw_sweep(rows, settings, image.name, notes), out)
    if csv is not None:
        sweeps.write(rows, settings, notes, csv)
    console.print_sweep(rows, settings)
    print(f"Wrote {' and '.join(printable(path) for path in (out, csv) if path is not None)}.")
