"""Laws that hold for all images, with images drawn by hypothesis: each a function that raises where it is broken."""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import reference
from cases import ALL, CASES, FLOAT32, FLOAT64, Case
from frameworks import Framework
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

# Odd and even sides, the smallest, one longer than it is wide. Option sets take turns, because JAX compiles for each.
SHAPES = ((7, 7), (8, 7), (9, 12), (16, 16), (31, 10))
# How far apart two ways to the same number in float64 may come out; of the images' norm where the number is about 0.
CLOSE = FLOAT64.same


class Draw(NamedTuple):
    """Three images of one shape, an option set, alpha, and a generator for what else a law needs."""

    images: np.ndarray
    case: Case
    alpha: float
    rng: np.random.Generator


def draw_image(rng: np.random.Generator, kind: str, shape: tuple[int, int]) -> np.ndarray:
    noise = rng.random(shape)
    rows, columns = np.indices(shape)
    return {
        "noise": lambda: noise,
        "signed": lambda: noise - 0.5,
        "blurred": lambda: cv2.GaussianBlur(noise, (0, 0), rng.uniform(0.5, 4)),
        "levels": lambda: rng.integers(0, 256, shape) / 255,
        "patch": lambda: np.where(rows < shape[0] // 2, rng.random(), noise),
        "stripes": lambda: (columns // rng.integers(1, 4) % 2) * rng.random(),
        "impulse": lambda: (noise == noise.max()) * rng.random(),
        "flat": lambda: np.full(shape, rng.random()),
        "faint": lambda: 0.5 + 1e-3 * noise,
    }[kind]()


KINDS = ("noise", "signed", "blurred", "levels", "patch", "stripes", "impulse", "flat", "faint")


@st.composite
def draws(draw: st.DrawFn, cases: list[Case]) -> Draw:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    turn = draw(st.integers(0, len(cases) - 1))
    images = [draw_image(rng, draw(st.sampled_from(KINDS)), SHAPES[turn % len(SHAPES)]) for _ in range(3)]
    return Draw(np.stack(images), cases[turn], draw(st.floats(0, 1)), rng)


def size_of(*images: np.ndarray) -> float:
    """What a value of images as large as these could be: 1 in 0..1, so that rounding is a share of it."""
    return max(float(np.max(np.abs(images))), 1e-3)


def assert_close(actual: Any, expected: Any, *images: np.ndarray) -> None:
    np.testing.assert_allclose(actual, expected, rtol=CLOSE, atol=CLOSE * size_of(*images))


def symmetry(framework: Framework, draw: Draw) -> None:
    """But under `"relative"`, and under `"log"` General there too, the roles of the images can be exchanged."""
    (a, b, _), (spectrum, normalization, _), *_ = draw
    options = draw.case.options()
    assume(normalization != "relative" or spectrum == "log")
    there, back = framework.terms(a, b, **options), framework.terms(b, a, **options)
    terms = slice(0, 1 if normalization == "relative" else 2)
    assert_close(there[terms], back[terms], a, b)


def zero_at_identity(framework: Framework, draw: Draw) -> None:
    """Value and both gradients of identical images are exactly 0."""
    a = draw.images[0].astype(np.float32)
    options = {"alpha": draw.alpha, **draw.case.options()}
    assert framework.value(a, a, **options) == 0
    assert not framework.gradient(a, a, **options).any()
    assert not framework.gradient(a, a, 1, **options).any()


def flips_and_transposes(framework: Framework, draw: Draw) -> None:
    """Both images flipped or transposed alike have the same terms."""
    (a, b, _), options = draw.images, draw.case.options()
    expected = framework.terms(a, b, **options)
    turns: list[Callable] = [np.flipud, np.fliplr, np.transpose]
    for turn in turns:
        if turn(a).shape == a.shape:
            assert_close(framework.terms(turn(a), turn(b), **options), expected, a, b)


def linear_in_alpha(framework: Framework, draw: Draw) -> None:
    (a, b, _), options = draw.images, draw.case.options()
    general, specific = framework.terms(a, b, **options)
    mixed = framework.value(a, b, alpha=draw.alpha, **options)
    assert_close(mixed, (1 - draw.alpha) * general + draw.alpha * specific, a, b)


def general_ignores_circular_shifts(framework: Framework, draw: Draw) -> None:
    """Of one image alone under `"magnitude"` and `"log"`, of both alike else."""
    (a, b, _), options = draw.images, draw.case.options()
    shifted = [np.roll(x, tuple(draw.rng.integers(0, 9, 2)), (0, 1)) for x in (a, b)]
    if "complex" in draw.case.spectrum:
        shifted = [np.roll(x, (3, 2), (0, 1)) for x in (a, b)]
    assert_close(framework.terms(*shifted, **options)[0], framework.terms(a, b, **options)[0], a, b)


def specific_ignores_brightness(framework: Framework, draw: Draw) -> None:
    (a, b, _), options = draw.images, draw.case.options()
    for brighter in ((a + draw.rng.random(), b), (a, b - draw.rng.random())):
        assert_close(framework.terms(*brighter, **options)[1], framework.terms(a, b, **options)[1], a, b)


def triangle_inequality(framework: Framework, draw: Draw) -> None:
    """Each term is a distance but under `"relative"`, and under `"log"` General there too."""
    (a, b, c), (spectrum, normalization, _), *_ = draw
    assume(normalization != "relative" or spectrum == "log")
    ab, bc, ac = (framework.terms(*pair, **draw.case.options()) for pair in ((a, b), (b, c), (a, c)))
    terms = slice(0, 1 if normalization == "relative" else 2)
    assert (ac <= ab + bc + CLOSE * size_of(a, b, c))[terms].all()


def general_is_at_most_the_pixels_distance(framework: Framework, draw: Draw) -> None:
    """norm(|A| - |B|) <= norm(A - B), by Parseval norm(a - b) sqrt(N)."""
    (a, b, _), case = draw.images, draw.case._replace(spectrum="magnitude")
    of_pixels = framework.terms(a, b, **draw.case._replace(spectrum="complex").options())[0]
    if case.normalization == "area":
        of_pixels = np.linalg.norm(a - b) / np.sqrt(a.size)
    assert framework.terms(a, b, **case.options())[0] <= of_pixels * (1 + CLOSE) + CLOSE * size_of(a, b)


@functools.cache
def norm_of_sobel(shape: tuple[int, int], size: int) -> float:
    """The norm of the linear map from a plane to both its Sobel derivatives, from OpenCV's filter."""
    maps = [np.kron(left, right) for left, right in reference.sobel_matrices(shape, size)]
    return float(np.sqrt(np.linalg.eigvalsh(sum(m.T @ m for m in maps))[-1]))


def gradients_are_bounded(framework: Framework, draw: Draw) -> None:
    """The terms are Lipschitz: General by 1 / sqrt(N), Specific by the norm of Sobel over its divisor."""
    (a, b, _), (spectrum, normalization, size), *_ = draw
    assume(normalization != "relative" and spectrum != "log")
    a, b = a.astype(np.float32), b.astype(np.float32)
    of_specific = norm_of_sobel(a.shape, size) / reference.edge_divisor(b, size, normalization)
    bounds = {0.0: 1 / np.sqrt(a.size), 1.0: of_specific}
    for (alpha, bound), argument in itertools.product(bounds.items(), (0, 1)):
        gradient = framework.gradient(a, b, argument, alpha=alpha, **draw.case.options())
        assert np.linalg.norm(gradient.astype(np.float64)) <= bound * (1 + FLOAT32.rounded)


def relative_ignores_contrast(framework: Framework, draw: Draw) -> None:
    """Far above the floor of a grey level, under `"relative"`; `"log"` has a floor of its own."""
    (a, b, _), (_, _, size), *_ = draw
    assume(np.std(b) > 1e-3 and np.linalg.norm(reference.edges(b, size)) > 1e-3)
    # Against a contrast of 1e-3, the floor squared is less than 1e-13.
    low, high = (
        framework.terms(k * a, k * b, spectrum=spectrum, normalization="relative", sobel_kernel_size=size)
        for spectrum in (draw.case.spectrum.replace("log", "magnitude"),)
        for k in (1e8, 3e9)
    )
    np.testing.assert_allclose(low, high, rtol=1e-9, atol=1e-9)


def a_batch_is_its_images(framework: Framework, draw: Draw) -> None:
    options = {"alpha": draw.alpha, **draw.case.options()}
    a, b = draw.images, np.roll(draw.images, 1, axis=0)
    singles = [framework.value(x, y, **options) for x, y in zip(a, b, strict=True)]
    assert_close(framework.value(a, b, reduction="none", **options), np.array(singles), a, b)
    assert_close(framework.value(a, b, **options), np.mean(singles), a, b)


def powers_of_two_change_no_bit(framework: Framework, draw: Draw) -> None:
    """But under `"relative"` and `"log"`, the value scales, the gradient stays, bit for bit, in float32.

    Of smaller pixels, squares of edges and of frequencies that are rounding errors vanish.
    """
    (a, b, _), (spectrum, normalization, _), *_ = draw
    assume(normalization != "relative" and spectrum != "log")
    a, b = a.astype(np.float32), b.astype(np.float32)
    options = {"alpha": draw.alpha, **draw.case.options()}
    scale = np.float32(2.0 ** draw.rng.integers(-20, 41))
    assert framework.value(scale * a, scale * b, **options) == scale * framework.value(a, b, **options)
    for argument in (0, 1):
        np.testing.assert_array_equal(
            framework.gradient(scale * a, scale * b, argument, **options), framework.gradient(a, b, argument, **options)
        )


LAWS: list[Callable[[Framework, Draw], None]] = [
    symmetry,
    zero_at_identity,
    flips_and_transposes,
    linear_in_alpha,
    general_ignores_circular_shifts,
    specific_ignores_brightness,
    triangle_inequality,
    general_is_at_most_the_pixels_distance,
    gradients_are_bounded,
    relative_ignores_contrast,
    a_batch_is_its_images,
    powers_of_two_change_no_bit,
]


# What other files test at every run.
TESTED = [zero_at_identity, linear_in_alpha, a_batch_is_its_images]


@pytest.mark.parametrize(
    ("law", "count"),
    [
        *(pytest.param(law, 20, marks=pytest.mark.slow if law in TESTED else pytest.mark.system) for law in LAWS),
        *(pytest.param(law, 1000, marks=pytest.mark.slow) for law in LAWS),
    ],
    ids=lambda x: x.__name__ if callable(x) else str(x),
)
def test_law(framework: Framework, law: Callable[[Framework, Draw], None], count: int, record_property: Any) -> None:
    drawn = 0

    # The same images at every run, unless there are many.
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=count < 1000,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(draws(CASES if count < 1000 else ALL))
    def holds(draw: Draw) -> None:
        nonlocal drawn
        law(framework, draw)
        drawn += 1

    holds()
    record_property(f"draws, {framework.name}", drawn)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_a_thousand_identical_pairs(framework: Framework, record_property: Any) -> None:
    """Value and both gradients exactly 0 at either end of alpha and between, the Hessian finite."""
    rng = np.random.default_rng(0)
    for i in range(1000):
        case, shape = ALL[i % len(ALL)], SHAPES[i % len(ALL) % len(SHAPES)]
        x = draw_image(rng, KINDS[i // len(ALL) % len(KINDS)], shape).astype(np.float32)
        for alpha in (0.0, 0.5, 1.0):
            options = {"alpha": alpha, **case.options()}
            assert framework.value(x, x, **options) == 0
            assert not framework.gradient(x, x, **options).any()
            assert not framework.gradient(x, x, 1, **options).any()
            assert np.isfinite(framework.hessian(x, x, **options)).all()
    record_property(f"pairs, {framework.name}", 1000)
