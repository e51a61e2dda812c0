"""What the tests compare and how closely: option sets, images that are hard, errors, and one table of tolerances."""

import itertools
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import reference

SPECTRA = ("magnitude", "complex", "complex_l1", "log")
NORMALIZATIONS, SIZES = ("area", "rms", "relative"), (3, 5, 7)


class Case(NamedTuple):
    """One option set."""

    spectrum: str
    normalization: str
    size: int

    def __str__(self) -> str:
        """Short, as in the name of a test: magnitude-area-5."""
        return f"{self.spectrum}-{self.normalization}-{self.size}"

    def options(self) -> Any:
        """As keyword arguments of the packages."""
        return {
            "spectrum": self.spectrum,
            "normalization": self.normalization,
            "sobel_kernel_size": self.size,
        }

    def terms(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """General and Specific by the reference."""
        return np.array(reference.terms(a, b, **self._asdict()))

    def gradients(self, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The gradients of General and of Specific by `a`, by the reference."""
        return reference.gradients(a, b, **self._asdict())

    def gradient(self, a: np.ndarray, b: np.ndarray, alpha: float = 0.9) -> np.ndarray:
        """The gradient of the mixture by `a`, by the reference."""
        general, specific = self.gradients(a, b)
        return (1 - alpha) * general + alpha * specific


ALL = [Case(*choices) for choices in itertools.product(SPECTRA, NORMALIZATIONS, SIZES)]
# General never reads the kernel size, nor Specific the spectrum. So these have every choice, and the formulas of the
# package torch-blursim and its text whole,
CASES = [
    Case("magnitude", "area", 5),
    Case("magnitude", "relative", 7),
    Case("complex", "area", 7),
    Case("complex", "relative", 3),
    Case("log", "area", 3),
    Case("log", "relative", 5),
    Case("complex_l1", "rms", 5),
]
# and these beside them the rest of the variants of either term.
MORE = [
    Case("complex_l1", "area", 3),
    Case("complex_l1", "relative", 7),
    Case("complex", "rms", 3),
    Case("magnitude", "rms", 7),
    Case("log", "rms", 5),
]
# One of each spectrum, in all normalizations: where a test takes seconds for each.
FEW = [CASES[0], CASES[2], CASES[5], CASES[6]]


def costly(few: list[Case], more: list[Case], mark: Any = pytest.mark.slow) -> list[Any]:
    """Parameters of a test that takes seconds for each case: those of `more` alone are among the slow tests."""
    return [pytest.param(case, marks=() if case in few else mark, id=str(case)) for case in more]


class Tolerance(NamedTuple):
    """The largest relative error, in the L2 norm, by what is compared: the one table that the tests have."""

    # The same number in another order: a batch and its images, eager and compiled, on one device and on several.
    same: float
    # Values and terms against the reference or the other package; under "log" also where one image is nearly the other,
    # or a bin all but missing, as a frequency of almost nothing passes its rounding error on.
    value: float
    log_value: float
    # Gradients against the reference; of Specific alone; against the other package.
    gradient: float
    edges: float
    parity: float
    # Pixels that were rounded once more on their way, and images of low contrast.
    rounded: float
    # Gradients where frequencies or edges are weak, as in blurred photos; and where many are 0 up to rounding.
    weak: float
    degenerate: float


FLOAT32 = Tolerance(3e-7, 1e-6, 5e-6, 5e-6, 2e-6, 5e-6, 1e-5, 2e-5, 5e-5)
FLOAT64 = Tolerance(1e-11, 1e-12, 1e-12, 1e-12, 1e-12, 1e-11, 1e-12, 1e-12, 1e-12)
TOLERANCES = {"float32": FLOAT32, "float64": FLOAT64}
# How much more a gradient under "log" may be off, which weighs a frequency by 1 / |A|.
LOG = 20
# Central differences of float64 values, of their gradients, and of second derivatives.
DIFFERENCES, SECOND_DIFFERENCES, THIRD_DIFFERENCES = 1e-8, 1e-6, 1e-4
# Numbers that are printed with few digits.
PRINTED = 1e-4


def relative_error(actual: Any, expected: Any) -> float:
    """L2 norm of the error over that of the expected; inf, not NaN, which `max` would pass over."""
    actual, expected = (np.asarray(x, np.float64) for x in (actual, expected))
    assert actual.shape == expected.shape
    if not expected.any():
        return 0.0 if not actual.any() else np.inf
    error = float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))
    return error if np.isfinite(error) else np.inf


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Arrays, or tuples of them, one by one."""
    if isinstance(actual, (tuple, list)):
        assert len(actual) == len(expected)
        for pair in zip(actual, expected, strict=True):
            assert_close(*pair, tolerance)
        return
    error = relative_error(actual, expected)
    assert error <= tolerance, f"relative error {error:.2g}, not {tolerance:.2g}"


def noise(*shape: int, seed: int = 0, dtype: Any = np.float32) -> np.ndarray:
    """Two images, or batches, of this shape in 0..1, of float32 or float64."""
    return np.random.default_rng(seed).random((2, *shape), dtype)


def shapes(count: int) -> list[tuple[tuple[int, int], Case]]:
    """So many shapes from the kernel size to 64, each with a case: the narrow ones, then odd, even and prime ones."""
    rng = np.random.default_rng(7)
    found = []
    for i in range(count):
        case = ALL[i % len(ALL)]
        height, width = (int(n) for n in rng.integers(case.size, 65, 2))
        # A half spectrum of every width from 3 to 9, three of them with every case.
        if i < 3 * len(ALL):
            width = case.size + i // len(ALL)
        found.append(((height, width), case))
    return found


def zoo(shape: tuple[int, int]) -> dict[str, np.ndarray]:
    """Images with spectra or edges that are 0 in many places, or nearly."""
    height, width = shape
    (image, _), (rows, columns) = noise(*shape), np.indices(shape)
    middle = (abs(rows - height // 2) < height // 4) & (abs(columns - width // 2) < width // 4)
    impulse = np.zeros(shape, np.float32)
    impulse[height // 2, width // 2] = 1
    return {
        "constant": np.full(shape, 0.3, np.float32),
        "stripes": (columns // 4 % 2).astype(np.float32),
        "square": middle.astype(np.float32),
        "checkerboard": ((rows + columns) % 2).astype(np.float32),
        "impulse": impulse,
        "flat patch": np.where(middle, np.float32(0.5), image),
        "strongly blurred": cv2.GaussianBlur(image, (0, 0), 4),
    }
