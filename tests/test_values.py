"""Values: against the float64 reference, the released behaviour, and each other."""

import copy
import functools
import itertools
import json
import pickle
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import reference
from cases import (
    CASES,
    FEW,
    FLOAT32,
    FLOAT64,
    MORE,
    TOLERANCES,
    Case,
    assert_close,
    costly,
    noise,
    relative_error,
    shapes,
)
from frameworks import Framework

# One for most tests of this file: JAX compiles for each.
SHAPE = (12, 11)
by_case = pytest.mark.parametrize("case", costly(CASES, CASES + MORE, pytest.mark.system))


@pytest.mark.parametrize(("dtype", "shape"), [("float32", SHAPE), ("float64", (97, 61))], ids=str)
@by_case
def test_terms_are_those_of_the_reference(framework: Framework, case: Case, dtype: str, shape: tuple[int, int]) -> None:
    a, b = noise(*shape, dtype=dtype)
    terms = framework.terms(a, b, **case.options())
    assert terms.dtype == dtype
    np.testing.assert_allclose(terms, case.terms(a, b), rtol=TOLERANCES[dtype].value)


@pytest.mark.parametrize("width", range(3, 10))
def test_a_half_spectrum_of_every_width(framework: Framework, width: int) -> None:
    a, b = noise(4, width, dtype="float64")
    case = Case("magnitude", "area", 3)
    np.testing.assert_allclose(framework.terms(a, b, **case.options()), case.terms(a, b), rtol=FLOAT64.value)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(8))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_300_shapes_against_the_reference(framework: Framework, part: int, dtype: str) -> None:
    rng = np.random.default_rng(part)
    worst = {False: 0.0, True: 0.0}
    for shape, case in shapes(300)[part::8]:
        a, b = (rng.random(shape).astype(dtype) for _ in range(2))
        errors = np.abs(framework.terms(a, b, **case.options()).astype(np.float64) / case.terms(a, b) - 1)
        is_log = case.spectrum == "log"
        worst[is_log] = np.max([worst[is_log], *errors])
    print(f"{framework.name}: largest relative error in {dtype}: {worst[False]:.2g}, under log {worst[True]:.2g}")
    assert worst[False] <= TOLERANCES[dtype].value
    assert worst[True] <= TOLERANCES[dtype].log_value


def test_the_300_shapes_are_what_they_are_said_to_be() -> None:
    found = [shape for shape, _ in shapes(300)]
    assert len(found) == 300 and len(set(found)) > 250
    assert {w for _, w in found} >= set(range(3, 10))
    assert min(min(s) for s in found) == 3 and max(max(s) for s in found) == 64


@pytest.mark.parametrize("part", [0, pytest.param(1, marks=pytest.mark.system)])
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
        value = framework.value(a, b, alpha=alpha, spectrum="complex", data_range=1)
        worst = np.max([worst, abs(float(value) / reference.released(a, b, alpha) - 1)])
    print(f"{framework.name}: largest relative error: {worst:.2g}")
    # Before 0.10.2 JAX rounded long sums more.
    assert worst <= (FLOAT32.log_value if framework.name == "jax" and framework.version < (0, 10, 2) else FLOAT32.value)


@by_case
def test_flat_and_black_images_are_finite(framework: Framework, case: Case) -> None:
    photo, _ = noise(*SHAPE)
    black, flat = np.zeros_like(photo), np.full_like(photo, 0.3)
    for a, b in itertools.permutations((black, flat, photo), 2):
        for found, expected in zip(framework.terms(a, b, **case.options()), case.terms(a, b), strict=True):
            assert_close(found, expected, (3 if case.spectrum == "log" else 1) * FLOAT32.value)


def test_blursim_mixes_the_terms(framework: Framework) -> None:
    a, b = noise(3, 10, 12)
    general, specific = framework.terms(a, b)
    for alpha in (0, 0.25, 1):
        np.testing.assert_allclose(
            framework.value(a, b, alpha=alpha), (1 - alpha) * general + alpha * specific, rtol=FLOAT32.same
        )
    assert framework.value(a, b) == framework.value(a, b, alpha=0.9)


def test_a_batch_is_its_images(framework: Framework) -> None:
    a, b = noise(4, 3, 10, 12)
    alpha = np.linspace(0, 1, 3)
    values = framework.value(a, b, alpha=alpha, reduction="none")
    assert values.shape == (4, 3)
    singles = [[framework.value(a[i, j], b[i, j], alpha=alpha[j]) for j in range(3)] for i in range(4)]
    np.testing.assert_allclose(values, np.array(singles), rtol=FLOAT32.same)
    np.testing.assert_allclose(framework.value(a, b, alpha=alpha, reduction="sum"), np.sum(singles), rtol=FLOAT32.value)
    np.testing.assert_allclose(framework.value(a, b, alpha=alpha), np.mean(singles), rtol=FLOAT32.value)


def test_a_batch_in_blocks_is_its_images(framework: Framework) -> None:
    """On a CPU a block is less than these planes in both packages, and does not divide them."""
    a, b = noise(12, 3, 150, 160, seed=1)
    block = framework.internal("_tiles").BLOCK_PIXELS // (150 * 160)
    assert block < 36 and 36 % block
    alpha = np.linspace(0, 1, 12)
    singles = [framework.value(x, y, alpha=z, channel_axis=-3) for x, y, z in zip(a, b, alpha, strict=True)]
    values = framework.value(a, b, alpha=alpha, reduction="none", channel_axis=-3)
    np.testing.assert_allclose(values, np.array(singles), rtol=FLOAT32.same)


def test_channels_are_averaged(framework: Framework) -> None:
    a, b = noise(4, 3, 10, 12)
    planes = framework.value(a, b, reduction="none")
    first = framework.value(a, b, channel_axis=-3, reduction="none")
    last = framework.value(np.moveaxis(a, -3, -1), np.moveaxis(b, -3, -1), channel_axis=-1, reduction="none")
    assert first.shape == (4,)
    np.testing.assert_array_equal(first, last)
    np.testing.assert_allclose(first, planes.mean(axis=-1), rtol=FLOAT32.same)
    np.testing.assert_allclose(framework.value(a, b), framework.value(a, b, channel_axis=-3), rtol=FLOAT32.same)
    # An alpha an image, not a plane, also where there are as many channels as images.
    for count in (4, 3):
        alpha = np.array([0.0, 0.3, 0.6, 1.0])[:count]
        values = framework.value(a[:count], b[:count], alpha=alpha, channel_axis=-3, reduction="none")
        singles = [framework.value(a[i], b[i], alpha=alpha[i], channel_axis=-3) for i in range(count)]
        np.testing.assert_allclose(values, np.array(singles), rtol=FLOAT32.same)


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


@pytest.mark.parametrize(
    ("dtype", "data_range"),
    [
        pytest.param(
            *pair, marks=() if pair in (("float16", 1.0), ("bfloat16", 255), ("uint8", 255)) else pytest.mark.slow
        )
        for pair in itertools.product(("float16", "bfloat16", "uint8", "int8", "uint16", "int16"), (1.0, 255))
    ],
)
def test_short_dtypes_are_computed_in_float32(framework: Framework, dtype: str, data_range: float) -> None:
    whole = np.random.default_rng(0).integers(0, 100, (2, *SHAPE))
    a, b = (framework.array(x, dtype) for x in whole)
    full_a, full_b = whole.astype(np.float32)
    value = framework.value(a, b, data_range=data_range)
    assert value.dtype == np.float32
    assert value == framework.value(full_a, full_b, data_range=data_range)
    assert framework.maps(a, b)[1].dtype == np.float32


@pytest.mark.parametrize(
    "dtype",
    ["float16", "uint8", *(pytest.param(x, marks=pytest.mark.slow) for x in ("bfloat16", "int8", "uint16", "int16"))],
)
def test_one_image_may_be_of_another_dtype(framework: Framework, dtype: str) -> None:
    whole = np.random.default_rng(0).integers(0, 100, (2, *SHAPE))
    other = framework.array(whole[1], "float32" if "float" in dtype else "uint16" if dtype != "uint16" else "uint8")
    found = framework.value(framework.array(whole[0], dtype), other, data_range=255)
    assert found == framework.value(*whole.astype(np.float32), data_range=255)


def test_float64_is_computed_in_float64(framework: Framework) -> None:
    """Also where one image is of float32."""
    a, b = noise(*SHAPE, dtype="float64")
    for x in (a, a.astype("float32")):
        terms = framework.terms(x, b)
        assert terms.dtype == np.float64
        np.testing.assert_allclose(terms, CASES[0].terms(x, b), rtol=FLOAT64.value)


@pytest.mark.system
@pytest.mark.parametrize("scale", [1e-30, pytest.param(1e18, marks=pytest.mark.slow), 1e30])
def test_gradients_of_huge_and_tiny_pixels(framework: Framework, scale: float) -> None:
    a, b = noise(*SHAPE)
    gradient = framework.gradient(np.float32(scale) * a, np.float32(scale) * b, data_range=scale)
    assert relative_error(np.float32(scale) * gradient, framework.gradient(a, b)) <= FLOAT32.gradient


def test_huge_and_tiny_pixels(framework: Framework) -> None:
    """Whatever they are, where `data_range` says so; without it squares overflow."""
    a, b = noise(*SHAPE)
    for scale in (1e-30, 1e18, 1e30):
        c, d = (np.float32(scale) * x for x in (a, b))
        np.testing.assert_allclose(framework.value(c, d, data_range=scale), framework.value(a, b), rtol=FLOAT32.value)
    assert not np.isfinite(framework.value(np.float32(1e18) * a, np.float32(1e18) * b))


def test_data_range_divides_the_pixels(framework: Framework) -> None:
    a, b = noise(*SHAPE)
    for case, white in zip(CASES, itertools.cycle((255, 1000.0, 1e-20, 2.0**-3, 3e15))):
        scaled = [(x.astype(np.float64) * white).astype(np.float32) for x in (a, b)]
        found = framework.terms(*scaled, data_range=white, **case.options())
        # Pixels that were multiplied are rounded once more.
        np.testing.assert_allclose(found, framework.terms(a, b, **case.options()), rtol=FLOAT32.rounded)


@pytest.mark.parametrize("case", costly(FEW, CASES + MORE, pytest.mark.system))
def test_black_may_be_below_zero(framework: Framework, case: Case) -> None:
    """Images in -1..1, as networks with a tanh output have them; a dark and a bright one, of different signs."""
    a, b = noise(*SHAPE)
    a, b = a / 2, (b + 1) / 2
    found = framework.terms(2 * a - 1, 2 * b - 1, data_range=(-1, 1), **case.options())
    np.testing.assert_allclose(found, framework.terms(a, b, **case.options()), rtol=FLOAT32.value)


@pytest.mark.parametrize(("dtype", "white"), [("uint8", 255), ("int8", 127), ("uint16", 65535), ("int16", 32767)])
def test_the_dtype_sets_the_data_range(framework: Framework, dtype: str, white: int) -> None:
    """To the bit of the same number given; of floating images it is 1."""
    whole = np.random.default_rng(0).integers(0, white, (2, *SHAPE)).astype(dtype)
    a, b = (framework.array(x) for x in whole)
    for found, expected in (
        (framework.terms(a, b), framework.terms(a, b, data_range=white)),
        (framework.maps(a, b), framework.maps(a, b, data_range=(0, white))),
        (framework.terms(*noise(*SHAPE)), framework.terms(*noise(*SHAPE), data_range=1)),
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("case", "axis"),
    [
        pytest.param(CASES[6], None, id=f"{CASES[6]}-None"),
        pytest.param(CASES[6], -1, id=f"{CASES[6]}--1", marks=pytest.mark.system),
        *(pytest.param(case, None, id=f"{case}-None", marks=pytest.mark.system) for case in (FEW[0], FEW[2])),
        pytest.param(FEW[1], None, id=f"{FEW[1]}-None", marks=pytest.mark.slow),
        *(pytest.param(case, -1, id=f"{case}--1", marks=pytest.mark.slow) for case in FEW[:3]),
        *(pytest.param(case, -3, id=f"{case}--3", marks=pytest.mark.slow) for case in FEW),
    ],
)
def test_pixels_that_a_mask_leaves_out(framework: Framework, case: Case, axis: Any) -> None:
    """Those of the targets stand in their place: no gradient, whatever they hold."""
    a, b = noise(4, 3, 12, 11)
    mask = np.random.default_rng(1).random((4, 12, 11)) < 0.7
    pixels = np.broadcast_to(mask[:, None], a.shape)
    if axis is None:
        mask = pixels
    filled, spoiled = np.where(pixels, a, b), np.where(pixels, a, np.float32(np.nan))
    if axis == -1:
        filled, spoiled, b, pixels = (np.moveaxis(x, 1, -1) for x in (filled, spoiled, b, pixels))
    options: Any = {"channel_axis": axis, **case.options()}
    for function in (framework.value, framework.terms, framework.maps):
        np.testing.assert_array_equal(function(spoiled, b, mask=mask, **options), function(filled, b, **options))
    gradient = framework.gradient(spoiled, b, mask=np.array(mask), **options)
    assert_close(gradient, np.where(pixels, framework.gradient(filled, b, **options), 0), FLOAT32.same)
    assert not gradient[~pixels].any() and gradient[pixels].all()
    by_targets = framework.gradient(spoiled, b, 1, mask=np.array(mask), **options)
    of_both = framework.gradient(filled, b, 1, **options), framework.gradient(filled, b, **options)
    assert_close(by_targets, of_both[0] + np.where(pixels, 0, of_both[1]), FLOAT32.gradient)


@pytest.mark.parametrize("preset", ["original", "training", "perceptual"])
def test_presets_are_options_of_everything(framework: Framework, preset: str) -> None:
    a, b = noise(*SHAPE)
    options = framework.package.PRESETS[preset]
    case = Case(options["spectrum"], options["normalization"], options["sobel_kernel_size"])
    expected = np.dot((1 - options["alpha"], options["alpha"]), case.terms(a, b))
    assert_close(framework.value(a, b, **options), expected, FLOAT32.value)
    loss = framework.package.BlurSim(**options)
    assert_close(np.asarray(loss(framework.array(a), framework.array(b))), expected, FLOAT32.value)


def test_presets_are_what_the_documentation_says(framework: Framework) -> None:
    assert {name: tuple(options.values()) for name, options in framework.package.PRESETS.items()} == {
        "original": (0.9, 5, "complex", "area"),
        "training": (0.15, 5, "complex_l1", "rms"),
        "perceptual": (0.8, 5, "log", "relative"),
    }


def test_presets_are_saved_as_any_options(framework: Framework) -> None:
    """In JSON and in checkpoints, and copied by what saves the arguments of a model."""
    presets: Any = framework.package.PRESETS
    assert json.loads(json.dumps(presets)) == presets
    assert pickle.loads(pickle.dumps(presets)) == presets
    assert copy.deepcopy(presets) == presets


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_inf_come_through(framework: Framework, value: float) -> None:
    a, b = noise(*SHAPE)
    a[4, 5] = value
    for case in CASES:
        assert not np.isfinite(framework.terms(a, b, **case.options())).any()
    assert not np.isfinite(framework.value(b, a))


@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_blind_spots_are_as_documented(framework: Framework, spectrum: Any) -> None:
    x, _ = noise(*SHAPE, dtype="float64")
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
    a, b = noise(*SHAPE)
    expected = framework.value(a, b, alpha=0.5)
    arrays = [framework.array(np.array(0.5), dtype) for dtype in ("float16", "bfloat16", "float32")]
    for alpha in (np.float32(0.5), np.float64(0.5), np.float16(0.5), Fraction(1, 2), *arrays):
        assert framework.value(a, b, alpha=alpha) == expected
    assert (
        framework.value(a, b, alpha=1) == framework.value(a, b, alpha=1.0) == framework.value(a, b, alpha=np.int64(1))
    )


@pytest.mark.parametrize("case", costly([FEW[0], FEW[3]], CASES + MORE, pytest.mark.system))
def test_maps_hold_the_terms(framework: Framework, case: Case) -> None:
    # A size that OpenCV does not pad, so that the complex General is the norm of its map too.
    a, b = noise(10, 12)
    (spectrum, edges), (general, specific) = (f(a, b, **case.options()) for f in (framework.maps, framework.terms))
    assert spectrum.shape == edges.shape == (10, 12)
    size = np.sum(spectrum) if case.spectrum == "complex_l1" else np.linalg.norm(spectrum)
    divisor = a.size ** {"log": 0.5, "complex_l1": 1.5}.get(case.spectrum, 1)
    np.testing.assert_allclose(size / divisor, general, rtol=FLOAT32.value)
    np.testing.assert_allclose(np.linalg.norm(edges) / a.size, specific, rtol=FLOAT32.value)


def test_maps_show_where(framework: Framework) -> None:
    b = np.zeros((2, 9, 12), np.float32)
    a = b + 0.5
    a[1, 4, 6] += 1
    spectrum, edges = framework.maps(a, b)
    assert np.argmax(spectrum[0]) == 4 * 12 + 6  # the mean alone: zero frequency, in the middle
    np.testing.assert_allclose(spectrum[0, 4, 6], 0.5 * 9 * 12, rtol=FLOAT32.value)
    for name in ("complex", "complex_l1", "log"):
        assert np.argmax(framework.maps(a[0], b[0], spectrum=name)[0]) == 4 * 12 + 6
    assert edges[0].max() == 0
    rows, columns = np.nonzero(edges[1])
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 6, 4, 8)
    color = framework.maps(np.moveaxis(a, 0, -1), np.moveaxis(b, 0, -1), channel_axis=-1)
    np.testing.assert_allclose(color[1], edges.mean(axis=0), rtol=FLOAT32.value)


@pytest.mark.parametrize("shape", [(9, 12), (8, 7)], ids=str)
def test_maps_of_spectra_have_every_frequency_in_its_place(framework: Framework, shape: tuple[int, int]) -> None:
    a, b = noise(*shape)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    both = np.abs(np.fft.fft2(a64)) - np.abs(np.fft.fft2(b64))
    for spectrum, expected in (("magnitude", both), ("complex_l1", np.fft.fft2(a64 - b64))):
        found, _ = framework.maps(a, b, spectrum=spectrum)
        assert_close(found, np.fft.fftshift(np.abs(expected)), FLOAT32.value)


def test_the_object_is_the_function(framework: Framework) -> None:
    a, b = noise(4, 10, 12, 3)
    options: dict = {
        "sobel_kernel_size": 3,
        "spectrum": "log",
        "normalization": "relative",
        "data_range": 2.0,
        "channel_axis": -1,
        "reduction": "none",
    }
    loss = framework.package.BlurSim(0.3, **options)
    images = framework.array(a), framework.array(b)
    np.testing.assert_array_equal(np.asarray(loss(*images)), framework.value(a, b, alpha=0.3, **options))
    np.testing.assert_array_equal(np.stack(loss.terms(*images)), framework.terms(a, b, **options))
    of_maps = {name: value for name, value in options.items() if name != "reduction"}
    np.testing.assert_array_equal(np.stack(loss.maps(*images)), framework.maps(a, b, **of_maps))
    mask = a[..., 0] < 0.5
    for method, function in ((loss, framework.value), (loss.terms, framework.terms)):
        found = np.asarray(method(*images, mask=framework.array(mask)))
        alpha = {"alpha": 0.3} if method is loss else {}
        np.testing.assert_array_equal(found, function(a, b, mask=mask, **alpha, **options))
    np.testing.assert_array_equal(
        np.stack(loss.maps(*images, framework.array(mask))), framework.maps(a, b, mask=mask, **of_maps)
    )
    for name, value in {"alpha": 0.3, **options}.items():
        assert getattr(loss, name) == value
        assert f"{name}={value!r}" in repr(loss)
