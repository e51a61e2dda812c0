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
    divide_above,
    least_magnitude,
    norm,
    per_plane,
    plane_mean,
    plane_sum,
    safe_divide,
    safe_sqrt,
    square_root_,
)
from blursim_torch._taps import optimal_dft_size

# A bin at most this many rounding errors above zero holds round-off alone: it has a magnitude, but no phase.
DEAD_ZONE = 64
# Nearer to 1, photos gain little.
HIGH_PASS = 0.9


def general(a: Tensor, b: Tensor, options: Options) -> Tensor:
    """General of every plane pair, (..., H, W) to (...)."""
    return _distance(a, b, options) * scale(b, options)


def general_gradient(a: Tensor, b: Tensor, options: Options, argument: int) -> tuple[Tensor, Tensor]:
    """General with its gradient by `a` (argument 0) or by `b` (argument 1)."""
    # By `b`, the roles are exchanged, not the sign: b's phases out of a's transform would carry a's rounding errors.
    distance, gradient = _distance_gradient(*((a, b) if argument == 0 else (b, a)), options)
    factor = scale(b, options)
    value, gradient = distance * factor, gradient * per_plane(factor)
    if argument == 1 and options.normalization == "relative" and options.spectrum != "log":
        centred = b - plane_mean(b)
        gradient = gradient - centred * per_plane(value / (b.shape[-2] * b.shape[-1] * _variance(b, options)))
    return value, gradient


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
    length, other_length = _magnitude(transform), _magnitude(other)
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
    e, _ = spectrum_difference(_transform(a), _transform(a - b), options, height * width)
    return _half_norm(e, width)


def _distance_gradient(a: Tensor, b: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """The distance and its gradient by `a`: for e = f(|A|) - f(|B|) it is N ifft2(e f'(|A|) A / |A|) / norm(e)."""
    if options.spectrum == "complex":
        distance = norm(a - b)
        return distance, safe_divide(a - b, per_plane(distance))
    height, width = a.shape[-2:]
    area = height * width
    transform, least = _transform_with_phase(a)
    e, length = spectrum_difference(transform, torch.fft.rfft2(a - b), options, area)
    distance = _half_norm(e, width)
    # Scaled here and not after the transform: it is one factor less for every pixel.
    weight = divide_above(least, e, length).mul_(per_plane(safe_divide(torch.full_like(distance, area), distance)))
    if options.spectrum == "log":
        weight = weight / (length + _log_offset(area, options))
    # PyTorch multiplies complex by complex several times faster than complex by real. And one inverse real transform:
    # the automatic transpose of rfft2 is a full complex one.
    product = transform * weight.to(transform.dtype)
    del transform, e, length, weight
    return distance, torch.fft.irfft2(product, s=(height, width))


def _transform(a: Tensor) -> Tensor:
    """The half spectrum of planes, with their means left out of the rounding errors."""
    mean = plane_mean(a)
    transform = torch.fft.rfft2(a - mean)
    transform[..., :1, :1] += mean * (a.shape[-2] * a.shape[-1])
    return transform


def _transform_with_phase(a: Tensor) -> tuple[Tensor, Tensor]:
    """The half spectrum of planes, and the magnitude up to which a bin is rounding errors and has no phase.

    A transform spreads its rounding errors over all bins alike, so that the mean and the low frequencies of a blurred
    photo drown the phases of its high ones: they were 1e-4 of the gradient. Hence the transform is that of a plane
    without its mean and with its low frequencies weakened, and what this took away is given back bin by bin.
    """
    height, width = a.shape[-2:]
    mean = plane_mean(a)
    x, share, inverse = _high_pass(a - mean, -1, width // 2 + 1)
    x, other_share, other_inverse = _high_pass(x, -2, height)
    transform = torch.fft.rfft2(x)
    transform[..., :1, :1] += mean * (height * width * (1 - share) * (1 - other_share))
    eps = torch.finfo(a.dtype).eps
    # Of a flat plane, x is the rounding error of the mean.
    least = DEAD_ZONE * eps * (per_plane(norm(x)) + eps * height * width * torch.abs(mean))
    least = (least * inverse.abs()) * other_inverse.abs()
    return transform.mul_(inverse).mul_(other_inverse), torch.clamp(least, min=least_magnitude(a.dtype))


def _high_pass(x: Tensor, dim: int, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """x[j] - share * x[j - 1] along `dim`, the share, and what undoes it in the first `count` bins.

    The share is what of a pixel its neighbour foretells: of noise nothing, of which a fixed one would drown low
    frequencies.
    """
    shifted = torch.roll(x, 1, dim)
    # Detached, because the result does not depend on it.
    correlation = safe_divide(plane_sum(x * shifted, keepdim=True), plane_sum(x * x, keepdim=True))
    share = torch.clamp(correlation, 0, HIGH_PASS).detach()
    size = x.shape[dim]
    frequency = torch.arange(count, dtype=x.dtype, device=x.device)
    # Negative beyond the half, as small angles are the more exact.
    angle = torch.where(2 * frequency > size, frequency - size, frequency) * (2 * math.pi / size)
    angle = angle.unsqueeze(-1) if dim == -2 else angle
    inverse = 1 / torch.complex(1 - share * torch.cos(angle), share * torch.sin(angle))
    # The difference first: where a plane is smooth it is exact, and a product would round as the transform does.
    return torch.addcmul(x - shifted, shifted, 1 - share), share, inverse


def _magnitude(z: Tensor) -> Tensor:
    return square_root_(_dot(z, z))


def _dot(z: Tensor, w: Tensor) -> Tensor:
    """Re(z conj(w)), the inner product of complex numbers as vectors."""
    # On a CPU faster than by z.real and z.imag, which are strided.
    products = torch.view_as_real(z) * torch.view_as_real(w)
    return products[..., 0] + products[..., 1]


def _half_norm(e: Tensor, width: int) -> Tensor:
    """Norm over the full spectrum from its half: every column but DC and, for even widths, Nyquist counts twice."""
    squares = torch.sum(e * e, dim=-2)
    # Without a branch on the width, so that one compilation serves odd and even ones.
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
    height, width = (torch.amin(sizes.masked_fill(sizes < side, 2**31)) for side in b.shape[-2:])
    return (height * width).to(b.dtype)


def optimal_dft_sizes(device: torch.device) -> Tensor:
    """What `optimal_dft_size` gives up to 2^30, in no order, and among it numbers above that."""
    # Made where it is used: a table from the host would be copied, and waited for, at every call.
    twos, threes, fives = (
        torch.pow(prime, torch.arange(count, device=device)) for prime, count in ((2, 31), (3, 20), (5, 14))
    )
    # Clamped, for no product to leave 64 bits.
    return torch.clamp(twos[:, None] * threes, max=2**30)[..., None] * fives
