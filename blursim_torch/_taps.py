"""Sobel taps and transform sizes: plain integers, the same file in both packages."""

# One-dimensional Sobel taps as OpenCV's `getDerivKernels` gives them. The derivative is kept as the weights of
# x[i + j] - x[i - j] for j = 1, 2, ..., so that code built on it subtracts first and a flat area gives exactly zero.
SMOOTHING: dict[int, tuple[int, ...]] = {3: (1, 2, 1), 5: (1, 4, 6, 4, 1), 7: (1, 6, 15, 20, 15, 6, 1)}
DIFFERENCE: dict[int, tuple[int, ...]] = {3: (1,), 5: (2, 1), 7: (5, 4, 1)}


def sobel_gain(size: int) -> int:
    """Sum of the positive taps of the two-dimensional Sobel kernel: 4, 48 and 640 for sizes 3, 5 and 7."""
    return sum(SMOOTHING[size]) * sum(DIFFERENCE[size])


def optimal_dft_size(size: int) -> int:
    """The smallest 2^i 3^j 5^k that is at least `size`: the length to which OpenCV pads a side of an image."""
    while True:
        rest = size
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return size
        size += 1
