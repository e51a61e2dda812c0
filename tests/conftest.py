"""Settings that hold for every test: strict dtype and rank promotion, four CPU devices."""

import os

# Before the first import of jax, which reads it once.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"

from collections.abc import Iterator

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64() -> Iterator[None]:
    """64-bit types for one test; every other test runs in JAX's default 32-bit mode."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def photos() -> dict:
    """Grey photos 0..255 that come with scikit-image, by name."""
    from skimage import color, data

    names = ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "page", "rocket", "text")
    return {
        name: image if image.ndim == 2 else np.round(255 * color.rgb2gray(image)).astype(np.uint8)
        for name in names
        for image in [getattr(data, name)()]
    }
