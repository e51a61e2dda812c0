"""Read image files as arrays. Content is read unchanged, converted with a note, or rejected.

Greyscale is luma, `0.299 R + 0.587 G + 0.114 B`, without rounding.
"""

import os
import re
import stat
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from blursim_jax.cli import tiffs
from blursim_jax.cli.files import UserError, printable
from blursim_jax.cli.floats import decode_floats
from blursim_jax.cli.formats import KNOWN, SUFFIXES, check_depth, check_size
from blursim_jax.cli.profiles import Space, space_of, to_srgb

EIGHT_BITS = "1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "CMYK", "YCbCr"
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Rows to convert at a time, in the cache, so that a large image is not copied whole.
ROWS = 32
# Limit on the scans of a progressive JPEG, which usually has about ten. Each takes as long as a whole ordinary JPEG.
SCANS = 64
TAGS = ExifTags.Base

# Pillow's limit is different, and applies to the whole process. `max_pixels` is checked before anything is decoded.
Image.MAX_IMAGE_PIXELS = None


class Picture(NamedTuple):
    """Pixels (H, W), or (H, W, 3) in colour; the value of white; and notes on what was converted or left out.

    `space` is what the colours are, if they are not sRGB.
    """

    pixels: np.ndarray
    white: float
    notes: tuple[str, ...]
    space: Space | None


def read(path: Path, *, color: bool, max_pixels: int, srgb: bool = False) -> Picture:
    """Read one image, upright, and with `srgb` converted to sRGB where it is of other colours.

    Raises:
        UserError: If it is not a file, not an image of a known format, too large, damaged, or if float32 cannot hold
            its values.
    """
    try:
        with _open(path) as file:
            image = _opened(file, path, max_pixels)
            with tiffs.without_messages():
                floats = decode_floats(file, path, max_pixels) if image is None else None
            if floats is not None:
                pixels, white, notes, space = tiffs.as_float32(floats[0]), 1.0, *floats[1:]
            elif image is None:
                pixels, white, notes, space = tiffs.decode(file, max_pixels)
            else:
                space, notes = space_of(image), []
                if getattr(image, "is_animated", False):
                    notes.append("the first of several pictures in the file")
                with tiffs.without_messages():
                    pixels, white, space = _pixels_of(image, file, color, notes, space, srgb)
        if srgb and space is not None:
            notes.append(f"not converted to sRGB from {printable(space.name)}, which is not supported for such a file")
        return Picture(_to_channels(pixels, color), white, tuple(notes), space)
    except UserError as error:
        raise UserError(f"{printable(path)}: {error}") from error
    except OSError as error:
        # Pillow does not tell what is damaged from what it was built without.
        reason = error.strerror or f"cannot be decoded; damaged, or of a kind that Pillow lacks ({printable(error)})"
        raise UserError(f"{printable(path)}: {printable(reason)}") from error
    # Decoders raise exceptions of any type for damaged files.
    except Exception as error:
        raise UserError(f"{printable(path)}: damaged ({type(error).__name__}: {printable(error)})") from error


def _open(path: Path) -> BinaryIO:
    # O_NONBLOCK: otherwise opening a named pipe waits for its other end.
    file = open(path, "rb", opener=lambda path, flags: os.open(path, flags | getattr(os, "O_NONBLOCK", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise UserError("no regular file")
    return file


def _opened(file: BinaryIO, path: Path, max_pixels: int) -> Image.Image | None:
    """Open a file with Pillow and check it. Return None if it is a TIFF for tifffile, or no image."""
    try:
        image = Image.open(file, formats=list(SUFFIXES))
    except UnidentifiedImageError:
        return None
    check_size(*image.size, max_pixels)
    # MPO is a JPEG with several pictures, as phones write it.
    kind = "JPEG" if image.format == "MPO" else str(image.format)
    suffix = path.suffix.lower()
    if suffix in KNOWN and suffix not in SUFFIXES[kind]:
        raise UserError(f"named {suffix}, but its content is {kind}: name it {SUFFIXES[kind][0]}")
    check_depth(image, file)
    if "progressive" in image.info:
        _check_scans(file)
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        # Pillow misreads signed numbers. Above 8 bits, it also misreads images whose white is 0, and images whose
        # colours are in separate planes.
        unusual = tags.get(TAGS.PhotometricInterpretation) == 0 or tags.get(TAGS.PlanarConfiguration) == 2
        if 2 in tags.get(TAGS.SampleFormat, ()) or (unusual and max(tags.get(TAGS.BitsPerSample, (1,))) > 8):
            return None
    return image


def _pixels_of(
    image: Image.Image, file: BinaryIO, color: bool, notes: list[str], space: Space | None, srgb: bool
) -> tuple[np.ndarray, float, Space | None]:
    """Return pixels (H, W) or (H, W, 3), the value of white, and what the colours are."""
    raw = _raw_mode(image)
    if image.mode == "F":
        return tiffs.as_float32(np.asarray(_upright(image))), 1.0, space
    if re.fullmatch(r"(I|RGB|RGBA);16[BLN]?", raw) or (image.format, image.mode) == ("JPEG2000", "I;16"):
        notes.append("16 bits")
        if "transparency" in image.info:
            raise UserError("a transparent colour in 16 bits is not supported")
        # Pillow has the numbers of a PGM in 32 bits.
        if image.mode.startswith("I"):
            return np.asarray(_upright(image)).astype(np.uint16), 65535.0, space
        return _sixteen_bits(image, raw, file, notes), 65535.0, space
    # Pillow misreads the other kinds with more than 8 bits, or reduces them to 8 bits.
    if image.mode not in EIGHT_BITS or (re.search(r";(12|16|32)", raw) and not raw.startswith("BGR")):
        raise UserError(f"pixels of mode {raw or image.mode} are not supported; {tiffs.ADVICE}")
    image = _upright(image)
    # CMYK is converted anyway.
    if space is not None and (srgb or image.mode == "CMYK") and (converted := to_srgb(image, space)) is not None:
        notes.append(f"converted to sRGB from {printable(space.name)}")
        image, space = converted, None
    return _eight_bits(image, color, notes), 255.0, space


def _eight_bits(image: Image.Image, color: bool, notes: list[str]) -> np.ndarray:
    if image.mode in ("P", "PA"):
        notes.append("colours of a palette")
    elif image.mode == "CMYK":
        notes.append("CMYK converted to RGB without a colour profile")
    elif image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        return _over_white(np.asarray(image if image.mode == "RGBA" else image.convert("RGBA")), notes)
    if image.mode in ("1", "L"):
        return np.asarray(image.convert("L"))
    image = image if image.mode == "RGB" else image.convert("RGB")
    if color:
        return np.asarray(image)
    # Pillow computes luma several times faster than NumPy.
    result = np.empty((image.height, image.width), np.float32)
    for i in range(0, image.height, ROWS):
        rows = image.crop((0, i, image.width, min(i + ROWS, image.height)))
        result[i : i + ROWS] = np.asarray(rows.convert("F"))
    return result


def _sixteen_bits(image: Image.Image, raw: str, file: BinaryIO, notes: list[str]) -> np.ndarray:
    """Return 16-bit colours.

    Pillow keeps only the high byte. Decoding again in the other byte order gives the low byte.
    """
    high = _upright(image)
    pixels = np.empty((high.height, high.width, len(high.getbands())), np.uint16)
    for i, band in enumerate(high.getbands()):
        pixels[..., i] = np.left_shift(np.asarray(high.getchannel(band)), 8, dtype=np.uint16)
    # The caller holds the image, and would keep its pixels beside those of the second decoding.
    del high
    image.im = None  # type: ignore[assignment]
    other = raw[:-1] + {"B": "L", "L": "B", "N": "B" if np.little_endian else "L"}[raw[-1]]
    image = Image.open(file, formats=[str(image.format)])
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=other if isinstance(tile.args, str) else (other, *(tile.args or ())[1:]))
        for tile in image.tile  # type: ignore[attr-defined]
    ]
    low = _upright(image)
    for i, band in enumerate(low.getbands()):
        pixels[..., i] |= np.asarray(low.getchannel(band))
    transparent = image.mode == "RGBA"
    del low, image
    return _over_white(pixels, notes) if transparent else pixels


def _raw_mode(image: Image.Image) -> str:
    """Return the layout of the pixels in the file, such as `RGB;16B`."""
    tiles = getattr(image, "tile", [])
    args = tiles[0].args if tiles else ""
    return str(args if isinstance(args, str) else args[0]) if args else ""


def _check_scans(file: BinaryIO) -> None:
    file.seek(0)
    if file.read().count(b"\xff\xda") > SCANS:
        raise UserError(f"a JPEG of more than {SCANS} scans")
    file.seek(0)


def _upright(image: Image.Image) -> Image.Image:
    """Decode the image, and turn it upright by its EXIF orientation."""
    image.load()
    return ImageOps.exif_transpose(image) if image.getexif().get(TAGS.Orientation, 1) != 1 else image


def _over_white(pixels: np.ndarray, notes: list[str]) -> np.ndarray:
    """Blend pixels (H, W, 4) over white to colours (H, W, 3), rounded as an image viewer does."""
    white = np.iinfo(pixels.dtype).max
    if pixels[..., 3].min() == white:
        return pixels[..., :3]
    opaque = pixels[..., 3].max() > 0
    notes.append("transparent parts over white" if opaque else "wholly transparent: white is all that is compared")
    result = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for i in range(0, len(pixels), ROWS):
        rows = pixels[i : i + ROWS].astype(np.float32)
        share = rows[..., 3:] / white
        result[i : i + ROWS] = np.rint(rows[..., :3] * share + white * (1 - share))
    return result


def _to_channels(pixels: np.ndarray, color: bool) -> np.ndarray:
    """Convert pixels to (H, W, 3) in colour, else to (H, W)."""
    if color:
        return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    if pixels.ndim == 2:
        return pixels
    result = np.empty(pixels.shape[:2], np.float32)
    for i in range(0, len(pixels), ROWS):
        result[i : i + ROWS] = pixels[i : i + ROWS].astype(np.float32) @ LUMA
    return result
