"""Two images, or several, of one shape and dtype, read as the options say."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from blursim_jax.cli.files import printable
from blursim_jax.cli.fitting import fit
from blursim_jax.cli.images import Picture, read
from blursim_jax.cli.settings import Settings


class Pair(NamedTuple):
    """Two arrays of one shape and dtype, the value of white in both, and notes."""

    prediction: np.ndarray
    target: np.ndarray
    data_range: float
    notes: tuple[str, ...]


def read_pair(prediction: Path, target: Path, settings: Settings) -> Pair:
    """Read two images. Resize or crop them as the settings say."""
    (pair,) = read_pairs([prediction], target, settings)
    return pair


def read_pairs(predictions: list[Path], target: Path, settings: Settings) -> list[Pair]:
    """Read predictions of one target. All get the same size, so that their scores are of the same part of it."""
    arrays, data_range, notes = read_all([*predictions, target], settings, model=-1)
    return [Pair(array, arrays[-1], data_range, notes) for array in arrays[:-1]]


def read_all(paths: list[Path], settings: Settings, model: int) -> tuple[list[np.ndarray], float, tuple[str, ...]]:
    """Read images as arrays of one shape and dtype, with the value of white and notes.

    With `--resize`, all images get the shape of the image at index `model`.
    """
    pictures = _read_alike(paths, settings)
    notes = [note for path, picture in zip(paths, pictures, strict=True) for note in notes_of(path, picture, settings)]
    arrays = [picture.pixels for picture in pictures]
    whites = {picture.white for picture in pictures}
    if settings.data_range is not None:
        white = settings.data_range
        if len(whites) > 1:
            notes.append(f"the files differ in depth, and --data-range {white:g} is white in all of them")
    elif len(whites) == 1:
        (white,) = whites
    else:
        white, arrays = 1.0, [p.pixels / np.float32(p.white) for p in pictures]
        notes.append("the files differ in depth: each was divided by its own white")
    if settings.luma == "bt601-limited":
        arrays = [array * np.float32(219 / 255) + np.float32(16 / 255 * white) for array in arrays]
    arrays = fit(arrays, paths, settings, model, notes)
    if len({array.dtype for array in arrays}) > 1:
        arrays = [array.astype(np.float32) for array in arrays]
    return arrays, white, tuple(notes)


def _read_alike(paths: list[Path], settings: Settings) -> list[Picture]:
    """Read images. If their colours differ by their profiles, convert them to sRGB, which others are taken to be."""
    pictures = [read(path, color=settings.color, max_pixels=settings.max_pixels) for path in paths]
    if len({picture.space for picture in pictures}) == 1:
        return pictures
    if settings.as_stored:
        return [
            picture._replace(notes=(*picture.notes, f"compared as stored, in {printable(picture.space.name)}"))
            if picture.space
            else picture
            for picture in pictures
        ]
    return [
        read(path, color=settings.color, max_pixels=settings.max_pixels, srgb=True) if picture.space else picture
        for path, picture in zip(paths, pictures, strict=True)
    ]


def notes_of(path: Path, picture: Picture, settings: Settings) -> list[str]:
    """Return what the user should know about an image, in one line or in none."""
    notes = [*picture.notes, *_doubts(picture, settings.data_range)]
    return [f"{printable(path)}: {', '.join(notes)}"] if notes else []


def _doubts(picture: Picture, given: float | None) -> list[str]:
    """Say where the values of an image suggest that something else is white."""
    least, most = float(picture.pixels.min()), float(picture.pixels.max())
    white = given or picture.white
    # Only floating-point images do not define white.
    if (given or picture.white == 1) and (least < -0.1 * white or most > 1.1 * white):
        return [f"has values beyond 0..{white:g}; --data-range says what is white"]
    if given is None and 0 < most <= white / 16:
        bits = math.ceil(math.log2(most + 1))
        those = f", of {bits}-bit values --data-range {2**bits - 1}" if white > 1 else ""
        return [f"has no value above {most:g}, and white is {white:g}; --data-range says what is white{those}"]
    return []


def names_of(images: list[Path]) -> list[str]:
    """Return the files' names, or their paths if names are not unique."""
    names = [image.name for image in images]
    return names if len(set(names)) == len(names) else list(map(str, images))
