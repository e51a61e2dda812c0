"""The same bits in every process, thread and worker."""

import hashlib
import itertools
import multiprocessing
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from frameworks import NAMES, Framework, load, require
from processes import in_new_process

pytestmark = pytest.mark.system
# 72 planes are several blocks in both packages. Not among these shapes: batches of at most 64 columns, of which MKL's
# inverse transforms are others with two threads than with one.
SHAPES = {"blocks": (24, 3, 128, 128), "one image": (512, 512)}
# How long a worker may take until it counts as hung.
PATIENCE = 120
OPTIONS: list[dict] = [
    {"spectrum": spectrum, "normalization": normalization, "sobel_kernel_size": size, "alpha": alpha}
    for (spectrum, normalization), size, alpha in zip(
        itertools.product(("magnitude", "complex", "log"), ("area", "relative")),
        (3, 5, 7, 3, 5, 7),
        (0.1, 0.3, 0.5, 0.7, 0.9, 0.2),
        strict=True,
    )
]


def images(i: int, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.random.default_rng(i).random((2, *shape), np.float32)
    return a, b


def results(framework: Framework, a: np.ndarray, b: np.ndarray, **options: Any) -> list[np.ndarray]:
    """Value, terms and gradient."""
    of_terms = {key: value for key, value in options.items() if key != "alpha"}
    return [
        framework.value(a, b, **options),
        framework.terms(a, b, **of_terms),
        framework.gradient(a, b, **options),
    ]


def fingerprints(name: str, dtypes: list[str]) -> dict[str, str]:
    """A hash of the bits for each shape."""
    framework, hashes = load(name), {}
    for case, shape in SHAPES.items():
        a, b = images(0, *shape)
        pairs = [(a.astype(dtype), b.astype(dtype)) for dtype in dtypes]
        arrays = [x for pair in pairs for x in results(framework, *pair, alpha=0.3, normalization="relative")]
        assert all(np.isfinite(x).all() and np.any(x) for x in arrays)
        hashes[case] = hashlib.sha256(b"".join(x.tobytes() for x in arrays)).hexdigest()
    return hashes


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_process_gives_the_same_bits(name: str) -> None:
    require(name)
    dtypes = ["float32", "float64"]
    one = [in_new_process(fingerprints, name, dtypes, cores=1) for _ in range(3)]
    assert all(hashes == one[0] for hashes in one)
    two = [in_new_process(fingerprints, name, dtypes, cores=2) for _ in range(2)]
    # On several cores XLA's `rfft2` of one image differs from call to call in its last bits.
    cases = SHAPES if name == "torch" else ["blocks"]
    assert {case: {hashes[case] for hashes in one + two} for case in cases} == {case: {one[0][case]} for case in cases}


def in_threads(function: Callable[[int], Any], calls: int) -> list[Any]:
    """Call `function` with 0, 1, ... on 8 threads that start together, `calls` times on each."""
    start = threading.Barrier(8, timeout=PATIENCE)

    def work(thread: int) -> list[Any]:
        start.wait()
        return [function(thread * calls + i) for i in range(calls)]

    with ThreadPoolExecutor(8) as pool:
        return list(itertools.chain.from_iterable(pool.map(work, range(8))))


def assert_same_bits(actual: list, expected: list) -> None:
    assert len(actual) == len(expected) > 0
    for first, second in zip(actual, expected, strict=True):
        for x, y in zip(first, second, strict=True):
            assert x.tobytes() == y.tobytes()


@pytest.mark.parametrize("calls", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_threads_do_not_disturb_each_other(framework: Framework, calls: int) -> None:
    """Each call with images and options of its own. The threads come first, so that in JAX they compile, too."""
    # JAX compiles for each.
    few = 2 if calls == 5 else len(OPTIONS)

    def call(i: int) -> list[np.ndarray]:
        a, b = images(i, 2, 18, 21)
        return [framework.value(a, b, **OPTIONS[i % few]), framework.gradient(a, b, **OPTIONS[i % few])]

    assert_same_bits(in_threads(call, calls), [call(i) for i in range(8 * calls)])


@pytest.mark.parametrize("calls", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_backward_in_threads(calls: int) -> None:
    """Through modules that the threads share."""
    require("torch")
    import torch

    from blursim_torch import BlurSim

    losses = [BlurSim(**options) for options in OPTIONS]

    def call(i: int) -> list[np.ndarray]:
        # Alternating, a batch of several blocks.
        a, b = map(torch.tensor, images(i, *((2, 33, 30) if i % 4 else (9, 256, 256))))
        value = losses[i % 6](a.requires_grad_(), b)
        value.backward()
        assert a.grad is not None
        return [value.detach().numpy(), a.grad.numpy()]

    assert_same_bits(in_threads(call, calls), [call(i) for i in range(8 * calls)])


class Values:
    """A data set of the losses of image pairs."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, i: int) -> Any:
        import torch

        from blursim_torch import blursim

        a, b = map(torch.tensor, images(i, 4, 256, 256))
        return blursim(a, b, alpha=0.3, reduction="none")


def load_values(method: str) -> int:
    """How many values of two workers are not those of this process, which has threads that a fork does not copy."""
    import torch
    from torch.utils.data import DataLoader

    # From Python 3.12 on it warns of what is tested here.
    warnings.filterwarnings("ignore", ".*multi-threaded, use of fork", DeprecationWarning)
    assert torch.get_num_threads() == 2
    expected = torch.stack([Values()[i] for i in range(len(Values()))])
    loader: Any = DataLoader(
        Values(),  # type: ignore[arg-type]
        num_workers=2,
        batch_size=2,
        multiprocessing_context=method,
        timeout=PATIENCE,
    )
    actual = torch.cat(list(loader))
    assert actual.shape == expected.shape == (8, 4)
    return int(torch.sum(actual != expected))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader(method: str) -> None:
    require("torch")
    assert in_new_process(load_values, method, timeout=4 * PATIENCE, OMP_NUM_THREADS="2") == 0


def jax_values(i: int) -> bytes:
    from blursim_jax import blursim

    return np.asarray(blursim(*images(i, 2, 18, 21), alpha=0.3, reduction="none")).tobytes()


def test_workers_of_a_pool_in_jax() -> None:
    """Spawned ones: JAX does not support a fork once it has started."""
    require("jax")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        actual = pool.map_async(jax_values, range(6)).get(PATIENCE)
    assert actual == [jax_values(i) for i in range(6)]
    assert len(set(actual)) == 6
