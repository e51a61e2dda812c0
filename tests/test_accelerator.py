"""What only an accelerator can show: the CPU's results, whatever its settings are, and that nobody waits for it.

Not part of the ordinary run. Without pytest-xdist (`-o addopts=`), where other libraries may warn (`-W default`), and
with the figures in the output and in a file:

python -m pytest -o addopts= -W default -m accelerator -rsP --junitxml=figures.xml tests/test_accelerator.py
"""

import contextlib
import functools
import importlib.util
import itertools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import FLOAT32, NORMALIZATIONS, SIZES, SPECTRA, relative_error, zoo
from frameworks import NAMES, load, require
from processes import in_new_process

# What PyTorch says of its own tools.
pytestmark = [
    pytest.mark.accelerator,
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype:UserWarning"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*autograd.function.Function.*should not be instantiated:DeprecationWarning"),
]
torch: Any = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
jax: Any = importlib.import_module("jax") if importlib.util.find_spec("jax") else None
FORMULAS = list(itertools.product(SPECTRA, NORMALIZATIONS))


class Device(NamedTuple):
    """Where a framework computes: a `torch.device` or a `jax.Device`."""

    framework: str
    place: Any
    name: str


def find(framework: str) -> Device | None:
    """The framework's accelerator, if it sees one."""
    if framework == "torch":
        seen = torch.cuda.is_available()
        return Device("torch", torch.device("cuda"), torch.cuda.get_device_name()) if seen else None
    # Or JAX would take most of the memory, which PyTorch and a second process need too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    place = jax.devices()[0]
    return None if place.platform == "cpu" else Device("jax", place, place.device_kind)


@pytest.fixture(scope="module", params=NAMES)
def device(request: pytest.FixtureRequest) -> Device:
    """The accelerator of each framework in turn."""
    require(request.param)
    found = find(request.param)
    return found or pytest.skip(f"{request.param} sees no accelerator")


@pytest.fixture
def note(device: Device, record_property: Callable) -> Callable[..., None]:
    """Print figures and record them."""

    def note(what: str, **figures: float) -> None:
        print(f"{device.framework} on {device.name}, {what}:", ", ".join(f"{k} {x:.1e}" for k, x in figures.items()))
        for k, x in figures.items():
            record_property(f"{device.framework} on {device.name}, {what}, {k}", x)

    return note


def cpu(framework: str) -> Device:
    return Device(framework, torch.device("cpu") if framework == "torch" else jax.devices("cpu")[0], "CPU")


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((2, *shape), np.float32)


def put(device: Device, pair: Any) -> list[Any]:
    if device.framework == "torch":
        return [torch.tensor(x, device=device.place) for x in pair]
    return [jax.device_put(x, device.place) for x in pair]


def differentiated(framework: str, **options: Any) -> Callable[[Any, Any], list[Any]]:
    """A function of two images that gives the value and the gradients by both."""
    loss = functools.partial(load(framework).package.blursim, **options)

    def of_torch(a: Any, b: Any) -> list[Any]:
        leaves = [x.detach().requires_grad_() for x in (a, b)]
        value = loss(*leaves)
        return [value.detach(), *torch.autograd.grad(value, leaves)]

    def of_jax(a: Any, b: Any) -> list[Any]:
        value, gradients = jax.value_and_grad(loss, (0, 1))(a, b)
        return [value, *gradients]

    return of_torch if framework == "torch" else of_jax


def arrays(results: list[Any]) -> list[np.ndarray]:
    return [np.asarray(x.cpu() if hasattr(x, "cpu") else x) for x in results]


def on(device: Device, pair: Any, **options: Any) -> list[np.ndarray]:
    """The value and both gradients, computed on a device."""
    wide = device.framework == "jax" and pair[0].dtype == np.float64
    with jax.enable_x64(True) if wide else contextlib.nullcontext():
        return arrays(differentiated(device.framework, **options)(*put(device, pair)))


def errors(actual: list[Any], expected: list[Any]) -> dict[str, float]:
    """The relative error of each, in the L2 norm."""
    pairs = zip(("value", "by_predictions", "by_targets"), arrays(actual), arrays(expected), strict=True)
    return {k: relative_error(x, y) for k, x, y in pairs}


def in_float32(results: list[Any]) -> list[Any]:
    """For NumPy, which has no bfloat16 of PyTorch's."""
    return [x.float() if hasattr(x, "float") else x.astype("float32") for x in results]


def same(actual: list[Any], expected: list[Any]) -> bool:
    return all(np.array_equal(*pair) for pair in zip(arrays(actual), arrays(expected), strict=True))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("spectrum", "normalization"), FORMULAS)
def test_the_results_are_the_cpus(device: Device, note: Callable, spectrum: str, normalization: str, size: int) -> None:
    options: Any = {"spectrum": spectrum, "normalization": normalization, "sobel_kernel_size": size}
    worst = {}
    for shape, alpha in itertools.product([(48, 64), (97, 61), (2, 3, 33, 50)], (0.0, 1.0)):
        options |= {"alpha": alpha, "channel_axis": -3 if len(shape) > 2 else None}
        actual, expected = (on(place, images(*shape), **options) for place in (device, cpu(device.framework)))
        worst |= {k: max(x, worst.get(k, 0)) for k, x in errors(actual, expected).items()}
    note("largest relative error", **worst)
    assert worst.pop("value") <= FLOAT32.rounded
    # The logarithm weighs a bin by 1 / |A|: two CPU transforms differ by 1.2e-5 here.
    assert max(worst.values()) <= (FLOAT32.degenerate if spectrum == "log" else FLOAT32.rounded)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_gradients_of_degenerate_images(device: Device, note: Callable, spectrum: str) -> None:
    """In float32, against float64 on the CPU."""
    noise, worst = images(96, 100, seed=1)[0], {}
    for (name, image), alpha in itertools.product(zoo((96, 100)).items(), (0.0, 1.0)):
        for pair in ((image, noise), (noise, image)):
            exact = on(cpu(device.framework), np.array(pair, np.float64), spectrum=spectrum, alpha=alpha)
            of_pair = errors(on(device, pair, spectrum=spectrum, alpha=alpha), exact)
            worst[name] = max(worst.get(name, 0), 0, *(x for k, x in of_pair.items() if k != "value"))
    note(f"largest relative error, {spectrum}", **worst)
    assert max(worst.values()) <= FLOAT32.degenerate


@pytest.mark.parametrize(("spectrum", "normalization"), FORMULAS)
def test_tf32_changes_no_bit(
    device: Device, monkeypatch: pytest.MonkeyPatch, spectrum: str, normalization: str
) -> None:
    results = []
    for allowed in (False, True):
        with contextlib.ExitStack() as restored:
            if device.framework == "jax":
                restored.enter_context(jax.default_matmul_precision("tensorfloat32" if allowed else "highest"))
            else:
                restored.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
                torch.set_float32_matmul_precision("high" if allowed else "highest")
                monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
                assert torch.backends.cuda.matmul.allow_tf32 == allowed
            results.append(on(device, images(2, 96, 100), spectrum=spectrum, normalization=normalization))
    assert same(*results)


def repeats(framework: str) -> list[bool]:
    """Whether each formula gives the same bits twice, on what the framework computes on by itself."""
    device = find(framework)
    assert device is not None
    functions = [differentiated(framework, spectrum=s, normalization=n) for s, n in FORMULAS]
    pair = put(device, images(3, 96, 100))
    return [same(function(*pair), function(*pair)) for function in functions]


def test_deterministic_algorithms_suffice_and_repeat(device: Device) -> None:
    if device.framework == "jax":
        # In a new process, because flags are read when JAX first looks for devices.
        assert all(in_new_process(repeats, "jax", XLA_FLAGS="--xla_gpu_deterministic_ops=true"))
        return
    torch.use_deterministic_algorithms(True)
    try:
        assert all(repeats("torch"))
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_float32_of_the_same_pixels(device: Device, dtype: str) -> None:
    """Of a size that is no power of two, of which cuFFT transforms no half precision; and under autocast."""
    if device.framework == "torch":
        halves = [x.to(getattr(torch, dtype)) for x in put(device, images(48, 48))]
        floats = [x.float() for x in halves]
        cast = torch.autocast(device.place.type, dtype=getattr(torch, dtype))
    else:
        halves = [x.astype(dtype) for x in put(device, images(48, 48))]
        floats = [x.astype("float32") for x in halves]
        cast = contextlib.nullcontext()
    for spectrum, normalization in FORMULAS:
        compute = differentiated(device.framework, spectrum=spectrum, normalization=normalization)
        expected = compute(*floats)
        # A gradient has the dtype of its input, and the bits of the rounded one.
        rounded = [expected[0], *(x.to(halves[0].dtype) if hasattr(x, "to") else x.astype(dtype) for x in expected[1:])]
        assert same(in_float32(compute(*halves)), in_float32(rounded))
        if device.framework == "torch":
            with cast:
                assert same(in_float32(compute(*halves)), in_float32(rounded)) and same(compute(*floats), expected)


@pytest.mark.parametrize(("spectrum", "normalization"), FORMULAS)
def test_the_host_need_not_wait(device: Device, spectrum: str, normalization: str) -> None:
    compute = differentiated(device.framework, spectrum=spectrum, normalization=normalization)
    compute = jax.jit(compute) if device.framework == "jax" else compute
    pair = put(device, images(2, 96, 100))
    expected = compute(*pair)
    with contextlib.ExitStack() as watched:
        if device.framework == "jax":
            watched.enter_context(jax.transfer_guard("disallow"))
        else:
            watched.callback(torch.cuda.set_sync_debug_mode, "default")
            torch.cuda.set_sync_debug_mode("error")
        actual = compute(*pair)
        # What may not be would be noticed.
        with pytest.raises(RuntimeError):
            compute(*images(2, 96, 100)) if device.framework == "jax" else pair[0].cpu()
    assert same(actual, expected)


@pytest.mark.parametrize("device", ["torch"], indirect=True)
@pytest.mark.parametrize(("spectrum", "normalization"), FORMULAS)
def test_streams_and_graphs(device: Device, spectrum: str, normalization: str) -> None:
    """The same bits on a stream of one's own, and recorded once and played with other images."""
    compute = differentiated("torch", spectrum=spectrum, normalization=normalization)
    first, second = put(device, images(2, 97, 61)), put(device, images(2, 97, 61, seed=1))
    expected = [compute(*first), compute(*second)]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        actual = compute(*first)
    torch.cuda.current_stream().wait_stream(stream)
    assert same(actual, expected[0])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        actual = compute(*first)
    for x, y in zip(first, second, strict=True):
        x.copy_(y)
    graph.replay()
    assert same(actual, expected[1])


@pytest.mark.parametrize("device", ["torch"], indirect=True)
@pytest.mark.parametrize("spectrum", ["magnitude", "complex"])
def test_the_compiler(device: Device, note: Callable, spectrum: str) -> None:
    compiled = torch.compile(load("torch").package.blursim, fullgraph=True)
    leaves = [x.requires_grad_() for x in put(device, images(2, 97, 61))]
    value = compiled(*leaves, spectrum=spectrum)
    actual = [value.detach(), *torch.autograd.grad(value, leaves)]
    of_compiled = errors(actual, differentiated("torch", spectrum=spectrum)(*leaves))
    note(f"compiled from eager, {spectrum}", **of_compiled)
    assert max(of_compiled.values()) <= FLOAT32.rounded
