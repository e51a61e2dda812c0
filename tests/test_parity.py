"""The two packages beside each other in one process: values and gradients, every option, every dtype."""

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from cases import CASES, FEW, FLOAT32, FLOAT64, MORE, Case, costly, noise, relative_error, zoo
from frameworks import Framework, load

# The others among the slow tests.
DTYPES = [
    "float16",
    "bfloat16",
    "uint8",
    *(pytest.param(x, marks=pytest.mark.slow) for x in ("float32", "int8", "uint16", "int16")),
]


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
        of_gradients.append(relative_error(second, first))
    return of_values, float(np.max(of_gradients))


@pytest.mark.parametrize("case", costly([FEW[0], FEW[3]], CASES + MORE, pytest.mark.system))
def test_float64(both: tuple[Framework, Framework], case: Case) -> None:
    values, gradients = compare(both, *noise(12, 11, dtype="float64"), **case.options())
    print(f"values {values:.1e}, gradients {gradients:.1e}")
    assert max(values, gradients) <= FLOAT64.parity


@pytest.mark.parametrize("case", CASES, ids=str)
def test_float32(both: tuple[Framework, Framework], case: Case) -> None:
    values, gradients = compare(both, *noise(64, 60), **case.options())
    print(f"values {values:.1e}, gradients {gradients:.1e}")
    assert values <= FLOAT32.value
    assert gradients <= (4 if case.spectrum == "log" else 1) * FLOAT32.parity


@pytest.mark.parametrize("name", zoo((32, 30)))
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(CASES[0], id=str(CASES[0])),
        pytest.param(CASES[5], id=str(CASES[5]), marks=pytest.mark.system),
        *(pytest.param(case, id=str(case), marks=pytest.mark.slow) for case in (CASES[1], CASES[4])),
    ],
)
def test_degenerate_images(both: tuple[Framework, Framework], case: Case, name: str) -> None:
    image, other = zoo((32, 30))[name], noise(32, 30, seed=1)[0]
    for a, b in ((image, other), (other, image)):
        # By targets, "relative" all but cancels where the prediction has no edges.
        arguments = (0, 1) if case.normalization == "area" else (0,)
        values, gradients = compare(both, a, b, arguments, **case.options())
        assert values <= 2 * FLOAT32.value
        assert gradients <= FLOAT32.degenerate


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(96, 100), (1024, 1024)], ids=str)
@pytest.mark.parametrize("name", zoo((32, 30)))
def test_degenerate_images_of_more_pixels(
    both: tuple[Framework, Framework], name: str, shape: tuple[int, int], record_property: Callable
) -> None:
    image, other = zoo(shape)[name], noise(*shape, seed=1)[0]
    worst = {}
    for spectrum in ("magnitude", "log"):
        for a, b in ((image, other), (other, image)):
            values, gradients = compare(both, a, b, (0,), spectrum=spectrum)
            assert values <= 2 * FLOAT32.value
            worst[spectrum] = max(worst.get(spectrum, 0.0), gradients)
    for spectrum, value in worst.items():
        record_property(f"{name}, {spectrum}, {shape[0]}x{shape[1]}", value)
    # Frequencies of this one that count are as weak as a few hundred rounding errors of its pixels and their transform.
    more = 10 if (name, shape) == ("strongly blurred", (1024, 1024)) else 1
    assert max(worst.values()) <= more * FLOAT32.degenerate


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", costly(FEW[:1], FEW))
def test_dtypes(both: tuple[Framework, Framework], dtype: str, case: Case) -> None:
    whole = np.random.default_rng(0).integers(0, 100, (2, 3, 20, 22))
    options: Any = {"data_range": 255, "channel_axis": -3, **case.options()}
    values = [framework.value(*(framework.array(x, dtype) for x in whole), **options) for framework in both]
    assert values[0].dtype == values[1].dtype == np.float32
    np.testing.assert_allclose(values[1], values[0], rtol=FLOAT32.value)
    maps = [framework.maps(*(framework.array(x, dtype) for x in whole), **options) for framework in both]
    for first, second in zip(*maps, strict=True):
        np.testing.assert_allclose(second, first, rtol=FLOAT32.rounded, atol=FLOAT32.rounded * first.max())


@pytest.mark.parametrize(
    ("reduction", "axis"),
    [
        pytest.param(*pair, marks=() if pair in (("mean", -1), ("sum", -3), ("none", -1)) else pytest.mark.slow)
        for pair in itertools.product(("mean", "sum", "none"), (-1, -3))
    ],
)
def test_layouts_and_reductions(both: tuple[Framework, Framework], photos: dict, reduction: str, axis: int) -> None:
    """Real photos, 8 bits a pixel, channels first and last, an alpha per image."""
    sharp = np.stack([photos[name][:96, :101] for name in ("camera", "coins", "moon")])
    blurred = np.stack([cv2.GaussianBlur(photo, (0, 0), 2) for photo in sharp])
    alpha = np.array([0.1, 0.5, 0.9], np.float32)
    a, b = (np.stack([x, x[:, ::-1]], axis) for x in (blurred, sharp))
    options: Any = {"channel_axis": axis, "alpha": alpha, "reduction": reduction, "data_range": 255}
    first, second = (framework.value(a, b, **options) for framework in both)
    assert first.shape == second.shape
    np.testing.assert_allclose(second, first, rtol=FLOAT32.value)


@pytest.mark.parametrize("case", costly([CASES[0], CASES[5]], CASES))
def test_photos(both: tuple[Framework, Framework], photos: dict, case: Case) -> None:
    sharp = photos["camera"][:256, :256]
    a, b = (x.astype(np.float32) / 255 for x in (cv2.GaussianBlur(sharp, (0, 0), 2), sharp))
    values, gradients = compare(both, a, b, **case.options())
    print(f"{case}: values {values:.1e}, gradients {gradients:.1e}")
    assert values <= 2 * FLOAT32.value
    assert gradients <= FLOAT32.degenerate
