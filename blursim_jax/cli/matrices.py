"""Each of some images with each."""

from pathlib import Path

import numpy as np

from blursim_jax import blursim
from blursim_jax.cli.pairs import Settings


def compare_all(arrays: list[np.ndarray], white: float, settings: Settings) -> np.ndarray:
    """BlurSim of every prediction (row) with every target (column)."""
    settings.check_shape(arrays[0].shape)
    options = settings.options(white)
    return np.array([[float(blursim(a, b, alpha=settings.alpha, **options)) for b in arrays] for a in arrays])


def names_of(images: list[Path]) -> list[str]:
    """The files' names, or their whole paths where names are not unique."""
    names = [image.name for image in images]
    return names if len(set(names)) == len(names) else list(map(str, images))
