"""Maps of where, and at which frequencies, two images differ, no larger than they are drawn."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy import fft

from blursim_jax import blursim_maps
from blursim_jax._edges import margin
from blursim_jax._taps import sobel_gain
from blursim_jax.cli.pairs import Pair
from blursim_jax.cli.settings import Settings

# Largest side of a drawn image, in pixels. A panel shows no more, and drawing the rest would take seconds.
SIDE = 512
# Rows of a drawn spectrum to mirror and reduce at a time.
ROWS = 32
# Pixels of a channel to find the edges of at a time: in the cache, and without temporary arrays of the image's size.
STRIP_PIXELS = 2**18


class Maps(NamedTuple):
    """Maps of the prediction, of the target and of their difference, each (3, H, W), in colour means of the channels.

    Edges are slopes, in white per pixel. Spectra are amplitudes where white is 1, zero frequency in the middle. Their
    difference is what the option `spectrum` compares: for `"log"` the natural logarithm of the ratio.
    """

    edges: np.ndarray
    spectra: np.ndarray


def maps_of(pair: Pair, settings: Settings) -> Maps:
    """Compute the maps, a channel at a time."""
    images = [np.atleast_3d(image) for image in pair[:2]]
    channels = [tuple(image[..., i] for image in images) for i in range(images[0].shape[-1])]
    edges = [_edges(a, b, pair.data_range, settings) for a, b in channels]
    spectra = [_spectra(a, b, pair.data_range, settings.spectrum) for a, b in channels]
    return Maps(np.mean(edges, axis=0), np.mean(spectra, axis=0))


def _edges(a: np.ndarray, b: np.ndarray, white: float, settings: Settings) -> np.ndarray:
    options = settings.options(white) | {"normalization": "area", "channel_axis": None}
    (height, width), step, more = a.shape, step_of(a.shape), margin(settings.sobel_kernel_size)
    rows = max(STRIP_PIXELS // width // step, 1) * step
    rows = rows if rows + 2 * more <= height else height
    parts = []
    for first in range(0, height, rows):
        # All strips have one height, for which one program is compiled. The border of the image is no strip's.
        tall = min(rows + 2 * more, height)
        start = min(max(first - more, 0), height - tall)
        edges = _strip_edges(*(np.ascontiguousarray(x[start : start + tall]) for x in (a, b)), **options)
        parts.append(peaks_of(np.asarray(edges)[:, first - start : first - start + rows], step))
    return np.concatenate(parts, axis=1) / sobel_gain(settings.sobel_kernel_size)


@functools.partial(
    jax.jit, static_argnames=("sobel_kernel_size", "spectrum", "normalization", "data_range", "channel_axis")
)
def _strip_edges(a: jax.Array, b: jax.Array, **options: Any) -> jax.Array:
    black = jnp.zeros_like(a)
    # The difference from black is the image itself. XLA leaves out the spectra, which nobody takes.
    return jnp.stack([blursim_maps(*pair, **options).edges for pair in ((a, black), (b, black), (a, b))])


def _spectra(a: np.ndarray, b: np.ndarray, white: float, spectrum: str) -> np.ndarray:
    (height, width), step = a.shape, step_of(a.shape)
    of_a, of_b = (np.asarray(fft.rfft2(x.astype(np.float32) / np.float32(white * x.size))) for x in (a, b))
    # What the library adds to magnitudes before it takes logarithms: the noise of one grey level.
    offset = 1 / (255 * math.sqrt(a.size))
    p, q = np.abs(of_a), np.abs(of_b)
    if spectrum == "log":
        difference = np.abs(np.log((p + offset) / (q + offset)))
    else:
        difference = np.abs(p - q if spectrum == "magnitude" else of_a - of_b)
    half, parts = np.stack([p, q, difference]), []
    for first in range(0, height, ROWS * step):
        rows = np.arange(first, min(first + ROWS * step, height)) - height // 2
        # The frequencies k and -k of a real image have the same magnitude.
        left, right = half[:, -rows % height, width // 2 : 0 : -1], half[:, rows % height, : (width + 1) // 2]
        parts.append(peaks_of(np.concatenate([left, right], axis=-1), step))
    return np.concatenate(parts, axis=1)


def step_of(shape: tuple[int, ...]) -> int:
    """Return by what an image of this height and width is reduced."""
    return -(-max(shape[:2]) // SIDE)


def peaks_of(planes: np.ndarray, step: int) -> np.ndarray:
    """Reduce planes (N, H, W) to the maximum of each square of pixels. A mean would hide peaks."""
    for axis in (1, 2):
        planes = np.maximum.reduceat(planes, range(0, planes.shape[axis], step), axis=axis)
    return planes
