"""Image files to arrays: what is in a file is read as it is, converted where it says so, or refused.

Greyscale is luma, `0.299 R + 0.587 G + 0.114 B`, unrounded.
"""

import logging
import os
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import tifffile
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from blursim_jax.cli.files import Failure, printable

# Formats that Pillow may try, and what their files are called.
SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
}
KNOWN = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes}
LUMA = 0.299, 0.587, 0.114
TAGS = ExifTags.Base

# Of damaged files it says more than the error that it raises.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)
# Pillow's cap is another, and for the whole process. Ours comes before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class Picture(NamedTuple):
    """What was read: (H, W), or (H, W, 3) in colour; what value is white; and what had to be done to the file's own."""

    pixels: np.ndarray
    white: float
    notes: tuple[str, ...]


def read(path: Path, *, color: bool, max_pixels: int) -> Picture:
    """Read one image, upright.

    Raises:
        Failure: It is no file, no image of a known format, too large, damaged, or holds what float32 does not.
    """
    try:
        with _open(path) as file:
            pixels, white, notes = _decode(file, path, max_pixels)
        picture = Picture(_to_channels(pixels, color), white, tuple(notes))
    except Failure as failure:
        raise Failure(f"{printable(path)}: {failure}") from failure
    except OSError as error:
        raise Failure(f"{printable(path)}: {printable(error.strerror or error)}") from error
    # Whatever a decoder raises at damaged bytes.
    except Exception as error:
        raise Failure(f"{printable(path)}: damaged ({type(error).__name__}: {printable(error)})") from error
    return picture


def _open(path: Path) -> BinaryIO:
    # Without waiting for the other end of a named pipe.
    file = open(path, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise Failure("no regular file")
    return file


def _decode(file: BinaryIO, path: Path, max_pixels: int) -> tuple[np.ndarray, float, list[str]]:
    """Pixels (H, W) or (H, W, 3), what is white, and notes."""
    try:
        image = Image.open(file, formats=list(SUFFIXES))
    except UnidentifiedImageError:
        return _decode_tiff(file, max_pixels)
    _check_size(*image.size, max_pixels)
    suffix, expected = path.suffix.lower(), SUFFIXES[str(image.format)]
    if suffix in KNOWN and suffix not in expected:
        raise Failure(f"named {suffix}, but its content is {image.format}: name it {expected[0]}")
    notes = ["the first of several pictures in the file"] if getattr(image, "is_animated", False) else []
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        # Signed numbers, 16 bits of which 0 is white, and of which a colour lies after the other: Pillow misreads them.
        unusual = tags.get(TAGS.PhotometricInterpretation) == 0 or tags.get(TAGS.PlanarConfiguration) == 2
        if 2 in tags.get(TAGS.SampleFormat, ()) or (unusual and max(tags.get(TAGS.BitsPerSample, (1,))) > 8):
            return _decode_tiff(file, max_pixels)
    if image.mode == "F":
        return _finite(np.asarray(_upright(image))), 1.0, notes
    if image.mode.startswith("I;16"):
        return np.asarray(_upright(image), np.uint16), 65535.0, [*notes, "16 bits"]
    raw = _raw_mode(image)
    if ";16" in raw and image.mode in ("RGB", "RGBA"):
        return *_sixteen_bits(image, raw, file, notes), [*notes, "16 bits"]  # type: ignore[return-value]
    if ";16" in raw or image.mode not in ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"):
        raise Failure(
            f"pixels of mode {raw or image.mode} are not supported; convert it to 8-bit or 16-bit RGB or grey"
        )
    return *_eight_bits(_upright(image), notes), notes


def _eight_bits(image: Image.Image, notes: list[str]) -> tuple[np.ndarray, float]:
    if image.mode in ("P", "PA"):
        notes.append("colours of a palette")
    elif image.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return _over_white(np.asarray(image), 255, notes), 255.0
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L")), 255.0
    return np.asarray(image.convert("RGB")), 255.0


def _sixteen_bits(image: Image.Image, raw: str, file: BinaryIO, notes: list[str]) -> tuple[np.ndarray, float]:
    """Colours of 16 bits, of which Pillow keeps the higher 8: once more in the other byte order it gives the lower."""
    other = {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}[raw[-1]]
    high = _upright(image)
    pixels = np.empty((high.height, high.width, len(high.getbands())), np.uint16)
    for i, band in enumerate(high.getbands()):
        pixels[..., i] = np.left_shift(np.asarray(high.getchannel(band)), 8, dtype=np.uint16)
    del high
    image = Image.open(file, formats=[str(image.format)])
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(
            args=raw[:-1] + other if isinstance(tile.args, str) else (raw[:-1] + other, *(tile.args or ())[1:])
        )
        for tile in image.tile  # type: ignore[attr-defined]
    ]
    low = _upright(image)
    for i, band in enumerate(low.getbands()):
        pixels[..., i] |= np.asarray(low.getchannel(band))
    return _over_white(pixels, 65535, notes) if image.mode == "RGBA" else pixels, 65535.0


def _raw_mode(image: Image.Image) -> str:
    """How the pixels lie in the file, such as `RGB;16B`."""
    tiles = getattr(image, "tile", [])
    args = tiles[0].args if tiles else ""
    return str(args if isinstance(args, str) else args[0]) if args else ""


def _decode_tiff(file: BinaryIO, max_pixels: int) -> tuple[np.ndarray, float, list[str]]:
    """The kinds of TIFF that Pillow does not read, colours in floating point above all."""
    file.seek(0)
    start = file.read(4)
    if not start:
        raise Failure("empty")
    if start not in (b"II*\0", b"MM\0*"):
        raise Failure("no PNG, JPEG, TIFF, WebP or BMP image")
    file.seek(0)
    notes: list[str] = []
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        width, height = page.imagewidth, page.imagelength
        _check_size(width, height, max_pixels)
        if page.dtype is None or page.dtype.name not in ("float16", "float32", "float64", "uint16"):
            raise Failure(f"pixels of type {page.dtype} are not supported; convert it to 8-bit or 16-bit RGB or grey")
        if page.size > 4 * width * height:
            raise Failure(f"pixels of shape {page.shape} are not supported; convert it to RGB or grey")
        pixels = page.asarray()
        if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE and pixels.dtype == np.uint16:
            pixels = 65535 - pixels
        orientation = page.tags.valueof(TAGS.Orientation, 1)
        notes += ["the first of several pictures in the file"] if tiff.pages.is_multipage else []
    if pixels.shape not in ((height, width), (height, width, 3)):
        raise Failure(f"pixels of shape {pixels.shape} are not supported; convert it to RGB or grey")
    if orientation != 1:
        raise Failure("is not upright, in a TIFF of this kind; turn it")
    if pixels.dtype == np.uint16:
        return pixels, 65535.0, [*notes, "16 bits"]
    notes += ["float64 rounded to float32"] if pixels.dtype == np.float64 else []
    return _finite(pixels.astype(np.float32)), 1.0, notes


def _finite(pixels: np.ndarray) -> np.ndarray:
    if not np.isfinite(pixels).all():
        raise Failure("has pixels that are infinite or no numbers")
    return pixels


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise Failure(f"{width}x{height} is more than --max-pixels {max_pixels}")
    if not width * height:
        raise Failure(f"has no pixels, {width}x{height}")


def _upright(image: Image.Image) -> Image.Image:
    """The image decoded, turned as its EXIF data say."""
    image.load()
    return ImageOps.exif_transpose(image) or image


def _over_white(pixels: np.ndarray, white: int, notes: list[str]) -> np.ndarray:
    """The colours (H, W, 3) of (H, W, 4), over a white ground where they are not opaque."""
    alpha = pixels[..., 3:]
    if alpha.min() == white:
        return pixels[..., :3]
    notes.append("transparent parts over white")
    share = alpha.astype(np.float32) / white
    return pixels[..., :3] * share + white * (1 - share)


def _to_channels(pixels: np.ndarray, color: bool) -> np.ndarray:
    """(H, W, 3) in colour, else (H, W)."""
    if color:
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim == 2:
        return pixels
    if pixels.dtype == np.uint8:
        # The same sum, several times faster.
        return np.asarray(Image.fromarray(pixels).convert("F"))
    return sum(np.float32(weight) * pixels[..., i] for i, weight in enumerate(LUMA))  # type: ignore[return-value]
