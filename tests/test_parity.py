"""The two packages beside each other in one process: values and gradients, every option, every dtype."""

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from frameworks import Framework, load
from test_gradients import relative_error, zoo
from test_values import OPTIONS, options_of

DTYPES = ("float16", "bfloat16", "float32", "uint8", "int8", "uint16", "int16")


@pytest.fixture(scope="module")
def both() -> tuple[Framework, Framework]:
    return load("jax"), load("torch")


def compare(
    both: tuple[Framework, Framework], a: np.ndarray, b: np.ndarray, arguments: tuple = (0, 1), **options: Any
) -> tuple[float, float]:
    """The largest relative difference of the terms, and of their gradients by either image."""
    values = [framework.terms(a, b, **options).astype(np.float64) for framework in both]
    scale = np.where(values[0] == 0, 1, values[0])
    of_values = float(np.max(np.abs(values[1] - values[0]) / scale))
    of_gradients = []
    for alpha, argument in itertools.product((0.0, 1.0), arguments):
        first, second = (framework.gradient(a, b, argument, alpha=alpha, **options) for framework in both)
        assert first.dtype == second.dtype
        if first.any() or second.any():
            of_gradients.append(relative_error(second, first.astype(np.float64)))
    return of_values, max(of_gradients, default=0.0)


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_float64(both: tuple[Framework, Framework], case: tuple[str, str, int]) -> None:
    # A batch, of sides that change with the case, odd and even.
    i = OPTIONS.index(case)
    a, b = np.random.default_rng(i).random((2, 2, 24 + i, 33 - i % 4))
    values, gradients = compare(both, a, b, **options_of(case))
    print(f"values {values:.1e}, gradients {gradients:.1e}")
    assert max(values, gradients) <= 1e-11


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_float32(both: tuple[Framework, Framework], case: tuple[str, str, int]) -> None:
    a, b = np.random.default_rng(0).random((2, 48, 41), np.float32)
    values, gradients = compare(both, a, b, **options_of(case))
    print(f"values {values:.1e}, gradients {gradients:.1e}")
    assert values <= 1e-6
    assert gradients <= (2e-5 if case[0] == "log" else 5e-6)


@pytest.mark.parametrize("name", zoo((32, 30)))
@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_degenerate_images(both: tuple[Framework, Framework], spectrum: str, name: str) -> None:
    image = zoo((32, 30))[name]
    noise = np.random.default_rng(1).random(image.shape, np.float32)
    for a, b in ((image, noise), (noise, image)):
        # By predictions. By targets, "relative" all but cancels where the prediction has no edges.
        for normalization, arguments in (("area", (0, 1)), ("relative", (0,))):
            options: Any = {"spectrum": spectrum, "normalization": normalization}
            values, gradients = compare(both, a, b, arguments, **options)
            assert values <= 2e-6
            assert gradients <= 5e-5


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(96, 100), (1024, 1024)], ids=str)
@pytest.mark.parametrize("name", zoo((32, 30)))
def test_degenerate_images_of_more_pixels(
    both: tuple[Framework, Framework], name: str, shape: tuple[int, int], record_property: Callable
) -> None:
    image = zoo(shape)[name]
    noise = np.random.default_rng(1).random(shape, np.float32)
    worst = {}
    for spectrum in ("magnitude", "log"):
        for a, b in ((image, noise), (noise, image)):
            values, gradients = compare(both, a, b, (0,), spectrum=spectrum)
            assert values <= 2e-6
            worst[spectrum] = max(worst.get(spectrum, 0.0), gradients)
    for spectrum, value in worst.items():
        record_property(f"{name}, {spectrum}, {shape[0]}x{shape[1]}", value)
    # Frequencies of this one that count are as weak as a few hundred rounding errors of its pixels and their transform.
    limit = 5e-4 if (name, shape) == ("strongly blurred", (1024, 1024)) else 5e-5
    assert max(worst.values()) <= limit


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes(both: tuple[Framework, Framework], dtype: str) -> None:
    whole = np.random.default_rng(0).integers(0, 100, (2, 3, 20, 22))
    for case in (OPTIONS[1], OPTIONS[10], OPTIONS[16]):
        options: Any = {"data_range": 255, "channel_axis": -3, **options_of(case)}
        values = [framework.value(*(framework.array(x, dtype) for x in whole), **options) for framework in both]
        assert values[0].dtype == values[1].dtype == np.float32
        np.testing.assert_allclose(values[1], values[0], rtol=1e-6)
        maps = [framework.maps(*(framework.array(x, dtype) for x in whole), **options) for framework in both]
        for first, second in zip(*maps, strict=True):
            np.testing.assert_allclose(second, first, rtol=1e-5, atol=1e-5 * first.max())


def test_photos_and_layouts(both: tuple[Framework, Framework], photos: dict) -> None:
    """Real photos, 8 bits a pixel, channels first and last, an alpha an image, every reduction."""
    sharp = np.stack([photos[name][:96, :101] for name in ("camera", "coins", "moon")])
    blurred = np.stack([cv2.GaussianBlur(photo, (0, 0), 2) for photo in sharp])
    alpha = np.array([0.1, 0.5, 0.9], np.float32)
    for reduction, axis in itertools.product(("mean", "sum", "none"), (-1, -3)):
        a, b = (np.stack([x, x[:, ::-1]], axis) for x in (blurred, sharp))
        options: Any = {"channel_axis": axis, "alpha": alpha, "reduction": reduction, "data_range": 255}
        first, second = (framework.value(a, b, **options) for framework in both)
        assert first.shape == second.shape
        np.testing.assert_allclose(second, first, rtol=1e-6)
    a, b = (x.astype(np.float32) / 255 for x in (blurred, sharp))
    for case in itertools.product(("magnitude", "complex", "log"), ("area", "relative"), [5]):
        values, gradients = compare(both, a, b, **options_of(case))
        print(f"{case}: values {values:.1e}, gradients {gradients:.1e}")
        assert values <= 2e-6
        assert gradients <= 5e-5
