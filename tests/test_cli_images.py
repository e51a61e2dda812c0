"""What the command reads of image files: every format, depth and kind of colour, against the reference."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage")

import io
import re
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cv2
import hostile
import numpy as np
import pytest
import reference
import tifffile
from blursim_command import compared
from cases import FLOAT32
from PIL import Image

from blursim_jax.cli.files import UserError
from blursim_jax.cli.images import read
from blursim_jax.cli.pairs import read_pair
from blursim_jax.cli.scores import score
from blursim_jax.cli.settings import Settings

SETTINGS = Settings(0.9, 5, "magnitude", "area", False, None, False, False, 10**6)
LUMA = 0.299, 0.587, 0.114
COLORS = np.random.default_rng(0).integers(0, 65536, (37, 50, 4), dtype=np.uint16)
# 8 bits, 16 bits and floating point in 0..1, RGBA.
BYTES, WORDS, FLOATS = (COLORS >> 8).astype(np.uint8), COLORS, (COLORS / 65535).astype(np.float32)


def pillow(array: np.ndarray, mode: str | None = None, **options: Any) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        image = Image.fromarray(array)
        (image if mode is None else image.convert(mode)).save(path, **options)

    return write


def opencv(array: np.ndarray) -> Callable[[Path], object]:
    return lambda path: cv2.imwrite(
        str(path), array[..., [2, 1, 0, 3][: array.shape[-1]]] if array.ndim == 3 else array
    )


def tiff(array: np.ndarray, **options: Any) -> Callable[[Path], object]:
    return lambda path: tifffile.imwrite(path, array, **options)


RGB: dict[str, Any] = {"photometric": "rgb"}
PLANAR: dict[str, Any] = RGB | {"planarconfig": "separate"}
STRAIGHT: dict[str, Any] = RGB | {"extrasamples": ["unassalpha"]}
# File, what writes it, what it holds, white.
EXACT: dict[str, tuple[str, Callable[[Path], object], np.ndarray, float]] = {
    "PNG, grey": ("a.png", pillow(BYTES[..., 0]), BYTES[..., 0], 255),
    "PNG, colour": ("a.png", pillow(BYTES[..., :3]), BYTES[..., :3], 255),
    "PNG, alpha": ("a.png", pillow(BYTES), BYTES, 255),
    "PNG, 16-bit grey": ("a.png", opencv(WORDS[..., 0]), WORDS[..., 0], 65535),
    "PNG, 16-bit colour": ("a.png", opencv(WORDS[..., :3]), WORDS[..., :3], 65535),
    "PNG, 16-bit alpha": ("a.png", opencv(WORDS), WORDS, 65535),
    "PNG, bilevel": (
        "a.png",
        pillow(255 * (BYTES[..., 0] > 99).astype(np.uint8), "1"),
        255 * (BYTES[..., 0] > 99),
        255,
    ),
    "BMP, grey": ("a.bmp", pillow(BYTES[..., 0]), BYTES[..., 0], 255),
    "BMP, colour": ("a.bmp", pillow(BYTES[..., :3]), BYTES[..., :3], 255),
    "WebP, lossless": ("a.webp", pillow(BYTES[..., :3], lossless=True), BYTES[..., :3], 255),
    "WebP, alpha": ("a.webp", pillow(BYTES, lossless=True, exact=True), BYTES, 255),
    "TIFF, 8-bit": ("a.tif", pillow(BYTES[..., :3]), BYTES[..., :3], 255),
    "TIFF, 8-bit, LZW": ("a.tiff", pillow(BYTES[..., :3], compression="tiff_lzw"), BYTES[..., :3], 255),
    "TIFF, 16-bit grey": ("a.tif", tiff(WORDS[..., 0]), WORDS[..., 0], 65535),
    "TIFF, 16-bit grey, big-endian": ("a.tif", tiff(WORDS[..., 0], byteorder=">"), WORDS[..., 0], 65535),
    "TIFF, 16-bit, white is 0": ("a.tif", tiff(WORDS[..., 0], photometric="miniswhite"), 65535 - WORDS[..., 0], 65535),
    "TIFF, 16-bit colour": ("a.tif", tiff(WORDS[..., :3], **RGB), WORDS[..., :3], 65535),
    "TIFF, 16-bit colour, big-endian": ("a.tif", tiff(WORDS[..., :3], byteorder=">", **RGB), WORDS[..., :3], 65535),
    "TIFF, 16-bit colour, LZW": ("a.tif", opencv(WORDS[..., :3]), WORDS[..., :3], 65535),
    "TIFF, 16-bit colour, zip": ("a.tif", tiff(WORDS[..., :3], compression="zlib", **RGB), WORDS[..., :3], 65535),
    "TIFF, 16-bit colour, tiles": ("a.tif", tiff(WORDS[..., :3], tile=(16, 16), **RGB), WORDS[..., :3], 65535),
    "TIFF, 16-bit colour, planes": ("a.tif", tiff(np.moveaxis(WORDS[..., :3], -1, 0), **PLANAR), WORDS[..., :3], 65535),
    "TIFF, 16-bit alpha": ("a.tif", tiff(WORDS, **STRAIGHT), WORDS, 65535),
    "TIFF, float grey": ("a.tif", tiff(FLOATS[..., 0]), FLOATS[..., 0], 1),
    "TIFF, float colour": ("a.tif", tiff(FLOATS[..., :3], **RGB), FLOATS[..., :3], 1),
    "TIFF, float16": ("a.tif", tiff(FLOATS[..., 0].astype(np.float16)), FLOATS[..., 0].astype(np.float16), 1),
    "TIFF, float64": ("a.tif", tiff(FLOATS[..., 0].astype(np.float64)), FLOATS[..., 0], 1),
}


# Of formats that most people know less.
def content(head: bytes, pixels: np.ndarray, order: Literal["<", ">"] = ">") -> Callable[[Path], object]:
    """A head, and the bytes of pixels."""
    return lambda path: path.write_bytes(head + pixels.astype(pixels.dtype.newbyteorder(order)).tobytes())


BITS = 255 * (BYTES[..., 0] > 99).astype(np.uint8)
RARE: dict[str, tuple[str, Callable[[Path], object], np.ndarray, float]] = {
    "PPM": ("a.ppm", content(b"P6\n50 37\n255\n", BYTES[..., :3]), BYTES[..., :3], 255),
    "PGM": ("a.pgm", content(b"P5 # a comment\n50 37\n255\n", BYTES[..., 0]), BYTES[..., 0], 255),
    "PGM, 16-bit": ("a.pgm", content(b"P5\n50 37\n65535\n", WORDS[..., 0]), WORDS[..., 0], 65535),
    "PBM": ("a.pbm", content(b"P4\n50 37\n", np.packbits(BITS == 0, axis=1)), BITS, 255),
    "PFM, grey": ("a.pfm", content(b"Pf\n50 37\n-1.0\n", FLOATS[::-1, :, 0], "<"), FLOATS[..., 0], 1),
    "PFM, colour": ("a.pfm", content(b"PF\n50 37\n-1.0\n", FLOATS[::-1, :, :3], "<"), FLOATS[..., :3], 1),
    "PFM, big-endian": ("a.pfm", content(b"PF\n50 37\n1.0\n", FLOATS[::-1, :, :3]), FLOATS[..., :3], 1),
    "GIF": ("a.gif", lambda path: Image.fromarray(BYTES[..., 0] // 16 * 17).save(path), BYTES[..., 0] // 16 * 17, 255),
    "JPEG 2000": ("a.jp2", pillow(BYTES[..., :3]), BYTES[..., :3], 255),
    "JPEG 2000, codestream": ("a.j2k", pillow(BYTES[..., :3]), BYTES[..., :3], 255),
    "JPEG 2000, alpha": ("a.jp2", pillow(BYTES), BYTES, 255),
    "JPEG 2000, 16-bit grey": ("a.jp2", pillow(WORDS[..., 0]), WORDS[..., 0], 65535),
}
EXACT |= RARE


# Radiance HDR, by bytes that are written here, and by OpenCV.
MANTISSAS = np.random.default_rng(7).integers(1, 256, (37, 50, 4), dtype=np.uint8)
MANTISSAS[..., 3] = MANTISSAS[..., 3] // 16 + 113
MANTISSAS[3, :40] = 77, 0, 1, 0
MANTISSAS[4, 5:45] = 9, 8, 7, 128
RADIANCE = MANTISSAS[..., :3] * np.where(MANTISSAS[..., 3:] > 0, 2.0 ** (MANTISSAS[..., 3:].astype(int) - 136), 0)
RADIANCE_HEAD = b"#?RADIANCE\n# made here\nFORMAT=32-bit_rle_rgbe\n\n-Y 37 +X 50\n"


def runs() -> bytes:
    """The same in runs: equal bytes as a number and a byte, others one by one."""
    rows = []
    for row in MANTISSAS:
        rows.append(b"\2\2\0\x32")
        for channel in row.T:
            parts = np.split(channel, np.nonzero(np.diff(channel))[0] + 1)
            rows += [bytes([128 + len(x), x[0]]) if len(x) > 1 else bytes([1, x[0]]) for x in parts]
    return b"".join(rows)


EXACT |= {
    "Radiance, flat": ("a.hdr", content(RADIANCE_HEAD, MANTISSAS), RADIANCE, 1),
    "Radiance, runs": ("a.hdr", lambda path: path.write_bytes(RADIANCE_HEAD + runs()), RADIANCE, 1),
}


@pytest.mark.parametrize("width", [5, 8, 300])
def test_radiance_as_opencv_writes_it(tmp_path: Path, width: int) -> None:
    pixels = cv2.resize(FLOATS[..., :3], (width, 37), interpolation=cv2.INTER_CUBIC).clip(0)
    pixels[5:9] = 0.25
    assert cv2.imwrite(str(tmp_path / "a.hdr"), pixels)
    right = cv2.imread(str(tmp_path / "a.hdr"), cv2.IMREAD_UNCHANGED)
    assert right is not None
    found = read(tmp_path / "a.hdr", color=True, max_pixels=10**6)
    assert (found.white, found.space, found.notes) == (1, ("linear light", "", 0), ())
    np.testing.assert_array_equal(found.pixels, right[..., ::-1])


@pytest.mark.parametrize("line", ["EXPOSURE=0.5", "EXPOSURE=10", "EXPOSURE= 0.1", "EXPOSURE=?", "COLORCORR=2 1 1"])
def test_factors_of_a_radiance_file_are_said(tmp_path: Path, line: str) -> None:
    path = tmp_path / "a.hdr"
    neutral = RADIANCE_HEAD.replace(b"FORMAT", b"EXPOSURE=1.000000e+00\nCOLORCORR=1 1 1\nFORMAT")
    for head, notes in (
        (neutral.replace(b"\n", b"\r\n"), ()),
        (RADIANCE_HEAD.replace(b"FORMAT", line.encode() + b"\nFORMAT"), (f"values as stored, {line} is not undone",)),
    ):
        path.write_bytes(head + MANTISSAS.tobytes())
        found = read(path, color=True, max_pixels=10**6)
        assert found.notes == notes
        np.testing.assert_array_equal(found.pixels, RADIANCE)


def test_light_beside_values_with_a_gamma(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.hdr").write_bytes(RADIANCE_HEAD + MANTISSAS.tobytes())
    Image.fromarray(np.zeros(RADIANCE.shape, np.uint8)).save(tmp_path / "b.png")
    notes = "".join(compared(capsys, tmp_path / "a.hdr", tmp_path / "b.png")["notes"])
    assert "a.hdr: not converted to sRGB from linear light" in notes
    assert "the files differ in depth: each was divided by its own white" in notes
    notes = "".join(compared(capsys, tmp_path / "b.png", tmp_path / "a.hdr", "--data-range", 1)["notes"])
    assert "the files differ in depth, and --data-range 1 is white in all of them" in notes


@pytest.mark.system
@pytest.mark.parametrize("kind", ["colour", "grey", "half"])
def test_openexr(tmp_path: Path, kind: str) -> None:
    exr: Any = pytest.importorskip("OpenEXR")
    pixels = FLOATS[..., 0] if kind == "grey" else FLOATS[..., :3]
    pixels = np.ascontiguousarray(pixels, np.float16 if kind == "half" else np.float32)
    path = tmp_path / "a.exr"
    header = {"compression": exr.ZIP_COMPRESSION, "type": exr.scanlineimage}
    exr.File(header, {"Y" if kind == "grey" else "RGB": pixels}).write(str(path))
    found = read(path, color=kind != "grey", max_pixels=10**6)
    assert found.white == 1 and found.notes == ()
    np.testing.assert_array_equal(found.pixels, pixels.astype(np.float32))
    whole = path.read_bytes()
    for bad in whole[:-9], whole[:300], whole[:8] + bytes(99):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="damaged"):
            read(path, color=True, max_pixels=10**6)
    path.write_bytes(whole)
    with pytest.raises(UserError, match="50x37 is more than --max-pixels 100"):
        read(path, color=True, max_pixels=100)
    colors = {name: FLOATS[..., i].copy() for i, name in enumerate("RGBA")}
    for opaque in (True, False):
        exr.File(header, colors | {"A": np.full_like(colors["A"], 1 if opaque else 0.5)}).write(str(path))
        if opaque:
            np.testing.assert_array_equal(read(path, color=True, max_pixels=10**6).pixels, FLOATS[..., :3])
    with pytest.raises(UserError, match="transparent, which is not supported"):
        read(path, color=True, max_pixels=10**6)
    of_camera = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
    spaces = []
    for primaries in ((0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329), of_camera):
        exr.File(header | {"chromaticities": primaries}, {"RGB": FLOATS[..., :3].copy()}).write(str(path))
        spaces.append(read(path, color=True, max_pixels=10**6).space)
    assert spaces[0] == ("linear light", "", 0) and spaces[1] not in (spaces[0], None)
    window = np.array([5, 5], np.int32), np.array([54, 41], np.int32)
    exr.File(header | {"dataWindow": window}, {"RGB": FLOATS[..., :3].copy()}).write(str(path))
    with pytest.raises(UserError, match="its data window is not its display window"):
        read(path, color=True, max_pixels=10**6)
    exr.File(header, {name: FLOATS[..., 0].copy() for name in "XYZ"}).write(str(path))
    with pytest.raises(UserError, match="channels X, Y, Z are not supported; expected R, G and B, or Y"):
        read(path, color=True, max_pixels=10**6)


def test_openexr_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    (tmp_path / "a.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(99))
    with pytest.raises(UserError, match=re.escape("a.exr: OpenEXR is read by its package: pip install 'OpenEXR>=3.3'")):
        read(tmp_path / "a.exr", color=True, max_pixels=10**6)


def in_float64(pixels: np.ndarray, white: float, color: bool) -> np.ndarray:
    """What should be read, by the formulas of the help."""
    pixels = pixels.astype(np.float64)
    if pixels.ndim == 3 and pixels.shape[-1] == 4:
        share = pixels[..., 3:] / white
        pixels = np.rint(pixels[..., :3] * share + white * (1 - share))
    if color:
        return pixels if pixels.ndim == 3 else np.stack([pixels] * 3, axis=-1)
    return pixels @ np.array(LUMA) if pixels.ndim == 3 else pixels


@pytest.mark.parametrize("color", [False, True], ids=["grey", "colour"])
@pytest.mark.parametrize(("name", "write", "pixels", "white"), EXACT.values(), ids=EXACT)
def test_what_is_in_the_file(
    tmp_path: Path, name: str, write: Callable[[Path], object], pixels: np.ndarray, white: float, color: bool
) -> None:
    write(tmp_path / name)
    found = read(tmp_path / name, color=color, max_pixels=10**6)
    expected = in_float64(pixels, white, color)
    assert found.white == white
    assert found.pixels.shape == expected.shape
    # Half a level may be rounded otherwise.
    rounded = np.abs(found.pixels - expected) > FLOAT32.same * white
    assert rounded.mean() < (0.01 if pixels.ndim == 3 and pixels.shape[-1] == 4 else 1e-12)
    np.testing.assert_allclose(found.pixels, expected, rtol=0, atol=1.001 if rounded.any() else FLOAT32.same * white)


@pytest.mark.parametrize(("name", "write", "pixels", "white"), EXACT.values(), ids=EXACT)
def test_values_are_those_of_the_reference(
    tmp_path: Path, name: str, write: Callable[[Path], object], pixels: np.ndarray, white: float
) -> None:
    write(tmp_path / name)
    other = np.flip(pixels, axis=0)
    tifffile.imwrite(tmp_path / "target.tif", (in_float64(other, white, False) / white).astype(np.float32))
    scores = score(read_pair(tmp_path / name, tmp_path / "target.tif", SETTINGS), SETTINGS)
    a, b = (in_float64(x, white, False) / white for x in (pixels, other))
    general, specific = reference.terms(a, b)
    np.testing.assert_allclose([scores.general, scores.specific], [general, specific], rtol=5 * FLOAT32.value)
    np.testing.assert_allclose(scores.value, 0.1 * general + 0.9 * specific, rtol=5 * FLOAT32.value)
    np.testing.assert_allclose(scores.mse, np.mean((a - b) ** 2), rtol=FLOAT32.rounded)


LOSSY: list[tuple[str, dict[str, Any]]] = [
    ("a.jpg", {"quality": 90}),
    ("a.webp", {"quality": 80}),
    ("a.avif", {"quality": 99}),
]


@pytest.mark.parametrize(("name", "options"), LOSSY)
def test_lossy_formats(tmp_path: Path, name: str, options: Any) -> None:
    from skimage import data

    pillow(data.astronaut(), **options)(tmp_path / name)
    # OpenCV may lack AVIF.
    pixels = data.astronaut() if name == "a.avif" else np.asarray(cv2.imread(str(tmp_path / name)))[..., ::-1]
    expected = pixels @ np.array(LUMA)
    # Decoders may round colours otherwise.
    assert np.abs(read(tmp_path / name, color=False, max_pixels=10**6).pixels - expected).mean() < 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
def test_upright(tmp_path: Path, name: str, orientation: int) -> None:
    turns: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda x: x, np.fliplr, lambda x: np.rot90(x, 2), np.flipud, lambda x: x.T, lambda x: np.rot90(x, -1),
        lambda x: np.rot90(x, 2).T, lambda x: np.rot90(x, 1),
    ]  # fmt: skip
    upright = np.repeat(np.repeat(BYTES[:5, :7, 0], 8, 0), 8, 1)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(upright).save(tmp_path / name, exif=exif, quality=100)
    # To look upright, what lies in the file is turned as the number says.
    found = read(tmp_path / name, color=False, max_pixels=10**6).pixels
    expected = turns[orientation - 1](upright)
    assert found.shape == expected.shape
    assert np.abs(found - expected.astype(np.float32)).mean() <= (0 if name in ("a.png", "a.tif") else 6)


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (pillow(BYTES[..., :3], "P"), "colours of a palette"),
        (pillow(BYTES), "transparent parts over white"),
        (opencv(WORDS[..., :3]), "16 bits"),
    ],
)
def test_what_was_done_is_said(tmp_path: Path, write: Callable[[Path], object], says: str) -> None:
    write(tmp_path / "a.png")
    assert says in read(tmp_path / "a.png", color=False, max_pixels=10**6).notes


def test_cmyk_is_converted_and_said(tmp_path: Path) -> None:
    pillow(BYTES[..., :3], "CMYK", quality=100)(tmp_path / "a.jpg")
    found = read(tmp_path / "a.jpg", color=True, max_pixels=10**6)
    assert found.notes == ("CMYK converted to RGB without a colour profile",)
    # Without black, the one is the other's negative, and JPEG loses some of the noise.
    assert np.abs(found.pixels - BYTES[..., :3].astype(np.float32)).mean() < 20


def test_transparent_palettes(tmp_path: Path) -> None:
    image = Image.fromarray(BYTES[..., :3]).convert("P")
    image.save(tmp_path / "a.png", transparency=image.getpixel((0, 0)))
    found = read(tmp_path / "a.png", color=True, max_pixels=10**6)
    assert {"colours of a palette", "transparent parts over white"} <= set(found.notes)
    assert (found.pixels[0, 0] == 255).all()


def test_opaque_alpha_says_nothing(tmp_path: Path) -> None:
    pillow(np.concatenate([BYTES[..., :3], np.full((37, 50, 1), 255, np.uint8)], axis=-1))(tmp_path / "a.png")
    found = read(tmp_path / "a.png", color=True, max_pixels=10**6)
    assert found.notes == () and np.array_equal(found.pixels, BYTES[..., :3])


def test_several_pictures_in_a_file(tmp_path: Path) -> None:
    pages = [Image.fromarray(BYTES[..., i]) for i in range(3)]
    options: Any = {"a.webp": {"lossless": True}}
    for name in ("a.tif", "a.png", "a.webp"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:], **options.get(name, {}))
        found = read(tmp_path / name, color=False, max_pixels=10**6)
        assert found.notes == ("the first of several pictures in the file",)
        np.testing.assert_allclose(found.pixels, BYTES[..., 0], atol=1e-4)
    tifffile.imwrite(tmp_path / "b.tif", np.stack([FLOATS[..., 0]] * 2).astype(np.float64))
    assert "the first of several pictures in the file" in read(tmp_path / "b.tif", color=False, max_pixels=10**6).notes


KINDS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "premultiplied 16 bits": ("a.tif", tiff(WORDS, photometric="rgb", extrasamples=["assocalpha"]), "RGBa;16L"),
    "12 bits": ("a.tif", lambda path: path.write_bytes(twelve_bits()), "I;12"),
    "grey and alpha of 16 bits": ("a.png", lambda path: path.write_bytes(grey_and_alpha()), "LA;16B"),
    "a transparent colour in 16 bits": ("a.png", lambda path: path.write_bytes(transparent_colour()), "transparent"),
    "floats of which 0 is white": ("a.tif", tiff(FLOATS[..., 0], photometric="miniswhite"), "0 as white"),
    "float64 beyond float32": ("a.tif", tiff(np.full((9, 9), 1e300)), "too large for float32"),
    "integers of 32 bits": ("a.tif", tiff(WORDS[..., 0].astype(np.int32)), "not supported"),
    "signed integers": ("a.tif", tiff(BYTES[..., 0].astype(np.int8)), "int8"),
    "five channels": ("a.tif", tiff(np.zeros((9, 9, 5), np.uint16), planarconfig="contig"), "not supported"),
    "PPM, 16-bit colour": ("a.ppm", content(b"P6\n50 37\n65535\n", WORDS[..., :3]), "16-bit colours"),
    "PGM, 10-bit": ("a.pgm", content(b"P5\n50 37\n1023\n", WORDS[..., 0] // 64), "a largest value other than"),
    "PPM as text": ("a.ppm", content(b"P3\n1 1\n255\n1 2 3\n", BYTES[:0]), "as text"),
    "PFM that ends": ("a.pfm", content(b"PF\n50 37\n-1.0\n", FLOATS[:9, :, :3]), "pixels are missing"),
    "PFM, infinite": ("a.pfm", content(b"PF\n1 1\n-1.0\n", np.full(3, np.inf, "f4"), "<"), "infinite"),
    "PFM, large": ("a.pfm", content(b"PF\n50000 50000\n-1.0\n", BYTES[:0]), "50000x50000 is more than --max-pixels"),
    "Radiance that ends": ("a.hdr", lambda path: path.write_bytes(RADIANCE_HEAD + runs()[:-1]), "pixels are missing"),
    "Radiance, flat, that ends": ("a.hdr", content(RADIANCE_HEAD, MANTISSAS[:36]), "pixels are missing"),
    "Radiance, a row too long": (
        "a.hdr",
        lambda path: path.write_bytes(RADIANCE_HEAD + b"\2\2\0\x32" + b"\xff\1" * 9999),
        "a row is too long",
    ),
    "Radiance, a row of another width": (
        "a.hdr",
        lambda path: path.write_bytes(RADIANCE_HEAD + runs()[:4] + runs()[4:].replace(b"\2\2\0\x32", b"\2\2\0\x31")),
        "a row has another width",
    ),
    "Radiance, large": (
        "a.hdr",
        content(RADIANCE_HEAD.replace(b"37 +X 50", b"50000 +X 50000"), BYTES[:0]),
        "50000x50000 is more than --max-pixels",
    ),
    "Radiance, on its side": ("a.hdr", content(RADIANCE_HEAD.replace(b"-Y", b"+X"), MANTISSAS), "not upright"),
    "Radiance, XYZ": ("a.hdr", content(RADIANCE_HEAD.replace(b"rgbe", b"xyze"), MANTISSAS), "32-bit_rle_rgbe"),
    "Radiance without a head": ("a.hdr", content(b"#?RADIANCE\n", BYTES[:0]), "32-bit_rle_rgbe"),
    "JPEG 2000, 12-bit colour": ("a.jp2", lambda path: path.write_bytes(deep_jpeg2000(11)), "12 bits"),
    "JPEG 2000, signed": ("a.jp2", lambda path: path.write_bytes(deep_jpeg2000(0x87)), "bits are not supported"),
    "LZMA": ("a.tif", tiff(FLOATS[..., :3], compression="lzma", **RGB), "compression"),
}


def deep_jpeg2000(depth: int) -> bytes:
    """One that says of its first channel that it is deeper than it is."""
    file = io.BytesIO()
    Image.fromarray(BYTES[..., :3]).save(file, "JPEG2000")
    found = bytearray(file.getvalue())
    found[found.index(b"\xff\x4f\xff\x51") + 42] = depth
    return bytes(found)


def twelve_bits() -> bytes:
    tags = {"t256": 8, "t257": 8, "t258": 12, "t259": 1, "t262": 1, "t277": 1, "t278": 8}
    return hostile.tiff(b"\xff" * 96, **{name: (4, 1, value) for name, value in tags.items()})


def grey_and_alpha() -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in WORDS[..., :2])
    return hostile.png(50, 37, 16, 4, zlib.compress(rows))


def transparent_colour() -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in WORDS[..., :3])
    return hostile.png(50, 37, 16, 2, zlib.compress(rows), hostile.chunk(b"tRNS", bytes(6)))


@pytest.mark.parametrize(("name", "write", "says"), KINDS.values(), ids=KINDS)
def test_what_would_be_read_wrongly_is_refused(
    tmp_path: Path, name: str, write: Callable[[Path], object], says: str
) -> None:
    write(tmp_path / name)
    with pytest.raises(UserError, match=re.escape(says)):
        read(tmp_path / name, color=False, max_pixels=10**6)


def test_large_tiffs_and_telephones(tmp_path: Path) -> None:
    cases: list[tuple[np.ndarray, dict[str, Any]]] = [(FLOATS[..., :3], RGB), (WORDS[..., 0], {})]
    for pixels, options in cases:
        tifffile.imwrite(tmp_path / "a.tif", pixels, bigtiff=True, **options)
        found = read(tmp_path / "a.tif", color=pixels.ndim == 3, max_pixels=10**6)
        np.testing.assert_array_equal(found.pixels, pixels)
    images = [Image.fromarray(BYTES[..., :3]), Image.fromarray(BYTES[::-1, :, :3])]
    images[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=images[1:], quality=100)
    found = read(tmp_path / "a.jpg", color=True, max_pixels=10**6)
    assert found.notes == ("the first of several pictures in the file",)


def test_floats_that_are_not_up_to_1(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tifffile.imwrite(tmp_path / f"{name}.tif", 255 * FLOATS[..., 0])
    paths = tmp_path / "a.tif", tmp_path / "b.tif"
    assert all("--data-range says what is white" in note for note in read_pair(*paths, SETTINGS).notes)
    assert read_pair(*paths, SETTINGS._replace(data_range=255.0)).notes == ()
    tifffile.imwrite(tmp_path / "b.tif", 1e30 * FLOATS[..., 0])
    with pytest.raises(UserError, match="too large for float32; --data-range"):
        score(read_pair(*paths, SETTINGS), SETTINGS)


def test_pixels_are_capped_before_decoding(tmp_path: Path) -> None:
    for name, array in (("a.png", BYTES[..., 0]), ("a.tif", FLOATS[..., :3])):
        (pillow(array) if name == "a.png" else tiff(array, **RGB))(tmp_path / name)
        read(tmp_path / name, color=False, max_pixels=37 * 50)
        with pytest.raises(UserError, match=rf"{name}: 50x37 is more than --max-pixels 1849$"):
            read(tmp_path / name, color=False, max_pixels=37 * 50 - 1)


def test_depths_that_differ(tmp_path: Path) -> None:
    """Each over its own white."""
    pillow(BYTES[..., 0])(tmp_path / "a.png")
    opencv(257 * BYTES[..., 0].astype(np.uint16))(tmp_path / "b.png")
    pair = read_pair(tmp_path / "a.png", tmp_path / "b.png", SETTINGS)
    assert pair.data_range == 1 and any("depth" in note for note in pair.notes)
    assert score(pair, SETTINGS).value < 1e-7
    given = read_pair(tmp_path / "a.png", tmp_path / "b.png", SETTINGS._replace(data_range=255.0))
    assert given.data_range == 255 and score(given, SETTINGS).value > 1


def test_sizes_that_differ(tmp_path: Path) -> None:
    pillow(BYTES[..., :3])(tmp_path / "a.png")
    pillow(BYTES[:30, :40, :3])(tmp_path / "b.png")
    paths = tmp_path / "a.png", tmp_path / "b.png"
    with pytest.raises(
        UserError, match=r"^sizes differ: .*a.png is 50x37, .*b.png is 40x30; --resize or --crop fits them; --crop-at"
    ):
        read_pair(*paths, SETTINGS)
    cropped = read_pair(*paths, SETTINGS._replace(crop=True, color=True))
    assert cropped.notes[0] == "cropped to the middle 40x30" and len(cropped.notes) == 2
    np.testing.assert_array_equal(cropped.prediction, BYTES[3:33, 5:45, :3])
    np.testing.assert_array_equal(cropped.target, BYTES[:30, :40, :3])
    resized = read_pair(*paths, SETTINGS._replace(resize=True, color=True))
    assert resized.notes[0] == "resized to 40x30 (Lanczos)" and len(resized.notes) == 2
    assert resized.prediction.shape == resized.target.shape == (30, 40, 3)
    expected = np.asarray(Image.fromarray(BYTES[..., :3]).resize((40, 30), Image.Resampling.LANCZOS), np.float32)
    # Pillow rounds bytes, between height and width too.
    assert np.abs(np.clip(resized.prediction, 0, 255) - expected).mean() < 1


@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 3])
def test_predictors_of_floating_point(tmp_path: Path, predictor: int, channels: int) -> None:
    """As GDAL, Photoshop and OpenCV write them; libtiff encodes here."""
    options = [
        cv2.IMWRITE_TIFF_COMPRESSION,
        8,
        cv2.IMWRITE_TIFF_PREDICTOR,
        predictor,
        cv2.IMWRITE_TIFF_ROWSPERSTRIP,
        16,
    ]
    pixels = FLOATS[..., :channels]
    cv2.imwrite(str(tmp_path / "a.tif"), pixels[..., ::-1], options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page = file.pages.first
        assert (page.predictor, page.compression, page.rowsperstrip) == (predictor, 8, 16)
    found = read(tmp_path / "a.tif", color=True, max_pixels=10**6)
    np.testing.assert_array_equal(found.pixels, np.broadcast_to(pixels, (37, 50, 3)))
    assert found.notes == ()


def replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    assert content.count(old) == 1
    return content.replace(old, new)


def shuffled(tile: np.ndarray) -> np.ndarray:
    """A tile after Adobe's predictor 3: bytes of a row by place, the highest first, and then their differences."""
    _, width, samples = tile.shape
    size = tile.dtype.itemsize
    rows = []
    for row in tile.astype(f">f{size}"):
        content = [row.tobytes()[place::size] for place in range(size)]
        line = np.frombuffer(b"".join(content), np.uint8).reshape(size * width, samples)
        rows.append(np.diff(line, axis=0, prepend=np.zeros((1, samples), np.uint8)).tobytes())
    return np.frombuffer(b"".join(rows), tile.dtype).reshape(tile.shape)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("depth", ["f2", "f4", "f8"])
@pytest.mark.parametrize("planar", [False, True], ids=["pixels", "planes"])
def test_predictors_in_tiles(tmp_path: Path, byteorder: str, depth: str, planar: bool) -> None:
    """As GDAL writes them: tiles go beyond the image, which is 50x37 of 64x48."""
    dtype = np.dtype(f"{byteorder}{depth}")
    whole = np.pad(FLOATS[..., :3], ((0, 11), (0, 14), (0, 0))).astype(dtype)
    stored = whole.copy()
    for i in range(0, 48, 16):
        for j in range(0, 64, 32):
            for part in [slice(k, k + 1) for k in range(3)] if planar else [slice(3)]:
                stored[i : i + 16, j : j + 32, part] = shuffled(whole[i : i + 16, j : j + 32, part])
    # The tag of the predictor, which tifffile writes by itself alone, comes as another.
    options = (PLANAR if planar else RGB) | {"compression": "zlib", "tile": (16, 32), "metadata": None}
    tags = [(65317, 3, 1, 3, True)]
    array = np.moveaxis(stored, -1, 0) if planar else stored
    options |= {"byteorder": byteorder}
    tifffile.imwrite(tmp_path / "a.tif", array, extratags=tags, **options)
    content = (tmp_path / "a.tif").read_bytes()
    for layout, old, new in (
        ("HHIH", (65317, 3, 1, 3), (317, 3, 1, 3)),
        ("HHII", (256, 4, 1, 64), (256, 4, 1, 50)),
        ("HHII", (257, 4, 1, 48), (257, 4, 1, 37)),
    ):
        content = replaced(content, struct.pack(byteorder + layout, *old), struct.pack(byteorder + layout, *new))
    (tmp_path / "a.tif").write_bytes(content)
    found = read(tmp_path / "a.tif", color=True, max_pixels=10**6)
    np.testing.assert_array_equal(found.pixels, whole[:37, :50].astype(np.float32))


@pytest.mark.parametrize(("code", "says"), [(5, "compression LZW"), (34887, "compression LERC"), (50000, "ZSTD")])
@pytest.mark.parametrize("pixels", [FLOATS[..., :3], BYTES[..., :3].astype(np.int8)], ids=["floats", "bytes"])
def test_what_is_not_supported_is_not_called_damaged(tmp_path: Path, code: int, says: str, pixels: np.ndarray) -> None:
    tifffile.imwrite(tmp_path / "a.tif", pixels, **RGB)
    old, new = (struct.pack("<HHIH", 259, 3, 1, x) for x in (1, code))
    (tmp_path / "a.tif").write_bytes(replaced((tmp_path / "a.tif").read_bytes(), old, new))
    with pytest.raises(
        UserError, match=rf"a.tif: .*{says} is not supported in a TIFF of this kind; save it with deflate"
    ):
        read(tmp_path / "a.tif", color=False, max_pixels=10**6)


def test_a_decoder_that_pillow_lacks_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import TiffImagePlugin

    Image.fromarray(BYTES[..., :3]).save(tmp_path / "a.tif", compression="tiff_lzw")

    def lacking(self: Any) -> None:
        raise OSError("decoder libtiff not available")

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", lacking)
    says = r"a.tif: cannot be decoded; damaged, or of a kind that Pillow lacks \(decoder libtiff not available\)$"
    with pytest.raises(UserError, match=says):
        read(tmp_path / "a.tif", color=False, max_pixels=10**6)


def test_ten_bits_in_avif_are_refused(tmp_path: Path) -> None:
    """Pillow would reduce them to 8."""
    if not cv2.haveImageWriter("a.avif"):
        pytest.skip("this OpenCV writes no AVIF")
    for depth in (8, 10):
        pixels = (WORDS[..., :3] >> (16 - depth)).astype(np.uint8 if depth == 8 else np.uint16)
        cv2.imwrite(str(tmp_path / "a.avif"), pixels, [cv2.IMWRITE_AVIF_DEPTH, depth])
        if depth == 8:
            read(tmp_path / "a.avif", color=True, max_pixels=10**6)
    with pytest.raises(UserError, match=r"a.avif: 10 bits are not supported in this format; convert it to"):
        read(tmp_path / "a.avif", color=True, max_pixels=10**6)
