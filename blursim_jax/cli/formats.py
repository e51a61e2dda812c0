"""The formats that are read, and which of their files Pillow would read wrongly."""

import re
from typing import BinaryIO

from PIL import Image

from blursim_jax.cli.files import UserError

# Formats that Pillow may try, and their file suffixes.
SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
}
# With those that it does not read.
KNOWN = {suffix for suffixes in SUFFIXES.values() for suffix in suffixes} | {".hdr", ".exr"}
ADVICE = "convert it to 8-bit or 16-bit PNG"
HEAD = 2**16


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise `UserError` if there are too many pixels, or none."""
    if width * height > max_pixels:
        raise UserError(f"{width}x{height} is more than --max-pixels {max_pixels}")
    if not width * height:
        raise UserError(f"has no pixels, {width}x{height}")


def check_depth(image: Image.Image, file: BinaryIO) -> None:
    """Raise `UserError` for pixels that Pillow would reduce to 8 bits, or read slowly."""
    if image.format == "PPM" and image.tile[0].codec_name != "raw":  # type: ignore[attr-defined]
        raise UserError(f"as text, of 16-bit colours, or of a largest value other than 255 and 65535; {ADVICE}")
    if image.format in ("AVIF", "JPEG2000"):
        file.seek(0)
        head = file.read(HEAD)
        file.seek(0)
        depths = _avif_depths(head) if image.format == "AVIF" else _jpeg2000_depths(head)
        if set(depths) - {8} and depths != [16]:
            raise UserError(f"{max(depths, default=0)} bits are not supported in this format; {ADVICE}")


def _avif_depths(head: bytes) -> list[int]:
    """Return 8, or 10 for more, of every picture in the file."""
    return [10 if flags[0] & 0x40 else 8 for flags in re.findall(rb"av1C[\0-\xff]{2}([\0-\xff])", head)]


def _jpeg2000_depths(head: bytes) -> list[int]:
    """Return the bits of every channel: 0 if they are signed, and none if the file does not say it."""
    found = re.search(rb"\xff\x4f\xff\x51[\0-\xff]{36}([\0-\xff]{2})", head)
    if found is None:
        raise UserError("damaged: its size and depth are missing")
    channels = head[found.end() : found.end() + 3 * int.from_bytes(found[1])][::3]
    return [0 if byte & 0x80 else byte + 1 for byte in channels]
