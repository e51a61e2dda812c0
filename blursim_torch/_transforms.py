"""Half spectra (..., H, W // 2 + 1) of planes (..., H, W), and which of their bins have a phase."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch._numerics import least_magnitude, norm, per_plane, plane_area, plane_mean, plane_sum, safe_divide

# A bin of at most this many rounding errors, eps times the norm of the transformed plane, has a magnitude but no phase.
PHASE_FLOOR = 64
# The upper limit of rho, the autocorrelation in pre-emphasis. A higher limit hardly improves the phases of photos.
MAX_RHO = 0.9
# The autocorrelation is estimated from every seventh row. 7 is coprime to powers of 2, so patterns with such periods do
# not bias the estimate.
ROW_STRIDE = 7


def half_spectrum(a: Tensor) -> Tensor:
    """The half spectrum. The mean is added afterwards, so that its rounding errors do not reach other bins."""
    mean = plane_mean(a)
    transform = torch.fft.rfft2(a - mean)
    transform[..., :1, :1] += mean * plane_area(a)
    return transform


class PreEmphasized(NamedTuple):
    """The half spectrum of a pre-emphasized plane, its de-emphasis along both axes, and the largest magnitude of noise.

    The shapes are (..., H, W // 2 + 1), (..., 1, W // 2 + 1), (..., H, 1) and (..., 1, 1).
    """

    transform: Tensor
    de_emphasis_x: Tensor
    de_emphasis_y: Tensor
    floor: Tensor

    def de_emphasized(self, rows: slice) -> Tensor:
        """These rows of the half spectrum of the plane. All rows at once overwrite the transform."""
        transform = self.transform if rows.start is None else self.transform[..., rows, :].clone()
        return transform.mul_(self.de_emphasis_x).mul_(self.de_emphasis_y[..., rows, :])

    def phase_floor(self, rows: slice) -> Tensor:
        """The largest magnitude at which a bin of these rows has no phase."""
        floor = (self.floor * self.de_emphasis_x.abs()) * self.de_emphasis_y[..., rows, :].abs()
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
    stride = 1 if torch.compiler.is_compiling() else ROW_STRIDE
    # Neighbours across the border are left out of the estimate.
    rho_x = _autocorrelation(x[..., ::stride, 1:], x[..., ::stride, :-1])
    rho_y = _autocorrelation(x[..., 1::stride, :], x[..., :-1:stride, :])
    x = _pre_emphasize(_pre_emphasize(x, rho_x, -1), rho_y, -2)
    transform = torch.fft.rfft2(x)
    transform[..., :1, :1] += mean * (height * width)
    eps = torch.finfo(a.dtype).eps
    # The second term covers flat planes, where x is the rounding error of the mean.
    mean_error = eps * height * width * torch.abs(mean) / ((1 - rho_x) * (1 - rho_y))
    floor = PHASE_FLOOR * eps * (per_plane(norm(x)) + mean_error)
    de_emphasis_x = _de_emphasis(rho_x, width, width // 2 + 1)
    return PreEmphasized(transform, de_emphasis_x, _de_emphasis(rho_y, height, height).mT, floor)


def _autocorrelation(x: Tensor, previous: Tensor) -> Tensor:
    """The lag-1 autocorrelation of planes, in [0, MAX_RHO], from pixels and their predecessors: (..., 1, 1).

    It adapts the pre-emphasis to the plane: on white noise, a fixed rho would drown the low frequencies.
    """
    rho = safe_divide(plane_sum(x * previous, keepdim=True), plane_sum(previous * previous, keepdim=True))
    # No gradient, because de-emphasis cancels rho.
    return torch.clamp(rho, 0, MAX_RHO).detach()


def _pre_emphasize(x: Tensor, rho: Tensor, dim: int) -> Tensor:
    """(x[j] - rho x[j - 1]) / (1 - rho) along `dim`, which wraps around."""
    # In one pass, `lerp` uses the difference x[j] - x[j - 1], which is exact where a plane is smooth. The product
    # rho x[j - 1] would add rounding errors as large as those of the transform.
    return torch.lerp(torch.roll(x, 1, dim), x, 1 / (1 - rho))


def _de_emphasis(rho: Tensor, size: int, count: int) -> Tensor:
    """The first `count` of `size` bins of (1 - rho) / (1 - rho exp(-2 pi i k / size)), (..., 1, count)."""
    frequency = torch.arange(count, dtype=rho.dtype, device=rho.device)
    # Frequencies above half the size are made negative, because sine and cosine of small angles are more exact.
    angle = torch.where(2 * frequency > size, frequency - size, frequency) * (2 * math.pi / size)
    return (1 - rho) / torch.complex(1 - rho * torch.cos(angle), rho * torch.sin(angle))
