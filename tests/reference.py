"""The formula written out once more in float64, with full NumPy transforms and OpenCV, sharing no code.

One plane pair at a time, in the plainest form: no half spectrum, no difference taken first, no safe division.
"""

import cv2
import numpy as np

LEVEL = 1 / 255
GAIN = {3: 4, 5: 48, 7: 640}


def terms(
    a: np.ndarray, b: np.ndarray, *, size: int = 5, spectrum: str = "magnitude", normalization: str = "area"
) -> tuple[float, float]:
    """General and Specific of two planes (H, W)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    n = a.size
    spread = np.sqrt(np.var(b) + LEVEL**2) if normalization == "relative" else 1
    transform_a, transform_b = np.fft.fft2(a), np.fft.fft2(b)
    if spectrum == "magnitude":
        general = np.linalg.norm(np.abs(transform_a) - np.abs(transform_b)) / n / spread
    elif spectrum == "complex":
        general = np.linalg.norm(a - b) / np.sqrt(padded_area(a) if normalization == "area" else n) / spread
    elif spectrum == "complex_l1":
        general = np.mean(np.abs(np.fft.fft2(a - b, norm="ortho"))) / spread
    else:
        c = np.sqrt(n) / 255
        general = np.linalg.norm(np.log(np.abs(transform_a) + c) - np.log(np.abs(transform_b) + c)) / np.sqrt(n)
    edges_a, edges_b = edges(a, size), edges(b, size)
    return float(general), float(np.linalg.norm(edges_a - edges_b) / edge_divisor(edges_b, size, normalization))


def padded_area(x: np.ndarray) -> int:
    """The area that OpenCV would pad a plane to."""
    return cv2.getOptimalDFTSize(x.shape[0]) * cv2.getOptimalDFTSize(x.shape[1])


def edge_divisor(edges_b: np.ndarray, size: int, normalization: str) -> float:
    """What the norm in Specific is divided by."""
    n = edges_b.size
    return {
        "area": n,
        "rms": np.sqrt(n) * GAIN[size],
        "relative": np.sqrt(np.sum(edges_b**2) + n * (GAIN[size] * LEVEL) ** 2),
    }[normalization]


def edges(x: np.ndarray, size: int) -> np.ndarray:
    """Sobel gradient magnitude."""
    return np.hypot(*(cv2.Sobel(x, cv2.CV_64F, *order, ksize=size) for order in ((1, 0), (0, 1))))


def gradients(
    a: np.ndarray, b: np.ndarray, *, size: int = 5, spectrum: str = "magnitude", normalization: str = "area"
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of General and of Specific by `a`, 0 where a bin or an edge is 0 up to rounding."""
    # As much as one rounding error in every pixel makes of a flat area.
    rounding = np.finfo(a.dtype).eps * np.max(np.abs(a)) * GAIN[size]
    a, b = a.astype(np.float64), b.astype(np.float64)
    n = a.size
    spread = np.sqrt(np.var(b) + LEVEL**2) if normalization == "relative" else 1
    transform_a, transform_b = np.fft.fft2(a), np.fft.fft2(b)
    magnitude_a, magnitude_b = np.abs(transform_a), np.abs(transform_b)
    if spectrum == "complex":
        general = (a - b) / np.linalg.norm(a - b) / np.sqrt(padded_area(a) if normalization == "area" else n) / spread
    elif spectrum == "complex_l1":
        difference = np.fft.fft2(a - b, norm="ortho")
        modulus = np.abs(difference)
        is_zero = modulus <= 1e-12 * np.linalg.norm(difference)
        phase = np.where(is_zero, 0, difference) / np.where(is_zero, 1, modulus)
        general = np.fft.ifft2(phase, norm="ortho").real / n / spread
    else:
        c = np.sqrt(n) / 255
        read, slope, divisor = {
            "magnitude": (lambda m: m, np.ones_like(magnitude_a), n * spread),
            "log": (lambda m: np.log(m + c), 1 / (magnitude_a + c), np.sqrt(n)),
        }[spectrum]
        e = read(magnitude_a) - read(magnitude_b)
        is_zero = magnitude_a <= 1e-12 * np.linalg.norm(transform_a)
        phase = np.where(is_zero, 0, transform_a) / np.where(is_zero, 1, magnitude_a)
        by_bin = e / np.linalg.norm(e) * slope * phase
        general = n * np.fft.ifft2(by_bin).real / divisor
    by_x, by_y = sobel_matrices(a.shape, size)
    horizontal, vertical = by_x[0] @ a @ by_x[1].T, by_y[0] @ a @ by_y[1].T
    edges_a, edges_b = edges(a, size), edges(b, size)
    e = edges_a - edges_b
    # Reflect-101 makes either derivative 0 at the two ends along it, and so both at the corners.
    inside = edges_a > max(1e-9 * np.max(edges_a), rounding)
    weight = np.where(inside, e, 0) / np.linalg.norm(e) / np.where(inside, edges_a, 1)
    specific = by_x[0].T @ (weight * horizontal) @ by_x[1] + by_y[0].T @ (weight * vertical) @ by_y[1]
    return general, specific / edge_divisor(edges_b, size, normalization)


def sobel_matrices(shape: tuple[int, int], size: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """For either derivative the matrices L, R of x -> L x R^T, read off OpenCV's filter one unit column at a time."""

    def matrix(n: int, taps: np.ndarray) -> np.ndarray:
        return cv2.sepFilter2D(np.eye(n), cv2.CV_64F, np.ones(1), taps, borderType=cv2.BORDER_REFLECT_101)

    pairs = []
    for order in ((1, 0), (0, 1)):
        along_x, along_y = cv2.getDerivKernels(*order, size, ktype=cv2.CV_64F)
        pairs.append((matrix(shape[0], along_y), matrix(shape[1], along_x)))
    return tuple(pairs)


def released(a: np.ndarray, b: np.ndarray, alpha: float) -> float:
    """What the released `torch-blursim` computes for two grey images 0..255, from a description of its steps.

    The transform of each image padded with zeros to OpenCV's optimal size; the norm of the complex difference over
    the padded area; the 5x5 Sobel magnitudes' difference over the area.
    """
    transforms = []
    for image in (a, b):
        height, width = (cv2.getOptimalDFTSize(n) for n in image.shape)
        padded = cv2.copyMakeBorder(
            image.astype(np.float64),
            0,
            height - image.shape[0],
            0,
            width - image.shape[1],
            cv2.BORDER_CONSTANT,
            value=[0],
        )
        transforms.append(cv2.dft(padded, flags=cv2.DFT_COMPLEX_OUTPUT))
    general = np.linalg.norm(transforms[0] - transforms[1]) / (transforms[0].shape[0] * transforms[0].shape[1])
    specific = np.linalg.norm(edges(a.astype(np.float64), 5) - edges(b.astype(np.float64), 5)) / a.size
    return float((1 - alpha) * general + alpha * specific)
