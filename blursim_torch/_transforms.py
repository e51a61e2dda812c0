"""Half spectra (..., H, W // 2 + 1) of planes (..., H, W), and which of their bins have a phase."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._complex import Complex, bin_magnitude, from_pair, multiply_, rows_of, to_pair
from blursim_torch._numerics import (
    has_symbolic_sizes,
    in_memory,
    is_compiling,
    least_magnitude,
    norm,
    per_plane,
    plane_area,
    plane_mean,
    plane_sum,
    safe_divide,
)

# A bin of at most this many rounding errors, eps times the norm of the transformed plane, has a magnitude but no phase.
PHASE_FLOOR = 64
# The upper limit of rho, the autocorrelation in pre-emphasis. A higher limit hardly improves the phases of photos.
MAX_RHO = 0.9
# The autocorrelation is estimated from every seventh row. 7 is coprime to powers of 2, so patterns with such periods do
# not bias the estimate.
ROW_STRIDE = 7


def half_spectrum(a: Tensor) -> Complex:
    """The half spectrum. The mean is added afterwards, so that its rounding errors do not reach other bins."""
    mean = plane_mean(a)
    return rfft2(a - mean, mean * plane_area(a))


def rfft2(x: Tensor, zero_frequency: Tensor | None = None) -> Complex:
    """The half spectrum, with (..., 1, 1) added to the bin of frequency 0."""
    z = torch.fft.rfft2(x)
    if zero_frequency is None:
        return to_pair(z)
    if not is_compiling():
        z[..., :1, :1] += zero_frequency
        return z
    real, imag = to_pair(z)
    is_first = [in_memory((torch.arange(n, device=x.device) == 0).to(x.dtype)) for n in real.shape[-2:]]
    return real + zero_frequency * (is_first[0].unsqueeze(-1) * is_first[1]), imag


class PreEmphasized(NamedTuple):
    """The half spectrum of a pre-emphasized plane, its de-emphasis along both axes, and the largest magnitude of noise.

    The shapes are (..., H, W // 2 + 1), (..., 1, W // 2 + 1), (..., H, 1) and (..., 1, 1). The noise is that of
    the pre-emphasized plane.
    """

    transform: Complex
    de_emphasis_x: Complex
    de_emphasis_y: Complex
    floor: Tensor

    def de_emphasized(self, rows: slice) -> Complex:
        """These rows of the half spectrum of the plane. All rows at once overwrite the transform."""
        de_emphasis_y = rows_of(self.de_emphasis_y, rows)
        if not isinstance(self.transform, Tensor):
            return multiply_(self.transform, multiply_(self.de_emphasis_x, de_emphasis_y))
        transform = self.transform if rows.start is None else self.transform[..., rows, :].clone()
        return multiply_(multiply_(transform, self.de_emphasis_x), de_emphasis_y)

    def phase_floor(self, rows: slice) -> Tensor:
        """The largest magnitude at which a bin of these rows has no phase."""
        magnitude_x = in_memory(bin_magnitude(self.de_emphasis_x))
        floor = (self.floor * magnitude_x) * in_memory(bin_magnitude(rows_of(self.de_emphasis_y, rows)))
        return torch.clamp(floor, min=least_magnitude(floor.dtype))


def half_spectrum_with_phase(a: Tensor) -> PreEmphasized:
    """The half spectrum before de-emphasis, and what tells which of its bins have a phase.

    A transform spreads its rounding errors evenly over all bins. The mean and the low frequencies of a blurred photo
    would drown the phases of its high frequencies: the relative error of the gradient was 1e-4. Therefore the mean is
    subtracted and the plane pre-emphasized before the transform: (x[j] - rho x[j - 1]) / (1 - rho) along both axes,
    where rho is the lag-1 autocorrelation. De-emphasis then divides each bin by the frequency response of this filter.
    """
    height, width = a.shape[-2:]
    mean = plane_mean(a)
    x = a - mean
    # A compiled program uses all rows. With a stride, an image of a single sampled row would need another program.
    stride = 1 if has_symbolic_sizes() else ROW_STRIDE
    # Neighbours across the border are left out of the estimate.
    here, left, above = x[..., 1::stride, 1:], x[..., 1::stride, :-1], x[..., :-1:stride, 1:]
    power = plane_sum(here * here, keepdim=True)
    rho_x, rho_y = _autocorrelation(here, left, power), _autocorrelation(here, above, power)
    x = _pre_emphasize(_pre_emphasize(x, rho_x, -1), rho_y, -2)
    eps = torch.finfo(a.dtype).eps
    # The second term covers flat planes, where x is the rounding error of the mean.
    mean_error = eps * height * width * torch.abs(mean) / ((1 - rho_x) * (1 - rho_y))
    floor = in_memory(PHASE_FLOOR * eps * (per_plane(norm(x)) + mean_error))
    de_emphasis_x = _de_emphasis(rho_x, width, width // 2 + 1)
    de_emphasis_y = _de_emphasis(rho_y, height, height, dim=-2)
    return PreEmphasized(rfft2(x, mean * (height * width)), de_emphasis_x, de_emphasis_y, floor)


def _autocorrelation(x: Tensor, previous: Tensor, power: Tensor) -> Tensor:
    """The lag-1 autocorrelation of planes, in [0, MAX_RHO], from pixels, their predecessors and power: (..., 1, 1).

    It adapts the pre-emphasis to the plane: on white noise, a fixed rho would drown the low frequencies.
    """
    rho = safe_divide(plane_sum(x * previous, keepdim=True), power)
    # No gradient, because de-emphasis cancels rho.
    return torch.clamp(rho, 0, MAX_RHO).detach()


def _pre_emphasize(x: Tensor, rho: Tensor, dim: int) -> Tensor:
    """(x[j] - rho x[j - 1]) / (1 - rho) along `dim`, which wraps around."""
    # A compiled program would read the result of `torch.roll` along the last axis pixel by pixel.
    last = x.shape[dim] - 1
    previous = in_memory(torch.cat([x.narrow(dim, last, 1), x.narrow(dim, 0, last)], dim))
    # In one pass, `lerp` uses the difference x[j] - x[j - 1], which is exact where a plane is smooth. The product
    # rho x[j - 1] would add rounding errors as large as those of the transform.
    return torch.lerp(previous, x, in_memory(1 / (1 - rho)))


def _de_emphasis(rho: Tensor, size: int, count: int, dim: int = -1) -> Complex:
    """The first `count` of `size` bins of (1 - rho) / (1 - rho exp(-2 pi i k / size)), along `dim`."""
    frequency = torch.arange(count, dtype=rho.dtype, device=rho.device)
    # Frequencies above half the size are made negative, because sine and cosine of small angles are more exact.
    angle = torch.where(2 * frequency > size, frequency - size, frequency) * (2 * math.pi / size)
    cosine, sine = in_memory(torch.cos(angle)), in_memory(torch.sin(angle))
    if dim == -2:
        cosine, sine = cosine.unsqueeze(-1), sine.unsqueeze(-1)
    real, imag = 1 - rho * cosine, rho * sine
    # 1 / z is conj(z) / |z|^2.
    weight = (1 - rho) / (real * real + imag * imag)
    pair = in_memory(real * weight), in_memory(-imag * weight)
    return pair if is_compiling() else from_pair(pair)
