"""Settings that hold for every test, and the framework that a test runs through."""

import importlib
import importlib.util
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from frameworks import NAMES, Framework, load

# Each program that XLA compiles takes memory mappings, and XLA crashes beyond the 65,530 that Linux allows a process.
MAPPINGS = 40_000
# Compilation takes most of the time, and these flags save a third of it. All but the slow tests use them, unless
# XLA_FLAGS sets a level, as `.ci/run` does for the values and gradients of the wheel. Level 0 gives wrong gradients
# under "log": docs/limits.md. XLA ends a process at a flag that it does not know; jaxlib 0.8 to 0.10 know these.
LEVEL = "--xla_backend_optimization_level"
QUICK = f" {LEVEL}=1 --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"


def pytest_configure(config: pytest.Config) -> None:
    """Settings for this process and those that it starts, before a framework is imported."""
    # Test processes share the cores.
    settings = {"OMP_NUM_THREADS": "1"}
    # JAX locks its cache with filelock.
    if importlib.util.find_spec("filelock"):
        # All test processes share what one has compiled, and the next run too. No test relies on it.
        settings |= {
            "JAX_COMPILATION_CACHE_DIR": str(config.rootpath / ".pytest_cache" / "xla"),
            "JAX_COMPILATION_CACHE_MAX_SIZE": str(2**30),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    flags = os.environ.get("XLA_FLAGS", "")
    # The long tests run what users run.
    if re.search(r"(?<!slow or )not slow", config.option.markexpr) and LEVEL not in flags:
        flags += QUICK
    os.environ["XLA_FLAGS"] = f"{flags} --xla_force_host_platform_device_count=4"
    # A shell starts what runs in its background with Ctrl-C ignored, which the processes of the tests would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if config.getoption("numprocesses", None):
        # The workers run the tests.
        return
    # PyTorch first: loaded after JAX, it may find its libraries taken.
    if importlib.util.find_spec("torch"):
        importlib.import_module("torch").set_num_threads(1)
    if importlib.util.find_spec("jax"):
        jax = importlib.import_module("jax")
        jax.config.update("jax_numpy_dtype_promotion", "strict")
        jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No worker processes for tests or files that are named: starting them takes longer than most tests."""
    return 0 if any(Path(name.partition("::")[0]).is_file() for name in config.args) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """In a worker, pytest-xdist puts the group of a test after its name. Without it, fixtures run in each worker."""
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    # An option that pytest-xdist sets in workers.
    if getattr(session.config.option, "loadgroup", False) and not all("@" in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist does not group tests under this version of pytest")


@pytest.fixture(scope="session", params=NAMES)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Each of the two packages in turn; one whose framework is not installed is skipped, or fails if it is required."""
    return load(request.param)


@pytest.fixture(scope="module", autouse=True)
def programs() -> Iterator[None]:
    """Let go, after a file, of what JAX compiled, before it is too much."""
    yield
    mappings = Path("/proc/self/maps")
    if "jax" in sys.modules and (not mappings.exists() or mappings.read_bytes().count(b"\n") > MAPPINGS):
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
