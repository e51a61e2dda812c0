"""Real photos from scikit-learn and scikit-image, blurred as by a lens: the further out of focus, the stronger.

All arrays are NumPy arrays, so that every framework can use them. Photos are float32 in 0..1, channels last, with 256
pixels on the long side by default. The training photos and the held-out photos are different photos.
"""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage import data, transform, util
from sklearn.datasets import load_sample_image

SIDE = 256
# A lens blurs a point to a disk. These are its possible radii in pixels.
RADII = np.linspace(0.0, 4.0, 9)
# Synthetic nearness: an object in the middle in front of a background, or ground below and sky above.
_DOWN, _RIGHT = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij")
MIDDLE, GROUND = np.exp(-2 * (_DOWN**2 + _RIGHT**2)), _DOWN


@dataclass(frozen=True)
class Scene:
    """A sharp photo (H, W, 3), its nearness (H, W) from 0, far, to 1, near, and the photo blurred with each radius."""

    name: str
    sharp: np.ndarray
    nearness: np.ndarray
    stack: np.ndarray

    def blurred(self, focus: float, aperture: float) -> np.ndarray:
        """Return the photo focused on one nearness. A point becomes a disk of radius aperture * |nearness - focus|."""
        return blend(self.stack, aperture * np.abs(self.nearness - focus))


class Pair(NamedTuple):
    """A held-out photo, blurred and sharp."""

    name: str
    blurred: np.ndarray
    sharp: np.ndarray


@functools.cache
def training_scenes(side: int = SIDE) -> list[Scene]:
    """Return the training photos, with synthetic nearness and `side` pixels on the long side."""
    return [
        make_scene("astronaut", data.astronaut(), MIDDLE, side),
        make_scene("cat", data.chelsea(), MIDDLE, side),
        make_scene("china", load_sample_image("china.jpg"), GROUND, side),
        make_scene("rocket", data.rocket(), GROUND, side),
        make_scene("tissue", data.immunohistochemistry(), GROUND, side),
    ]


@functools.cache
def held_out_scenes(side: int = SIDE) -> list[Scene]:
    """Return the photos that training never sees: motorcycle, with its measured disparity, coffee and flower."""
    left, _, disparity = data.stereo_motorcycle()
    return [
        make_scene("motorcycle", left, _filled(disparity), side),
        make_scene("coffee", data.coffee(), MIDDLE, side),
        make_scene("flower", load_sample_image("flower.jpg"), MIDDLE, side),
    ]


def held_out_pairs() -> list[Pair]:
    """Return each held-out photo blurred and sharp. The focus is on the background, so the subject is blurred."""
    return [Pair(scene.name, scene.blurred(focus=0.0, aperture=6.0), scene.sharp) for scene in held_out_scenes()]


def training_batch(
    scenes: list[Scene], rng: np.random.Generator, size: int, side: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Cut random square crops, flipped and rotated at random, with random focus and aperture.

    Args:
        scenes: The photos to cut from.
        rng: The source of all randomness.
        size: The number of crops.
        side: Their side length in pixels.

    Returns:
        The blurred and the sharp crops, each (size, side, side, 3).
    """
    blurred, sharp = [], []
    for _ in range(size):
        scene = scenes[rng.integers(len(scenes))]
        height, width = scene.nearness.shape
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        cut = np.s_[top : top + side, left : left + side]
        radius = rng.uniform(3.0, 7.0) * np.abs(scene.nearness[cut] - rng.uniform())
        turns, mirror = int(rng.integers(4)), rng.choice((1, -1))
        for squares, square in ((blurred, blend(scene.stack[:, *cut], radius)), (sharp, scene.sharp[cut])):
            squares.append(np.rot90(square, turns)[:, ::mirror])
    return np.stack(blurred), np.stack(sharp)


def blend(stack: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Interpolate every pixel between the two blurred copies in `stack` nearest to its radius.

    The result is rounded to 8 bits, as a camera does.

    Args:
        stack: A photo blurred with each of RADII, (len(RADII), H, W, 3).
        radius: The radius in pixels at every pixel, (H, W).

    Returns:
        The blurred photo, (H, W, 3).
    """
    position = np.interp(radius, RADII, np.arange(len(RADII)))
    below = np.minimum(position.astype(int), len(RADII) - 2)
    share = (position - below)[..., None]
    rows, columns = np.indices(radius.shape)
    blurred = (1 - share) * stack[below, rows, columns] + share * stack[below + 1, rows, columns]
    return in_8_bits(blurred)


def in_8_bits(photo: np.ndarray) -> np.ndarray:
    """Round a photo in 0..1 to 8 bits, as a camera does."""
    return (np.round(255 * photo) / 255).astype(np.float32)


def make_scene(name: str, photo: np.ndarray, nearness: np.ndarray, side: int = SIDE) -> Scene:
    """Make a scene from a photo and its nearness: resize both to this long side, and blur with each radius."""
    scale = side / max(photo.shape[:2])
    # The sides are even, for networks that halve the resolution.
    height, width = (2 * round(scale * size / 2) for size in photo.shape[:2])
    sharp = np.asarray(transform.resize(util.img_as_float32(photo), (height, width), anti_aliasing=True), np.float32)
    near = np.asarray(transform.resize(nearness, (height, width), anti_aliasing=True))
    near = (near - near.min()) / (near.max() - near.min())
    return Scene(name, sharp, near, np.stack([_lens_blur(sharp, radius) for radius in RADII]))


def _filled(disparity: np.ndarray) -> np.ndarray:
    """Fill pixels without a disparity, which one camera does not see, from the nearest pixel that has one."""
    nearest = ndimage.distance_transform_edt(~np.isfinite(disparity), return_distances=False, return_indices=True)
    return disparity[tuple(np.asarray(nearest))]


def _lens_blur(photo: np.ndarray, radius: float) -> np.ndarray:
    # A Gaussian with the variance of a disk of that radius. It avoids the rings that a perfect aperture makes.
    return ndimage.gaussian_filter(photo, (radius / 2, radius / 2, 0), mode="nearest")
