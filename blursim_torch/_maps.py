"""Maps of where two images differ."""

from typing import NamedTuple

import torch
from torch import Tensor

from blursim_torch import _checks
from blursim_torch._checks import ChannelAxis, Normalization, SobelKernelSize, Spectrum
from blursim_torch._edges import edge_difference, specific_scale
from blursim_torch._loss import check_images, compute_dtype, to_planes
from blursim_torch._numerics import per_plane, plane_sum
from blursim_torch._spectrum import contrast, level_scale, spectrum_difference


class BlurSimMaps(NamedTuple):
    """Differences of the spectra, zero frequency in the middle, and of the edges, each (..., H, W)."""

    spectrum: Tensor
    edges: Tensor


def blursim_maps(
    predictions: Tensor,
    targets: Tensor,
    *,
    sobel_kernel_size: SobelKernelSize = 5,
    spectrum: Spectrum = "magnitude",
    normalization: Normalization = "area",
    data_range: float = 1.0,
    channel_axis: ChannelAxis = None,
) -> BlurSimMaps:
    r"""Maps of where two images differ: over frequencies, and along edges.

    For planes a and b, the maps are `|e|` over the full spectrum, where `norm(e)` is the norm in General (e = A - B for
    `"complex"`), and `|E(a) - E(b)|`. Under `normalization="relative"`, each is also divided by the contrast that
    its term is divided by. For a plane of N pixels,

    - `norm(edges) / N` is Specific,
    - `norm(spectrum) / N` is General for `"magnitude"`; so it is for `"complex"`, except for OpenCV's padding, and
      `norm(spectrum) / sqrt(N)` is General for `"log"`.

    With channels, the maps are means over them.

    Args:
        predictions: Images `(..., H, W)`, or with channels at `channel_axis`.
        targets: Images of the same shape.
        sobel_kernel_size: Side of the Sobel kernel, 3, 5 or 7.
        spectrum: `"magnitude"`, `"complex"` or `"log"`.
        normalization: `"area"` or `"relative"`.
        data_range: The pixel value of white.
        channel_axis: None, -1 or -3.

    Returns:
        `BlurSimMaps(spectrum, edges)`, both `(..., H, W)`, float64 if either input is, else float32. The zero
        frequency stands at `[H // 2, W // 2]`.

    Raises:
        ValueError: As `blursim`.
        TypeError: As `blursim`.

    References:
        As `blursim`.

    >>> import torch
    >>> from blursim_torch import blursim_maps
    >>> targets = torch.zeros(8, 8)
    >>> targets[2:6, 2:6] = 1.0
    >>> maps = blursim_maps(targets + 0.5, targets)
    >>> print(maps.spectrum[4, 4].item(), maps.edges.max().item())
    32.0 0.0
    """
    options = _checks.check_options(sobel_kernel_size, spectrum, normalization, data_range, channel_axis)
    check_images(predictions, targets, options)
    dtype = compute_dtype(predictions, targets)
    a, b = to_planes(predictions, options, dtype), to_planes(targets, options, dtype)
    if a.numel() == 0:
        # MKL refuses to transform an empty batch.
        return BlurSimMaps(torch.sum(a + b, dim=-3), torch.sum(a + b, dim=-3))
    area = a.shape[-2] * a.shape[-1]
    difference = torch.fft.fft2(a - b)
    if options.spectrum != "complex":
        difference, _ = spectrum_difference(torch.fft.fft2(a), difference, options, area)
    edges, _, edges_b = edge_difference(a, b, options.sobel_kernel_size)
    squared_b = plane_sum(edges_b.magnitude * edges_b.magnitude)
    spectrum_scale = level_scale(contrast(b, options), b, options)
    maps = (
        torch.fft.fftshift(torch.abs(difference), dim=(-2, -1)) * per_plane(spectrum_scale),
        torch.abs(edges) * per_plane(specific_scale(squared_b, b, options) * area),
    )
    return BlurSimMaps(*(torch.mean(x, dim=-3) for x in maps))
