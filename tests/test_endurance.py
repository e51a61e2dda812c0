"""Many steps and many sizes: nothing compiles again, and no memory is kept but what the framework keeps."""

import ctypes
import gc
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import noise
from frameworks import NAMES, count_compilations, require
from processes import in_new_process

pytestmark = pytest.mark.system
# How many sizes JAX may keep programs for until its cache is cleared.
ROUND = 3
# A batch of two such images takes 128 KiB; and how many MiB may come and go without one that is kept.
SIDE, LEAST = 128, 5


def resident() -> float:
    """MiB of this process in memory."""
    import psutil

    return psutil.Process().memory_info().rss / 2**20


def compilations(name: str) -> Callable[[], int]:
    """How many programs have been compiled; of eager PyTorch none is."""
    if name == "jax":
        seen = count_compilations()
        return lambda: len(seen)
    from torch._dynamo.utils import counters

    return lambda: counters["stats"]["unique_graphs"]


class Descent(NamedTuple):
    """Gradient descent on a batch of two images: a step at an alpha, and the loss at a given alpha."""

    step: Callable[[float], object]
    loss: Callable[[float], float]


def descent(name: str, height: int = 16, width: int = 16) -> Descent:
    a, b = noise(2, height, width)
    if name == "jax":
        import jax

        from blursim_jax import blursim

        image, target = jax.numpy.asarray(a), jax.numpy.asarray(b)

        def step(alpha: float) -> object:
            nonlocal image
            _, gradient = jax.value_and_grad(blursim)(image, target, alpha=alpha)
            image -= gradient
            return image

        return Descent(step, lambda alpha: float(blursim(image, target, alpha=alpha)))
    import torch

    from blursim_torch import BlurSim

    leaf, fixed, loss = torch.tensor(a, requires_grad=True), torch.tensor(b), BlurSim()
    # PyTorch's own.
    warnings.filterwarnings("ignore", message=".* should not be instantiated", category=DeprecationWarning)
    # Traced as the usual backend does, in a tenth of its time.
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager") if name == "torch.compile" else loss
    optimizer = torch.optim.SGD([leaf], lr=1.0)

    def step_torch(alpha: float) -> object:
        loss.alpha = alpha
        optimizer.zero_grad()
        compiled(leaf, fixed).backward()
        optimizer.step()
        return leaf

    def loss_torch(alpha: float) -> float:
        with torch.no_grad():
            return BlurSim(alpha)(leaf, fixed).item()

    return Descent(step_torch, loss_torch)


def live(name: str) -> int:
    """How many arrays there are."""
    if name == "jax":
        import jax

        return len(jax.live_arrays())
    import torch

    return sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects())


def take_steps(name: str, steps: int, leak: bool = False) -> dict[str, Any]:
    (step, loss), count, start = descent(name, SIDE, SIDE), compilations(name), 0
    arrays, memory, leaked = [], [], []
    before = loss(0.5)
    for i in range(steps):
        if i == 10:
            start = count()
        step(0.9 - 0.8 * i / steps)
        if leak and i % 10 == 0:
            leaked.append(np.ones((2, SIDE, SIDE), np.float32))
        if i >= steps // 3 and i % (steps // 30) == 0:
            arrays.append(live(name))
            memory.append(resident())
    # Read before the proof that the counter counts.
    compiled, after = count(), loss(0.5)
    descent(name, SIDE + 1, SIDE).step(0.5)
    return {
        "compiled": compiled - start,
        "compiled for another size": count() - compiled,
        "arrays": sorted(set(arrays)),
        "MiB more": max(memory) - memory[0],
        "values": [before, after],
    }


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *((name, 1_500) for name in NAMES),
        *(pytest.param(name, 100_000, marks=pytest.mark.slow) for name in (*NAMES, "torch.compile")),
    ],
)
def test_steps_compile_nothing_and_keep_nothing(name: str, steps: int, record_property: Callable) -> None:
    require(name.partition(".")[0], "psutil")
    result = in_new_process(take_steps, name, steps)
    print(result)
    if name != "torch":
        record_property(f"{name}, compiled", result["compiled"])
    record_property(f"{name}, MiB more", result["MiB more"])
    assert result["compiled"] == 0
    assert (result["compiled for another size"] > 0) == (name != "torch")
    assert len(result["arrays"]) == 1 and result["arrays"][0] > 0
    assert result["MiB more"] < LEAST
    assert 0 < result["values"][1] < 0.99 * result["values"][0]


@pytest.mark.parametrize("name", ["jax", pytest.param("torch", marks=pytest.mark.slow)])
def test_an_image_kept_at_one_step_in_ten_is_seen(name: str) -> None:
    require(name, "psutil")
    assert in_new_process(take_steps, name, 1_500, True)["MiB more"] > 2 * LEAST


def take_sizes(name: str, sizes: int, each_round: int, side: int = 16, leak: bool = False) -> dict[str, Any]:
    """One step at each size; for JAX, the cache is cleared after every round of sizes."""
    leaked = []
    seen = count_compilations() if name == "jax" else []
    descent(name, 64, 64).step(0.5)
    start, first, high, again = resident(), 0, [], 0
    low = [start]
    for i in range(sizes):
        step = descent(name, side + i // 40, side + i % 40).step
        step(0.5)
        compiled = len(seen)
        step(0.4)
        if leak:
            leaked.append(np.ones((2, side, side), np.float32))
        again += len(seen) - compiled
        first = first or compiled
        if (i + 1) % each_round == 0:
            high.append(resident())
            if name == "jax":
                import jax

                jax.clear_caches()
            gc.collect()
            # What is free goes back to the system only when asked for, and would count as kept.
            ctypes.CDLL(None).malloc_trim(0)
            low.append(resident())
    return {
        "MiB a size": (high[0] - start) / each_round,
        "highest MiB": max(high) - start,
        "MiB kept": low[-1] - start,
        "compiled again at the same size": again,
    }


@pytest.mark.parametrize("sizes", [30, pytest.param(1_000, marks=pytest.mark.slow)])
def test_sizes_keep_nothing_in_torch(sizes: int, record_property: Callable) -> None:
    require("torch", "psutil")
    result = in_new_process(take_sizes, "torch", sizes, 10, 128)
    print(result)
    record_property("torch, highest MiB", result["highest MiB"])
    assert result["highest MiB"] < 5


def test_an_image_kept_of_each_size_is_seen() -> None:
    """Of 30 batches of 128 KiB."""
    require("torch", "psutil")
    assert in_new_process(take_sizes, "torch", 90, 10, 128, True)["highest MiB"] > 2 * 5


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [2 * ROUND, 1_000])
def test_clearing_the_cache_gives_back_what_sizes_took_in_jax(sizes: int, record_property: Callable) -> None:
    """Every size compiles, once, and JAX keeps its programs until `jax.clear_caches()`."""
    require("jax", "psutil")
    result = in_new_process(take_sizes, "jax", sizes, ROUND)
    print(result)
    for figure in ("MiB a size", "MiB kept", "highest MiB"):
        record_property(f"jax, {figure}", result[figure])
    assert result["compiled again at the same size"] == 0
    assert result["MiB a size"] > 1, "the measure measures"
    # However many sizes there are.
    assert result["MiB kept"] < result["MiB a size"] * ROUND / 2 + 2
    assert result["highest MiB"] < 1.75 * result["MiB a size"] * ROUND + 2
