"""Calls drawn at random, right and wrong: a right one gives the reference's value, a wrong one a documented error."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from frameworks import Framework
from numpy.random import Generator
from test_values import OPTIONS, options_of, reference_of

DTYPES = ("float32", "uint8", "float16", "int8", "uint16", "int16")
# Shape, channel axis, and where the planes are. Option sets take turns, because JAX compiles for each pair.
LAYOUTS: tuple[tuple[tuple[int, ...], int | None], ...] = (
    ((9, 8), None),
    ((2, 7, 12), None),
    ((2, 1, 11, 7, 3), -1),
    ((3, 8, 8), -3),
    ((0, 9, 9), None),
    ((1, 16, 7), None),
)
# How pixels lie in memory.
LIES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    np.asarray,
    np.asfortranarray,
    lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    lambda x: x[..., ::-1, :].copy()[..., ::-1, :],
)
# What a plane of random pixels may be instead.
PIXELS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda x: x,
    lambda x: x,
    lambda x: np.full_like(x, 0.3),
    np.zeros_like,
    np.ones_like,
    np.round,
    lambda x: np.sign(x - 0.5),
    # Below the smallest normal number.
    lambda x: 1e-42 * x,
)
WRONG_OPTIONS: dict[str, tuple] = {
    "sobel_kernel_size": (0, 1, 4, 9, -3, 5.0, "5", None, True),
    "spectrum": ("phase", "", None, 3, b"log"),
    "normalization": ("mean", None, 0, ()),
    "reduction": ("max", "None", None, -1),
    "channel_axis": (0, 1, -2, -4, "C", -1.0),
    "data_range": (0, -1, np.nan, np.inf, 1e-46, 1e39, None, "1", True),
    "alpha": (-0.01, 1.01, np.nan, np.inf, "0.5", None, [0.5], 1j, True),
}
WRONG_IMAGES = (None, "image", 3.5, [[0.0]], {}, np.zeros((9, 9), bool), np.zeros((9, 9), np.complex64))


def choose(rng: Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def draw_call(rng: Generator) -> tuple[list[Any], dict[str, Any], tuple[str, str, int]]:
    """Two images, options, and the option set that these stand for."""
    turn = int(rng.integers(len(OPTIONS)))
    shape, axis = LAYOUTS[turn % len(LAYOUTS)]
    images = []
    for dtype in (DTYPES[turn % 5], DTYPES[turn % 2 + turn % 3]):
        pixels = choose(rng, PIXELS)(rng.random(shape))
        pixels = 100 * pixels if turn % 2 else pixels
        pixels = pixels if dtype.startswith("float") else np.round(abs(pixels))
        images.append(choose(rng, LIES)(pixels.astype(dtype)))
    options = {
        "channel_axis": axis,
        "data_range": 100 if turn % 2 else 1.0,
        # Of few digits: rounded to float32, 1 - alpha would be another.
        "alpha": round(64 * rng.random()) / 64,
        "reduction": "none",
        **options_of(OPTIONS[turn]),
    }
    return images, options, OPTIONS[turn]


def call(framework: Framework, images: list[Any], options: dict[str, Any]) -> Any:
    arrays = [framework.array(x) if isinstance(x, np.ndarray) else x for x in images]
    return np.asarray(framework.package.blursim(*arrays, **options))


def expected_values(images: list[Any], options: dict[str, Any], case: tuple[str, str, int]) -> np.ndarray:
    a, b = (x.astype(np.float64) / options["data_range"] for x in images)
    if options["channel_axis"] == -1:
        a, b = (np.moveaxis(x, -1, -3) for x in (a, b))
    *batch_shape, height, width = a.shape
    terms = [reference_of(x, y, case) for x, y in zip(*(x.reshape(-1, height, width) for x in (a, b)), strict=True)]
    general, specific = np.reshape(terms, (*batch_shape, 2)).transpose(-1, *range(len(batch_shape)))
    values = (1 - options["alpha"]) * general + options["alpha"] * specific
    return values if options["channel_axis"] is None else values.mean(axis=-1)


def right_call(framework: Framework, rng: Generator) -> None:
    images, options, case = draw_call(rng)
    values = call(framework, images, options)
    assert values.dtype == np.float32
    expected = expected_values(images, options, case)
    # The logarithm weighs a bin by 1 / |A|: of so few bins, one of almost nothing passes its rounding error on.
    np.testing.assert_allclose(values, expected, rtol=2e-5 if case[0] == "log" else 5e-6, atol=3e-7)


def wrong_option(framework: Framework, rng: Generator) -> None:
    images, options, _ = draw_call(rng)
    name = choose(rng, list(WRONG_OPTIONS))
    options[name] = choose(rng, WRONG_OPTIONS[name])
    with pytest.raises((ValueError, TypeError), match=f"^{name}: expected "):
        call(framework, images, options)


def wrong_image(framework: Framework, rng: Generator) -> None:
    images, options, _ = draw_call(rng)
    which = int(rng.integers(2))
    images[which] = choose(rng, WRONG_IMAGES)
    with pytest.raises(TypeError, match=f"^{('predictions', 'targets')[which]}: expected "):
        call(framework, images, options)


def wrong_shape(framework: Framework, rng: Generator) -> None:
    images, options, _ = draw_call(rng)
    which, axis = int(rng.integers(2)), int(rng.integers(images[0].ndim))
    larger = np.insert(images[which], 0, 0, axis=axis)
    images[which] = choose(rng, (larger, images[which][None], images[which][..., 0]))
    with pytest.raises(ValueError, match=r"^(targets|predictions): expected "):
        call(framework, images, options)


def poisoned_pixel(framework: Framework, rng: Generator) -> None:
    """A NaN or an infinity in an image makes its value NaN or inf, and no other image's."""
    images, options, _ = draw_call(rng)
    images = [x.astype(np.float32) for x in images]
    sound = call(framework, images, options)
    if not sound.size:
        return
    poisoned = images[int(rng.integers(2))]
    poisoned[np.unravel_index(rng.integers(poisoned.size), poisoned.shape)] = choose(rng, (np.nan, np.inf, -np.inf))
    finite = np.isfinite(poisoned).reshape(*sound.shape, -1).all(axis=-1)
    values = call(framework, images, options)
    np.testing.assert_array_equal(np.isfinite(values), finite)
    np.testing.assert_array_equal(values[finite], sound[finite])


@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "check", [right_call, wrong_option, wrong_image, wrong_shape, poisoned_pixel], ids=lambda check: check.__name__
)
def test_fuzz(
    framework: Framework, check: Callable[[Framework, Generator], None], count: int, record_property: Any
) -> None:
    for seed in range(count):
        try:
            check(framework, np.random.default_rng(seed))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    record_property(f"calls, {framework.name}", count)
