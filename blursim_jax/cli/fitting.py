"""Give images one size: resize them, cut them, and leave out a border."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from blursim_jax.cli.files import UserError, printable
from blursim_jax.cli.settings import Settings

# Which share of the rows, and of the columns, that are cut off is cut off before what is kept.
PLACES = {"top-left": (0, 0), "top-right": (0, 1), "bottom-left": (1, 0), "bottom-right": (1, 1), "middle": (0.5, 0.5)}
# With this share of the squared error, 3 dB less, another place fits far better.
FAR_BETTER = 0.5
# Pixels by side that are compared to find a better place.
SAMPLES = 512


def fit(arrays: list[np.ndarray], paths: list[Path], settings: Settings, model: int, notes: list[str]) -> list:
    """Return arrays of one size, as the settings say, and add notes on what was done.

    With `--resize`, all images get the size of the image at index `model`.

    Raises:
        UserError: If sizes differ and no option says what to do, or if the border leaves nothing.
    """
    if len({array.shape for array in arrays}) > 1:
        fitted = _fitted(arrays, paths, settings, model, notes)
        notes += _better_places(arrays, fitted, paths, model)
        arrays = fitted
    border, (height, width) = settings.crop_border, arrays[0].shape[:2]
    if 2 * border >= min(height, width):
        raise UserError(f"--crop-border {border} leaves nothing of {width}x{height}")
    return [array[border : height - border, border : width - border] for array in arrays]


def _fitted(
    arrays: list[np.ndarray], paths: list[Path], settings: Settings, model: int, notes: list[str]
) -> list[np.ndarray]:
    shape = arrays[model].shape
    size = shape[1], shape[0]
    if settings.crop:
        place = settings.crop_at or "middle"
        fitted = _cut(arrays, place)
        height, width = fitted[0].shape[:2]
        notes.append(f"cropped to the {place} {width}x{height}")
        return fitted
    if settings.resize:
        notes.append(f"resized to {size[0]}x{size[1]} (Lanczos)")
        return [array if array.shape == shape else _resized(array, size) for array in arrays]
    sizes = (f"{printable(path)} is {x.shape[1]}x{x.shape[0]}" for path, x in zip(paths, arrays, strict=True))
    raise UserError(
        f"sizes differ: {', '.join(sizes)}; --resize or --crop fits them; "
        "--crop-at top-left, if they were cut at right or bottom"
    )


def _cut(arrays: list[np.ndarray], place: str) -> list[np.ndarray]:
    height, width = (min(array.shape[i] for array in arrays) for i in (0, 1))
    down, right = PLACES[place]
    starts = [(int(down * (x.shape[0] - height)), int(right * (x.shape[1] - width))) for x in arrays]
    return [x[i : i + height, j : j + width] for x, (i, j) in zip(arrays, starts, strict=True)]


def _better_places(arrays: list[np.ndarray], fitted: list[np.ndarray], paths: list[Path], model: int) -> Iterator[str]:
    """Say where an image would fit the one at index `model` far better, as one does that a network cut at one side."""
    for i, path in enumerate(paths):
        if arrays[i].shape == arrays[model].shape:
            continue
        pair = [arrays[i], arrays[model]]
        errors = {place: _error(*_cut(pair, place)) for place in PLACES}
        best = min(errors, key=lambda place: errors[place])
        found = _error(fitted[i], fitted[model])
        if errors[best] < FAR_BETTER * found:
            yield (
                f"{printable(path)} fits far better with --crop-at {best}: "
                f"{errors[best] / found:.2g} of the mean squared error"
            )


def _error(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the mean squared error of some of the pixels."""
    down, right = (max(n // SAMPLES, 1) for n in a.shape[:2])
    a, b = (x[::down, ::right].astype(np.float32) for x in (a, b))
    with np.errstate(over="ignore"):
        return float(np.mean(np.square(a - b), dtype=np.float64))


def _resized(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize each channel in floating point, without rounding."""
    planes = np.moveaxis(np.atleast_3d(array), -1, 0).astype(np.float32)
    planes = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS)) for plane in planes]
    return np.stack(planes, axis=-1) if array.ndim == 3 else planes[0]
