"""Values: against the float64 reference, the released behaviour, and each other."""

import functools
import itertools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import reference
from frameworks import Framework

SPECTRA, NORMALIZATIONS, SIZES = ("magnitude", "complex", "log"), ("area", "relative"), (3, 5, 7)
OPTIONS = list(itertools.product(SPECTRA, NORMALIZATIONS, SIZES))
# For tests that take many seconds each: those of the other kernels run with the slow tests.
OPTIONS_BY_COST = [pytest.param(case, marks=() if case[2] == 5 else pytest.mark.slow) for case in OPTIONS]


def options_of(case: tuple[str, str, int]) -> dict:
    return {"spectrum": case[0], "normalization": case[1], "sobel_kernel_size": case[2]}


def reference_of(a: np.ndarray, b: np.ndarray, case: tuple[str, str, int]) -> np.ndarray:
    spectrum, normalization, size = case
    return np.array(reference.terms(a, b, size=size, spectrum=spectrum, normalization=normalization))


def random_cases() -> list[tuple[tuple[int, int], tuple[str, str, int]]]:
    """300 shapes from the kernel size to 64: the narrow ones, then odd, even and prime ones at random."""
    rng = np.random.default_rng(7)
    cases = []
    for i in range(300):
        case = OPTIONS[i % len(OPTIONS)]
        height, width = (int(n) for n in rng.integers(case[2], 65, 2))
        if i < 108:
            width = min(9, case[2] + (i // len(OPTIONS)))
        cases.append(((height, width), case))
    return cases


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, 8))])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float64", 1e-12), pytest.param("float32", 1e-6, marks=pytest.mark.slow)]
)
def test_300_shapes_against_the_reference(framework: Framework, part: int, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(part)
    worst = 0.0
    for shape, case in random_cases()[part::8]:
        a, b = (rng.random(shape).astype(dtype) for _ in range(2))
        terms = framework.terms(a, b, **options_of(case))
        assert terms.dtype == dtype
        errors = np.abs(terms.astype(np.float64) / reference_of(a, b, case) - 1)
        worst = np.max([worst, *errors])
    print(f"{framework.name}: largest relative error in {dtype}: {worst:.2g}")
    assert worst <= tolerance


def test_shapes_are_what_they_are_said_to_be() -> None:
    shapes = [shape for shape, _ in random_cases()]
    assert len(set(shapes)) > 250
    assert {w for _, w in shapes} >= set(range(3, 10))
    assert min(min(s) for s in shapes) == 3 and max(max(s) for s in shapes) == 64


@pytest.mark.parametrize("part", range(2))
def test_complex_is_what_was_released(framework: Framework, photos: dict, part: int) -> None:
    """20 pairs of photos, whole and cut to sizes that OpenCV pads, 97x61 among them; pixels 0..255, float32."""
    cuts = [
        (97, 61),
        (64, 64),
        (300, 211),
        (127, 131),
        (31, 250),
        (191, 384),
        (172, 448),
        (96, 100),
        (59, 61),
        (128, 37),
    ]
    pairs = list(itertools.combinations(photos.values(), 2))[:20]
    worst = 0.0
    for i, (first, second) in list(enumerate(pairs))[part::2]:
        height, width = cuts[i % len(cuts)]
        height, width = (min(n, *(p.shape[k] for p in (first, second))) for k, n in enumerate((height, width)))
        a, b = first[-height:, -width:], second[-height:, -width:]
        alpha = 0.1 * (i % 11)
        value = framework.value(a, b, alpha=alpha, spectrum="complex")
        worst = np.max([worst, abs(float(value) / reference.released(a, b, alpha) - 1)])
    print(f"{framework.name}: largest relative error: {worst:.2g}")
    # Before 0.10.2 JAX rounded long sums more.
    assert worst <= (5e-6 if framework.name == "jax" and framework.version < (0, 10, 2) else 1e-6)


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_identical_images_give_exactly_zero(framework: Framework, case: tuple[str, str, int]) -> None:
    image = np.random.default_rng(0).random((2, 12, 11), np.float32)
    for x in (image, np.zeros_like(image), np.full_like(image, 0.3)):
        assert not framework.terms(x, x, **options_of(case)).any()
    # A quotient that the compiler fuses into the difference rounds otherwise than one that it does not.
    whole = np.round(255 * image).astype(np.uint8)
    dtype, data_range = (("uint8", 255), ("float32", 255), ("uint16", 100))[OPTIONS.index(case) % 3]
    assert not framework.terms(whole, whole.astype(dtype), data_range=data_range, **options_of(case)).any()


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_flat_and_black_images_are_finite(framework: Framework, spectrum: Any) -> None:
    black, flat = np.zeros((8, 9), np.float32), np.full((8, 9), 0.3, np.float32)
    photo = np.random.default_rng(0).random((8, 9), np.float32)
    for a, b in itertools.permutations((black, flat, photo), 2):
        for normalization in NORMALIZATIONS:
            case = (spectrum, normalization, 5)
            np.testing.assert_allclose(
                framework.terms(a, b, **options_of(case)), reference_of(a, b, case), rtol=3e-6, atol=3e-7
            )


def test_blursim_mixes_the_terms(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 3, 10, 12), np.float32)
    general, specific = framework.terms(a, b)
    for alpha in (0, 0.25, 1):
        np.testing.assert_allclose(
            framework.value(a, b, alpha=alpha), (1 - alpha) * general + alpha * specific, rtol=3e-7
        )
    assert framework.value(a, b) == framework.value(a, b, alpha=0.9)


def test_a_batch_is_its_images(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 4, 3, 10, 12), np.float32)
    alpha = np.linspace(0, 1, 3)
    values = framework.value(a, b, alpha=alpha, reduction="none")
    assert values.shape == (4, 3)
    singles = [[framework.value(a[i, j], b[i, j], alpha=alpha[j]) for j in range(3)] for i in range(4)]
    np.testing.assert_allclose(values, np.array(singles), rtol=3e-7)
    np.testing.assert_allclose(framework.value(a, b, alpha=alpha, reduction="sum"), np.sum(singles), rtol=1e-6)
    np.testing.assert_allclose(framework.value(a, b, alpha=alpha), np.mean(singles), rtol=1e-6)
    # More planes than a block of the CPU path holds, and a last block that is not full.
    for shape in ((13, 190, 200), (12, 3, 150, 160)):
        a, b = np.random.default_rng(1).random((2, *shape), np.float32)
        alpha = np.linspace(0, 1, shape[0])
        options: Any = {"channel_axis": -3 if len(shape) == 4 else None}
        singles = [framework.value(x, y, alpha=z, **options) for x, y, z in zip(a, b, alpha, strict=True)]
        values = framework.value(a, b, alpha=alpha, reduction="none", **options)
        np.testing.assert_allclose(values, np.array(singles), rtol=5e-7)


def test_channels_are_averaged(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 4, 3, 10, 12), np.float32)
    planes = framework.value(a, b, reduction="none")
    first = framework.value(a, b, channel_axis=-3, reduction="none")
    last = framework.value(np.moveaxis(a, -3, -1), np.moveaxis(b, -3, -1), channel_axis=-1, reduction="none")
    assert first.shape == (4,)
    np.testing.assert_array_equal(first, last)
    np.testing.assert_allclose(first, planes.mean(axis=-1), rtol=3e-7)
    np.testing.assert_allclose(framework.value(a, b), framework.value(a, b, channel_axis=-3), rtol=3e-7)
    # An alpha an image, not a plane, also where there are as many channels as images.
    for count in (4, 3):
        alpha = np.array([0.0, 0.3, 0.6, 1.0])[:count]
        values = framework.value(a[:count], b[:count], alpha=alpha, channel_axis=-3, reduction="none")
        singles = [framework.value(a[i], b[i], alpha=alpha[i], channel_axis=-3) for i in range(count)]
        np.testing.assert_allclose(values, np.array(singles), rtol=3e-7)


def test_an_empty_batch(framework: Framework) -> None:
    empty = np.zeros((0, 8, 8), np.float32)
    assert framework.value(empty, empty, reduction="none").shape == (0,)
    assert framework.value(empty, empty, reduction="sum") == 0
    assert framework.terms(empty, empty, reduction="none").shape == (2, 0)
    assert framework.gradient(empty, empty, reduction="sum").shape == (0, 8, 8)
    large = np.zeros((0, 1030, 600), np.float32)
    assert framework.value(large, large, reduction="sum") == 0
    assert framework.gradient(large, large, reduction="sum").shape == large.shape
    of_channels = np.zeros((0, 3, 2, 8, 8), np.float32)
    assert framework.value(of_channels, of_channels, channel_axis=-3, reduction="none").shape == (0, 3)
    assert [x.shape for x in framework.maps(empty, empty)] == [(0, 8, 8)] * 2


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "uint8", "int8", "uint16", "int16"])
def test_short_dtypes_are_computed_in_float32(framework: Framework, dtype: str) -> None:
    whole = np.random.default_rng(0).integers(0, 100, (2, 9, 10))
    a, b = (framework.array(x, dtype) for x in whole)
    full_a, full_b = whole.astype(np.float32)
    for data_range in (1.0, 255):
        value = framework.value(a, b, data_range=data_range)
        assert value.dtype == np.float32
        assert value == framework.value(full_a, full_b, data_range=data_range)
    assert framework.value(a, full_b) == framework.value(full_a, full_b)
    assert framework.maps(a, b)[1].dtype == np.float32


def test_float64_is_computed_in_float64(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 9, 10))
    assert framework.value(a, b).dtype == np.float64
    assert framework.value(a.astype("float32"), b).dtype == np.float64
    assert framework.value(a.astype("float32"), b.astype("float32")).dtype == np.float32


def test_huge_and_tiny_pixels(framework: Framework) -> None:
    """Whatever they are, where `data_range` says so; without it squares overflow."""
    a, b = np.random.default_rng(0).random((2, 9, 8), np.float32)
    for scale in (1e-30, 1e18, 1e30):
        c, d = (np.float32(scale) * x for x in (a, b))
        np.testing.assert_allclose(framework.value(c, d, data_range=scale), framework.value(a, b), rtol=1e-6)
        gradient = np.float32(scale) * framework.gradient(c, d, data_range=scale)
        np.testing.assert_allclose(gradient, framework.gradient(a, b), rtol=1e-4, atol=1e-6)
    assert not np.isfinite(framework.value(np.float32(1e18) * a, np.float32(1e18) * b))


def test_data_range_divides_the_pixels(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 9, 10), np.float32)
    for case, white in zip(OPTIONS, itertools.cycle((255, 1000.0, 1e-20, 2.0**-3, 3e15))):
        scaled = [(x.astype(np.float64) * white).astype(np.float32) for x in (a, b)]
        np.testing.assert_allclose(
            framework.terms(*scaled, data_range=white, **options_of(case)),
            framework.terms(a, b, **options_of(case)),
            rtol=1e-5,
        )


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_come_through(framework: Framework, value: float) -> None:
    a, b = np.random.default_rng(0).random((2, 9, 10), np.float32)
    a[4, 5] = value
    for case in OPTIONS:
        assert not np.isfinite(framework.terms(a, b, **options_of(case))).any()
    assert not np.isfinite(framework.value(b, a))


@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_blind_spots_are_as_documented(framework: Framework, spectrum: Any) -> None:
    x = np.random.default_rng(0).random((12, 11))
    zero = functools.partial(np.testing.assert_allclose, desired=0, atol=1e-13)
    for negative in (-x, 2 * x.mean() - x):
        zero(framework.terms(negative, x, spectrum=spectrum))
    for moved in (np.roll(x, (3, 5), (0, 1)), x[::-1, ::-1]):
        general, specific = framework.terms(moved, x, spectrum=spectrum)
        zero(general)
        assert specific > 0.1
    general, specific = framework.terms(x + 0.5, x, spectrum=spectrum)
    zero(specific)
    assert general > 0.05
    # The remedy.
    assert framework.terms(-x, x, spectrum="complex")[0] > 0.1
    assert framework.terms(np.roll(x, 1), x, spectrum="complex")[0] > 0.1


def test_numbers_of_every_kind_as_alpha(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 9, 10), np.float32)
    expected = framework.value(a, b, alpha=0.5)
    arrays = [framework.array(np.array(0.5), dtype) for dtype in ("float16", "bfloat16", "float32")]
    for alpha in (np.float32(0.5), np.float64(0.5), np.float16(0.5), Fraction(1, 2), *arrays):
        assert framework.value(a, b, alpha=alpha) == expected
    assert (
        framework.value(a, b, alpha=1) == framework.value(a, b, alpha=1.0) == framework.value(a, b, alpha=np.int64(1))
    )


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_maps_hold_the_terms(framework: Framework, case: tuple[str, str, int]) -> None:
    # A size that OpenCV does not pad, so that the complex General is the norm of its map too.
    a, b = np.random.default_rng(0).random((2, 10, 12), np.float32)
    (spectrum, edges), (general, specific) = (f(a, b, **options_of(case)) for f in (framework.maps, framework.terms))
    assert spectrum.shape == edges.shape == (10, 12)
    divisor = np.sqrt(a.size) if case[0] == "log" else a.size
    np.testing.assert_allclose(np.linalg.norm(spectrum) / divisor, general, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(edges) / a.size, specific, rtol=1e-6)


def test_maps_show_where(framework: Framework) -> None:
    b = np.zeros((2, 9, 12), np.float32)
    a = b + 0.5
    a[1, 4, 6] += 1
    spectrum, edges = framework.maps(a, b)
    assert np.argmax(spectrum[0]) == 4 * 12 + 6  # the mean alone: zero frequency, in the middle
    np.testing.assert_allclose(spectrum[0, 4, 6], 0.5 * 9 * 12, rtol=1e-6)
    for name in ("complex", "log"):
        assert np.argmax(framework.maps(a[0], b[0], spectrum=name)[0]) == 4 * 12 + 6
    assert edges[0].max() == 0
    rows, columns = np.nonzero(edges[1])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 4, 8)
    color = framework.maps(np.moveaxis(a, 0, -1), np.moveaxis(b, 0, -1), channel_axis=-1)
    np.testing.assert_allclose(color[1], edges.mean(axis=0), rtol=1e-6)


def test_the_object_is_the_function(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 4, 10, 12, 3), np.float32)
    options: dict = {
        "sobel_kernel_size": 3,
        "spectrum": "log",
        "normalization": "relative",
        "data_range": 2.0,
        "channel_axis": -1,
        "reduction": "none",
    }
    loss = framework.package.BlurSim(0.3, **options)
    values = np.asarray(loss(framework.array(a), framework.array(b)))
    np.testing.assert_array_equal(values, framework.value(a, b, alpha=0.3, **options))
    for name, value in {"alpha": 0.3, **options}.items():
        assert getattr(loss, name) == value
        assert f"{name}={value!r}" in repr(loss)
