"""Gradients: against finite differences, the float64 reference, and the promises made for degenerate images."""

import functools
import itertools
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from jax.test_util import check_grads
from test_values import OPTIONS, SPECTRA, options_of, random_cases

from blursim_jax import blursim, blursim_terms


def relative_error(actual: jax.Array, expected: np.ndarray) -> float:
    """L2 norm of the error over that of the expected."""
    return float(np.linalg.norm(np.asarray(actual, np.float64) - expected) / np.linalg.norm(expected))


def gradients_of_terms(a: np.ndarray, b: np.ndarray, case: tuple[str, str, int]) -> list[jax.Array]:
    # By alpha, not from `blursim_terms`: alpha is data, so that both compile once.
    return [jax.grad(blursim)(a, b, alpha=alpha, **options_of(case)) for alpha in (0.0, 1.0)]


def reference_gradients(a: np.ndarray, b: np.ndarray, case: tuple[str, str, int]) -> tuple[np.ndarray, np.ndarray]:
    spectrum, normalization, size = case
    return reference.gradients(a, b, size=size, spectrum=spectrum, normalization=normalization)


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_first_and_second_order_forward_and_reverse(x64: None, case: tuple[str, str, int]) -> None:
    a, b = np.random.default_rng(0).random((2, 2, 9, 8))

    def loss(a: jax.Array, b: jax.Array, alpha: jax.Array) -> jax.Array:
        return blursim(a, b, alpha=alpha, **options_of(case))

    # Without jit, because the compiled second derivatives of 18 option sets take minutes and the next test has one.
    with jax.disable_jit():
        check_grads(loss, (a, b, 0.7), order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-5, eps=1e-6)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_second_order_compiled(x64: None, spectrum: Any) -> None:
    a, b = np.random.default_rng(1).random((2, 2, 9, 8))

    @jax.jit
    def loss(a: jax.Array, b: jax.Array, alpha: jax.Array) -> jax.Array:
        return blursim(a, b, alpha=alpha, spectrum=spectrum, normalization="relative")

    check_grads(loss, (a, b, 0.7), order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-5, eps=1e-6)


def test_second_order_where_bins_agree(x64: None) -> None:
    """Equal means: one bin of both spectra is exactly the same, and its second derivative is not 0 for that."""
    a, b, direction = np.random.default_rng(0).integers(1, 100, (3, 8, 8)) / 64
    a[0, 0] += b.sum() - a.sum()
    assert a.sum() == b.sum()
    gradient = jax.grad(functools.partial(blursim, spectrum="log", alpha=0.0))
    step = 1e-6
    change = (gradient(a + step * direction, b) - gradient(a - step * direction, b)) / (2 * step)
    product = jax.jvp(lambda a: gradient(a, b), (a,), (direction,))[1]
    np.testing.assert_allclose(product, change, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("shape", [(5, 5), (5, 6), (6, 5), (7, 11), (8, 8), (13, 10)], ids=str)
def test_full_jacobian_by_central_differences(x64: None, shape: tuple[int, int]) -> None:
    """Every pixel of both images, every image of a batch, all spectra and both normalizations."""
    step = 1e-6
    a, b = np.random.default_rng(2).random((2, 2, *shape))
    basis = np.eye(a[0].size).reshape(-1, *shape)
    for spectrum, normalization in itertools.product(SPECTRA, ("area", "relative")):

        def loss(a: Any, b: Any, case: Any = (spectrum, normalization, 5)) -> jax.Array:
            return blursim(a, b, alpha=0.6, reduction="none", **options_of(case))

        for argument in (0, 1):
            jacobian = jax.jacrev(loss, argument)(a, b)
            for image in (0, 1):
                moved = [np.broadcast_to(x[image], (len(basis), *shape)) for x in (a, b)]
                up, down = ([*moved], [*moved])
                up[argument], down[argument] = moved[argument] + step * basis, moved[argument] - step * basis
                column = (loss(*up) - loss(*down)).reshape(shape) / (2 * step)
                assert relative_error(jacobian[image, image], np.asarray(column)) < 1e-8
                assert not np.any(jacobian[image, 1 - image])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 5e-6)])
@pytest.mark.parametrize("part", range(2))
def test_gradients_against_the_reference(x64: None, part: int, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(3)
    worst = {"magnitude": 0.0, "complex": 0.0, "log": 0.0}
    for shape, case in random_cases()[part::16]:
        a, b = (rng.random(shape).astype(dtype) for _ in range(2))
        gradients = gradients_of_terms(a, b, case)
        for actual, expected in zip(gradients, reference_gradients(a, b, case), strict=True):
            assert actual.dtype == dtype
            worst[case[0]] = max(worst[case[0]], relative_error(actual, expected))
    print(f"largest relative error in {dtype}:", ", ".join(f"{name} {value:.1e}" for name, value in worst.items()))
    assert max(worst["magnitude"], worst["complex"]) <= tolerance
    # The logarithm weighs a bin by 1 / |A|, so that a bin of almost nothing passes its rounding error on.
    assert worst["log"] <= 20 * tolerance


def test_the_reference_has_the_derivatives_of_opencv() -> None:
    x = np.random.default_rng(0).random((9, 11))
    for size in (3, 5, 7):
        for (left, right), order in zip(reference.sobel_matrices(x.shape, size), ((1, 0), (0, 1)), strict=True):
            np.testing.assert_allclose(left @ x @ right.T, cv2.Sobel(x, cv2.CV_64F, *order, ksize=size), atol=1e-12)


@pytest.mark.parametrize("debug_nans", [False, True])
@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_identical_images_have_gradient_exactly_zero(case: tuple[str, str, int], debug_nans: bool) -> None:
    photo = np.random.default_rng(0).random((12, 11), np.float32)
    with jax.debug_nans(debug_nans):
        for x in (photo, np.zeros_like(photo), np.full_like(photo, 0.3)):
            value, gradients = jax.value_and_grad(blursim, (0, 1))(x, x, alpha=0.5, **options_of(case))
            assert value == 0
            assert not np.any(gradients)


@pytest.mark.parametrize("spectrum", SPECTRA)
def test_flat_and_black_images_have_finite_gradients(spectrum: Any) -> None:
    photo = np.random.default_rng(0).random((12, 11), np.float32)
    black, flat = np.zeros_like(photo), np.full_like(photo, 0.3)
    with jax.debug_nans(True):
        for a, b in itertools.permutations((black, flat, photo), 2):
            for normalization in ("area", "relative"):
                options = {"spectrum": spectrum, "normalization": normalization}
                gradients = jax.grad(blursim, (0, 1))(a, b, alpha=0.5, **options)
                hessian = jax.jvp(jax.grad(lambda a, b=b, o=options: blursim(a, b, **o)), (a,), (photo,))[1]
                assert np.isfinite(gradients).all() and np.isfinite(hessian).all()
                if spectrum != "complex":
                    # Documented: a black prediction has no phase and no direction of edges to move along.
                    assert np.any(gradients[0]) == (a is not black)


@pytest.mark.parametrize("shape", [(97, 61), (127, 131), (59, 59), (96, 100)], ids=str)
def test_a_flat_image_moves_as_a_whole(x64: None, shape: tuple[int, int]) -> None:
    """The spectrum of a flat image is round-off but for its mean; in float32 that must not become a gradient."""
    b = np.random.default_rng(0).random(shape, np.float32)
    for a in (np.full_like(b, 0.3), np.repeat(b[:1], shape[0], axis=0)):
        gradient = jax.grad(blursim)(a, b, alpha=0)
        exact = jax.grad(blursim)(a.astype(np.float64), b.astype(np.float64), alpha=0)
        assert relative_error(gradient, np.asarray(exact)) < 5e-6


@pytest.mark.parametrize("case", OPTIONS, ids=str)
def test_one_pixel_one_ulp_away(x64: None, case: tuple[str, str, int]) -> None:
    b = np.random.default_rng(5).random((64, 60), np.float32)
    a = b.copy()
    a[30, 20] = np.nextafter(a[30, 20], np.float32(2))
    terms = blursim_terms(a, b, **options_of(case))
    exact = reference.terms(a, b, size=case[2], spectrum=case[0], normalization=case[1])
    np.testing.assert_allclose(terms, exact, rtol=1e-6)
    gradients = gradients_of_terms(a, b, case)
    for actual, expected in zip(gradients, reference_gradients(a, b, case), strict=True):
        print(f"relative error: {relative_error(actual, expected):.1e}")
        assert relative_error(actual, expected) <= (2e-5 if case[0] == "log" else 5e-6)


@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_blurred_photos(photos: dict, spectrum: Any) -> None:
    """What the loss is for, and where float32 transforms are worst: weak high frequencies beside strong low ones."""
    worst = 0.0
    for name in ("camera", "coins", "moon"):
        sharp = (photos[name][:256, :256] / 255).astype(np.float32)
        blurred = cv2.GaussianBlur(sharp, (0, 0), 2)
        moved = blurred.copy()
        moved[100, 120] = np.nextafter(moved[100, 120], np.float32(2))
        for a, b in ((blurred, sharp), (sharp, blurred), (moved, blurred)):
            gradient = jax.grad(blursim)(a, b, alpha=0.0, spectrum=spectrum)
            worst = max(worst, relative_error(gradient, reference.gradients(a, b, spectrum=spectrum)[0]))
    print(f"largest relative error, {spectrum}: {worst:.2g}")
    assert worst <= 2e-5


@pytest.mark.parametrize("shape", [(96, 100), (512, 500)], ids=str)
@pytest.mark.parametrize("spectrum", ["magnitude", "log"])
def test_low_contrast_and_strong_blur(spectrum: Any, shape: tuple[int, int]) -> None:
    noise, b = np.random.default_rng(0).random((2, *shape), np.float32)
    for a in (0.5 + 1e-3 * noise, cv2.GaussianBlur(noise, (0, 0), 4)):
        gradient = jax.grad(blursim)(a, b, alpha=0.0, spectrum=spectrum)
        assert relative_error(gradient, reference.gradients(a, b, spectrum=spectrum)[0]) <= 1e-5


def test_the_gradient_has_the_dtype_of_its_input() -> None:
    a, b = np.random.default_rng(0).random((2, 9, 10), np.float32)
    for dtype in ("float16", "bfloat16", "float32"):
        gradient = jax.grad(blursim)(jnp.asarray(a, dtype), b)
        assert gradient.dtype == dtype
        assert relative_error(gradient, np.asarray(jax.grad(blursim)(a, b))) < 0.02


def test_the_gradient_by_alpha_is_the_difference_of_the_terms() -> None:
    a, b = np.random.default_rng(0).random((2, 3, 9, 10), np.float32)
    general, specific = blursim_terms(a, b)
    slope = jax.grad(lambda alpha: blursim(a, b, alpha=alpha))(0.4)
    np.testing.assert_allclose(slope, specific - general, rtol=1e-6)


def test_the_gradient_by_targets_mirrors_that_by_predictions() -> None:
    a, b = np.random.default_rng(0).random((2, 3, 9, 10), np.float32)
    np.testing.assert_array_equal(jax.grad(blursim, 1)(a, b), jax.grad(blursim, 0)(b, a))
    both = jax.grad(blursim, (0, 1))(a, b)
    np.testing.assert_allclose(both[0], jax.grad(blursim, 0)(a, b), rtol=1e-5, atol=1e-9)
