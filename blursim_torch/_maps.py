"""Maps of where two images differ."""

from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, DataRange, Normalization, SobelKernelSize, Spectrum
from blursim_torch._complex import modulus
from blursim_torch._edges import edge_difference, specific_scale
from blursim_torch._images import check_images, to_plane_pair
from blursim_torch._numerics import per_plane, plane_area, plane_sum
from blursim_torch._spectrum import contrast, level_scale, spectrum_difference
from blursim_torch._transforms import rfft2


class BlurSimMaps(NamedTuple):
    """Differences of the spectra, zero frequency in the middle, and of the edges, each `(..., H, W)`."""

    spectrum: Tensor
    edges: Tensor


def blursim_maps(
    predictions: Tensor,
    targets: Tensor,
    *,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: DataRange = None,
    channel_axis: ChannelAxis = None,
    mask: Tensor | None = None,
) -> BlurSimMaps:
    r"""Maps of where two images differ: over frequencies, and along edges.

    For planes a and b of N pixels, `edges` is the absolute value of `E(a) - E(b)`. `spectrum` is the absolute value of
    the difference of the full spectra: `|A| - |B|` for `"magnitude"`, `A - B` for `"complex"` and
    `"complex_l1"`, `log(|A| + c) - log(|B| + c)` for `"log"`. The maps are scaled so that Specific is
    `norm(edges) / N` and General is

    - `norm(spectrum) / N` for `"magnitude"`, and for `"complex"` except for OpenCV's padding,
    - `sum(spectrum) / N**1.5` for `"complex_l1"`,
    - `norm(spectrum) / sqrt(N)` for `"log"`.

    With channels, the maps are means over them.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: `"magnitude"`, `"complex"`, `"complex_l1"` or `"log"`.
        normalization: `"area"`, `"rms"` or `"relative"`.
        data_range: White, (black, white), or None for that of the dtype.
        channel_axis: None, -1 or -3.
        mask: Pixels that count, or None.

    Returns:
        `BlurSimMaps(spectrum, edges)`, both `(..., H, W)`, float64 if either input is, else float32. The zero
        frequency stands at `[H // 2, W // 2]`.

    Raises:
        ValueError: As `blursim`.
        TypeError: As `blursim`.

    References:
        As `blursim`.

    Examples:
        >>> import torch
        >>> from blursim_torch import blursim_maps
        >>> targets = torch.zeros(8, 8)
        >>> targets[2:6, 2:6] = 1.0
        >>> maps = blursim_maps(targets + 0.5, targets)
        >>> print(maps.spectrum[4, 4].item(), maps.edges.max().item())
        32.0 0.0
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    options, _ = check_images(predictions, targets, mask, options)
    a, b = to_plane_pair(predictions, targets, mask, options)
    if a.numel() == 0:
        # MKL refuses to transform an empty batch.
        return BlurSimMaps(torch.sum(a + b, dim=-3), torch.sum(a + b, dim=-3))
    area = plane_area(a)
    difference = rfft2(a - b)
    if options.spectrum in ("complex", "complex_l1"):
        half = modulus(difference)
    else:
        half = torch.abs(spectrum_difference(rfft2(a), difference, options, area)[0])
    edges, _, edges_b = edge_difference(a, b, options.sobel_kernel_size)
    squared_b = plane_sum(edges_b.magnitude * edges_b.magnitude)
    spectrum_scale = level_scale(contrast(b, options), b, options)
    maps = (
        _full_spectrum(half, a.shape[-1]) * per_plane(spectrum_scale),
        torch.abs(edges) * per_plane(specific_scale(squared_b, b, options) * area),
    )
    return BlurSimMaps(*(torch.mean(x, dim=-3) for x in maps))


def _full_spectrum(half: Tensor, width: int) -> Tensor:
    """The full spectrum (..., H, W), zero frequency in the middle, from its half (..., H, W // 2 + 1).

    The frequencies k and -k of a real image have the same magnitude.
    """
    mirrored = torch.roll(torch.flip(half[..., 1 : (width + 1) // 2], (-2, -1)), 1, -2)
    return torch.fft.fftshift(torch.cat([half, mirrored], dim=-1), dim=(-2, -1))
