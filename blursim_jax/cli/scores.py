"""The scores of a pair: BlurSim and its terms, and the other measures beside them."""

import itertools
import math
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity

from blursim_jax.cli.files import UserError
from blursim_jax.cli.pairs import Pair
from blursim_jax.cli.settings import Settings

TOO_LARGE = "values are too large for float32; --data-range says what is white"
# Side of the window of SSIM: a Gaussian of sigma 1.5 that ends at 3.5 sigma, as published.
WINDOW = 11
# Rows to compute with at a time: in the cache, and without temporary arrays of the image's size.
ROWS = 128
# Of larger images the middle is taken for what would take minutes of all of a photo of 12 megapixels.
SIDE = 1536
# Blurs of a target that values are compared with.
SIGMAS = 1, 2, 4
# What tables call the scores beside BlurSim.
HEADS = {"general": "General", "specific": "Specific", "mse": "MSE", "psnr": "PSNR", "ssim": "SSIM"}
# The scores of which the highest is the best.
HIGH = "psnr", "ssim"


class Scores(NamedTuple):
    """BlurSim and its terms, the mean squared error for white 1, PSNR in dB, and SSIM.

    SSIM is NaN for images with a side of less than 11 pixels.
    """

    value: float
    general: float
    specific: float
    mse: float
    psnr: float
    ssim: float


class Comparison(NamedTuple):
    """The scores of two files, as `Scores` has them, and notes on what was done to the images."""

    value: float
    general: float
    specific: float
    mse: float
    psnr: float
    ssim: float
    notes: tuple[str, ...]


def terms_of(a: np.ndarray, b: np.ndarray, white: float, settings: Settings) -> tuple[float, float]:
    """Compute General and Specific, channel by channel: large photos would take three times the memory at once."""
    from blursim_jax import blursim_terms

    options = settings.options(white) | {"channel_axis": None}
    images = [np.atleast_3d(image) for image in (a, b)]
    channels = ([np.ascontiguousarray(x[..., i]) for x in images] for i in range(images[0].shape[-1]))
    terms = np.mean([np.stack(blursim_terms(*channel, **options)) for channel in channels], axis=0)
    if not np.isfinite(terms).all():
        raise UserError(TOO_LARGE)
    return float(terms[0]), float(terms[1])


def score(pair: Pair, settings: Settings) -> Scores:
    """Compute the scores of a pair."""
    settings.check_shape(pair.prediction.shape)
    general, specific = terms_of(*pair[:3], settings)
    mse = mse_of(pair)
    if not math.isfinite(mse):
        raise UserError(TOO_LARGE)
    return Scores(settings.mix(general, specific), general, specific, mse, psnr_of(mse), ssim_of(pair))


def score_all(arrays: list[np.ndarray], white: float, settings: Settings) -> np.ndarray:
    """Compute BlurSim of every prediction (row) with every target (column)."""
    settings.check_shape(arrays[0].shape)
    return np.array([[settings.mix(*terms_of(a, b, white, settings)) for b in arrays] for a in arrays])


def score_blurred(pair: Pair, settings: Settings) -> tuple[dict[str, float], list[str]]:
    """Compute BlurSim of the target blurred, by the sigma of the blur in pixels: a scale to read values by.

    Of a large target it takes the middle, and says so in a note, unless values change with the size of images.
    """
    target, notes = middle_of(pair.target) if settings.normalization != "area" else (pair.target, [])
    values = {}
    for sigma in SIGMAS:
        blurred = ndimage.gaussian_filter(target, [sigma, sigma, 0][: target.ndim], output=np.float32)
        values[str(sigma)] = settings.mix(*terms_of(blurred, target.astype(np.float32), pair.data_range, settings))
    return values, [f"values of the blurred target are those of {note}" for note in notes]


def middle_of(image: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the middle of an image, at most `SIDE` pixels high and wide, and a note if that is not all of it."""
    height, width = image.shape[:2]
    rows, columns = min(height, SIDE), min(width, SIDE)
    top, left = (height - rows) // 2, (width - columns) // 2
    notes = [f"the middle {columns}x{rows} of {width}x{height} pixels"] if rows * columns < height * width else []
    return image[top : top + rows, left : left + columns], notes


def best_of(found: list[Scores]) -> dict[str, float]:
    """Return the best of every score: the highest PSNR and SSIM, and of the others the lowest."""
    columns = {name: [getattr(scores, name) for scores in found] for name in Scores._fields}
    known = {name: [x for x in values if not math.isnan(x)] for name, values in columns.items()}
    return {name: (max if name in HIGH else min)(values) for name, values in known.items() if values}


def mse_of(pair: Pair) -> float:
    """Compute the mean squared error for white 1, some rows at a time: large photos are not copied whole."""
    total = 0.0
    for i in range(0, len(pair.target), ROWS):
        a, b = (x[i : i + ROWS].astype(np.float32) for x in (pair.prediction, pair.target))
        with np.errstate(over="ignore"):
            total += float(np.sum(np.square((a - b) / np.float32(pair.data_range)), dtype=np.float64))
    return total / pair.target.size


def psnr_of(mse: float) -> float:
    """Compute the peak signal-to-noise ratio in dB. It is infinite for identical images."""
    return -10 * math.log10(mse) if mse > 0 else math.inf


def ssim_of(pair: Pair) -> float:
    """Compute SSIM as Wang et al. (2004) define it, with a Gaussian window: in colour, the mean of the channels."""
    if min(pair.target.shape[:2]) < WINDOW:
        return math.nan
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": pair.data_range}
    images = [np.atleast_3d(image) for image in (pair.prediction, pair.target)]
    height, _, channels = images[0].shape
    around, total = WINDOW // 2, 0.0
    # Variances are differences of squares, which cancel in float32 where pixels are far above white.
    is_bright = max(max(float(image.max()), -float(image.min())) for image in images) > 2 * pair.data_range
    dtype = np.float64 if is_bright else np.float32
    # The mean is over windows that are whole.
    rows = range(around, height - around, ROWS)
    for channel, first in itertools.product(range(channels), rows):
        last = min(first + ROWS, height - around)
        strip = slice(first - around, last + around)
        a, b = (np.ascontiguousarray(image[strip, :, channel], dtype) for image in images)
        # Values that are too large are an error of BlurSim.
        with np.errstate(over="ignore", invalid="ignore"):
            total += (last - first) * float(np.asarray(structural_similarity(a, b, **gaussian)))
    return total / (channels * (height - 2 * around))
