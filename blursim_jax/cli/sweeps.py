"""The effect of blur, noise, shift and brightness on the terms."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from blursim_jax._checks import SPECTRA
from blursim_jax.cli.files import write_table
from blursim_jax.cli.scores import terms_of
from blursim_jax.cli.settings import Settings

# The settings that are written beside the scores.
OPTIONS = "preset", "normalization", "sobel_kernel_size", "alpha", "color", "luma", "crop_border"


class Level(NamedTuple):
    """The scores of one distortion at one strength, with one spectrum."""

    distortion: str
    level: float
    spectrum: str
    general: float
    specific: float
    value: float


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, [sigma, sigma, 0][: image.ndim])


def _noisy(image: np.ndarray, deviation: float) -> np.ndarray:
    return image + deviation * np.random.default_rng(0).standard_normal(image.shape)


def _shifted(image: np.ndarray, pixels: float) -> np.ndarray:
    return np.roll(image, int(pixels), axis=1)


def _brighter(image: np.ndarray, share: float) -> np.ndarray:
    return image + share


# Each distortion with its levels. The first level changes nothing. Tables show only the middle level.
DISTORTIONS: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], list[float]]] = {
    "blur: sigma in pixels": (_blurred, [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8]),
    "noise: deviation, white is 1": (_noisy, [0, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1]),
    "circular shift, in pixels": (_shifted, [0, 1, 2, 3, 4, 6, 8, 12, 16]),
    "brightness added, white is 1": (_brighter, [0, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2]),
}


def sweep(image: np.ndarray, settings: Settings) -> list[Level]:
    """Compare an image, of white 1, with distorted copies of itself, for every distortion, level and spectrum."""
    target = image.astype(np.float32)
    rows = []
    for distortion, (distort, levels) in DISTORTIONS.items():
        for level in levels:
            distorted = distort(target, level).astype(np.float32)
            for spectrum in SPECTRA:
                general, specific = terms_of(distorted, target, 1.0, settings._replace(spectrum=spectrum))
                rows.append(Level(distortion, level, spectrum, general, specific, settings.mix(general, specific)))
    return rows


def write(rows: list[Level], settings: Settings, notes: Sequence[str], path: Path) -> None:
    """Write the scores as CSV, with the options they were computed with, and notes on the image."""
    options = {name: getattr(settings, name) for name in OPTIONS}
    options["notes"] = "; ".join(notes)
    write_table(path, [[*Level._fields, *options], *([*row, *options.values()] for row in rows)])
