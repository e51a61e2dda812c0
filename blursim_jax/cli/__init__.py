"""The command `blursim`: compare images, score folders, see what the options do.

The command needs the extra `cli`. Slow imports are inside functions, so that help is shown at once.
"""

import sys
from os import PathLike
from typing import TYPE_CHECKING, Literal, NoReturn

if TYPE_CHECKING:
    from blursim_jax._checks import Normalization, Spectrum
    from blursim_jax.cli.scores import Comparison
    from blursim_jax.cli.settings import Luma, Place, Preset

EXTRA = "pip install 'blursim[cli]'"


def compare_files(
    prediction: str | PathLike[str],
    target: str | PathLike[str],
    *,
    preset: "Preset | None" = None,
    alpha: float | None = None,
    sobel_kernel_size: Literal[3, 5, 7] | None = None,
    spectrum: "Spectrum | None" = None,
    normalization: "Normalization | None" = None,
    color: bool = False,
    luma: "Luma" = "full",
    data_range: float | None = None,
    as_stored: bool = False,
    resize: bool = False,
    crop: bool = False,
    crop_at: "Place | None" = None,
    crop_border: int = 0,
    max_pixels: int = 2**25,
) -> "Comparison":
    """Compare two image files as `blursim compare PREDICTION TARGET` does, with the same numbers and notes.

    The options are those of the command, and `blursim compare --help` describes them.

    Args:
        prediction: The file to judge.
        target: The file to compare it with.
        preset: `"original"`, `"training"` or `"perceptual"`. A preset sets `alpha`, `sobel_kernel_size`, `spectrum` and
            `normalization`, so none of these four may be given with it.
        alpha: Weight of Specific, in [0, 1]. Without a preset 0.9.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7. Without a preset 5.
        spectrum: What General compares: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`. Without a preset
            `"magnitude"`.
        normalization: `"area"`, `"rms"` or `"relative"`. Without a preset `"area"`.
        color: True: compare red, green and blue. False: compare luma alone.
        luma: `"full"`, which is 0.299 R + 0.587 G + 0.114 B, or `"bt601-limited"`, the Y channel that papers on
            super-resolution and deblurring take, 16 to 235 of 255. Only `"full"` goes with `color`.
        data_range: The pixel value of white. None: 255, 65535 or 1, by the depth of the files.
        as_stored: Only where the files' colour profiles or gamma differ. True: compare the values as they are stored.
            False: convert 8-bit images that are not sRGB to sRGB first.
        resize: True: resize a prediction of another size to that of the target.
        crop: True: cut images of different sizes to the size that both have.
        crop_at: The part that a crop keeps: `"middle"`, `"top-left"`, `"top-right"`, `"bottom-left"` or
            `"bottom-right"`. None: the middle. It needs no `crop` beside it.
        crop_border: Number of pixels that are left out at each side, after resizing or cropping.
        max_pixels: The largest number of pixels that an image may have.

    Returns:
        A named tuple of `value`, `general`, `specific`, `mse`, `psnr`, `ssim`, and `notes` on what was done to the
        images. SSIM is NaN for images with a side of less than 11 pixels, PSNR infinite for identical ones.

    Raises:
        ValueError: If a file cannot be read, an option is wrong, or the sizes differ and no option says what to do.
        TypeError: If an option is of a wrong type.
    """
    from pathlib import Path

    from blursim_jax.cli import pairs, scores, settings

    options = {name: value for name, value in locals().items() if name in settings.Settings._fields}
    checked = settings.checked_settings(options)
    pair = pairs.read_pair(Path(prediction), Path(target), checked)
    return scores.Comparison(*scores.score(pair, checked), notes=pair.notes)


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    try:
        from blursim_jax.cli.app import run

        run()
    except ModuleNotFoundError as error:
        print(f"blursim: {error.name} is not installed; the command needs {EXTRA}", file=sys.stderr)
        sys.exit(2)
