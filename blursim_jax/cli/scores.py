"""The scores of a pair: BlurSim and its terms, and the other measures beside them."""

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
# Rows to compute with at a time.
ROWS = 256
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


def score(pair: Pair, settings: Settings) -> Scores:
    """Compute the scores of a pair."""
    from blursim_jax import blursim_terms

    settings.check_shape(pair.prediction.shape)
    general, specific = map(float, blursim_terms(pair.prediction, pair.target, **settings.options(pair.data_range)))
    mse = mse_of(pair)
    if not np.isfinite([general, specific, mse]).all():
        raise UserError(TOO_LARGE)
    return Scores(settings.mix(general, specific), general, specific, mse, psnr_of(mse), ssim_of(pair))


def score_all(arrays: list[np.ndarray], white: float, settings: Settings) -> np.ndarray:
    """Compute BlurSim of every prediction (row) with every target (column)."""
    from blursim_jax import blursim

    settings.check_shape(arrays[0].shape)
    options = settings.options(white)
    return np.array([[float(blursim(a, b, alpha=settings.alpha, **options)) for b in arrays] for a in arrays])


def score_blurred(pair: Pair, settings: Settings) -> dict[str, float]:
    """Compute BlurSim of the target blurred, by the sigma of the blur in pixels: a scale to read values by."""
    from blursim_jax import blursim

    options = settings.options(pair.data_range)
    target = pair.target.astype(np.float32)
    blurred = {sigma: ndimage.gaussian_filter(target, [sigma, sigma, 0][: target.ndim]) for sigma in SIGMAS}
    return {str(s): float(blursim(x, target, alpha=settings.alpha, **options)) for s, x in blurred.items()}


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
    found = []
    for channel in range(images[0].shape[-1]):
        a, b = (np.ascontiguousarray(image[..., channel], np.float32) for image in images)
        # Values that are too large are an error of BlurSim.
        with np.errstate(over="ignore", invalid="ignore"):
            found.append(np.asarray(structural_similarity(a, b, **gaussian)))
    return float(np.mean(found))
