"""Gradients: against finite differences, the float64 reference, and the promises made for degenerate images."""

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import reference
from frameworks import Framework
from test_values import OPTIONS, SPECTRA, options_of, random_cases


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """L2 norm of the error over that of the expected; inf, not NaN, which `max` would pass over."""
    error = float(np.linalg.norm(actual.astype(np.float64) - expected) / np.linalg.norm(expected))
    return error if np.isfinite(error) else np.inf


def gradients_of_terms(
    framework: Framework, a: np.ndarray, b: np.ndarray, case: tuple[str, str, int]
) -> list[np.ndarray]:
    # By alpha, not from `blursim_terms`: alpha is data, so that both compile once.
    return [framework.gradient(a, b, alpha=alpha, **options_of(case)) for alpha in (0.0, 1.0)]


def reference_gradients(a: np.ndarray, b: np.ndarray, case: tuple[str, str, int]) -> tuple[np.ndarray, np.ndarray]:
    spectrum, normalization, size = case
    return reference.gradients(a, b, size=size, spectrum=spectrum, normalization=normalization)


# Most of these shapes with the slow tests.
@pytest.mark.parametrize(
    "shape",
    [(5, 6), *(pytest.param(shape, marks=pytest.mark.slow) for shape in ((6, 5), (7, 11), (5, 5), (8, 8), (13, 10)))],
    ids=str,
)
def test_full_jacobian_by_central_differences(framework: Framework, shape: tuple[int, int]) -> None:
    """Every pixel of both images, every image of a batch, all spectra and both normalizations."""
    step = 1e-6
    a, b = np.random.default_rng(2).random((2, 2, *shape))
    basis = np.eye(a[0].size).reshape(-1, *shape)
    for spectrum, normalization in itertools.product(SPECTRA, ("area", "relative")):
        options = {"alpha": 0.6, **options_of((spectrum, normalization, 5))}
        for argument in (0, 1):
            gradient = framework.gradient(a, b, argument, reduction="sum", **options)
            for image in (0, 1):
                moved = [np.broadcast_to(x[image], (len(basis), *shape)) for x in (a, b)]
                up, down = ([*moved], [*moved])
                up[argument], down[argument] = moved[argument] + step * basis, moved[argument] - step * basis
                up, down = (framework.value(*images, reduction="none", **options) for images in (up, down))
                assert relative_error(gradient[image], (up - down).reshape(shape) / (2 * step)) < 1e-8


# A quarter of the cases in either dtype, the others with the slow tests.
@pytest.mark.parametrize(
    ("dtype", "tolerance", "part"),
    [
        ("float64", 1e-12, 0),
        ("float32", 5e-6, 1),
        *(pytest.param("float64", 1e-12, part, marks=pytest.mark.slow) for part in (1, 2, 3)),
        *(pytest.param("float32", 5e-6, part, marks=pytest.mark.slow) for part in (0, 2, 3)),
    ],
)
def test_gradients_against_the_reference(framework: Framework, part: int, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(3)
    worst = {"magnitude": 0.0, "complex": 0.0, "log": 0.0}
    for shape, case in random_cases()[part::32]:
        a, b = (rng.random(shape).astype(dtype) for _ in range(2))
        gradients = gradients_of_terms(framework, a, b, case)
        for actual, expected in zip(gradients, reference_gradients(a, b, case), strict=True):
            assert actual.dtype == dtype
            worst[case[0]] = max(worst[case[0]], relative_error(actual, expected))
    print(
        f"{framework.name}: largest relative error in {dtype}:",
        ", ".join(f"{name} {value:.1e}" for name, value in worst.items()),
    )
    assert max(worst["magnitude"], worst["complex"]) <= tolerance
    # The logarithm weighs a bin by 1 / |A|, so that a bin of almost nothing passes its rounding error on.
    assert worst["log"] <= 20 * tolerance


# A CPU goes through these by strips of rows, of which the last is not full.
@pytest.mark.parametrize("case", [("magnitude", "relative", 5), ("complex", "area", 3), ("log", "area", 7)], ids=str)
def test_large_images(framework: Framework, case: tuple[str, str, int]) -> None:
    a, b = np.random.default_rng(4).random((2, 1030, 600), np.float32)
    spectrum, normalization, size = case
    expected = reference.terms(a, b, size=size, spectrum=spectrum, normalization=normalization)
    np.testing.assert_allclose(framework.terms(a, b, **options_of(case)), expected, rtol=1e-6)
    gradients = gradients_of_terms(framework, a, b, case)
    for actual, expected in zip(gradients, reference_gradients(a, b, case), strict=True):
        assert relative_error(actual, expected) <= (1e-4 if case[0] == "log" else 5e-6)


def test_the_reference_has_the_derivatives_of_opencv() -> None:
    x = np.random.default_rng(0).random((9, 11))
    for size in (3, 5, 7):
        for (left, right), order in zip(reference.sobel_matrices(x.shape, size), ((1, 0), (0, 1)), strict=True):
            np.testing.assert_allclose(left @ x @ right.T, cv2.Sobel(x, cv2.CV_64F, *order, ksize=size), atol=1e-12)


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_identical_images_have_gradient_exactly_zero(framework: Framework, case: tuple[str, str, int]) -> None:
    photo = np.random.default_rng(0).random((12, 11), np.float32)
    for x in (photo, np.zeros_like(photo), np.full_like(photo, 0.3)):
        assert framework.value(x, x, alpha=0.5, **options_of(case)) == 0
        for argument in (0, 1):
            assert not framework.gradient(x, x, argument, alpha=0.5, **options_of(case)).any()


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_flat_and_black_images_have_finite_gradients(framework: Framework, spectrum: Any) -> None:
    photo = np.random.default_rng(0).random((12, 11), np.float32)
    black, flat = np.zeros_like(photo), np.full_like(photo, 0.3)
    for a, b in itertools.permutations((black, flat, photo), 2):
        for normalization in ("area", "relative"):
            gradients = [framework.gradient(a, b, i, spectrum=spectrum, normalization=normalization) for i in (0, 1)]
            assert np.isfinite(gradients).all()
            if spectrum != "complex":
                # Documented: a black prediction has no phase and no direction of edges to move along.
                assert gradients[0].any() == (a is not black)


def zoo(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Images with spectra or edges that are 0 in many places, or nearly."""
    height, width = shape
    noise = np.random.default_rng(0).random(shape, np.float32)
    rows, columns = np.indices(shape)
    middle = (abs(rows - height // 2) < height // 4) & (abs(columns - width // 2) < width // 4)
    impulse = np.zeros(shape, np.float32)
    impulse[height // 2, width // 2] = 1
    return {
        "constant": np.full(shape, 0.3, np.float32),
        "stripes": (columns // 4 % 2).astype(np.float32),
        "square": middle.astype(np.float32),
        "checkerboard": ((rows + columns) % 2).astype(np.float32),
        "impulse": impulse,
        "flat patch": np.where(middle, np.float32(0.5), noise),
        "strongly blurred": cv2.GaussianBlur(noise, (0, 0), 4),
    }


@pytest.mark.parametrize("case", [*itertools.product(SPECTRA, ("area", "relative"), [5]), ("magnitude", "area", 3)])
def test_gradients_of_degenerate_images(framework: Framework, case: tuple[str, str, int]) -> None:
    worst = {}
    for shape in ((64, 60), (97, 61)):
        noise = np.random.default_rng(1).random(shape, np.float32)
        for name, image in zoo(shape).items():
            for a, b in ((image, noise), (noise, image)):
                exact = reference_gradients(a, b, case)
                errors = [
                    relative_error(*pair)
                    for pair in zip(gradients_of_terms(framework, a, b, case), exact, strict=True)
                    if pair[1].any()
                ]
                worst[name] = max(worst.get(name, 0), *errors)
    print(
        f"{framework.name}: largest relative error:", ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
    )
    assert max(worst.values()) <= 5e-5


@pytest.mark.parametrize("shape", [(97, 61), (127, 131), (59, 59), (96, 100)], ids=str)
def test_a_flat_image_moves_as_a_whole(framework: Framework, shape: tuple[int, int]) -> None:
    """The spectrum of a flat image is round-off but for its mean; in float32 that must not become a gradient."""
    b = np.random.default_rng(0).random(shape, np.float32)
    for a in (np.full_like(b, 0.3), np.repeat(b[:1], shape[0], axis=0)):
        gradient = framework.gradient(a, b, alpha=0)
        exact = framework.gradient(a.astype(np.float64), b.astype(np.float64), alpha=0)
        assert relative_error(gradient, exact) < 5e-6


def one_ulp_apart(seed: int) -> tuple[np.ndarray, np.ndarray]:
    b = np.random.default_rng(seed).random((64, 60), np.float32)
    a = b.copy()
    a[30, 20] = np.nextafter(a[30, 20], np.float32(2))
    return a, b


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_one_pixel_one_ulp_away(framework: Framework, case: tuple[str, str, int]) -> None:
    spectrum, normalization, size = case
    errors = []
    for seed in range(9):
        a, b = one_ulp_apart(seed)
        exact = reference.terms(a, b, size=size, spectrum=spectrum, normalization=normalization)
        errors.append(np.abs(framework.terms(a, b, **options_of(case)) / exact - 1))
    of_general, of_specific = np.transpose(errors)
    assert np.median(of_general) <= 1e-6 and np.max(of_specific) <= 1e-6
    # The logarithm weighs a bin by 1 / |A|, so that one image in ten has a bin that passes on its rounding error.
    assert np.max(of_general) <= (5e-6 if spectrum == "log" else 1e-6)
    a, b = one_ulp_apart(5)
    gradients = gradients_of_terms(framework, a, b, case)
    for actual, expected in zip(gradients, reference_gradients(a, b, case), strict=True):
        print(f"{framework.name}: relative error: {relative_error(actual, expected):.1e}")
        assert relative_error(actual, expected) <= (2e-5 if spectrum == "log" else 5e-6)


def moved(b: np.ndarray, move: str) -> np.ndarray:
    a = b.copy()
    if move == "times 1 + 1e-6":
        return a * np.float32(1 + 1e-6)
    where = (30, 20) if move == "one pixel, one ulp" else ...
    a[where] = np.nextafter(a[where], np.float32(2))
    return a


def errors_of(framework: Framework, a: np.ndarray, b: np.ndarray, case: tuple[str, str, int]) -> tuple[float, float]:
    """The larger relative error of the two terms, and that of their gradients."""
    spectrum, normalization, size = case
    exact = reference.terms(a, b, size=size, spectrum=spectrum, normalization=normalization)
    pairs = zip(gradients_of_terms(framework, a, b, case), reference_gradients(a, b, case), strict=True)
    value = np.max(np.abs(framework.terms(a, b, **options_of(case)) / exact - 1))
    return float(value), float(np.max(list(itertools.starmap(relative_error, pairs))))


MOVES = ("one pixel, one ulp", "every pixel, one ulp", "times 1 + 1e-6")


@pytest.mark.parametrize("seeds", [8, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_nearly_identical_noise(
    framework: Framework, spectrum: Any, move: str, seeds: int, record_property: Callable
) -> None:
    """Of noise one bin in thousands is all but missing, and has the phase that rounding errors leave it."""
    images = (np.random.default_rng(seed).random((64, 60), np.float32) for seed in range(seeds))
    found = [
        errors_of(framework, moved(b, move), b, (spectrum, ("area", "relative")[i % 2], 5))
        for i, b in enumerate(images)
    ]
    values, gradients = np.transpose(found)
    figures = {"noise, value": values.max(), "noise": gradients.max(), "noise, median": np.median(gradients)}
    print(f"{framework.name}, {spectrum}, {move}:", {name: f"{x:.1e}" for name, x in figures.items()})
    for name, figure in figures.items():
        record_property(f"{spectrum}, {move}, {name}", float(figure))
    # The logarithm weighs a bin by 1 / |A|, weak ones most.
    more = 20 if spectrum == "log" else 1
    assert values.max() <= more * 1e-6
    assert np.median(gradients) <= more * 1e-6
    assert np.percentile(gradients, 90) <= more * 5e-6
    assert gradients.max() <= more * 2e-5


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_nearly_identical_photos(
    framework: Framework, photos: dict, spectrum: Any, move: str, record_property: Callable
) -> None:
    """Both terms, both normalizations, a photo of 8 bits and the same blurred."""
    photo = (photos["camera"][:256, :256] / 255).astype(np.float32)
    worst = {}
    for name, b in (("photo", photo), ("blurred photo", cv2.GaussianBlur(photo, (0, 0), 2))):
        errors = [errors_of(framework, moved(b, move), b, (spectrum, x, 5)) for x in ("area", "relative")]
        worst[f"{name}, value"], worst[name] = np.max(errors, axis=0)
    print(f"{framework.name}, {spectrum}, {move}:", {name: f"{x:.1e}" for name, x in worst.items()})
    for name, value in worst.items():
        record_property(f"{spectrum}, {move}, {name}", float(value))
    # Weak frequencies are the less exact in a float32 transform, and the logarithm gives them more weight.
    for name in ("photo", "blurred photo"):
        assert worst[f"{name}, value"] <= (5e-6 if spectrum == "log" else 1e-6)
    assert worst["blurred photo"] <= (3e-5 if spectrum == "log" else 2e-5)
    # A product is rounded in each pixel by itself: edges that cancelled in 8 bits are then rounding errors alone.
    assert worst["photo"] <= (2e-4 if move.startswith("times") else 3e-5)


@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_blurred_photos(framework: Framework, photos: dict, spectrum: Any) -> None:
    """What the loss is for, and where float32 transforms are worst: weak high frequencies beside strong low ones."""
    worst = 0.0
    for name in ("camera", "coins", "moon"):
        sharp = (photos[name][:256, :256] / 255).astype(np.float32)
        blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
        moved = blurred.copy()
        moved[100, 120] = np.nextafter(moved[100, 120], np.float32(2))
        for a, b in ((blurred, sharp), (sharp, blurred), (moved, blurred)):
            gradient = framework.gradient(a, b, alpha=0.0, spectrum=spectrum)
            worst = max(worst, relative_error(gradient, reference.gradients(a, b, spectrum=spectrum)[0]))
    print(f"{framework.name}: largest relative error, {spectrum}: {worst:.2g}")
    assert worst <= 2e-5


def test_photos_of_8_bits(framework: Framework, photos: dict) -> None:
    """Thousands of pixels whose derivatives cancel exactly in integers, and but for rounding in 0..1."""
    worst = 0.0
    # Strong texture whose derivatives cancel all the same, but only in the smoothing.
    stripes = np.where(np.arange(120) % 2, 150, 10) + np.random.default_rng(1).integers(-1, 2, (128, 120))
    for sharp in (*(photos[name][:128, :120] for name in ("camera", "moon", "text")), stripes.astype(np.uint8)):
        blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
        for a, b in ((blurred, sharp), (sharp, blurred)):
            for size in (3, 5, 7):
                floats: Any = (np.float32(x) / np.float32(255) for x in (a, b))
                gradient = framework.gradient(*floats, alpha=1.0, sobel_kernel_size=size)
                worst = max(worst, relative_error(gradient, reference.gradients(a / 255, b / 255, size=size)[1]))
    print(f"{framework.name}: largest relative error: {worst:.2g}")
    assert worst <= 2e-6


def test_edges_of_strongly_blurred_photos(framework: Framework, photos: dict) -> None:
    """Neighbours differ by less than a thousandth of a pixel: sums taken before differences lose them in rounding."""
    sharp = (photos["camera"][::2, ::2] / 255).astype(np.float32)
    worst = 0.0
    for sigma in (8, 20, 40):
        a, b = (cv2.GaussianBlur(sharp, (0, 0), s) for s in (sigma, 1.5 * sigma))
        for size in (3, 5, 7):
            gradient = framework.gradient(a, b, alpha=1.0, sobel_kernel_size=size)
            worst = max(worst, relative_error(gradient, reference.gradients(a, b, size=size)[1]))
    print(f"{framework.name}: largest relative error: {worst:.2g}")
    assert worst <= 5e-6


@pytest.mark.parametrize("shape", [(96, 100), (512, 500)], ids=str)
@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_low_contrast_and_strong_blur(framework: Framework, spectrum: Any, shape: tuple[int, int]) -> None:
    noise, b = np.random.default_rng(0).random((2, *shape), np.float32)
    for a in (0.5 + 1e-3 * noise, cv2.GaussianBlur(noise, (0, 0), 4)):
        gradient = framework.gradient(a, b, alpha=0.0, spectrum=spectrum)
        assert relative_error(gradient, reference.gradients(a, b, spectrum=spectrum)[0]) <= 1e-5


def test_means_of_opposite_signs(framework: Framework) -> None:
    """As centred data has them: the one case where the size of frequency 0 does not cancel from the difference."""
    noise, b = np.random.default_rng(0).random((2, 96, 100), np.float32)
    a, b = cv2.GaussianBlur(noise, (0, 0), 4), b - np.float32(1)
    assert relative_error(framework.gradient(a, b, alpha=0.0), reference.gradients(a, b)[0]) <= 1e-5


def test_a_dark_image_beside_a_bright_one(framework: Framework) -> None:
    """What is a rounding error of the bright one is all there is in the dark one, whichever of the two it is."""
    noise, bright = np.random.default_rng(0).random((2, 24, 26), np.float32)
    dark = np.float32(1e-6) * noise
    for alpha, exact in zip((0.0, 1.0), reference.gradients(dark, bright), strict=True):
        assert relative_error(framework.gradient(dark, bright, alpha=alpha), exact) <= 2e-6
        assert relative_error(framework.gradient(bright, dark, 1, alpha=alpha), exact) <= 2e-6


def test_the_gradient_has_the_dtype_of_its_input(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 9, 10), np.float32)
    for dtype in ("float16", "float32", "float64"):
        gradient = framework.gradient(a.astype(dtype), b)
        assert gradient.dtype == dtype
        assert relative_error(gradient, framework.gradient(a, b)) < 0.02


def test_the_gradient_by_targets_mirrors_that_by_predictions(framework: Framework) -> None:
    a, b = np.random.default_rng(0).random((2, 3, 9, 10), np.float32)
    np.testing.assert_array_equal(framework.gradient(a, b, 1), framework.gradient(b, a, 0))
