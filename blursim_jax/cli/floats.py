"""Decode floating-point pictures that Pillow does not read: PFM of colours, Radiance HDR and OpenEXR."""

import contextlib
import importlib
import io
import os
import re
import threading
from pathlib import Path
from typing import BinaryIO

import numpy as np

from blursim_jax.cli.files import UserError, printable
from blursim_jax.cli.formats import check_size
from blursim_jax.cli.profiles import Space

# Width, height, and whose sign is the order of bytes.
PFM = re.compile(rb"PF\s+(\d{1,9})\s+(\d{1,9})\s+([-+.\deE]{1,20})\s")
OPENEXR = b"\x76\x2f\x31\x01"
RADIANCE = b"#?RADIANCE", b"#?RGBE"
# What the head of a Radiance file may take.
HEAD = 2**16
MISSING = "damaged: pixels are missing"
# Radiance and OpenEXR hold light, not values with a gamma.
LINEAR = "linear light"
# The primaries and white of sRGB, which an OpenEXR file has if it names none.
BT709 = 0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.313, 0.329

_printed = threading.Lock()


def decode_floats(file: BinaryIO, path: Path, max_pixels: int) -> tuple[np.ndarray, list[str], Space | None] | None:
    """Return the pixels of such a file, notes, and what its values stand for, or None if it is none."""
    file.seek(0)
    head = file.read(64)
    if (found := PFM.match(head)) is not None:
        return _pfm(file, found, max_pixels), [], None
    if head.startswith(RADIANCE):
        return _radiance(file, max_pixels)
    return _openexr(path, max_pixels) if head.startswith(OPENEXR) else None


def _pfm(file: BinaryIO, head: re.Match[bytes], max_pixels: int) -> np.ndarray:
    width, height = int(head[1]), int(head[2])
    check_size(width, height, max_pixels)
    file.seek(head.end())
    content = file.read(12 * width * height)
    if len(content) < 12 * width * height:
        raise UserError(MISSING)
    order = "<" if head[3].startswith(b"-") else ">"
    # Rows go up.
    return np.flip(np.frombuffer(content, f"{order}f4").reshape(height, width, 3), axis=0)


def _radiance(file: BinaryIO, max_pixels: int) -> tuple[np.ndarray, list[str], Space]:
    """Decode mantissas of 8 bits with an exponent that they share, flat or in run lengths."""
    file.seek(0)
    head = re.match(rb"(.*?)\r?\n\r?\n([^\n]*)\n", file.read(HEAD), re.DOTALL)
    lines = [line.strip() for line in head[1].split(b"\n")] if head else []
    if head is None or b"FORMAT=32-bit_rle_rgbe" not in lines:
        raise UserError("a Radiance file without FORMAT=32-bit_rle_rgbe and a size is not supported")
    size = head[2].strip()
    found = re.fullmatch(rb"-Y (\d{1,9}) \+X (\d{1,9})", size)
    if found is None:
        raise UserError("damaged, or not upright: its size is no line -Y HEIGHT +X WIDTH")
    height, width = int(found[1]), int(found[2])
    check_size(width, height, max_pixels)
    file.seek(head.end())
    # A pixel of each channel takes two bytes at the most.
    content = file.read(min((8 * width + 4) * height, os.fstat(file.fileno()).st_size))
    if 8 <= width < 2**15 and content[:4] == b"\2\2" + width.to_bytes(2):
        pixels = _runs(content, height, width)
    elif len(content) >= 4 * width * height:
        pixels = np.frombuffer(content, np.uint8, 4 * width * height).reshape(height, width, 4)
    else:
        raise UserError(
            "damaged: pixels are missing. Or it has the run lengths of before 1991, which are not supported"
        )
    exponents = pixels[..., 3:].astype(np.int32)
    colors = np.ldexp(pixels[..., :3].astype(np.float32), exponents - 136)
    texts = [printable(line.decode("ascii", "replace")) for line in lines]
    notes = [f"values as stored, {text} is not undone" for text in texts if _scales(text)]
    primaries = "".join(text for text in texts if text.startswith("PRIMARIES="))
    return np.where(exponents > 0, colors, np.float32(0)), notes, Space(LINEAR, primaries)


def _scales(line: str) -> bool:
    """Whether a line of a head multiplies the values by other numbers than 1."""
    name, _, numbers = line.partition("=")
    try:
        return name in ("EXPOSURE", "COLORCORR") and any(float(number) != 1 for number in numbers.split())
    except ValueError:
        return True


def _runs(content: bytes, height: int, width: int) -> np.ndarray:
    """Decode rows (height, width, 4), each of four channels, in runs of one byte or of several."""
    # A run of 127 bytes takes two. A file that is too short must not take memory.
    if len(content) < height * (4 + 8 * -(-width // 127)):
        raise UserError(MISSING)
    pixels, place, start = np.empty((height, 4, width), np.uint8), 0, b"\2\2" + width.to_bytes(2)
    for row in pixels:
        if content[place : place + 4] != start:
            raise UserError(MISSING if place + 4 > len(content) else "damaged: a row has another width")
        place += 4
        for channel in row:
            done = 0
            while done < width:
                count = content[place] if place < len(content) else 0
                repeated = count > 128
                count -= 128 * repeated
                values = content[place + 1 : place + 1 + (1 if repeated else count)]
                if not values or (not repeated and len(values) < count) or done + count > width:
                    raise UserError("damaged: pixels are missing, or a row is too long")
                channel[done : done + count] = np.frombuffer(values, np.uint8)
                done, place = done + count, place + 1 + len(values)
    return np.moveaxis(pixels, 1, -1)


def _openexr(path: Path, max_pixels: int) -> tuple[np.ndarray, list[str], Space]:
    """Decode a single picture of channels R, G and B, or Y, without transparency."""
    try:
        openexr = importlib.import_module("OpenEXR")
    except ImportError as error:
        raise UserError("OpenEXR is read by its package: pip install 'OpenEXR>=3.3'") from error
    # Of a damaged file, it prints a warning, and has no parts. What is printed is redirected for all threads at once.
    with _printed, contextlib.redirect_stdout(io.StringIO()):
        opened = openexr.File(str(path), header_only=True)
        header = opened.header()
        (left, top), (right, bottom) = (np.asarray(corner).tolist() for corner in header["dataWindow"])
        check_size(right - left + 1, bottom - top + 1, max_pixels)
        names = {channel.name for channel in header["channels"]}
        if len(opened.parts) > 1 or header["type"] in (openexr.deepscanline, openexr.deeptile):
            raise UserError("of several parts, or of several values a pixel, which is not supported")
        if names - {"A"} not in ({"R", "G", "B"}, {"Y"}):
            raise UserError(f"channels {', '.join(sorted(names))} are not supported; expected R, G and B, or Y")
        if not np.array_equal(header["dataWindow"], header["displayWindow"]):
            raise UserError("its data window is not its display window, which is not supported")
        channels = openexr.File(str(path), separate_channels=True).channels()
    if "A" in names and (channels["A"].pixels != 1).any():
        raise UserError("transparent, which is not supported for OpenEXR")
    primaries = np.round(header.get("chromaticities", BT709), 3).tolist()
    space = Space(LINEAR, "" if primaries == list(BT709) else f"{primaries}")
    planes = [channels[name].pixels for name in ("RGB" if "R" in names else "Y")]
    if any(plane.shape != (bottom - top + 1, right - left + 1) or plane.dtype.kind != "f" for plane in planes):
        raise UserError("channels of different sizes, or of integers, are not supported")
    return np.stack(planes, axis=-1) if len(planes) == 3 else planes[0], [], space
