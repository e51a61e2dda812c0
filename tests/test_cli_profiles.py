"""Colour profiles and gamma: the same picture in other colours is the same, and other pictures are not."""

# ruff: noqa: E402
from frameworks import require

require("jax", "typer", "PIL", "tifffile", "skimage", "matplotlib")

import csv
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from blursim_command import call, compared
from PIL import Image, ImageCms, PngImagePlugin
from skimage import data

PHOTO = data.chelsea()[20:148, 60:220]
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def fixed(*values: float) -> bytes:
    """Numbers as a profile has them."""
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(gamma: float, name: str = "Made for a test", grey: bool = False) -> bytes:
    """A profile of version 2: a power curve, and the primaries of sRGB."""
    white = fixed(0.9642, 1.0, 0.8249)
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = name.encode() + b"\0"
    description = b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)
    tags = {b"desc": description, b"cprt": b"text" + bytes(4) + b"none\0", b"wtpt": b"XYZ " + bytes(4) + white}
    if grey:
        tags[b"kTRC"] = curve
    else:
        # Of sRGB, adapted to the white D50.
        primaries = {
            b"r": (0.43607, 0.22249, 0.01392),
            b"g": (0.38515, 0.71687, 0.09708),
            b"b": (0.14307, 0.06061, 0.7141),
        }
        for letter, xyz in primaries.items():
            tags |= {letter + b"XYZ": b"XYZ " + bytes(4) + fixed(*xyz), letter + b"TRC": curve}
    place, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, content in tags.items():
        content += bytes(-len(content) % 4)
        table += tag + struct.pack(">II", place + len(body), len(content))
        body += content
    head = struct.pack(
        ">I4s4s4s4s4s", place + len(body), bytes(4), b"\2\x10\0\0", b"mntr", b"GRAY" if grey else b"RGB ", b"XYZ "
    )
    head += bytes(12) + b"acsp" + bytes(28) + white + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


LINEAR = profile(1)


def linear(pixels: np.ndarray, gamma: float = 1) -> np.ndarray:
    """Values of sRGB as they are with another curve, in 8 bits."""
    share = pixels / 255
    light = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * light ** (1 / gamma)).astype(np.uint8)


def with_gamma(path: Path, pixels: np.ndarray, gamma: float) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", struct.pack(">I", round(gamma * 100000)))
    Image.fromarray(pixels).save(path, pnginfo=chunks)


@pytest.fixture
def sharp(tmp_path: Path) -> Path:
    Image.fromarray(PHOTO).save(tmp_path / "sharp.png")
    return tmp_path / "sharp.png"


# What writes the photo in other colours, and what these are called.
OTHERS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "linear": ("a.png", lambda path: Image.fromarray(linear(PHOTO)).save(path, icc_profile=LINEAR), "Made for a test"),
    "of gamma 1.8": (
        "a.png",
        lambda path: Image.fromarray(linear(PHOTO, 1.8)).save(path, icc_profile=profile(1.8, "Gamma of a Mac")),
        "Gamma of a Mac",
    ),
    "TIFF": ("a.tif", lambda path: Image.fromarray(linear(PHOTO)).save(path, icc_profile=LINEAR), "Made for a test"),
    "WebP": (
        "a.webp",
        lambda path: Image.fromarray(linear(PHOTO)).save(path, icc_profile=LINEAR, lossless=True),
        "Made for a test",
    ),
    "JPEG": (
        "a.jpg",
        lambda path: Image.fromarray(linear(PHOTO, 1.8)).save(
            path, icc_profile=profile(1.8), quality=100, subsampling=0
        ),
        "Made for a test",
    ),
    "opaque": (
        "a.png",
        lambda path: Image.fromarray(np.dstack([linear(PHOTO), np.full(PHOTO.shape[:2], 255, np.uint8)])).save(
            path, icc_profile=LINEAR
        ),
        "Made for a test",
    ),
    "gamma chunk": ("a.png", lambda path: with_gamma(path, linear(PHOTO), 1), "gamma 1"),
    "gamma chunk of 1.8": ("a.png", lambda path: with_gamma(path, linear(PHOTO, 1.8), 1 / 1.8), "gamma 0.55556"),
}


@pytest.mark.parametrize("color", [[], ["--color"]], ids=["grey", "colour"])
@pytest.mark.parametrize(("name", "write", "says"), OTHERS.values(), ids=OTHERS)
def test_the_same_picture_in_other_colours_is_the_same(
    tmp_path: Path, sharp: Path, name: str, write: Callable, says: str, color: list, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / name)
    for images in ((tmp_path / name, sharp), (sharp, tmp_path / name)):
        found = compared(capsys, *images, *color)
        # Eight linear bits hold few dark values.
        assert found["psnr"] > 38
        assert found["notes"] == [f"{tmp_path / name}: converted to sRGB from {says}"]
    stored = compared(capsys, *images, "--as-stored", *color)
    assert stored["psnr"] < 27 and stored["notes"] == [f"{tmp_path / name}: compared as stored, in {says}"]


def test_other_pictures_of_the_same_values_are_not_the_same(
    tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "a.png", icc_profile=LINEAR)
    assert compared(capsys, tmp_path / "a.png", sharp)["psnr"] < 16
    assert compared(capsys, tmp_path / "a.png", sharp, "--as-stored")["value"] == 0


def test_what_is_srgb_or_alike_is_left_as_it_is(
    tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "a.png", icc_profile=SRGB)
    with_gamma(tmp_path / "b.png", PHOTO, 0.45455)
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"sRGB", b"\0")
    chunks.add(b"gAMA", struct.pack(">I", 100000))
    Image.fromarray(PHOTO).save(tmp_path / "c.png", pnginfo=chunks)
    for name in ("a.png", "b.png", "c.png"):
        found = compared(capsys, tmp_path / name, sharp)
        assert (found["value"], found["notes"]) == (0, [])
    # Both in the same colours: nothing is lost by converting them.
    for name in ("d.png", "e.png"):
        Image.fromarray(PHOTO).save(tmp_path / name, icc_profile=LINEAR)
    found = compared(capsys, tmp_path / "d.png", tmp_path / "e.png")
    assert (found["value"], found["notes"]) == (0, [])


def test_grey_and_transparent_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey = PHOTO[..., 1]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    for name, icc in (("grey", profile(1, grey=True)), ("colours", LINEAR)):
        Image.fromarray(linear(grey)).save(tmp_path / "a.png", icc_profile=icc)
        assert compared(capsys, tmp_path / "a.png", tmp_path / "grey.png")["psnr"] > 38, name
    alpha = np.where(np.arange(160) < 80, 0, 255).astype(np.uint8) * np.ones((128, 1), np.uint8)
    Image.fromarray(np.dstack([linear(PHOTO), alpha])).save(tmp_path / "a.png", icc_profile=LINEAR)
    Image.fromarray(np.where(alpha[..., None] > 0, PHOTO, 255).astype(np.uint8)).save(tmp_path / "b.png")
    found = compared(capsys, tmp_path / "a.png", tmp_path / "b.png", "--color")
    assert found["psnr"] > 38
    assert found["notes"] == [
        f"{tmp_path / 'a.png'}: converted to sRGB from Made for a test, transparent parts over white"
    ]


def test_what_cannot_be_converted_is_said(tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """More than 8 bits, and profiles that are damaged or of something else."""
    words = PHOTO.astype(np.uint16) * 257
    tags = [(34675, 7, len(LINEAR), LINEAR, True)]
    tifffile.imwrite(tmp_path / "words.tif", words, photometric="rgb", extratags=tags)
    tifffile.imwrite(tmp_path / "floats.tif", (PHOTO / 255).astype(np.float32), photometric="rgb", extratags=tags)
    Image.fromarray(PHOTO).save(tmp_path / "broken.png", icc_profile=LINEAR[:150])
    Image.fromarray(PHOTO).save(tmp_path / "grey.png", icc_profile=profile(1, grey=True))
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 65535
    Image.fromarray(PHOTO).save(tmp_path / "camera.jpg", exif=exif, quality=100)
    says = {
        "words.tif": "Made for a test",
        "floats.tif": "Made for a test",
        "broken.png": "a profile that cannot be read",
        "grey.png": "Made for a test",
        "camera.jpg": "colours that are not sRGB by Exif, without a profile",
    }
    for name, colors in says.items():
        (note, *_) = [
            x for x in compared(capsys, tmp_path / name, sharp)["notes"] if x.startswith(str(tmp_path / name))
        ]
        assert note.endswith(f"not converted to sRGB from {colors}, which is not supported for such a file")


def test_cmyk_is_converted_by_its_profile(tmp_path: Path) -> None:
    """Without one, as before; where the profile is none of CMYK, too."""
    from blursim_jax.cli.images import read

    for icc in (None, LINEAR):
        Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / "a.jpg", icc_profile=icc)
        found = read(tmp_path / "a.jpg", color=True, max_pixels=10**6)
        assert "CMYK converted to RGB without a colour profile" in found.notes


def test_matrices_and_folders(tmp_path: Path, sharp: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("results", "sharp"):
        (tmp_path / folder).mkdir()
    Image.fromarray(linear(PHOTO)).save(tmp_path / "results" / "1.png", icc_profile=LINEAR)
    Image.fromarray(PHOTO).save(tmp_path / "sharp" / "1.png")
    note = f"{tmp_path / 'results' / '1.png'}: converted to sRGB from Made for a test"
    call("matrix", sharp, tmp_path / "results" / "1.png", "--format", "json")
    found = json.loads(capsys.readouterr().out)
    assert found["notes"] == [note] and np.max(found["values"]) < 0.002
    call("evaluate", tmp_path / "results", tmp_path / "sharp", "--out", tmp_path / "scores.csv")
    (row,) = csv.DictReader((tmp_path / "scores.csv").read_text(encoding="utf-8").splitlines())
    assert row["notes"] == note and float(row["psnr"]) > 38
