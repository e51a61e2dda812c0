"""Makes more than 350 files that are no good images, each bad in its own way: `python tests/hostile.py FOLDER`."""

import io
import os
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

SIZE = 48, 64
FORMATS = {"png": "PNG", "jpg": "JPEG", "tif": "TIFF", "webp": "WEBP", "bmp": "BMP"}
FORMATS |= {"avif": "AVIF", "jp2": "JPEG2000", "gif": "GIF", "ppm": "PPM", "hdr": "", "exr": ""}
RADIANCE = b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n"


def good(suffix: str) -> bytes:
    """A good image in this format."""
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    if suffix == "hdr":
        return radiance(pixels)
    if suffix == "exr":
        return openexr(SIZE[1], SIZE[0], pixels.astype("<f4") / 255)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, FORMATS[suffix], **({"compression": "tiff_lzw"} if suffix == "tif" else {}))
    return content.getvalue()


def radiance(pixels: np.ndarray) -> bytes:
    """A Radiance file of runs: of one byte each, all of the exponent of 1."""
    start = b"\2\2" + struct.pack(">H", pixels.shape[1])
    planes = np.moveaxis(np.concatenate([pixels, np.full_like(pixels[..., :1], 128)], axis=-1), -1, 1)
    rows = (start + np.stack([np.ones_like(row), row], axis=-1).tobytes() for row in planes)
    return RADIANCE % pixels.shape[:2] + b"".join(rows)


def openexr(width: int, height: int, pixels: np.ndarray) -> bytes:
    """An OpenEXR file without compression, which says of its size what one likes."""
    channel = struct.pack("<iB3xii", 2, 0, 1, 1)
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    attributes = {
        "channels chlist": b"".join(name + b"\0" + channel for name in (b"B", b"G", b"R")) + b"\0",
        "compression compression": b"\0",
        "dataWindow box2i": window,
        "displayWindow box2i": window,
        "lineOrder lineOrder": b"\0",
        "pixelAspectRatio float": struct.pack("<f", 1),
        "screenWindowCenter v2f": bytes(8),
        "screenWindowWidth float": struct.pack("<f", 1),
    }
    head = b"\x76\x2f\x31\x01\2\0\0\0" + b"".join(
        name.replace(" ", "\0").encode() + b"\0" + struct.pack("<i", len(value)) + value
        for name, value in attributes.items()
    )
    rows = [np.moveaxis(row[:, ::-1], -1, 0).tobytes() for row in pixels]
    rows = [struct.pack("<ii", i, len(row)) + row for i, row in enumerate(rows)]
    start = len(head) + 1 + 8 * len(rows)
    offsets = struct.pack(f"<{len(rows)}Q", *(start + i * len(rows[0]) for i in range(len(rows))))
    return b"".join([head, b"\0", offsets, *rows])


def chunk(kind: bytes, content: bytes) -> bytes:
    """One part of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, depth: int, color: int, rows: bytes, *more: bytes) -> bytes:
    """A PNG that says of itself what one likes."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *more, chunk(b"IDAT", rows), chunk(b"IEND", b"")])


def tiff(content: bytes = b"", **tags: tuple[int, int, int]) -> bytes:
    """A TIFF of a directory, each tag with its type, count and value, and one strip, if any."""
    if content:
        tags |= {"t273": (4, 1, 14 + 12 * (len(tags) + 2)), "t279": (4, 1, len(content))}
    entries = b"".join(struct.pack("<HHII", int(tag[1:]), *value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + content


def scans() -> bytes:
    """A JPEG of 4000x4000 that is gone through 400 times."""
    content = io.BytesIO()
    Image.new("L", (4000, 4000)).save(content, "JPEG", progressive=True)
    head, *parts = content.getvalue().split(b"\xff\xda")
    return head + b"".join(b"\xff\xda" + part.removesuffix(b"\xff\xd9") for part in (parts * 100)[:400]) + b"\xff\xd9"


def contents() -> dict[str, bytes]:
    """Name and bytes of every bad regular file."""
    files: dict[str, bytes] = {}
    random = np.random.default_rng(0)
    for suffix in FORMATS:
        content = good(suffix)
        half = len(content) // 2
        files |= {f"cut-{share}.{suffix}": content[: len(content) * share // 100] for share in (1, 5, 25, 50, 75, 90)}
        files |= {
            f"empty.{suffix}": b"",
            f"text.{suffix}": b"This is no image.\n" * 9,
            f"zeros.{suffix}": bytes(4096),
            f"noise.{suffix}": random.bytes(4096),
            f"signature.{suffix}": content[:8],
            f"hollow.{suffix}": content[:40] + bytes(len(content) - 40),
            f"page.{suffix}": b"<!doctype html><title>404</title>",
            f"gif.{suffix}": b"GIF89a" + bytes(64),
            f"program.{suffix}": b"\x7fELF" + bytes(512),
            f"postscript.{suffix}": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n",
            f"archive.{suffix}": b"PK\x03\x04" + random.bytes(512),
            f"no-middle.{suffix}": content[: half // 2] + content[half:],
        }
        other = "png" if suffix != "png" else "jpg"
        files[f"really-{other}.{suffix}"] = good(other)
        for i in range(15):
            damaged = bytearray(content)
            # In the head, where sizes, depths and offsets stand.
            for place in random.integers(4, min(120, len(content)), 6):
                damaged[place] = int(random.integers(256))
            files[f"head-{i}.{suffix}"] = bytes(damaged)
    rows = zlib.compress(bytes((1 + 3 * 64) * 48), 9)
    bomb = zlib.compress(bytes(2**26), 9)
    files |= {
        "bomb-50000.png": png(50000, 50000, 8, 0, bomb),
        "bomb-16-bit.png": png(20000, 20000, 16, 2, bomb),
        # Within the cap on pixels, and of 200 MB.
        "bomb-allowed.png": png(5700, 5700, 16, 2, zlib.compress(bytes((1 + 6 * 5700) * 5700), 9)),
        "bomb-transparent.png": png(5700, 5700, 8, 6, zlib.compress(bytes((1 + 4 * 5700) * 5700), 9)),
        "bomb-transparent-16-bit.png": png(5700, 5700, 16, 6, zlib.compress(bytes((1 + 8 * 5700) * 5700), 9)),
        "bomb-colour.png": png(5700, 5700, 8, 2, zlib.compress(bytes((1 + 3 * 5700) * 5700), 9)),
        "bomb-thin.png": png(2**31 - 1, 1, 8, 0, bomb),
        "bomb-largest.png": png(2**31 - 1, 2**31 - 1, 16, 6, bomb),
        "bomb-text.png": png(64, 48, 8, 2, rows, chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(2**28), 9))),
        "bomb-profile.png": png(64, 48, 8, 2, rows[:9], chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(2**28), 9))),
        "no-width.png": png(0, 48, 8, 2, rows),
        "no-height.png": png(64, 0, 8, 2, rows),
        "no-pixels.png": png(0, 0, 8, 2, b""),
        "depth-3.png": png(64, 48, 3, 2, rows),
        "color-7.png": png(64, 48, 8, 7, rows),
        "no-palette.png": png(64, 48, 8, 3, zlib.compress(bytes(200), 9)[:6]),
        "two-headers.png": png(64, 48, 8, 2, rows)[:33] + png(10, 10, 8, 2, rows)[8:40],
        "no-end.png": png(64, 48, 8, 2, rows)[:60],
        "crc.png": png(64, 48, 8, 2, rows)[:29] + b"\0\0\0\0" + png(64, 48, 8, 2, rows)[33:],
        "long-chunk.png": png(64, 48, 8, 2, rows)[:33] + struct.pack(">I", 2**31 - 1) + b"IDAT" + bytes(99),
        "bomb.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0),
        "no-size.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 0, 0, 1, 24, 0, 0, 0, 0, 0, 0),
        "negative.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, -9, -9, 1, 24, 0, 0, 0, 0, 0, 0),
        "depth-99.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 9, 9, 1, 99, 0, 0, 0, 0, 0, 0),
        "nothing.tif": b"II*\0" + struct.pack("<I", 0),
        "directory-beyond.tif": b"II*\0" + struct.pack("<I", 10**8),
        "directory-itself.tif": b"II*\0" + struct.pack("<IHI", 8, 0, 8),
        "tags-65535.tif": b"II*\0" + struct.pack("<IH", 8, 65535) + random.bytes(4000),
        "bomb.tif": tiff(t256=(4, 1, 70000), t257=(4, 1, 70000), t258=(3, 1, 8), t259=(3, 1, 1), t273=(4, 1, 8)),
        "bomb-float.tif": tiff(
            t256=(4, 1, 70000), t257=(4, 1, 70000), t258=(3, 1, 32), t259=(3, 1, 1), t262=(3, 1, 2), t273=(4, 1, 8),
            t277=(3, 1, 3), t339=(3, 1, 3),
        ),
        "strips-2^32.tif": tiff(
            t256=(4, 1, 64), t257=(4, 1, 48), t258=(3, 1, 32), t259=(3, 1, 1), t262=(3, 1, 2), t273=(4, 2**32 - 1, 8),
            t277=(3, 1, 3), t339=(3, 1, 3),
        ),
        "no-width.tif": tiff(t256=(4, 1, 0), t257=(4, 1, 48), t258=(3, 1, 8), t259=(3, 1, 1), t273=(4, 1, 8)),
        "big-tiff.tif": b"II+\0" + struct.pack("<HHQ", 8, 0, 16) + bytes(99),
        "bomb.webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<IB3x", 10, 0) + b"\xff" * 6,
        "comment.jpg": b"\xff\xd8" + b"\xff\xfe\xff\xff" * 500,
        "bomb.jpg": good("jpg").replace(b"\x11\x08\x00\x30\x00\x40", b"\x11\x08\xff\xff\xff\xff"),
        "bomb-scans.jpg": scans(),
        "bomb-strip.tif": tiff(
            zlib.compress(bytes(2**28), 9), t256=(4, 1, 64), t257=(4, 1, 48), t258=(3, 1, 32), t259=(3, 1, 8),
            t262=(3, 1, 2), t277=(3, 1, 3), t278=(3, 1, 48), t339=(3, 1, 3),
        ),
        "bomb.ppm": b"P6\n70000 70000\n255\n" + bytes(999),
        "plain.ppm": b"P3\n5700 5700\n255\n" + b"1 " * 2**20,
        "deep.ppm": b"P6\n64 48\n65535\n" + bytes(64 * 48 * 6),
        "short.pfm": b"PF\n64 48\n-1.0\n" + bytes(999),
        "bomb.pfm": b"PF\n70000 70000\n-1.0\n" + bytes(999),
        "nan.pfm": b"PF\n64 48\n-1.0\n" + b"\xff" * (64 * 48 * 12),
        "no-size.pfm": b"PF\n0 48\n-1.0\n",
        "bomb.hdr": RADIANCE % (70000, 70000) + bytes(999),
        "allowed.hdr": RADIANCE % (5700, 5700) + b"\2\2" + struct.pack(">H", 5700) + b"\xff\1" * 999,
        "no-size.hdr": RADIANCE % (0, 64),
        "long-row.hdr": RADIANCE % (48, 64) + b"\2\2\0\x40" + b"\xff\1" * 9999,
        "empty-runs.hdr": RADIANCE % (48, 64) + b"\2\2\0\x40" + bytes(9999),
        "head.hdr": b"#?RADIANCE\n" + b"# a comment\n" * 2**16,
        "bomb.exr": openexr(70000, 70000, np.zeros((1, 64, 3), "<f4")),
        "allowed.exr": openexr(5700, 5700, np.zeros((1, 64, 3), "<f4")),
        "negative.exr": openexr(-9, -9, np.zeros((1, 64, 3), "<f4")),
        "largest.exr": openexr(2**31 - 1, 2**31 - 1, np.zeros((1, 64, 3), "<f4")),
        "bomb.gif": struct.pack("<6sHHBBBcHHHHB", b"GIF89a", 65535, 65535, 0, 0, 0, b",", 0, 0, 65535, 65535, 0),
        "bomb.jp2": good("jp2").replace(struct.pack(">II", 64, 48), struct.pack(">II", 70000, 70000)),
        "large.jp2": good("jp2").replace(struct.pack(">II", 64, 48), struct.pack(">II", 5700, 5700)),
        "large.avif": good("avif").replace(struct.pack(">II", 64, 48), struct.pack(">II", 5700, 5700)),
        "no-height.jpg": good("jpg").replace(b"\x11\x08\x00\x30", b"\x11\x08\x00\x00"),
    }  # fmt: skip
    for name, array in {
        "nan": np.full(SIZE, np.nan, np.float32),
        "infinite": np.full((*SIZE, 3), np.inf, np.float32),
        "int32": np.zeros(SIZE, np.int32),
        "uint64": np.zeros(SIZE, np.uint64),
        "complex": np.zeros(SIZE, np.complex64),
        "int8": np.zeros(SIZE, np.int8),
        "five-channels": np.zeros((*SIZE, 5), np.uint16),
        "volume": np.zeros((4, 5, *SIZE), np.float64),
        "two-bytes-alpha": np.zeros((*SIZE, 2), np.uint16),
        "tiny": np.zeros((2, 2), np.float32),
    }.items():
        content = io.BytesIO()
        tifffile.imwrite(content, array, photometric="minisblack", metadata=None)
        files[f"{name}.tif"] = content.getvalue()
    files["thin.png"] = png(3, 48, 8, 0, zlib.compress(bytes(4 * 48)))
    return files


def make(folder: Path) -> list[Path]:
    """Write them all, with what is no regular file at all, and return their paths."""
    folder.mkdir(parents=True)
    for name, content in contents().items():
        (folder / name).write_bytes(content)
    (folder / "-leading.png").write_bytes(b"no image")
    (folder / "new\nline.png").write_bytes(b"no image")
    (folder / os.fsdecode(b"bytes-\xff.png")).write_bytes(b"no image")
    (folder / "[bold]markup.png").write_bytes(b"no image")
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "device.png").symlink_to("/dev/zero")
    return sorted(folder.iterdir())


if __name__ == "__main__":
    print(len(make(Path(sys.argv[1]))), "files")
