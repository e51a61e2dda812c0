"""Decode TIFFs that Pillow does not read, mainly floating-point colours. Helpers for other TIFFs are here too."""

import logging
import os
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import tifffile
from PIL import ExifTags

from blursim_jax.cli.files import UserError
from blursim_jax.cli.formats import check_size
from blursim_jax.cli.profiles import Space, space_of_profile

ADVICE = "convert it to 8-bit or 16-bit RGB or grey"
# Little and big endian, then both for BigTIFF, the format of files over 4 GB.
SIGNATURES = b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"
# The tag of the colour profile.
PROFILE = 34675
NO_PREDICTOR, HORIZONTAL, FLOATING = 1, 2, 3
DEFLATE = tifffile.COMPRESSION.ADOBE_DEFLATE, tifffile.COMPRESSION.DEFLATE

# For damaged files, tifffile logs more than the error that it raises.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_messages = threading.Lock()
_silent = 0
_stderr = -1


def decode(file: BinaryIO, max_pixels: int) -> tuple[np.ndarray, float, list[str], Space | None]:
    """Return pixels (H, W) or (H, W, 3), the value of white, notes, and what the colours are if they are not sRGB."""
    file.seek(0)
    start = file.read(4)
    if not start:
        raise UserError("empty")
    if start not in SIGNATURES:
        raise UserError("no image of a format that is read")
    file.seek(0)
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages.first
        width, height, dtype = page.imagewidth, page.imagelength, page.dtype
        check_size(width, height, max_pixels)
        inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
        _check_compression(page)
        if dtype is None or dtype.name not in ("float16", "float32", "float64", "uint16") or page.bitspersample % 16:
            raise UserError(f"pixels of {page.bitspersample} bits, type {dtype}, are not supported; {ADVICE}")
        if page.size not in (width * height, 3 * width * height):
            raise UserError(f"pixels of shape {page.shape} are not supported; {ADVICE}")
        if page.tags.valueof(ExifTags.Base.Orientation, 1) != 1:
            raise UserError("is not upright, in a TIFF of this kind; turn it")
        if inverted and dtype != np.uint16:
            raise UserError("has 0 as white, in floating point; turn it around")
        _check_sizes(tiff, page)
        pixels = page.asarray() if page.predictor == NO_PREDICTOR else _predicted(page)
        several = tiff.pages.is_multipage
        profile = page.tags.valueof(PROFILE)
    if pixels.ndim == 3 and pixels.shape[0] == 3 and pixels.shape[1:] == (height, width):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.shape not in ((height, width), (height, width, 3)):
        raise UserError(f"pixels of shape {pixels.shape} are not supported; {ADVICE}")
    notes = ["the first of several pictures in the file"] if several else []
    space = space_of_profile(profile) if profile else None
    if dtype == np.uint16:
        return 65535 - pixels if inverted else pixels, 65535.0, [*notes, "16 bits"], space
    return as_float32(pixels), 1.0, notes + (["float64 rounded to float32"] if dtype == np.float64 else []), space


def _predicted(page: tifffile.TiffPage) -> np.ndarray:
    """Decode pixels that are stored as differences, which tifffile does not do by itself for floating point.

    tifffile leaves the differences as they are if it is told that there are none.
    """
    predictor, page.predictor = page.predictor, NO_PREDICTOR
    planes, _, height, width, samples = page.shaped
    pixels = np.empty((planes, height, width, samples), page.dtype)
    for segment, (plane, _, top, left, _), _ in page.segments():
        if segment is None:
            raise UserError("damaged: a part is missing")
        values = segment[0]
        if predictor == HORIZONTAL:
            values = _sums(values)
        else:
            # tifffile has already put bytes, as those of numbers, into the order of this machine.
            values = _from_bytes(values.astype(values.dtype.newbyteorder(page.parent.byteorder)))
        values = values[: height - top, : width - left]
        pixels[plane, top : top + len(values), left : left + values.shape[1]] = values
    pixels = pixels[..., 0] if samples == 1 else pixels
    return pixels[0] if planes == 1 else pixels


def _sums(differences: np.ndarray) -> np.ndarray:
    """Add up horizontal differences of numbers (H, W, samples) that were taken bit by bit, as of integers."""
    integers = differences.view(f"u{differences.dtype.itemsize}")
    return np.cumsum(integers, axis=1, dtype=integers.dtype).view(differences.dtype)


def _from_bytes(differences: np.ndarray) -> np.ndarray:
    """Undo Adobe's predictor for floating point: each row holds all highest bytes, then all second bytes, and so on.

    The differences of bytes run from pixel to pixel, through the whole row.
    """
    height, width, samples = differences.shape
    size = differences.dtype.itemsize
    content = np.ascontiguousarray(differences).view(np.uint8).reshape(height, size * width, samples)
    content = np.cumsum(content, axis=1, dtype=np.uint8).reshape(height, size, width * samples)
    values = np.ascontiguousarray(np.moveaxis(content, 1, -1)).view(f">f{size}")
    return values.reshape(height, width, samples)


def as_float32(pixels: np.ndarray) -> np.ndarray:
    """Convert pixels to float32. Raise `UserError` if float32 cannot hold them."""
    with np.errstate(over="ignore"):
        pixels = pixels.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise UserError("has pixels that are infinite, no numbers, or too large for float32")
    return pixels


@contextmanager
def without_messages() -> Iterator[None]:
    """Hide libtiff's messages about damaged files. They bypass Python's `sys.stderr`."""
    global _silent, _stderr
    with _messages:
        if _silent == 0:
            _stderr = os.dup(2)
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 2)
            os.close(null)
        _silent += 1
    try:
        yield
    finally:
        with _messages:
            _silent -= 1
            if _silent == 0:
                os.dup2(_stderr, 2)
                os.close(_stderr)


def _check_compression(page: tifffile.TiffPage) -> None:
    """Raise `UserError` for what tifffile decodes with another package alone, or without a limit of size."""
    if page.compression == tifffile.COMPRESSION.NONE:
        return
    if page.compression not in DEFLATE:
        name = getattr(page.compression, "name", page.compression)
        raise UserError(f"compression {name} is not supported in a TIFF of this kind; save it with deflate or without")
    if page.predictor not in (NO_PREDICTOR, HORIZONTAL, FLOATING):
        raise UserError(f"predictor {page.predictor} is not supported in a TIFF of this kind; save it without")


def _check_sizes(tiff: tifffile.TiffFile, page: tifffile.TiffPage) -> None:
    """Check that compressed data is not larger than the image, before tifffile decompresses all of it."""
    if page.compression == tifffile.COMPRESSION.NONE:
        return
    for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True):
        tiff.filehandle.seek(offset)
        content = tiff.filehandle.read(count)
        # Tiles at the border extend beyond the image, but no part is larger than the whole image plus a tile.
        if len(zlib.decompressobj().decompress(content, 4 * page.nbytes + 1)) > 4 * page.nbytes:
            raise UserError("damaged: a part is larger than the whole")
