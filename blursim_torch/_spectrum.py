r"""General, the first term of BlurSim: the difference of a plane `a` and its target `b` in the frequency domain.

Planes are (..., H, W), of one floating dtype, and each pair is compared by itself. N is H * W. A and B are the
transforms of `a` and `b`, and f(m) is m, or log(m + c) for "log". General is a distance, symmetric in `a` and `b`,
times a scale that depends on `b` alone, so its gradient follows from the product rule.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._checks import Options
from blursim_torch._complex import (
    Complex,
    add,
    bin_magnitude,
    dot,
    from_pair,
    modulus,
    rows_of,
    scale,
    subtract,
)
from blursim_torch._numerics import (
    ScaledPlanes,
    divide_above,
    has_symbolic_sizes,
    in_memory,
    norm,
    per_plane,
    plane_area,
    plane_mean,
    plane_sum,
    safe_divide,
    safe_sqrt,
)
from blursim_torch._taps import optimal_dft_size
from blursim_torch._tiles import add_strips, join_strips, row_slices
from blursim_torch._transforms import half_spectrum, half_spectrum_with_phase, rfft2


class Contrast(NamedTuple):
    """A target minus its mean, (..., H, W), and its squared contrast: variance plus one grey level squared, (...)."""

    centred: Tensor
    squared: Tensor


def general(a: Tensor, b: Tensor, options: Options) -> Tensor:
    """General of each plane pair, (..., H, W) to (...)."""
    return _distance(a, b, options) * general_scale(contrast(b, options), b, options)


def general_gradient(a: Tensor, b: Tensor, options: Options, argnum: int) -> tuple[Tensor, ScaledPlanes]:
    """General and its gradient with respect to `a` (argnum 0) or `b` (argnum 1)."""
    # The distance is symmetric, so the planes are swapped for `b`. Computing B as A - (A - B) instead would give its
    # phases the rounding errors of A.
    distance, (gradient, factor) = _distance_gradient(*((a, b) if argnum == 0 else (b, a)), options)
    target = contrast(b, options)
    scale = general_scale(target, b, options)
    value, factor = distance * scale, factor * scale
    if argnum == 1 and target is not None:
        target_weight = value / (plane_area(b) * target.squared)
        gradient = gradient * per_plane(factor) - target.centred * per_plane(target_weight)
        factor = torch.ones_like(factor)
    return value, ScaledPlanes(gradient, factor)


def general_scale(target: Contrast | None, b: Tensor, options: Options) -> Tensor:
    """The factor of the distance, (..., H, W) to (...)."""
    area = plane_area(b)
    if options.spectrum == "magnitude":
        return level_scale(target, b, options) / area
    if options.spectrum == "complex_l1":
        # 1 / N for the mean over bins, and 1 / sqrt(N) for the orthonormal transform.
        return level_scale(target, b, options) / area**1.5
    # For "complex", the distance is computed on pixels. By Parseval, that of the spectra is sqrt(N) times as large.
    # Under "area", N is that of the original, which pads planes. For "log", 1 / sqrt(N) makes a root mean square.
    if options.spectrum == "complex" and options.normalization == "area":
        area = _padded_area(b)
    return level_scale(target, b, options) / area**0.5


def level_scale(target: Contrast | None, b: Tensor, options: Options) -> Tensor:
    """The part of the scale that is independent of the area, (..., H, W) to (...)."""
    if options.spectrum == "log":
        return b.new_ones(b.shape[:-2])
    if target is None:
        return b.new_full(b.shape[:-2], 1 / options.white)
    return 1 / torch.sqrt(target.squared)


def contrast(b: Tensor, options: Options) -> Contrast | None:
    """The contrast that General is divided by under "relative", or None. For "log", it is None, too."""
    if options.normalization != "relative" or options.spectrum == "log":
        return None
    centred = b - plane_mean(b)
    # One grey level keeps the variance of a flat target from being 0.
    variance = plane_sum(centred * centred) / plane_area(b) + options.grey_level() ** 2
    return Contrast(centred, variance)


def spectrum_difference(
    transform: Complex, difference: Complex, options: Options, area: int | Tensor
) -> tuple[Tensor, Tensor]:
    """The difference e = f(|A|) - f(|B|) and the magnitude |A|, from the transforms A and A - B.

    Subtracting two nearly equal magnitudes would leave only their rounding errors. Both differences are therefore
    computed from A - B, the transform of a - b.
    """
    other = subtract(transform, difference)
    magnitude, other_magnitude = bin_magnitude(transform), bin_magnitude(other)
    # |A| - |B| = (|A|^2 - |B|^2) / (|A| + |B|) = Re((A - B) conj(A + B)) / (|A| + |B|).
    e = dot(difference, add(transform, other)).div_(magnitude + other_magnitude)
    if options.spectrum == "log":
        smaller = torch.minimum(magnitude, other_magnitude)
        # log(|A| + c) - log(|B| + c) = sign(e) log1p(|e| / (min(|A|, |B|) + c)). The functions `sign` and `abs` have
        # derivative 0 at 0, which would drop second derivatives of bins that agree.
        sign = torch.where(e < 0, -torch.ones_like(e), torch.ones_like(e))
        e = sign * torch.log1p(sign * e / (smaller + _log_offset(area, options)))
    return e, magnitude


def _distance(a: Tensor, b: Tensor, options: Options) -> Tensor:
    if options.spectrum == "complex":
        return norm(a - b)
    area, width = plane_area(a), a.shape[-1]
    difference = half_spectrum(a - b)
    if options.spectrum == "complex_l1":
        return add_strips([_sum_from_half(modulus(rows_of(difference, rows)), width) for rows in row_slices(a)])
    spectrum = half_spectrum(a)
    squares = []
    for rows in row_slices(a):
        e, _ = spectrum_difference(rows_of(spectrum, rows), rows_of(difference, rows), options, area)
        squares.append(_sum_from_half(e * e, width))
    return safe_sqrt(add_strips(squares))


def _distance_gradient(a: Tensor, b: Tensor, options: Options) -> tuple[Tensor, ScaledPlanes]:
    """The distance and its gradient with respect to `a`.

    For e = f(|A|) - f(|B|), the gradient is N ifft2(e f'(|A|) A / |A|) / norm(e).
    """
    if options.spectrum == "complex":
        distance = norm(a - b)
        return distance, ScaledPlanes(a - b, safe_divide(torch.ones_like(distance), distance))
    if options.spectrum == "complex_l1":
        return _sum_of_moduli_gradient(a - b)
    area, (height, width) = plane_area(a), a.shape[-2:]
    # The mean of a - b is not transformed separately here, which would take two more passes.
    emphasized, difference = half_spectrum_with_phase(a), rfft2(a - b)
    squares, products = [], []
    for rows in row_slices(a):
        spectrum = emphasized.de_emphasized(rows)
        e, magnitude = spectrum_difference(spectrum, rows_of(difference, rows), options, area)
        squares.append(_sum_from_half(e * e, width))
        floor = emphasized.phase_floor(rows)
        weight = divide_above(floor, e, magnitude)
        if options.spectrum == "log":
            weight = weight / (magnitude + _log_offset(area, options))
        products.append(from_pair(scale(spectrum, weight)))
        # Freed now, the memory is reused while it is in cache.
        del spectrum, e, magnitude, floor, weight
    del emphasized, difference
    distance = safe_sqrt(add_strips(squares))
    product = join_strips(products)
    del products
    # This takes one real inverse transform. Autodiff would transpose rfft2 into a full complex transform.
    gradient = torch.fft.irfft2(product, s=(height, width))
    return distance, ScaledPlanes(gradient, safe_divide(torch.ones_like(distance) * area, distance))


def _sum_of_moduli_gradient(difference: Tensor) -> tuple[Tensor, ScaledPlanes]:
    """The sum of |D| over the full spectrum D of a - b, and its gradient with respect to `a`: N ifft2(D / |D|)."""
    height, width = difference.shape[-2:]
    # Every bin weighs the same in the gradient, the weak ones of a smooth difference included, so all need a phase.
    emphasized = half_spectrum_with_phase(difference)
    moduli, phases = [], []
    for rows in row_slices(difference):
        spectrum = emphasized.de_emphasized(rows)
        magnitude = modulus(spectrum)
        moduli.append(_sum_from_half(magnitude, width))
        weight = divide_above(emphasized.phase_floor(rows), torch.ones_like(magnitude), magnitude)
        phases.append(from_pair(scale(spectrum, weight)))
        # Freed now, the memory is reused while it is in cache.
        del spectrum, magnitude, weight
    del emphasized
    distance, phase = add_strips(moduli), join_strips(phases)
    del phases
    gradient = torch.fft.irfft2(phase, s=(height, width))
    return distance, ScaledPlanes(gradient, torch.ones_like(distance) * plane_area(difference))


def _sum_from_half(x: Tensor, width: int) -> Tensor:
    """The sum over the full spectrum, from rows of its half (..., W // 2 + 1).

    Each column counts twice, except those of frequency 0 and, for even widths, of the Nyquist frequency.
    """
    # Without a branch on the width, one compiled program serves odd and even widths.
    column = torch.arange(x.shape[-1], device=x.device)
    weights = torch.where((column == 0) | (2 * column == width), 1, 2).to(x.dtype)
    return plane_sum(x * in_memory(weights))


def _log_offset(area: int | Tensor, options: Options) -> float | Tensor:
    """The c of log(m + c): the root mean square magnitude of bins of white noise with deviation one grey level."""
    return area**0.5 * options.grey_level()


def _padded_area(b: Tensor) -> int | Tensor:
    """The area that OpenCV would pad planes to."""
    if not has_symbolic_sizes():
        return optimal_dft_size(b.shape[-2]) * optimal_dft_size(b.shape[-1])
    # A search in Python would be traced anew for each size.
    sizes = candidate_dft_sizes(b.device)
    height, width = (torch.amin(sizes.masked_fill(sizes < side, 2**31), dim=(0, 1, 2)) for side in b.shape[-2:])
    return (height * width).to(b.dtype)


def candidate_dft_sizes(device: torch.device) -> Tensor:
    """All numbers 2^i 3^j 5^k up to 2^30 in no order, and some larger ones."""
    # Computed on the device: copying a table from the host would synchronize at every call. `torch.pow` with a
    # Python number as base gives wrong integers in a program compiled ahead of time.
    twos, threes, fives = (
        torch.pow(torch.full((count,), prime, device=device), torch.arange(count, device=device))
        for prime, count in ((2, 31), (3, 20), (5, 14))
    )
    # Clamped, so that no product exceeds 64 bits.
    return torch.clamp(twos[:, None] * threes, max=2**30)[..., None] * fives
