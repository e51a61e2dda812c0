"""Settings that hold for every test, and the framework that a test runs through."""

import importlib.util
import os
import sys

# Before the first import of jax, which reads it once: four CPU devices.
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
# Two test processes share two cores, and so do the processes that they start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Iterator

import numpy as np
import pytest
from frameworks import NAMES, Framework, load

# PyTorch first: loaded after JAX, it may find its libraries taken.
if importlib.util.find_spec("torch"):
    import torch

    torch.set_num_threads(1)
if importlib.util.find_spec("jax"):
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", params=NAMES)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each of the two packages in turn; one whose framework is not installed is skipped, or fails if it is required."""
    return load(request.param)


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    """Let go, after each file, of what JAX compiled: beyond 65,530 memory mappings of a process, XLA crashes."""
    yield
    if "jax" in sys.modules:
        sys.modules["jax"].clear_caches()


@pytest.fixture
def x64() -> Iterator[None]:
    """64-bit types in JAX for one test; every other test runs in its default 32-bit mode."""
    import jax

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
