"""The four jobs: the photos, their blurs, and the crops to train on."""

import functools
import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from skimage.io import imread
from torch import Tensor

from examples import photos

TASKS = "defocus", "gaussian", "motion", "bokeh"
# Crops of another side have as many rows and columns in a batch, but at least one crop.
BATCH, SIDE = 4, 64
# How many blurred versions of each photo are made in advance.
TRAINING_VERSIONS, HELD_OUT_VERSIONS = 16, 4


class Pair(NamedTuple):
    """The input of the network, (H, W, 3 or 4), and its target, (H, W, 3)."""

    given: np.ndarray
    target: np.ndarray


def version(task: str, scene: photos.Scene, rng: np.random.Generator) -> Pair:
    """Return the input and target of a task for one photo, with a random blur, rounded to 8 bits as a camera does."""
    focus, aperture = rng.uniform(), rng.uniform(3.0, 7.0)
    match task:
        case "defocus":
            return Pair(scene.blurred(focus, aperture), scene.sharp)
        case "gaussian":
            sigma = rng.uniform(0.5, 2.5)
            return Pair(
                photos.in_8_bits(ndimage.gaussian_filter(scene.sharp, (sigma, sigma, 0), mode="nearest")), scene.sharp
            )
        case "motion":
            kernel = _line(rng.uniform(3.0, 13.0), rng.uniform(0.0, math.pi))
            return Pair(photos.in_8_bits(ndimage.convolve(scene.sharp, kernel[..., None], mode="nearest")), scene.sharp)
        case "bokeh":
            radius = (aperture / photos.RADII[-1] * np.abs(scene.nearness - focus)).astype(np.float32)
            return Pair(np.dstack((photos.in_8_bits(scene.sharp), radius)), scene.blurred(focus, aperture))
    raise ValueError(f"task: expected one of {TASKS}, got {task!r}")


def _line(length: float, angle: float) -> np.ndarray:
    """Return the blur kernel of a straight motion, with its length in pixels."""
    kernel, middle = np.zeros((15, 15), np.float32), 7
    for along in np.linspace(-length / 2, length / 2, 200):
        down, right = middle + along * math.sin(angle), middle + along * math.cos(angle)
        top, left = int(down), int(right)
        for row, column in itertools.product((top, top + 1), (left, left + 1)):
            kernel[row, column] += (1 - abs(down - row)) * (1 - abs(right - column))
    return kernel / kernel.sum()


@functools.cache
def training_pairs(task: str, side: int = SIDE) -> list[Pair]:
    """Return the versions of the training photos, to cut crops of this side from."""
    rng = np.random.default_rng(0)
    return [version(task, scene, rng) for scene in _scenes(True, side) for _ in range(TRAINING_VERSIONS)]


@functools.cache
def held_out_pairs(task: str, side: int = SIDE) -> list[Pair]:
    """Return the versions of the held-out photos, to judge on after training on crops of this side."""
    rng = np.random.default_rng(1)
    return [version(task, scene, rng) for scene in _scenes(False, side) for _ in range(HELD_OUT_VERSIONS)]


@functools.cache
def other_pairs(task: str, folder: Path) -> list[Pair]:
    """Return versions of the photos in a folder, resized to the size of the training photos."""
    rng, pairs = np.random.default_rng(2), []
    for path in sorted(x for x in folder.iterdir() if x.suffix.lower() in (".png", ".jpg", ".bmp", ".tif")):
        pairs.append(version(task, photos.make_scene(path.stem, imread(path), photos.MIDDLE), rng))
    return pairs


@functools.cache
def _scenes(training: bool, side: int) -> list[photos.Scene]:
    # Photos have 256 pixels on the long side, and 512 for crops of 256.
    scenes = photos.training_scenes if training else photos.held_out_scenes
    return scenes(max(photos.SIDE, 2 * side))


def batch(pairs: list[Pair], rng: np.random.Generator, side: int = SIDE) -> tuple[Tensor, Tensor]:
    """Cut random squares, flipped and rotated at random: (N, 3 or 4, side, side) and (N, 3, side, side)."""
    squares: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for _ in range(max(1, BATCH * SIDE // side)):
        pair = pairs[rng.integers(len(pairs))]
        height, width = pair.target.shape[:2]
        top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
        turns, mirror = int(rng.integers(4)), rng.choice((1, -1))
        for found, image in zip(squares, pair, strict=True):
            found.append(np.rot90(image[top : top + side, left : left + side], turns)[:, ::mirror])
    given, target = (to_torch(np.stack(found)) for found in squares)
    return given, target


def to_torch(images: np.ndarray) -> Tensor:
    """Convert photos (N, H, W, C) to a tensor (N, C, H, W)."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
