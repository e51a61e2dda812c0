"""Two images of one shape and dtype, and their scores."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from skimage.metrics import structural_similarity

from blursim_jax import _checks
from blursim_jax.cli.files import UserError, printable
from blursim_jax.cli.images import read

TOO_LARGE = "values are too large for float32; --data-range says what is white"


class Settings(NamedTuple):
    """Options of the loss, and of reading images. Without `data_range`, the bit depth of the files sets it."""

    alpha: float
    sobel_kernel_size: Any
    spectrum: Any
    normalization: Any
    color: bool
    data_range: float | None
    resize: bool
    crop: bool
    max_pixels: int

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise `UserError` if the library rejects this shape."""
        try:
            _checks.check_shapes(shape, shape, _checks.check_options(**self.options(1.0)))
        except ValueError as error:
            raise UserError(str(error)) from error

    def options(self, data_range: float) -> dict[str, Any]:
        """Return the arguments of `blursim_terms` and `blursim_maps`."""
        return {
            "sobel_kernel_size": self.sobel_kernel_size,
            "spectrum": self.spectrum,
            "normalization": self.normalization,
            "data_range": data_range,
            "channel_axis": -1 if self.color else None,
        }

    def mix(self, general: Any, specific: Any) -> Any:
        """Compute BlurSim from its terms."""
        return (1 - self.alpha) * general + self.alpha * specific


def checked_settings(parameters: Mapping[str, Any]) -> Settings:
    """Select and check the settings among a command's parameters.

    Raises:
        ValueError: If the library would reject an option.
        UserError: If two options exclude each other.
    """
    # The command `sweep` lacks some options.
    values = {"spectrum": "magnitude", "resize": False, "crop": False, **parameters}
    settings = Settings(**{name: values[name] for name in Settings._fields})
    _checks.check_options(**settings.options(1.0 if settings.data_range is None else settings.data_range))
    _checks.check_alpha(settings.alpha)
    if settings.resize and settings.crop:
        raise UserError("--resize and --crop exclude each other")
    return settings


class Pair(NamedTuple):
    """Two arrays of one shape and dtype, the value of white in both, and notes."""

    prediction: np.ndarray
    target: np.ndarray
    data_range: float
    notes: tuple[str, ...]


class Scores(NamedTuple):
    """BlurSim and its terms, the mean squared error for white 1, PSNR in dB, and SSIM.

    SSIM is NaN for images with a side of less than 7 pixels.
    """

    value: float
    general: float
    specific: float
    mse: float
    psnr: float
    ssim: float


def read_pair(prediction: Path, target: Path, settings: Settings) -> Pair:
    """Read two images. Resize or crop them as the settings say."""
    arrays, data_range, notes = read_all([prediction, target], settings, model=1)
    return Pair(arrays[0], arrays[1], data_range, notes)


def read_all(paths: list[Path], settings: Settings, model: int) -> tuple[list[np.ndarray], float, tuple[str, ...]]:
    """Read images as arrays of one shape and dtype, with the value of white and notes.

    With `--resize`, all images get the shape of the image at index `model`.
    """
    pictures = [read(path, color=settings.color, max_pixels=settings.max_pixels) for path in paths]
    notes = [f"{printable(path)}: {', '.join(p.notes)}" for path, p in zip(paths, pictures, strict=True) if p.notes]
    arrays = [picture.pixels for picture in pictures]
    for path, picture in zip(paths, pictures, strict=True):
        # Only floating-point images do not define white.
        white = settings.data_range or picture.white
        if picture.white == 1 and (picture.pixels.min() < -0.1 * white or picture.pixels.max() > 1.1 * white):
            notes.append(f"{printable(path)}: has values beyond 0..{white:g}; --data-range says what is white")
    whites = {picture.white for picture in pictures}
    if settings.data_range is not None:
        white = settings.data_range
    elif len(whites) == 1:
        (white,) = whites
    else:
        white, arrays = 1.0, [p.pixels / np.float32(p.white) for p in pictures]
        notes.append("the files differ in depth: each was divided by its own white")
    if len({array.shape for array in arrays}) > 1:
        arrays = _fitted(arrays, paths, settings, model, notes)
    if len({array.dtype for array in arrays}) > 1:
        arrays = [array.astype(np.float32) for array in arrays]
    return arrays, white, tuple(notes)


def _fitted(
    arrays: list[np.ndarray], paths: list[Path], settings: Settings, model: int, notes: list[str]
) -> list[np.ndarray]:
    if settings.crop:
        height, width = (min(array.shape[i] for array in arrays) for i in (0, 1))
        notes.append(f"cropped to the middle {width}x{height}")
        starts = [((array.shape[0] - height) // 2, (array.shape[1] - width) // 2) for array in arrays]
        return [x[i : i + height, j : j + width] for x, (i, j) in zip(arrays, starts, strict=True)]
    shape = arrays[model].shape
    size = shape[1], shape[0]
    if settings.resize:
        notes.append(f"resized to {size[0]}x{size[1]} (Lanczos)")
        return [array if array.shape == shape else _resized(array, size) for array in arrays]
    sizes = (f"{printable(path)} is {x.shape[1]}x{x.shape[0]}" for path, x in zip(paths, arrays, strict=True))
    raise UserError(f"sizes differ: {', '.join(sizes)}; --resize or --crop fits them")


def _resized(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize each channel in floating point, without rounding."""
    planes = np.moveaxis(np.atleast_3d(array), -1, 0).astype(np.float32)
    planes = [np.asarray(Image.fromarray(plane).resize(size, Image.Resampling.LANCZOS)) for plane in planes]
    return np.stack(planes, axis=-1) if array.ndim == 3 else planes[0]


def score(pair: Pair, settings: Settings) -> Scores:
    """Compute the scores of a pair."""
    from blursim_jax import blursim_terms

    settings.check_shape(pair.prediction.shape)
    general, specific = map(float, blursim_terms(pair.prediction, pair.target, **settings.options(pair.data_range)))
    a, b = (x.astype(np.float32) for x in (pair.prediction, pair.target))
    with np.errstate(over="ignore"):
        mse = float(np.mean(np.square((a - b) / np.float32(pair.data_range)), dtype=np.float64))
    if not np.isfinite([general, specific, mse]).all():
        raise UserError(TOO_LARGE)
    ssim = math.nan
    if min(a.shape[:2]) >= 7:
        ssim = structural_similarity(a, b, data_range=pair.data_range, channel_axis=-1 if settings.color else None)
    return Scores(settings.mix(general, specific), general, specific, mse, psnr_of(mse), float(np.asarray(ssim)))


def score_all(arrays: list[np.ndarray], white: float, settings: Settings) -> np.ndarray:
    """Compute BlurSim of every prediction (row) with every target (column)."""
    from blursim_jax import blursim

    settings.check_shape(arrays[0].shape)
    options = settings.options(white)
    return np.array([[float(blursim(a, b, alpha=settings.alpha, **options)) for b in arrays] for a in arrays])


def names_of(images: list[Path]) -> list[str]:
    """Return the files' names, or their paths if names are not unique."""
    names = [image.name for image in images]
    return names if len(set(names)) == len(names) else list(map(str, images))


def psnr_of(mse: float) -> float:
    """Compute the peak signal-to-noise ratio in dB. It is infinite for identical images."""
    return -10 * math.log10(mse) if mse > 0 else math.inf
