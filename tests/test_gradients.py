"""Gradients: against finite differences, the float64 reference, and the promises made for degenerate images."""

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
import reference
from cases import (
    CASES,
    DIFFERENCES,
    FEW,
    FLOAT32,
    FLOAT64,
    LOG,
    MORE,
    NORMALIZATIONS,
    SIZES,
    SPECTRA,
    TOLERANCES,
    Case,
    costly,
    noise,
    relative_error,
    shapes,
    zoo,
)
from frameworks import Framework

by_case = pytest.mark.parametrize("case", costly(CASES, CASES + MORE, pytest.mark.system))
by_spectrum = pytest.mark.parametrize(
    "case", costly([CASES[0], CASES[6]], [CASES[0], CASES[5], CASES[6]], pytest.mark.system)
)


def gradients_of_terms(framework: Framework, a: np.ndarray, b: np.ndarray, case: Case) -> list[np.ndarray]:
    # By alpha, not from `blursim_terms`: alpha is data, so that both compile once.
    return [framework.gradient(a, b, alpha=alpha, **case.options()) for alpha in (0.0, 1.0)]


def errors_of_gradients(framework: Framework, a: np.ndarray, b: np.ndarray, case: Case) -> list[float]:
    """Relative errors of the gradients of General and of Specific."""
    found, expected = gradients_of_terms(framework, a, b, case), case.gradients(a, b)
    return [relative_error(*pair) for pair in zip(found, expected, strict=True)]


def limit(case: Case, tolerance: float) -> float:
    return tolerance * (LOG if case.spectrum == "log" else 1)


JACOBIANS = list(itertools.product(SPECTRA, NORMALIZATIONS[::-1], ((5, 6), (6, 5), (7, 11), (5, 5), (8, 8), (13, 10))))


# Under "relative" the target is in the divisor too.
@pytest.mark.parametrize(
    ("spectrum", "normalization", "shape"),
    [JACOBIANS[0], *(pytest.param(*more, marks=pytest.mark.slow) for more in JACOBIANS[1:])],
    ids=str,
)
def test_full_jacobian_by_central_differences(
    framework: Framework, spectrum: Any, normalization: Any, shape: tuple[int, int]
) -> None:
    """Every pixel of both images, every image of a batch."""
    step = 1e-6
    a, b = noise(2, *shape, seed=2, dtype="float64")
    basis = np.eye(a[0].size).reshape(-1, *shape)
    options: Any = {"alpha": 0.6, "spectrum": spectrum, "normalization": normalization}
    for argument in (0, 1):
        gradient = framework.gradient(a, b, argument, reduction="sum", **options)
        for image in (0, 1):
            moved = [np.broadcast_to(x[image], (len(basis), *shape)) for x in (a, b)]
            up, down = ([*moved], [*moved])
            up[argument], down[argument] = moved[argument] + step * basis, moved[argument] - step * basis
            up, down = (framework.value(*images, reduction="none", **options) for images in (up, down))
            assert relative_error(gradient[image], (up - down).reshape(shape) / (2 * step)) < DIFFERENCES


@by_case
def test_gradients_are_those_of_the_reference(framework: Framework, case: Case) -> None:
    a, b = noise(64, 60)
    found = gradients_of_terms(framework, a, b, case)
    assert {gradient.dtype.name for gradient in found} == {"float32"}
    assert max(map(relative_error, found, case.gradients(a, b))) <= limit(case, FLOAT32.gradient)


@pytest.mark.parametrize("case", costly([FEW[2], FEW[3]], CASES + MORE, pytest.mark.system))
def test_gradients_in_float64_are_those_of_the_reference(framework: Framework, case: Case) -> None:
    a, b = noise(12, 11, dtype="float64")
    found = gradients_of_terms(framework, a, b, case)
    assert {gradient.dtype.name for gradient in found} == {"float64"}
    assert max(map(relative_error, found, case.gradients(a, b))) <= limit(case, FLOAT64.gradient)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_40_shapes_against_the_reference(framework: Framework, part: int, dtype: str) -> None:
    """Of noise, a bin in thousands is all but missing, and has the phase that rounding errors leave it."""
    rng = np.random.default_rng(3)
    errors: dict[str, list[float]] = {}
    drawn = shapes(320)[part::32]
    assert len(drawn) == 10
    for shape, case in drawn:
        a, b = (rng.random(shape).astype(dtype) for _ in range(2))
        errors.setdefault(case.spectrum, []).extend(errors_of_gradients(framework, a, b, case))
    print(
        f"{framework.name}: largest relative errors in {dtype}:", {name: f"{max(x):.1e}" for name, x in errors.items()}
    )
    tolerance = TOLERANCES[dtype]
    for spectrum, found in errors.items():
        more = LOG if spectrum == "log" else 1
        assert np.percentile(found, 80) <= more * tolerance.gradient
        assert max(found) <= more * tolerance.weak


# A CPU goes through these by strips of rows, of which the last is not full.
@pytest.mark.parametrize("case", costly([CASES[1]], [CASES[1], CASES[2], CASES[4], CASES[6]]))
@pytest.mark.system
def test_large_images(framework: Framework, case: Case) -> None:
    a, b = noise(1030, 600, seed=4)
    np.testing.assert_allclose(framework.terms(a, b, **case.options()), case.terms(a, b), rtol=FLOAT32.value)
    assert max(errors_of_gradients(framework, a, b, case)) <= limit(case, FLOAT32.gradient)


def test_the_reference_has_the_derivatives_of_opencv() -> None:
    x = np.random.default_rng(0).random((9, 11))
    for size in SIZES:
        for (left, right), order in zip(reference.sobel_matrices(x.shape, size), ((1, 0), (0, 1)), strict=True):
            np.testing.assert_allclose(
                left @ x @ right.T, cv2.Sobel(x, cv2.CV_64F, *order, ksize=size), atol=FLOAT64.value
            )


@by_case
def test_the_reference_has_the_gradients_of_its_terms(case: Case) -> None:
    """By central differences, of every pixel."""
    a, b = noise(9, 8, dtype="float64")
    step = 1e-6
    for term, gradient in enumerate(case.gradients(a, b)):
        change = np.zeros_like(a)
        for pixel in np.ndindex(a.shape):
            up, down = a.copy(), a.copy()
            up[pixel] += step
            down[pixel] -= step
            change[pixel] = (case.terms(up, b)[term] - case.terms(down, b)[term]) / (2 * step)
        assert relative_error(gradient, change) < DIFFERENCES


@pytest.mark.parametrize(
    "case", costly([FEW[1], FEW[2]], FEW, pytest.mark.system) + costly([], [x for x in CASES + MORE if x not in FEW])
)
def test_identical_images_are_exactly_zero(framework: Framework, case: Case) -> None:
    """Values and both gradients."""
    photo, _ = noise(64, 60)
    for x in (photo, np.zeros_like(photo), np.full_like(photo, 0.3)):
        assert not framework.terms(x, x, **case.options()).any()
        assert framework.value(x, x, alpha=0.5, **case.options()) == 0
        for argument in (0, 1):
            assert not framework.gradient(x, x, argument, alpha=0.5, **case.options()).any()
    # A quotient that the compiler fuses into the difference rounds otherwise than one that it does not.
    whole = np.round(255 * photo).astype(np.uint8)
    dtypes, data_range = ((("uint8", "uint8"), 255), (("float32", "float16"), 255), (("uint8", "uint16"), 100))[
        case.size % 3
    ]
    assert not framework.terms(*map(whole.astype, dtypes), data_range=data_range, **case.options()).any()


@by_case
def test_flat_and_black_images_have_finite_gradients(framework: Framework, case: Case) -> None:
    photo, _ = noise(64, 60)
    black, flat = np.zeros_like(photo), np.full_like(photo, 0.3)
    for a, b in itertools.permutations((black, flat, photo), 2):
        gradients = [framework.gradient(a, b, i, **case.options()) for i in (0, 1)]
        assert np.isfinite(gradients).all()
        if "complex" not in case.spectrum:
            # Documented: a black prediction has no phase and no direction of edges to move along.
            assert gradients[0].any() == (a is not black)


@pytest.mark.parametrize("shape", [(64, 60), pytest.param((97, 61), marks=pytest.mark.slow)], ids=str)
@by_case
def test_gradients_of_degenerate_images(framework: Framework, case: Case, shape: tuple[int, int]) -> None:
    worst, (other, _) = {}, noise(*shape, seed=1)
    for name, image in zoo(shape).items():
        for a, b in ((image, other), (other, image)):
            # Where the reference's is 0, it is to be exactly 0.
            worst[name] = max(worst.get(name, 0), *errors_of_gradients(framework, a, b, case))
    print(f"{framework.name}: largest relative error:", {name: f"{x:.1e}" for name, x in worst.items()})
    assert max(worst.values()) <= FLOAT32.degenerate


@pytest.mark.parametrize(
    "shape", [(59, 59), *(pytest.param(s, marks=pytest.mark.slow) for s in ((97, 61), (127, 131), (96, 100)))], ids=str
)
def test_a_flat_image_moves_as_a_whole(framework: Framework, shape: tuple[int, int]) -> None:
    """The spectrum of a flat image is round-off but for its mean; in float32 that must not become a gradient."""
    b, _ = noise(*shape)
    for a in (np.full_like(b, 0.3), np.repeat(b[:1], shape[0], axis=0)):
        gradient = framework.gradient(a, b, alpha=0.0, **CASES[0].options())
        assert relative_error(gradient, CASES[0].gradients(a, b)[0]) < FLOAT32.gradient


def test_a_difference_of_few_bins(framework: Framework) -> None:
    """Under "complex_l1" every bin pulls alike, so bins that are rounding errors alone must not pull."""
    case, (b, _), (rows, columns) = CASES[6], noise(64, 60), np.indices((64, 60))
    # On a grid, where a - b is exact.
    b = np.round(b * 256) / 256
    for change in (0.25 * (columns // 2 % 2), 0.125 * (rows // 4 % 2)):
        a = b + change.astype(np.float32)
        exact = case.gradients(a, b)[0]
        assert relative_error(framework.gradient(a, b, alpha=0.0, **case.options()), exact) <= FLOAT32.gradient


def one_ulp_apart(seed: int) -> tuple[np.ndarray, np.ndarray]:
    b, _ = noise(64, 60, seed=seed)
    a = b.copy()
    a[30, 20] = np.nextafter(a[30, 20], np.float32(2))
    return a, b


@by_case
def test_one_pixel_one_ulp_away(framework: Framework, case: Case) -> None:
    errors = []
    for seed in range(9):
        a, b = one_ulp_apart(seed)
        errors.append(np.abs(framework.terms(a, b, **case.options()) / case.terms(a, b) - 1))
    of_general, of_specific = np.transpose(errors)
    assert np.median(of_general) <= FLOAT32.value and np.max(of_specific) <= FLOAT32.value
    # The logarithm weighs a bin by 1 / |A|, so that one image in ten has a bin that passes on its rounding error.
    assert np.max(of_general) <= (FLOAT32.log_value if case.spectrum == "log" else FLOAT32.value)
    errors = errors_of_gradients(framework, *one_ulp_apart(5), case)
    print(f"{framework.name}: relative errors: {errors}")
    assert max(errors) <= (FLOAT32.weak if case.spectrum == "log" else FLOAT32.gradient)


def moved(b: np.ndarray, move: str) -> np.ndarray:
    a = b.copy()
    if move == "times 1 + 1e-6":
        return a * np.float32(1 + 1e-6)
    where = (30, 20) if move == "one pixel, one ulp" else ...
    a[where] = np.nextafter(a[where], np.float32(2))
    return a


def errors_of(framework: Framework, a: np.ndarray, b: np.ndarray, case: Case) -> tuple[float, float]:
    """The larger relative error of the two terms, and that of their gradients."""
    value = np.max(np.abs(framework.terms(a, b, **case.options()) / case.terms(a, b) - 1))
    return float(value), float(np.max(errors_of_gradients(framework, a, b, case)))


MOVES = ("one pixel, one ulp", "every pixel, one ulp", "times 1 + 1e-6")


@pytest.mark.parametrize("seeds", [8, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_nearly_identical_noise(
    framework: Framework, spectrum: str, move: str, seeds: int, record_property: Callable
) -> None:
    """Of noise one bin in thousands is all but missing, and has the phase that rounding errors leave it."""
    both = [case for case in CASES + MORE if case.spectrum == spectrum]
    images = (noise(64, 60, seed=seed)[0] for seed in range(seeds))
    found = [errors_of(framework, moved(b, move), b, both[i % 2]) for i, b in enumerate(images)]
    values, gradients = np.transpose(found)
    figures = {"noise, value": values.max(), "noise": gradients.max(), "noise, median": np.median(gradients)}
    print(f"{framework.name}, {spectrum}, {move}:", {name: f"{x:.1e}" for name, x in figures.items()})
    for name, figure in figures.items():
        record_property(f"{spectrum}, {move}, {name}", float(figure))
    more = LOG if spectrum == "log" else 1
    assert values.max() <= more * FLOAT32.value
    assert np.median(gradients) <= more * FLOAT32.value
    assert np.percentile(gradients, 90) <= more * FLOAT32.gradient
    assert gradients.max() <= more * FLOAT32.weak


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize(
    "case",
    [
        *costly([], [CASES[0], CASES[6]], pytest.mark.system),
        *costly([], [case for case in CASES if case not in (CASES[0], CASES[6])]),
    ],
)
def test_nearly_identical_photos(
    framework: Framework, photos: dict, case: Case, move: str, record_property: Callable
) -> None:
    """Both terms, a photo of 8 bits and the same blurred."""
    photo = (photos["camera"][:256, :256] / 255).astype(np.float32)
    worst = {}
    for name, b in (("photo", photo), ("blurred photo", cv2.GaussianBlur(photo, (0, 0), 2))):
        worst[f"{name}, value"], worst[name] = errors_of(framework, moved(b, move), b, case)
    print(f"{framework.name}, {case}, {move}:", {name: f"{x:.1e}" for name, x in worst.items()})
    for name, value in worst.items():
        record_property(f"{case.spectrum}, {move}, {name}", float(value))
    # Weak frequencies are the less exact in a float32 transform, and the logarithm gives them more weight.
    is_log = case.spectrum == "log"
    for name in ("photo", "blurred photo"):
        assert worst[f"{name}, value"] <= (FLOAT32.log_value if is_log else FLOAT32.value)
    assert worst["blurred photo"] <= FLOAT32.weak
    # A product is rounded in each pixel by itself: edges that cancelled in 8 bits are then rounding errors alone.
    assert worst["photo"] <= (10 if move.startswith("times") else 1) * FLOAT32.weak


@by_spectrum
def test_blurred_photos(framework: Framework, photos: dict, case: Case) -> None:
    """What the loss is for, and where float32 transforms are worst: weak high frequencies beside strong low ones."""
    worst = 0.0
    for name in ("camera", "coins", "moon"):
        sharp = (photos[name][:256, :256] / 255).astype(np.float32)
        blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
        moved = blurred.copy()
        moved[100, 120] = np.nextafter(moved[100, 120], np.float32(2))
        for a, b in ((blurred, sharp), (sharp, blurred), (moved, blurred)):
            gradient = framework.gradient(a, b, alpha=0.0, **case.options())
            worst = max(worst, relative_error(gradient, case.gradients(a, b)[0]))
    print(f"{framework.name}: largest relative error, {case}: {worst:.2g}")
    assert worst <= FLOAT32.weak


# Of Specific alone: "complex" compiles fastest.
EDGES = [Case("complex", "area", size) for size in SIZES]
by_size = pytest.mark.parametrize("case", costly([EDGES[1]], EDGES))


@by_size
def test_photos_of_8_bits(framework: Framework, photos: dict, case: Case) -> None:
    """Thousands of pixels whose derivatives cancel exactly in integers, and but for rounding in 0..1."""
    worst = 0.0
    # Strong texture whose derivatives cancel all the same, but only in the smoothing.
    stripes = np.where(np.arange(120) % 2, 150, 10) + np.random.default_rng(1).integers(-1, 2, (128, 120))
    for sharp in (*(photos[name][:128, :120] for name in ("camera", "moon", "text")), stripes.astype(np.uint8)):
        blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
        for a, b in ((blurred, sharp), (sharp, blurred)):
            floats: Any = (np.float32(x) / np.float32(255) for x in (a, b))
            gradient = framework.gradient(*floats, alpha=1.0, **case.options())
            worst = max(worst, relative_error(gradient, case.gradients(a / 255, b / 255)[1]))
    print(f"{framework.name}: largest relative error: {worst:.2g}")
    assert worst <= FLOAT32.edges


@by_size
def test_edges_of_strongly_blurred_photos(framework: Framework, photos: dict, case: Case) -> None:
    """Neighbours differ by less than a thousandth of a pixel: sums taken before differences lose them in rounding."""
    sharp = (photos["camera"][::2, ::2] / 255).astype(np.float32)
    worst = 0.0
    for sigma in (8, 20, 40):
        a, b = (cv2.GaussianBlur(sharp, (0, 0), s) for s in (sigma, 1.5 * sigma))
        gradient = framework.gradient(a, b, alpha=1.0, **case.options())
        worst = max(worst, relative_error(gradient, case.gradients(a, b)[1]))
    print(f"{framework.name}: largest relative error: {worst:.2g}")
    assert worst <= FLOAT32.gradient


@pytest.mark.parametrize(
    "shape", [(64, 60), *(pytest.param(s, marks=pytest.mark.slow) for s in ((96, 100), (512, 500)))], ids=str
)
@by_spectrum
def test_low_contrast_and_strong_blur(framework: Framework, case: Case, shape: tuple[int, int]) -> None:
    image, b = noise(*shape)
    for a in (0.5 + 1e-3 * image, cv2.GaussianBlur(image, (0, 0), 4)):
        gradient = framework.gradient(a, b, alpha=0.0, **case.options())
        assert relative_error(gradient, case.gradients(a, b)[0]) <= FLOAT32.rounded


def test_means_of_opposite_signs(framework: Framework) -> None:
    """As centred data has them: the one case where the size of frequency 0 does not cancel from the difference."""
    case, (image, b) = CASES[0], noise(64, 60)
    a, b = cv2.GaussianBlur(image, (0, 0), 4), b - np.float32(1)
    gradient = framework.gradient(a, b, alpha=0.0, **case.options())
    assert relative_error(gradient, case.gradients(a, b)[0]) <= FLOAT32.rounded


def test_a_dark_image_beside_a_bright_one(framework: Framework) -> None:
    """What is a rounding error of the bright one is all there is in the dark one, whichever of the two it is."""
    case, (image, bright) = CASES[0], noise(64, 60)
    dark = np.float32(1e-6) * image
    for alpha, exact in zip((0.0, 1.0), case.gradients(dark, bright), strict=True):
        assert relative_error(framework.gradient(dark, bright, alpha=alpha, **case.options()), exact) <= FLOAT32.edges
        by_targets = framework.gradient(bright, dark, 1, alpha=alpha, **case.options())
        assert relative_error(by_targets, exact) <= FLOAT32.edges


def test_a_gradient_is_computed_in_float64_where_one_image_is(framework: Framework) -> None:
    """And has the dtype of its input."""
    case, (a, b) = CASES[0], noise(64, 60)
    of_predictions, of_targets = (framework.gradient(a.astype("float64"), b, i, **case.options()) for i in (0, 1))
    assert (of_predictions.dtype, of_targets.dtype) == ("float64", "float32")
    assert relative_error(of_predictions, case.gradient(a, b)) <= FLOAT64.gradient


def test_the_gradient_by_targets_mirrors_that_by_predictions(framework: Framework) -> None:
    case, (a, b) = CASES[0], noise(64, 60)
    by_targets, by_predictions = (framework.gradient(*x, **case.options()) for x in ((a, b, 1), (b, a, 0)))
    np.testing.assert_array_equal(by_targets, by_predictions)
