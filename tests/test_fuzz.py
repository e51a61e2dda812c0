"""Calls drawn at random, right and wrong: a right one gives the reference's value, a wrong one a documented error."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import ALL, CASES, FLOAT32, Case
from frameworks import Framework
from numpy.random import Generator

DTYPES = ("float32", "uint8", "float16", "bfloat16", "uint16", "int16", "float64", "int8")
# Shape and channel axis. Cases take turns with these and the dtypes, because JAX compiles for each combination.
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
    "data_range": (0, -1, np.nan, np.inf, 1e-46, 1e39, "1", True, (1, 0), (0, 1, 2), [0, 1], (0, np.inf)),
    "alpha": (-0.01, 1.01, np.nan, np.inf, "0.5", None, [0.5], 1j, True),
}
WRONG_IMAGES = (None, "image", 3.5, [[0.0]], {}, np.zeros((9, 9), bool), np.zeros((9, 9), np.complex64))


def choose(rng: Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


class Image(NamedTuple):
    """Pixels, in a NumPy dtype that holds them exactly, and the dtype that they are given in."""

    pixels: np.ndarray
    dtype: str


def draw_call(rng: Generator, cases: list[Case]) -> tuple[list[Any], dict[str, Any], Case]:
    """Two images, options, and the option set that these stand for."""
    turn = int(rng.integers(len(cases)))
    shape, axis = LAYOUTS[turn % len(LAYOUTS)]
    first = DTYPES[turn % 8]
    alike = [dtype for dtype in DTYPES if ("float" in dtype) == ("float" in first)]
    dtypes = first, alike[(turn * 3 + turn // 8) % 4]
    wide = {"float32", "bfloat16", "float64"}
    # Beyond what float32 squares hold, but for `data_range`.
    white = 1e18 if set(dtypes) <= wide else 100.0 if turn % 2 or not wide & set(dtypes) else 1.0
    images = []
    for dtype in dtypes:
        pixels = white * choose(rng, PIXELS)(rng.random(shape))
        pixels = pixels if "float" in dtype else np.round(abs(pixels))
        pixels = pixels.astype("float32" if dtype == "bfloat16" else dtype)
        if dtype == "bfloat16":
            # The upper half of float32.
            pixels = (pixels.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        images.append(Image(choose(rng, LIES)(pixels), dtype))
    options = {
        "channel_axis": axis,
        "data_range": white,
        # Of few digits: rounded to float32, 1 - alpha would be another.
        "alpha": round(64 * rng.random()) / 64,
        "reduction": "none",
        **cases[turn].options(),
    }
    return images, options, cases[turn]


def given(framework: Framework, image: Any) -> Any:
    """An image as the framework's own, lying in memory as its pixels do if the framework can have it so."""
    if not isinstance(image, Image):
        return framework.array(image) if isinstance(image, np.ndarray) else image
    pixels, dtype = image
    if framework.name == "jax":
        return framework.array(pixels, dtype) if dtype == "bfloat16" else pixels
    import torch

    backwards = min(pixels.strides, default=0) < 0
    tensor = framework.array(pixels) if backwards else torch.from_numpy(pixels)
    return tensor.to(getattr(torch, dtype))


def precision(framework: Framework, images: list[Any]) -> Any:
    """Where float64 is to be had, if an image is of float64."""
    if framework.name == "jax" and any(isinstance(x, Image) and x.dtype == "float64" for x in images):
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()


def call(framework: Framework, images: list[Any], options: dict[str, Any]) -> Any:
    with precision(framework, images):
        return np.asarray(framework.package.blursim(*(given(framework, x) for x in images), **options))


def expected_values(images: list[Any], options: dict[str, Any], case: Case) -> np.ndarray:
    a, b = (x.pixels.astype(np.float64) / options["data_range"] for x in images)
    if options["channel_axis"] == -1:
        a, b = (np.moveaxis(x, -1, -3) for x in (a, b))
    *batch_shape, height, width = a.shape
    terms = [case.terms(x, y) for x, y in zip(*(x.reshape(-1, height, width) for x in (a, b)), strict=True)]
    general, specific = np.reshape(terms, (*batch_shape, 2)).transpose(-1, *range(len(batch_shape)))
    values = (1 - options["alpha"]) * general + options["alpha"] * specific
    return values if options["channel_axis"] is None else values.mean(axis=-1)


def right_call(framework: Framework, rng: Generator, cases: list[Case]) -> None:
    images, options, case = draw_call(rng, cases)
    values = call(framework, images, options)
    assert values.dtype == ("float64" if "float64" in (x.dtype for x in images) else "float32")
    expected = expected_values(images, options, case)
    # The logarithm weighs a bin by 1 / |A|: of so few bins, one of almost nothing passes its rounding error on.
    np.testing.assert_allclose(
        values, expected, rtol=FLOAT32.weak if case.spectrum == "log" else 5 * FLOAT32.value, atol=3e-7
    )


def wrong_option(framework: Framework, rng: Generator, cases: list[Case]) -> None:
    images, options, _ = draw_call(rng, cases)
    name = choose(rng, list(WRONG_OPTIONS))
    options[name] = choose(rng, WRONG_OPTIONS[name])
    with pytest.raises((ValueError, TypeError), match=f"^{name}: expected "):
        call(framework, images, options)


def wrong_image(framework: Framework, rng: Generator, cases: list[Case]) -> None:
    images, options, _ = draw_call(rng, cases)
    which = int(rng.integers(2))
    images[which] = choose(rng, WRONG_IMAGES)
    with pytest.raises(TypeError, match=f"^{('predictions', 'targets')[which]}: expected "):
        call(framework, images, options)


def wrong_shape(framework: Framework, rng: Generator, cases: list[Case]) -> None:
    images, options, _ = draw_call(rng, cases)
    which = int(rng.integers(2))
    pixels, dtype = images[which]
    larger = np.insert(pixels, 0, 0, axis=int(rng.integers(pixels.ndim)))
    images[which] = Image(choose(rng, (larger, pixels[None], pixels[..., 0])), dtype)
    with pytest.raises(ValueError, match=r"^(targets|predictions): expected "):
        call(framework, images, options)


def poisoned_pixel(framework: Framework, rng: Generator, cases: list[Case]) -> None:
    """A NaN or an infinity in an image makes its value NaN or inf, and no other image's."""
    images, options, _ = draw_call(rng, cases)
    images = [Image(x.pixels.astype(np.float32), "float32") for x in images]
    sound = call(framework, images, options)
    if not sound.size:
        return
    poisoned = images[int(rng.integers(2))].pixels
    poisoned[np.unravel_index(rng.integers(poisoned.size), poisoned.shape)] = choose(rng, (np.nan, np.inf, -np.inf))
    finite = np.isfinite(poisoned).reshape(*sound.shape, -1).all(axis=-1)
    values = call(framework, images, options)
    np.testing.assert_array_equal(np.isfinite(values), finite)
    np.testing.assert_array_equal(values[finite], sound[finite])


def other_functions(framework: Framework, rng: Generator, cases: list[Case]) -> None:
    """Terms that mix to the value, gradients of the images' shape and dtype, maps for each image, all finite."""
    images, options, _ = draw_call(rng, cases)
    images = [Image(x.pixels.astype(np.float32), "float32") for x in images]
    a, b = (x.pixels for x in images)
    value, alpha = call(framework, images, options), options.pop("alpha")
    general, specific = framework.terms(a, b, **options)
    np.testing.assert_allclose((1 - alpha) * general + alpha * specific, value, rtol=FLOAT32.rounded, atol=1e-7)
    del options["reduction"]
    for which in (0, 1):
        gradient = framework.gradient(a, b, which, alpha=alpha, reduction="sum", **options)
        assert gradient.shape == a.shape and gradient.dtype == a.dtype and np.isfinite(gradient).all()
    for x in framework.maps(a, b, **options):
        assert x.shape[:-2] == general.shape and np.isfinite(x).all() and (x >= 0).all()


CHECKS = (right_call, wrong_option, wrong_image, wrong_shape, poisoned_pixel)


@pytest.mark.parametrize(
    ("check", "count"),
    [
        *(pytest.param(check, 200, marks=() if check is CHECKS[0] else pytest.mark.slow) for check in CHECKS),
        *(pytest.param(check, 20_000, marks=pytest.mark.slow) for check in CHECKS),
        # JAX compiles gradients and maps for a minute, and calls them slowly.
        pytest.param(other_functions, 4_000, marks=pytest.mark.slow),
    ],
    ids=lambda x: x.__name__ if callable(x) else str(x),
)
def test_fuzz(
    framework: Framework, check: Callable[[Framework, Generator, list[Case]], None], count: int, record_property: Any
) -> None:
    cases = CASES if count == 200 else ALL
    for seed in range(count):
        try:
            check(framework, np.random.default_rng(seed), cases)
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
    record_property(f"calls, {framework.name}", count)
