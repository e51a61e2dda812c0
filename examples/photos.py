"""Real photos that come with scikit-learn and scikit-image, blurred as by a lens: more the further out of focus.

NumPy only, so that it serves every framework. Photos are float32 in 0..1, channels last, 256 pixels on the long side.
The photos trained on and the photos held out are different photos.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from skimage import data, transform, util
from sklearn.datasets import load_sample_image

SIDE = 256
# Radii in pixels of the disks that a lens blurs a point to.
RADII = np.linspace(0.0, 4.0, 9)
# Made-up nearness: something in the middle before a background, or ground below and sky above.
_DOWN, _RIGHT = np.meshgrid(np.linspace(-1, 1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij")
MIDDLE, GROUND = np.exp(-2 * (_DOWN**2 + _RIGHT**2)), _DOWN


@dataclass(frozen=True)
class Scene:
    """A sharp photo (H, W, 3), the nearness of what it shows (H, W) in 0..1, and the photo under every blur."""

    name: str
    sharp: np.ndarray
    nearness: np.ndarray
    stack: np.ndarray

    def blurred(self, focus: float, aperture: float) -> np.ndarray:
        """Return the photo focused on one nearness, each point blurred to a disk of aperture * |nearness - focus|."""
        return blend(self.stack, aperture * np.abs(self.nearness - focus))


class Pair(NamedTuple):
    """A held-out photo, blurred and sharp."""

    name: str
    blurred: np.ndarray
    sharp: np.ndarray


def training_scenes() -> list[Scene]:
    """Return the photos to train on, their nearness made up."""
    return [
        make_scene("astronaut", data.astronaut(), MIDDLE),
        make_scene("cat", data.chelsea(), MIDDLE),
        make_scene("china", load_sample_image("china.jpg"), GROUND),
        make_scene("rocket", data.rocket(), GROUND),
        make_scene("tissue", data.immunohistochemistry(), GROUND),
    ]


def held_out_scenes() -> list[Scene]:
    """Return the photos that training never sees: the motorcycle with its measured disparity, coffee and flower."""
    left, _, disparity = data.stereo_motorcycle()
    return [
        make_scene("motorcycle", left, _filled(disparity)),
        make_scene("coffee", data.coffee(), MIDDLE),
        make_scene("flower", load_sample_image("flower.jpg"), MIDDLE),
    ]


def held_out_pairs() -> list[Pair]:
    """Return the held-out photos focused on the background, so that the subject is blurred, and sharp."""
    return [Pair(scene.name, scene.blurred(focus=0.0, aperture=6.0), scene.sharp) for scene in held_out_scenes()]


def training_batch(
    scenes: list[Scene], rng: np.random.Generator, size: int, side: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """Cut random squares, mirrored and turned at random, under random focus and aperture.

    Args:
        scenes: The photos to cut from.
        rng: Decides everything.
        size: How many squares.
        side: Their side in pixels.

    Returns:
        Blurred and sharp squares, each (size, side, side, 3).
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
    """Take every pixel from the two blurred copies in `stack` next to its radius, rounded to 8 bits as a camera does.

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
    """Round a photo in 0..1 as a camera does."""
    return (np.round(255 * photo) / 255).astype(np.float32)


def make_scene(name: str, photo: np.ndarray, nearness: np.ndarray) -> Scene:
    """A photo and the nearness of what it shows, made as large as all others, and blurred with every radius."""
    scale = SIDE / max(photo.shape[:2])
    # Sides are even, for networks that halve the resolution.
    height, width = (2 * round(scale * side / 2) for side in photo.shape[:2])
    sharp = np.asarray(transform.resize(util.img_as_float32(photo), (height, width), anti_aliasing=True), np.float32)
    near = np.asarray(transform.resize(nearness, (height, width), anti_aliasing=True))
    near = (near - near.min()) / (near.max() - near.min())
    return Scene(name, sharp, near, np.stack([_lens_blur(sharp, radius) for radius in RADII]))


def _filled(disparity: np.ndarray) -> np.ndarray:
    """Give pixels without a disparity (where one camera sees nothing) that of the nearest pixel that has one."""
    nearest = ndimage.distance_transform_edt(~np.isfinite(disparity), return_distances=False, return_indices=True)
    return disparity[tuple(np.asarray(nearest))]


def _lens_blur(photo: np.ndarray, radius: float) -> np.ndarray:
    # A Gaussian with the variance of a disk of that radius, without the rings of a perfect aperture.
    return ndimage.gaussian_filter(photo, (radius / 2, radius / 2, 0), mode="nearest")
