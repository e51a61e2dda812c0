"""The options of the commands. Each is defined once, with its help text."""

from pathlib import Path
from typing import Annotated

import typer

from blursim_jax import _checks
from blursim_jax.cli import settings

LOSS = "Options of the loss"
IMAGES = "Images"
OUTPUT = "Output"

Preset = Annotated[
    settings.Preset | None,
    typer.Option(
        help="All four options below by what they are for. original: what torch-blursim computes. training: a loss for "
        "networks. perceptual: ranks blurred photos as people do.",
        show_default=False,
        rich_help_panel=LOSS,
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        help="Weight of Specific, the edges, against General.",
        show_default="0.9",
        rich_help_panel=LOSS,
    ),
]
KernelSize = Annotated[
    int | None,
    typer.Option(help="Side of the Sobel kernel.", metavar="3|5|7", show_default="5", rich_help_panel=LOSS),
]
Spectrum = Annotated[
    _checks.Spectrum | None,
    typer.Option(
        help="What General compares of each frequency. magnitude: its strength, blind to shifts. complex: its place, "
        "too. complex_l1: the same without squares, so that weak frequencies count. log: its strength by ratio, so "
        "that fine detail counts; blind to brightness.",
        show_default="magnitude",
        rich_help_panel=LOSS,
    ),
]
Normalization = Annotated[
    _checks.Normalization | None,
    typer.Option(
        help="area: as published; changes with the size of images. rms: the same at every size. relative: over the "
        "target's own contrast and edges, to be compared between sizes and scenes; not the same with the two images "
        "exchanged.",
        show_default="area",
        rich_help_panel=LOSS,
    ),
]
Color = Annotated[
    bool,
    typer.Option("--color", metavar="", help="Compare red, green and blue; else luma alone.", rich_help_panel=IMAGES),
]
Luma = Annotated[
    settings.Luma,
    typer.Option(
        help="full: 0.299 R + 0.587 G + 0.114 B. bt601-limited: the Y channel of papers on super-resolution and "
        "deblurring, from 16 to 235 of 255, of which PSNR is 1.32 dB higher.",
        rich_help_panel=IMAGES,
    ),
]
DataRange = Annotated[
    float | None,
    typer.Option(
        help="What pixel value is white.",
        show_default="255, 65535 or 1, by the file's depth",
        rich_help_panel=IMAGES,
    ),
]
AsStored = Annotated[
    bool,
    typer.Option(
        "--as-stored",
        metavar="",
        help="Where colour profiles differ, compare values as they are stored; else they are converted to sRGB.",
        rich_help_panel=IMAGES,
    ),
]
Resize = Annotated[
    bool,
    typer.Option(
        "--resize",
        metavar="",
        help="Where sizes differ, resize all to the size of the target, in `matrix` of the first image.",
        rich_help_panel=IMAGES,
    ),
]
Crop = Annotated[
    bool,
    typer.Option(
        "--crop",
        metavar="",
        help="Where sizes differ, cut all to the size that they have in common: the middle.",
        rich_help_panel=IMAGES,
    ),
]
CropAt = Annotated[
    settings.Place | None,
    typer.Option(
        help="Crop, and keep this part: results that were cut or padded at right and bottom need top-left.",
        show_default="middle",
        rich_help_panel=IMAGES,
    ),
]
CropBorder = Annotated[
    int,
    typer.Option(
        min=0, help="Leave out so many pixels at each side, after resizing or cropping.", rich_help_panel=IMAGES
    ),
]
MaxPixels = Annotated[
    int, typer.Option(min=1, help="Refuse, before decoding, images of more pixels.", rich_help_panel=IMAGES)
]
Json = Annotated[
    bool, typer.Option("--json", metavar="", help="Print JSON; null is no number, or infinity.", rich_help_panel=OUTPUT)
]
Force = Annotated[
    bool, typer.Option("--force", metavar="", help="Replace files that are there.", rich_help_panel=OUTPUT)
]
FailAbove = Annotated[
    float | None,
    typer.Option(
        min=0,
        help="Exit with 1 if BlurSim is above this: of several images the largest, of folders the mean; errors "
        "still give 2.",
        rich_help_panel=OUTPUT,
    ),
]


def picture(help: str, *names: str) -> typer.models.OptionInfo:
    """An option that names a PNG to write, with other names than that of its argument if they are given."""
    return typer.Option(*names, help=help, callback=_check_suffix, rich_help_panel=OUTPUT)


def table(help: str) -> typer.models.OptionInfo:
    """An option that names a file of another kind to write."""
    return typer.Option(help=help, rich_help_panel=OUTPUT)


def _check_suffix(path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() != ".png":
        raise typer.BadParameter(f"expected a name that ends in .png, got {path}")
    return path


Figure = Annotated[Path | None, picture("Write a picture of where, and at which frequencies, they differ: a PNG.")]
MAX_PIXELS = 2**25
