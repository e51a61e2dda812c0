r"""General: the difference of two planes in the frequency domain.

Every function takes planes (..., H, W) of one floating dtype and works on each by itself. General is the product of a
distance, symmetric in the two planes, and a scale, which depends on the second alone, so each gradient is a line of
the product rule.
"""

import math

import torch
from torch import Tensor

from blursim_torch._checks import Options
from blursim_torch._numerics import (
    add_strips,
    divide_above,
    join_strips,
    least_magnitude,
    norm,
    per_plane,
    plane_mean,
    plane_sum,
    safe_divide,
    safe_sqrt,
    square_root_,
    strips_of,
)
from blursim_torch._taps import optimal_dft_size

# A bin at most this many rounding errors above zero holds round-off alone: it has a magnitude, but no phase.
DEAD_ZONE = 64
# Nearer to 1, photos gain little.
HIGH_PASS = 0.9
# One row of so many tells how alike neighbours are: no power of 2, as of which images may be built.
SAMPLE = 7


def general(a: Tensor, b: Tensor, options: Options) -> Tensor:
    """General of every plane pair, (..., H, W) to (...)."""
    return _distance(a, b, options) * scale(b, options)


def general_gradient(a: Tensor, b: Tensor, options: Options, argument: int) -> tuple[Tensor, Tensor, Tensor]:
    """General, and its gradient by `a` (argument 0) or by `b` (argument 1): planes, and a factor each, to multiply."""
    # By `b`, the roles are exchanged, not the sign: b's phases out of a's transform would carry a's rounding errors.
    distance, gradient, slope = _distance_gradient(*((a, b) if argument == 0 else (b, a)), options)
    factor = scale(b, options)
    value, slope = distance * factor, slope * factor
    if argument == 1 and options.normalization == "relative" and options.spectrum != "log":
        centred = b - plane_mean(b)
        number = value / (b.shape[-2] * b.shape[-1] * _variance(b, options))
        gradient, slope = gradient * per_plane(slope) - centred * per_plane(number), torch.ones_like(slope)
    return value, gradient, slope


def scale(b: Tensor, options: Options) -> Tensor:
    """What the distance is multiplied by, (..., H, W) to (...)."""
    height, width = b.shape[-2:]
    if options.spectrum == "magnitude":
        return inverse_contrast(b, options) / (height * width)
    # The complex distance is taken on pixels, where Parseval leaves a factor sqrt(N) out.
    area = height * width
    if options.spectrum == "complex" and options.normalization == "area":
        area = _padded_area(b)
    return inverse_contrast(b, options) / area**0.5


def inverse_contrast(b: Tensor, options: Options) -> Tensor:
    """The part of the scale that is not of the area, (..., H, W) to (...)."""
    if options.spectrum == "log":
        return b.new_ones(b.shape[:-2])
    if options.normalization == "area":
        return b.new_full(b.shape[:-2], 1 / options.white)
    return 1 / torch.sqrt(_variance(b, options))


def spectrum_difference(transform: Tensor, difference: Tensor, options: Options, area: int) -> tuple[Tensor, Tensor]:
    """The difference e of two spectra and the first one's magnitude, from the transforms of `a` and of a - b.

    The other transform is the first less the difference: of two magnitudes that are nearly equal, subtracting would
    leave only their rounding errors.
    """
    other = transform - difference
    length, other_length = bin_magnitude(transform), bin_magnitude(other)
    # |A| - |B| = (|A|^2 - |B|^2) / (|A| + |B|) = Re((A - B) conj(A + B)) / (|A| + |B|)
    e = _dot(difference, transform + other).div_(length + other_length)
    if options.spectrum == "log":
        smaller = torch.minimum(length, other_length)
        # Not sign and abs: their derivatives at 0 are 0, and second order would miss the bins that agree.
        sign = torch.where(e < 0, -torch.ones_like(e), torch.ones_like(e))
        e = sign * torch.log1p(sign * e / (smaller + _log_offset(area, options)))
    return e, length


def _distance(a: Tensor, b: Tensor, options: Options) -> Tensor:
    if options.spectrum == "complex":
        return norm(a - b)
    height, width = a.shape[-2:]
    transform, difference = _transform(a), _transform(a - b)
    squares = []
    for rows in strips_of(a):
        e, _ = spectrum_difference(transform[..., rows, :], difference[..., rows, :], options, height * width)
        squares.append(torch.sum(e * e, dim=-2))
    return _half_norm(add_strips(squares), width)


def _distance_gradient(a: Tensor, b: Tensor, options: Options) -> tuple[Tensor, Tensor, Tensor]:
    """The distance, and its gradient by `a`: planes, and a factor each, to multiply.

    For e = f(|A|) - f(|B|) the gradient is N ifft2(e f'(|A|) A / |A|) / norm(e).
    """
    if options.spectrum == "complex":
        distance = norm(a - b)
        return distance, a - b, safe_divide(torch.ones_like(distance), distance)
    height, width = a.shape[-2:]
    area = height * width
    transform, inverse, other_inverse, least = _transform_with_phase(a)
    difference = torch.fft.rfft2(a - b)
    squares, products = [], []
    all_rows = strips_of(a)
    for rows in all_rows:
        turned = other_inverse[..., rows, :]
        part = transform if len(all_rows) == 1 else transform[..., rows, :].clone()
        part.mul_(inverse).mul_(turned)
        e, length = spectrum_difference(part, difference[..., rows, :], options, area)
        squares.append(torch.sum(e * e, dim=-2))
        part_least = torch.clamp((least * inverse.abs()) * turned.abs(), min=least_magnitude(a.dtype))
        weight = divide_above(part_least, e, length)
        if options.spectrum == "log":
            weight = weight / (length + _log_offset(area, options))
        # PyTorch multiplies complex by complex several times faster than complex by real.
        products.append(part * weight.to(part.dtype))
        # Memory that is let go before more is taken is still in cache, and stays with the process.
        del part, e, length, part_least, weight
    del transform, difference
    distance = _half_norm(add_strips(squares), width)
    product = join_strips(products)
    del products
    # One inverse real transform: the automatic transpose of rfft2 is a full complex one.
    gradient = torch.fft.irfft2(product, s=(height, width))
    return distance, gradient, safe_divide(torch.full_like(distance, area), distance)


def _transform(a: Tensor) -> Tensor:
    """The half spectrum of planes, with their means left out of the rounding errors."""
    mean = plane_mean(a)
    transform = torch.fft.rfft2(a - mean)
    transform[..., :1, :1] += mean * (a.shape[-2] * a.shape[-1])
    return transform


def _transform_with_phase(a: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A half spectrum of planes, two factors that turn it into theirs, and up to what magnitude a bin has no phase.

    Of shapes (..., H, W // 2 + 1), (..., 1, W // 2 + 1), (..., H, 1) and (..., 1, 1); without the factors, a bin of at
    most that magnitude is rounding errors.

    A transform spreads its rounding errors over all bins alike, so that the mean and the low frequencies of a blurred
    photo drown the phases of its high ones: they were 1e-4 of the gradient. Hence the transform is that of a plane
    without its mean and with its high frequencies raised, and the factors take back bin by bin what this gave.
    """
    height, width = a.shape[-2:]
    mean = plane_mean(a)
    x = a - mean
    # All rows for the compiler, which would compile anew for images of which one row is taken.
    step = 1 if torch.compiler.is_compiling() else SAMPLE
    share = foretold_share(x[..., ::step, 1:], x[..., ::step, :-1])
    other_share = foretold_share(x[..., 1::step, :], x[..., :-1:step, :])
    x = _high_pass(_high_pass(x, share, -1), other_share, -2)
    transform = torch.fft.rfft2(x)
    transform[..., :1, :1] += mean * (height * width)
    eps = torch.finfo(a.dtype).eps
    # Of a flat plane, x is the rounding error of the mean.
    of_mean = eps * height * width * torch.abs(mean) / ((1 - share) * (1 - other_share))
    least = DEAD_ZONE * eps * (per_plane(norm(x)) + of_mean)
    return (
        transform,
        inverse_of_weakening(share, width, width // 2 + 1),
        inverse_of_weakening(other_share, height, height).mT,
        least,
    )


def foretold_share(x: Tensor, before: Tensor) -> Tensor:
    """What of a pixel the one before it foretells, (..., H, W) to (..., 1, 1).

    Of noise nothing, of which a fixed share would drown low frequencies.
    """
    correlation = safe_divide(plane_sum(x * before, keepdim=True), plane_sum(before * before, keepdim=True))
    # Detached, because the result does not depend on it.
    return torch.clamp(correlation, 0, HIGH_PASS).detach()


def _high_pass(x: Tensor, share: Tensor, dim: int) -> Tensor:
    """(x[j] - share * x[j - 1]) / (1 - share) along `dim`, which goes round."""
    # By way of the difference x[j] - x[j - 1]: where a plane is smooth it is exact, and a product would round as the
    # transform does.
    return torch.lerp(torch.roll(x, 1, dim), x, 1 / (1 - share))


def inverse_of_weakening(share: Tensor, size: int, count: int) -> Tensor:
    """What undoes the high pass of `size` pixels in the first `count` bins, (..., 1, count)."""
    frequency = torch.arange(count, dtype=share.dtype, device=share.device)
    # Negative beyond the half, as small angles are the more exact.
    angle = torch.where(2 * frequency > size, frequency - size, frequency) * (2 * math.pi / size)
    return (1 - share) / torch.complex(1 - share * torch.cos(angle), share * torch.sin(angle))


def bin_magnitude(z: Tensor) -> Tensor:
    return square_root_(_dot(z, z))


def _dot(z: Tensor, w: Tensor) -> Tensor:
    """Re(z conj(w)), the inner product of complex numbers as vectors."""
    # On a CPU faster than by z.real and z.imag, which are strided.
    products = torch.view_as_real(z) * torch.view_as_real(w)
    return products[..., 0] + products[..., 1]


def _half_norm(squares: Tensor, width: int) -> Tensor:
    """Norm over the full spectrum from the sum of the squares in each column of its half."""
    # Every column but DC and, for even widths, Nyquist counts twice. Without a branch on the width, so that one
    # compilation serves odd and even ones.
    once = squares[..., 0] + (1 - width % 2) * squares[..., -1]
    return safe_sqrt(2 * torch.sum(squares, dim=-1) - once)


def _log_offset(area: int, options: Options) -> float:
    """One grey level, in every pixel at random, has about this magnitude in every bin."""
    return area**0.5 * options.grey_level()


def _variance(b: Tensor, options: Options) -> Tensor:
    """The variance of every plane, plus that of one grey level so that a flat one is not divided by 0."""
    centred = b - plane_mean(b)
    return plane_sum(centred * centred) / (b.shape[-2] * b.shape[-1]) + options.grey_level() ** 2


def _padded_area(b: Tensor) -> int | Tensor:
    """The area that OpenCV would pad planes to."""
    if not torch.compiler.is_compiling():
        return optimal_dft_size(b.shape[-2]) * optimal_dft_size(b.shape[-1])
    # Looked up, because a search in Python would compile anew for every size.
    sizes = optimal_dft_sizes(b.device)
    height, width = (torch.amin(sizes.masked_fill(sizes < side, 2**31), dim=(0, 1, 2)) for side in b.shape[-2:])
    return (height * width).to(b.dtype)


def optimal_dft_sizes(device: torch.device) -> Tensor:
    """What `optimal_dft_size` gives up to 2^30, in no order, and among it numbers above that."""
    # Made where it is used: a table from the host would be copied, and waited for, at every call. The power of a
    # tensor, not of a number, of which a program compiled ahead of time takes floating bits for an integer.
    twos, threes, fives = (
        torch.pow(torch.full((count,), prime, device=device), torch.arange(count, device=device))
        for prime, count in ((2, 31), (3, 20), (5, 14))
    )
    # Clamped, for no product to leave 64 bits.
    return torch.clamp(twos[:, None] * threes, max=2**30)[..., None] * fives
